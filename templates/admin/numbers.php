<?php
/**
 * The numbers that administrators see, with names for programs and for people.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Numbers {
	/** @return array[] label, value for people, and raw for programs, by name, in the order in which they are shown. */
	public static function all() {
		$queue   = WP_Gears_Seen::queue();
		$workers = WP_Gears_Seen::workers();
		$unknown = __( 'unknown', 'wp-gears' );
		$numbers = array();
		$add     = function ( $name, $label, $raw, $value = null ) use ( &$numbers, $unknown ) {
			if ( null === $value ) {
				$value = null === $raw ? $unknown : number_format_i18n( $raw );
			}
			$numbers[ $name ] = array( 'label' => $label, 'value' => $value, 'raw' => $raw );
		};
		$answers = null !== $queue['waiting'];
		$oldest  = WP_Gears_Figures::oldest();
		$add( 'oldest_seconds', __( 'Oldest waiting job', 'wp-gears' ), $oldest, 0 === $queue['waiting'] ? __( 'none', 'wp-gears' ) : self::age( $oldest, $unknown ) );
		$add( 'waiting', __( 'Waiting', 'wp-gears' ), $queue['waiting'] );
		$add( 'running', __( 'Running', 'wp-gears' ), $answers ? $queue['running'] : null );
		$add( 'failed', __( 'Failed', 'wp-gears' ), WP_Gears_Jobs::count( WP_Gears_Jobs::FAILED ) );
		$add( 'retries', __( 'Waiting for a retry', 'wp-gears' ), WP_Gears_Jobs::count( WP_Gears_Jobs::WAITS ) );
		$registered = $answers ? $queue['workers'] : null;
		$add( 'workers', __( 'Workers', 'wp-gears' ), null === $workers ? $registered : $workers['alive'] );
		$waits = WP_Gears_Figures::waits();
		if ( null !== $waits ) {
			/* translators: of all jobs of the last hour, half waited at most so long */
			$add( 'wait_p50_ms', __( 'Wait, median of the last hour', 'wp-gears' ), $waits['p50'], self::time( $waits['p50'] ) );
			/* translators: of all jobs of the last hour, 95 percent waited at most so long */
			$add( 'wait_p95_ms', __( 'Wait, 95% of the last hour', 'wp-gears' ), $waits['p95'], self::time( $waits['p95'] ) );
		}
		$version = extension_loaded( 'gearman' ) ? (string) phpversion( 'gearman' ) : null;
		$add( 'extension', __( 'Gearman extension in this PHP', 'wp-gears' ), $version, null === $version ? __( 'not loaded', 'wp-gears' ) : $version );
		return $numbers;
	}

	private static function age( $seconds, $unknown ) {
		if ( null === $seconds ) {
			return $unknown;
		}
		return $seconds < 60 ? self::time( 1000 * $seconds ) : human_time_diff( time() - $seconds, time() );
	}

	private static function time( $ms ) {
		/* translators: %s: a number of milliseconds */
		return $ms < 1000 ? sprintf( __( '%s ms', 'wp-gears' ), number_format_i18n( $ms ) )
			/* translators: %s: a number of seconds */
			: sprintf( __( '%s s', 'wp-gears' ), number_format_i18n( $ms / 1000, 1 ) );
	}
}
