<?php
/**
 * The numbers that administrators see, with names for programs and for people.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Numbers {
	/** @return array[] label and value by name, in the order in which they are shown. */
	public static function all() {
		$queue   = WP_Gears_Seen::queue();
		$workers = WP_Gears_Seen::workers();
		$unknown = __( 'unknown', 'wp-gears' );
		$numbers = array();
		$add     = function ( $name, $label, $value ) use ( &$numbers ) {
			$numbers[ $name ] = array( 'label' => $label, 'value' => is_int( $value ) ? number_format_i18n( $value ) : $value );
		};
		$oldest = WP_Gears_Figures::oldest();
		$add( 'oldest', __( 'Oldest waiting job', 'wp-gears' ), 0 === $queue['waiting'] ? __( 'none', 'wp-gears' ) : self::age( $oldest, $unknown ) );
		$add( 'waiting', __( 'Waiting', 'wp-gears' ), null === $queue['waiting'] ? $unknown : $queue['waiting'] );
		$add( 'running', __( 'Running', 'wp-gears' ), null === $queue['waiting'] ? $unknown : $queue['running'] );
		$add( 'failed', __( 'Failed', 'wp-gears' ), WP_Gears_Jobs::count( WP_Gears_Jobs::FAILED ) );
		$add( 'retries', __( 'Waiting for a retry', 'wp-gears' ), WP_Gears_Jobs::count( WP_Gears_Jobs::WAITS ) );
		$add( 'workers', __( 'Workers', 'wp-gears' ), null === $workers ? ( null === $queue['waiting'] ? $unknown : $queue['workers'] ) : $workers['alive'] );
		$waits = WP_Gears_Figures::waits();
		if ( null !== $waits ) {
			/* translators: of all jobs of the last hour, half waited at most so long */
			$add( 'wait_p50', __( 'Wait, median of the last hour', 'wp-gears' ), self::time( $waits['p50'] ) );
			/* translators: of all jobs of the last hour, 95 percent waited at most so long */
			$add( 'wait_p95', __( 'Wait, 95% of the last hour', 'wp-gears' ), self::time( $waits['p95'] ) );
		}
		$add( 'extension', __( 'Gearman extension in this PHP', 'wp-gears' ), extension_loaded( 'gearman' ) ? (string) phpversion( 'gearman' ) : __( 'not loaded', 'wp-gears' ) );
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
