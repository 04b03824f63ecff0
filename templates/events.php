<?php
/**
 * Keeps jobs that are given to WP-Cron from getting lost or running twice. WP-Cron has all events in one option, which
 * each process writes back as it read it when it began: a run of WP-Cron that takes long undoes what pages have
 * scheduled since, and a page brings back events that ran since. Here, the option is read anew before it is changed,
 * and by one process at a time. The must-use plugins contain it, from the line below.
 */

if ( ! class_exists( 'WP_Gears_Events', false ) ) {

	final class WP_Gears_Events {
		/** How long to wait for others that change the option, in seconds. Each takes milliseconds. */
		const PATIENCE = 1;

		/** @var array Events as they are now, by blog. */
		private static $now = array();
		/** @var string|null The lock that this process has. */
		private static $lock;

		public static function watch() {
			// Last: where a plugin keeps the events elsewhere, there is nothing to do.
			add_filter( 'pre_schedule_event', array( __CLASS__, 'look' ), PHP_INT_MAX );
			add_filter( 'pre_unschedule_event', array( __CLASS__, 'before_a_run' ), PHP_INT_MAX );
			add_filter( 'pre_option_cron', array( __CLASS__, 'events' ), 0 );
			add_filter( 'pre_update_option_cron', array( __CLASS__, 'unless_it_changes' ), PHP_INT_MAX, 2 );
			add_action( 'update_option_cron', array( __CLASS__, 'end' ), 0 );
		}

		/** Schedules an event, as wp_schedule_single_event() does. */
		public static function schedule( $hook, array $args ) {
			self::begin();
			$scheduled = wp_schedule_single_event( time(), $hook, $args );
			self::end();
			return $scheduled;
		}

		/** A run of WP-Cron takes an event out, and runs it. */
		public static function before_a_run( $pre ) {
			if ( null !== $pre || ! defined( 'DOING_CRON' ) ) {
				return self::look( $pre );
			}
			self::begin();
			return $pre;
		}

		/** Reads the events anew. */
		public static function look( $pre ) {
			global $wpdb;
			if ( null === $pre ) {
				$text = $wpdb->get_var( "SELECT option_value FROM $wpdb->options WHERE option_name = 'cron'" );
				if ( is_string( $text ) ) {
					self::$now[ get_current_blog_id() ] = maybe_unserialize( $text );
				}
			}
			return $pre;
		}

		public static function events( $pre ) {
			$blog = get_current_blog_id();
			return false === $pre && isset( self::$now[ $blog ] ) ? self::$now[ $blog ] : $pre;
		}

		public static function unless_it_changes( $new, $old ) {
			if ( maybe_serialize( $new ) === maybe_serialize( $old ) ) {
				self::end();
			}
			return $new;
		}

		public static function end() {
			global $wpdb;
			self::$now = array();
			if ( self::$lock ) {
				$wpdb->query( $wpdb->prepare( 'DO RELEASE_LOCK( %s )', self::$lock ) );
				self::$lock = null;
			}
		}

		private static function begin() {
			global $wpdb;
			$name  = 'wp-gears-' . md5( DB_NAME . $wpdb->options );
			$shows = $wpdb->suppress_errors( true ); // not every database has locks
			if ( '1' === $wpdb->get_var( $wpdb->prepare( 'SELECT GET_LOCK( %s, %d )', $name, self::PATIENCE ) ) ) {
				self::$lock = $name;
			}
			$wpdb->suppress_errors( $shows );
			self::look( null );
		}
	}

	WP_Gears_Events::watch();
}
