<?php
/**
 * Answers questions of setup, doctor and the wizard about a running site. PHP reads this program, followed by
 * plugin.php, from standard input as the site's user. The only argument is the request, in JSON. The answer is the one
 * line of standard output that starts with the request's mark, regardless of what else the site prints.
 */

define( 'WP_GEARS_ASK', true );

WP_Gears_Ask::start();
require_once WP_Gears_Ask::$site . '/wp-load.php';
WP_Gears_Ask::answer();

final class WP_Gears_Ask {
	public static $site;
	private static $request;
	private static $loaded = false;
	private static $early;

	public static function start() {
		self::$request = json_decode( $GLOBALS['argv'][1], true );
		self::$site    = self::$request['site'];
		// PHP does not define these when it reads its program from standard input, but sites use them.
		foreach ( array( 'STDIN' => 'r', 'STDOUT' => 'w', 'STDERR' => 'w' ) as $name => $mode ) {
			if ( ! defined( $name ) ) {
				define( $name, fopen( 'php://' . strtolower( $name ), $mode ) );
			}
		}
		// The values that a web server would set, for sites that use them.
		$_SERVER['SCRIPT_FILENAME'] = self::$site . '/index.php';
		$_SERVER['SCRIPT_NAME']     = '/index.php';
		$_SERVER['PHP_SELF']        = '/index.php';
		$GLOBALS['argv']            = array( $_SERVER['SCRIPT_FILENAME'] );
		$GLOBALS['argc']            = 1;
		$_SERVER['argv']            = $GLOBALS['argv'];
		$_SERVER['argc']            = 1;
		chdir( self::$site );

		register_shutdown_function( array( __CLASS__, 'on_shutdown' ) );
		$GLOBALS['wp_filter']['wp_die_handler'][1][] = array(
			'function'      => array( __CLASS__, 'wp_die_handler' ),
			'accepted_args' => 1,
		);
		// WordPress applies this filter before it loads any plugin.
		$GLOBALS['wp_filter']['enable_wp_debug_mode_checks'][1][] = array(
			'function'      => array( __CLASS__, 'before_plugins' ),
			'accepted_args' => 1,
		);
		if ( ! is_file( self::$site . '/wp-load.php' ) ) {
			self::reply( array( 'error' => 'no wp-load.php in ' . self::$site ) );
		}
	}

	public static function answer() {
		self::$loaded = true;
		switch ( self::$request['ask'] ) {
			case 'identify':
				self::reply( array( 'answer' => self::identify() ) );
			case 'prove':
				self::reply( self::prove() );
			default:
				self::reply( array( 'answer' => self::facts() ) );
		}
	}

	/** What a site can tell before setup. */
	private static function identify() {
		$files = array_merge(
			array_values( (array) get_option( 'active_plugins', array() ) ),
			is_multisite() ? array_keys( (array) get_site_option( 'active_sitewide_plugins', array() ) ) : array(),
			wp_get_mu_plugins()
		);
		$found = array_intersect( array_map( 'basename', $files ), self::$request['main_files'] );
		return array(
			'name'    => (string) get_option( 'blogname' ),
			'network' => is_multisite(),
			'active'  => function_exists( 'wp_async_task_add' ) || array() !== $found,
		);
	}

	private static function facts() {
		global $wpdb, $wp_version, $gearman_servers;

		$plugin = WP_Gears_Plugin::find();
		$found  = is_object( $plugin );
		return self::identify() + array(
			'wordpress'          => (string) $wp_version,
			'php'                => PHP_VERSION,
			'home'               => (string) home_url(),
			'blogs'              => is_multisite() ? (int) get_blog_count() : 1,
			'plugin'             => $found ? $plugin->name() : null,
			'client'             => $found ? $plugin->client_class() : null,
			'function'           => $found ? $plugin->function_name() : null,
			'why_not'            => $found ? null : $plugin,
			'can_add'            => function_exists( 'wp_async_task_add' ),
			'servers'            => is_array( $gearman_servers ) ? array_values( array_map( 'strval', $gearman_servers ) ) : null,
			'max_connections'    => (int) $wpdb->get_var( 'SELECT @@max_connections' ),
			'max_allowed_packet' => (int) $wpdb->get_var( 'SELECT @@max_allowed_packet' ),
			'settings'           => self::settings(),
			'early'              => self::$early,
		);
	}

	private static function settings() {
		$switch = self::$request['switch'];
		$value  = defined( $switch['constant'] ) ? constant( $switch['constant'] ) : null;
		$salt   = defined( 'WP_ASYNC_TASK_SALT' ) ? (string) WP_ASYNC_TASK_SALT : '';
		return array(
			'on'   => true === $switch['value'] ? (bool) $value : $switch['value'] === $value,
			// Enough to see whether two sites have the same salt, and useless for submitting jobs.
			'salt' => '' === $salt ? null : substr( hash( 'sha256', $salt ), 0, 12 ),
		);
	}

	public static function before_plugins( $value ) {
		self::$early = self::settings();
		return $value;
	}

	/** Submits one job through the site and waits until a worker on this host has run it. */
	private static function prove() {
		if ( ! function_exists( 'wp_async_task_add' ) ) {
			return array( 'error' => 'the site has no function wp_async_task_add()' );
		}
		$plugin = WP_Gears_Plugin::find();
		if ( is_string( $plugin ) ) {
			return array( 'error' => $plugin );
		}
		$token  = bin2hex( random_bytes( 16 ) );
		$file   = self::$request['run'] . "/probe-$token.json";
		$sent   = microtime( true );
		$handle = wp_async_task_add( 'wp_gears_probe', array( $token ), 'high' );
		$added  = microtime( true );
		if ( ! is_string( $handle ) || '' === $handle ) {
			wp_clear_scheduled_hook( 'wp_gears_probe', array( array( $token ) ) );
			return array( 'error' => 'the plugin did not submit the job to Gearman (' . $plugin->client_class() . ')' );
		}
		$until = $added + max( 1, min( 600, (int) self::$request['seconds'] ) );
		do {
			clearstatcache( true, $file );
			$seen = is_file( $file ) ? json_decode( (string) file_get_contents( $file ), true ) : null;
			if ( is_array( $seen ) ) {
				unlink( $file );
				return array(
					'answer' => array(
						'handle'     => $handle,
						'function'   => $plugin->function_name(),
						'add_ms'     => self::ms( $added - $sent ),
						'started_ms' => self::ms( $seen['started'] - $sent ),
						'done_ms'    => self::ms( $seen['done'] - $sent ),
						'forked'     => (bool) $seen['fork'],
					),
				);
			}
			usleep( 5000 );
		} while ( microtime( true ) < $until );
		return array( 'error' => 'no worker ran the job ' . $handle . ' within ' . (int) self::$request['seconds'] . ' s' );
	}

	private static function ms( $seconds ) {
		return (int) max( 0, round( $seconds * 1000 ) );
	}

	/** @return never */
	private static function reply( array $answer ) {
		$text = json_encode( $answer, JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES );
		$mark = self::$request['mark'];

		self::$request = null;
		fwrite( STDOUT, "\n$mark $text\n" );
		exit( 0 );
	}

	/** Replies if the site ended PHP before it answered. */
	public static function on_shutdown() {
		if ( ! self::$request ) {
			return;
		}
		$error = error_get_last();
		$text  = $error ? "{$error['message']} in {$error['file']}:{$error['line']}" : 'something called exit()';
		self::reply( array( 'error' => ( self::$loaded ? '' : 'WordPress exited while loading: ' ) . $text ) );
	}

	public static function wp_die_handler() {
		return array( __CLASS__, 'on_wp_die' );
	}

	public static function on_wp_die( $message ) {
		if ( self::$request ) {
			$text = is_wp_error( $message ) ? $message->get_error_message() : (string) $message;
			self::reply( array( 'error' => 'WordPress reports: ' . trim( preg_replace( '/\s+/', ' ', strip_tags( $text ) ) ) ) );
		}
		exit( 1 );
	}
}
