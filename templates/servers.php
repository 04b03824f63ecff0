<?php
/**
 * The job servers as pages see them: which of them answer in time, and WP-Cron where none does. The must-use plugins
 * contain it, from the line below.
 */

if ( ! class_exists( 'WP_Gears_Servers', false ) ) {

	final class WP_Gears_Servers {
		/** How long a page waits for all job servers together, in milliseconds. WP_GEARS_TIMEOUT overrides it. */
		const TIMEOUT = 200;

		/**
		 * How long a job server that answers may take to accept a job, in milliseconds: its queue may be on a slow disk.
		 * Giving up earlier would pass a job to WP-Cron that the job server also accepts, and it would run twice.
		 */
		const PATIENCE = 5000;

		/** How long the site's pages do not ask a server that did not answer, in seconds. */
		const PAUSE = 10;

		/**
		 * The same where no other server answers: it may only have been slow, and until it is asked again all jobs go to
		 * WP-Cron, which waits for a visitor, and may run a job twice. Doubles, up to PAUSE.
		 */
		const PAUSE_OF_LAST = 1;

		/** The transient in which they tell each other. In the database: of files, others could make some. */
		const MEMORY = 'wp_gears_dead_servers';

		/** @var array|null Until when not to ask a server. */
		private static $dead;

		/** @return string[] */
		public static function all() {
			global $gearman_servers;
			return $gearman_servers ? array_values( (array) $gearman_servers ) : array( '127.0.0.1:4730' );
		}

		/** @return string[] Those that answer, and in whose place no stranger listens. */
		public static function live() {
			$now   = microtime( true );
			$dead  = self::dead();
			$asked = array();
			foreach ( self::all() as $server ) {
				if ( ! isset( $dead[ $server ] ) || $dead[ $server ] <= $now ) {
					$asked[] = $server;
				}
			}
			if ( $asked && class_exists( 'WP_Gears_Peer', false ) ) {
				$strangers = WP_Gears_Peer::strangers( $asked );
				if ( $strangers ) {
					self::forgo( $strangers, 'another user listens there in place of gearmand' );
					$asked = array_values( array_diff( $asked, $strangers ) );
				}
			}
			$live = $asked ? self::answering( $asked ) : array();
			if ( count( $live ) < count( $asked ) ) {
				$silent = array_diff( $asked, $live );
				self::forgo( $silent, 'no answer', ! $live );
			}
			return $live;
		}

		/** Does not use these servers for a while. $are_last: no other answers. */
		public static function forgo( array $servers, $why, $are_last = false ) {
			self::dead();
			$longest = 0;
			foreach ( $servers as $server ) {
				$tries = isset( self::$dead[ "$server tries" ] ) ? (int) self::$dead[ "$server tries" ] : 0;
				$pause = $are_last ? min( self::PAUSE, self::PAUSE_OF_LAST << min( $tries, 8 ) ) : self::PAUSE;

				self::$dead[ $server ]         = microtime( true ) + $pause;
				self::$dead[ "$server tries" ] = $tries + 1;

				$longest = max( $longest, $pause );
			}
			if ( ! self::is_patient() ) {
				set_site_transient( self::MEMORY, self::$dead, 2 * self::PAUSE );
			}
			error_log( 'wp-gears: not using ' . implode( ',', $servers ) . " for $longest s: $why" );
		}

		private static function dead() {
			if ( null === self::$dead ) {
				$known      = self::is_patient() ? null : get_site_transient( self::MEMORY );
				self::$dead = is_array( $known ) ? $known : array();
			}
			return self::$dead;
		}

		/** No visitor waits for a job, or for setup's test job. */
		private static function is_patient() {
			return defined( 'WP_GEARS_ASK' ) || defined( 'WP_GEARS_PROVES' ) || ( defined( 'DOING_ASYNC' ) && DOING_ASYNC );
		}

		private static function timeout() {
			if ( defined( 'WP_GEARS_TIMEOUT' ) ) {
				return (int) WP_GEARS_TIMEOUT;
			}
			return self::is_patient() ? self::PATIENCE : self::TIMEOUT;
		}

		/** Those that return an echo. All are asked at once: dozens of silent ones take no longer than one. */
		private static function answering( array $servers ) {
			if ( ! function_exists( 'stream_socket_client' ) || ! function_exists( 'stream_select' ) ) {
				return $servers; // the client has a time limit too
			}
			$until   = microtime( true ) + self::timeout() / 1000;
			$pending = array();
			$sent    = array();
			$got     = array();
			$live    = array();
			foreach ( $servers as $at => $server ) {
				$stream = @stream_socket_client( 'tcp://' . self::address( $server ), $number, $error, 1, STREAM_CLIENT_CONNECT | STREAM_CLIENT_ASYNC_CONNECT );
				if ( $stream ) {
					stream_set_blocking( $stream, false );
					$pending[ $at ] = $stream;
					$got[ $at ]     = '';
				}
			}
			$left = $until - microtime( true );
			while ( $pending && $left > 0 ) {
				$read   = array_intersect_key( $pending, $sent );
				$write  = array_diff_key( $pending, $sent );
				$except = array();
				if ( ! @stream_select( $read, $write, $except, (int) $left, (int) ( ( $left - (int) $left ) * 1000000 ) ) ) {
					break;
				}
				foreach ( $write as $at => $stream ) {
					if ( 20 === @fwrite( $stream, "\0REQ" . pack( 'NN', 16, 8 ) . 'wp-gears' ) ) {
						$sent[ $at ] = true;
					} else {
						unset( $pending[ $at ] );
					}
				}
				foreach ( $read as $at => $stream ) {
					$part        = @fread( $stream, 64 );
					$got[ $at ] .= $part;
					if ( "\0RES" . pack( 'NN', 17, 8 ) . 'wp-gears' === $got[ $at ] ) {
						$live[ $at ] = $servers[ $at ];
					}
					if ( isset( $live[ $at ] ) || '' === (string) $part || strlen( $got[ $at ] ) >= 20 ) {
						unset( $pending[ $at ] );
					}
				}
				$left = $until - microtime( true );
			}
			ksort( $live ); // the client prefers the first
			return array_values( $live );
		}

		/** A server as PHP's streams name it: with a port, and IPv6 in brackets. */
		public static function address( $server ) {
			$server = trim( $server );
			if ( preg_match( '/^\[.*\]$/', $server ) ) {
				return "$server:4730";
			}
			if ( '[' !== substr( $server, 0, 1 ) && substr_count( $server, ':' ) > 1 ) {
				return "[$server]:4730";
			}
			return false === strpos( $server, ':' ) ? "$server:4730" : $server;
		}

		/**
		 * Gives a job to WP-Cron. Its hook receives what it receives from a worker: its arguments as a single value.
		 *
		 * @return bool Whether WP-Cron accepted it.
		 */
		public static function cron( $hook, $args ) {
			// WP-Cron drops an event if an identical one is due within ten minutes, but two identical jobs are two jobs.
			return WP_Gears_Events::schedule( $hook, array( $args ) )
				|| WP_Gears_Events::schedule( $hook, array( $args, null, wp_generate_uuid4() ) );
		}
	}
}
