<?php
/**
 * Tools -> Site Health: whether background jobs run, and what a report of the site should say about them.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Health {
	/** Jobs that wait longer are late, and jobs that wait much longer hardly run at all, in seconds. */
	const LATE      = 60;
	const VERY_LATE = 600;

	/** For the filter site_status_tests. */
	public static function tests( $tests ) {
		$ours = array(
			'extension' => __( 'Extension for background jobs', 'wp-gears' ),
			'workers'   => __( 'Workers for background jobs', 'wp-gears' ),
			'waiting'   => __( 'Waiting background jobs', 'wp-gears' ),
			'failed'    => __( 'Failed background jobs', 'wp-gears' ),
		);
		foreach ( $ours as $name => $label ) {
			$tests['direct'][ "wp_gears_$name" ] = array(
				'label' => $label,
				'test'  => array( __CLASS__, $name ),
			);
		}
		return $tests;
	}

	public static function extension() {
		if ( extension_loaded( 'gearman' ) ) {
			return self::result( 'extension', 'good', __( 'PHP can submit background jobs', 'wp-gears' ), __( 'The gearman extension is loaded.', 'wp-gears' ) );
		}
		return self::result( 'extension', 'critical', __( 'PHP cannot submit background jobs', 'wp-gears' ), __( 'The gearman extension is not loaded in the PHP that serves this page, so WP-Cron runs background jobs instead, during visitors’ requests.', 'wp-gears' ) );
	}

	public static function workers() {
		$queue   = WP_Gears_Seen::queue();
		$workers = WP_Gears_Seen::workers();
		$alive   = null === $workers ? $queue['workers'] : $workers['alive'];
		if ( null === $queue['waiting'] ) {
			/* translators: %s: addresses of servers */
			return self::result( 'workers', 'critical', __( 'No job server answers', 'wp-gears' ), sprintf( __( 'WP-Cron runs background jobs instead, during visitors’ requests. Silent: %s.', 'wp-gears' ), implode( ', ', $queue['silent'] ) ) );
		}
		if ( null !== $workers && '' !== $workers['broken'] ) {
			return self::result( 'workers', 'critical', __( 'A worker cannot run background jobs', 'wp-gears' ), $workers['broken'] );
		}
		if ( null !== $workers && $workers['paused'] ) {
			return self::result( 'workers', 'recommended', __( 'The workers are paused', 'wp-gears' ), __( 'An administrator of the host has paused them. Jobs wait until they go on.', 'wp-gears' ) );
		}
		if ( 0 === $alive && 0 === $queue['workers'] ) {
			return self::result( 'workers', 'critical', __( 'No worker runs background jobs', 'wp-gears' ), __( 'Jobs wait until an administrator of the host starts the workers.', 'wp-gears' ) );
		}
		/* translators: %s: a number */
		$label = sprintf( _n( '%s worker runs background jobs', '%s workers run background jobs', max( 1, $alive ), 'wp-gears' ), number_format_i18n( max( 1, $alive ) ) );
		return self::result( 'workers', 'good', $label, WP_Gears_Seen::why_not() );
	}

	public static function waiting() {
		$queue  = WP_Gears_Seen::queue();
		$oldest = WP_Gears_Figures::oldest();
		if ( null === $queue['waiting'] ) {
			return self::result( 'waiting', 'recommended', __( 'It cannot be seen how many background jobs wait', 'wp-gears' ), __( 'No job server answers.', 'wp-gears' ) );
		}
		/* translators: %s: a number */
		$label = sprintf( _n( '%s background job waits', '%s background jobs wait', $queue['waiting'], 'wp-gears' ), number_format_i18n( $queue['waiting'] ) );
		if ( 0 === $queue['waiting'] || null === $oldest || $oldest < self::LATE ) {
			return self::result( 'waiting', 'good', $label, '' );
		}
		/* translators: %s: a period of time */
		$text = sprintf( __( 'The oldest has waited for %s: the workers are too few, or too slow.', 'wp-gears' ), human_time_diff( time() - $oldest, time() ) );
		return self::result( 'waiting', $oldest < self::VERY_LATE ? 'recommended' : 'critical', $label, $text );
	}

	public static function failed() {
		$failed = WP_Gears_Jobs::count( WP_Gears_Jobs::FAILED );
		if ( 0 === $failed ) {
			return self::result( 'failed', 'good', __( 'No background job has failed', 'wp-gears' ), '' );
		}
		/* translators: %s: a number */
		$label = sprintf( _n( '%s background job has failed', '%s background jobs have failed', $failed, 'wp-gears' ), number_format_i18n( $failed ) );
		return self::result( 'failed', 'recommended', $label, __( 'Each is kept with its error, until you retry or delete it.', 'wp-gears' ) );
	}

	/** A result as Site Health takes it. Its texts are HTML. */
	private static function result( $name, $status, $label, $text ) {
		$link = sprintf( '<a href="%s">%s</a>', esc_url( WP_Gears_Screen::url() ), esc_html__( 'Background jobs', 'wp-gears' ) );
		return array(
			'label'       => esc_html( $label ),
			'status'      => $status,
			'badge'       => array(
				'label' => __( 'Background jobs', 'wp-gears' ),
				'color' => 'blue',
			),
			'description' => '' === $text ? '<p>' . esc_html__( 'Plugins run long work in the background, so that no visitor waits for it.', 'wp-gears' ) . '</p>' : '<p>' . esc_html( $text ) . '</p>',
			'actions'     => "<p>$link</p>",
			'test'        => "wp_gears_$name",
		);
	}

	/** For the filter debug_information. */
	public static function information( $info ) {
		$fields = array();
		foreach ( WP_Gears_Numbers::all() as $name => $number ) {
			$fields[ $name ] = array(
				'label' => $number['label'],
				'value' => $number['value'],
				'debug' => $number['raw'],
			);
		}
		$info['wp-gears'] = array(
			'label'  => __( 'Background jobs', 'wp-gears' ),
			'fields' => $fields,
		);
		return $info;
	}
}
