<?php
/**
 * How long jobs wait, from what the workers record in the site's run folder. See src/worker/figures.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Figures {
	/** The last hour, in slots that were counted together: the length of one in milliseconds, and their number. */
	const SLOT  = 300000;
	const SLOTS = 13;

	/** The width of a bucket of times: 1/32 of them. */
	const POWER = 5;

	/** @var array|null|false waits, a list of time and number; longest; last_submitted. Null if nothing is known. */
	private static $figures = false;

	/** @return array|null p50 and p95 of the waits of the last hour, in milliseconds; null if they are not known. */
	public static function waits() {
		$figures = self::read();
		$waits   = $figures ? $figures['waits'] : array();
		$total   = array_sum( array_column( $waits, 1 ) );
		if ( 0 === $total ) {
			return null;
		}
		sort( $waits );
		$found = array();
		foreach ( array( 'p50' => 0.5, 'p95' => 0.95 ) as $name => $part ) {
			$rank = (int) ceil( $part * $total );
			foreach ( $waits as list( $ms, $number ) ) {
				$rank -= $number;
				if ( $rank <= 0 ) {
					$found[ $name ] = min( $ms, $figures['longest'] );
					break;
				}
			}
		}
		return $found;
	}

	/** @return int|null For how many seconds the oldest waiting job has waited, at most; null if it is not known. */
	public static function oldest() {
		$queue   = WP_Gears_Seen::queue();
		$workers = WP_Gears_Seen::workers();
		if ( 0 === $queue['waiting'] ) {
			return 0;
		}
		if ( null === $queue['waiting'] || null === $workers ) {
			return null;
		}
		if ( $workers['alive'] > 0 && $workers['idle'] === $workers['alive'] && $queue['workers'] > 0 ) {
			return 0; // It is on its way.
		}
		// Job servers hand jobs out in the order of their submission.
		$figures = self::read();
		$since   = max( $workers['since'], $figures ? $figures['last_submitted'] : 0 );
		return 0 === $since ? null : max( 0, time() - (int) ( $since / 1000 ) );
	}

	private static function read() {
		if ( false !== self::$figures ) {
			return self::$figures;
		}
		self::$figures = null;
		$stored        = explode( "\n", WP_Gears_Seen::read( 'figures' ), 2 );
		$log           = explode( "\n", WP_Gears_Seen::read( 'figures.log' ) );
		$all           = isset( $stored[1] ) ? json_decode( $stored[1], true ) : null;
		$all           = is_array( $all ) ? $all + array( 'hooks' => array(), 'last_submitted' => 0 ) : array( 'hooks' => array(), 'last_submitted' => 0 );
		$known         = array( 'waits' => array(), 'longest' => 0, 'last_submitted' => (int) $all['last_submitted'] );
		$now           = (int) ( time() * 1000 / self::SLOT );
		$is_recent     = function ( $slot ) use ( $now ) {
			return $slot <= $now && $now - $slot < self::SLOTS;
		};
		foreach ( $all['hooks'] as $hook ) {
			foreach ( isset( $hook['hour'] ) ? $hook['hour'] : array() as $slot => $times ) {
				if ( $is_recent( (int) $slot ) && isset( $times['wait'][2] ) ) {
					list( $buckets, $numbers, $longest ) = $times['wait'];
					foreach ( $buckets as $at => $bucket ) {
						$known['waits'][] = array( self::middle( (int) $bucket ), (int) $numbers[ $at ] );
					}
					$known['longest'] = max( $known['longest'], (int) $longest );
				}
			}
		}
		// A log that has been added to the figures may still be there.
		foreach ( (int) $log[0] > (int) $stored[0] ? array_slice( $log, 1 ) : array() as $line ) {
			$attempt = json_decode( $line, true );
			if ( ! isset( $attempt['at'], $attempt['began'], $attempt['submitted'] ) ) {
				continue;
			}
			$known['last_submitted'] = max( $known['last_submitted'], (int) $attempt['submitted'] );
			if ( ! empty( $attempt['first'] ) && $is_recent( (int) ( $attempt['at'] / self::SLOT ) ) ) {
				$wait             = max( 0, (int) $attempt['began'] - (int) $attempt['submitted'] );
				$known['waits'][] = array( $wait, 1 );
				$known['longest'] = max( $known['longest'], $wait );
			}
		}
		self::$figures = $known;
		return $known;
	}

	/** The time in the middle of a bucket, in milliseconds. */
	private static function middle( $bucket ) {
		$group = $bucket >> self::POWER;
		if ( $group < 1 ) {
			return $bucket;
		}
		$width = 1 << ( $group - 1 );
		$start = ( 1 << ( self::POWER + $group - 1 ) ) + $width * ( $bucket - ( $group << self::POWER ) );
		return (int) ( $start + ( $width - 1 ) / 2 );
	}
}
