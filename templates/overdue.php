<?php
/**
 * The events that WordPress has scheduled: WP-Cron runs them when somebody visits a page, or when a cron job calls it, and
 * nobody notices when neither happens. See src/worker/events.rs.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Overdue {
	/** How many sites of a network are looked at: those that changed last. */
	const SITES = 50;

	/** The event that is due first, with the time in milliseconds since 1970, or null if that is unknown. */
	public static function first() {
		try {
			return is_multisite() ? self::of_network() : self::of_site();
		} catch ( Throwable $e ) {
			return null; // A plugin that keeps them elsewhere.
		}
	}

	private static function of_network() {
		$first = self::of_site();
		$sites = get_sites(
			array(
				'fields'   => 'ids',
				'number'   => self::SITES,
				'orderby'  => 'last_updated',
				'order'    => 'DESC',
				'archived' => 0,
				'spam'     => 0,
				'deleted'  => 0,
			)
		);
		foreach ( $sites as $id ) {
			switch_to_blog( $id );
			$other = self::of_site();
			restore_current_blog();
			if ( null !== $other['due'] && ( null === $first['due'] || $other['due'] < $first['due'] ) ) {
				$first = $other;
			}
		}
		return $first;
	}

	private static function of_site() {
		$first = array( 'due' => null, 'hook' => '' );
		foreach ( (array) _get_cron_array() as $time => $events ) {
			if ( is_int( $time ) && $time > 0 && is_array( $events ) && $events && ( null === $first['due'] || $time * 1000 < $first['due'] ) ) {
				$first = array( 'due' => $time * 1000, 'hook' => (string) key( $events ) );
			}
		}
		return $first;
	}
}
