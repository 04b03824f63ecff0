<?php
/**
 * Asks the running site for setup and doctor, as the site's worker user. The request is JSON on standard input;
 * the answer is the one line of standard output that begins with the request's mark, whatever else the site prints.
 */

if ( 'cli' !== PHP_SAPI ) {
	http_response_code( 403 );
	exit;
}

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
		self::$request = json_decode( (string) stream_get_contents( STDIN ), true );
		if ( ! is_array( self::$request ) || ! isset( self::$request['mark'], self::$request['ask'], self::$request['site'] ) ) {
			fwrite( STDERR, "no request on standard input\n" );
			exit( 1 );
		}
		self::$site = self::$request['site'];
		// As the web server would say it, for sites that look at it.
		$_SERVER['SCRIPT_FILENAME'] = self::$site . '/index.php';
		$_SERVER['SCRIPT_NAME']     = '/index.php';
		$_SERVER['PHP_SELF']        = '/index.php';
		$GLOBALS['argv']            = array( $_SERVER['SCRIPT_FILENAME'] );
		$GLOBALS['argc']            = 1;
		chdir( self::$site );

		register_shutdown_function( array( __CLASS__, 'on_end' ) );
		$GLOBALS['wp_filter']['wp_die_handler'][1][] = array(
			'function'      => array( __CLASS__, 'wp_die_handler' ),
			'accepted_args' => 1,
		);
		// WordPress asks this before it loads any plugin.
		$GLOBALS['wp_filter']['enable_wp_debug_mode_checks'][1][] = array(
			'function'      => array( __CLASS__, 'before_plugins' ),
			'accepted_args' => 1,
		);
		if ( ! is_file( self::$site . '/wp-load.php' ) ) {
			self::say( array( 'error' => 'no wp-load.php in ' . self::$site ) );
		}
	}

	public static function answer() {
		self::$loaded = true;
		require_once __DIR__ . '/plugin.php';
		self::say( 'prove' === self::$request['ask'] ? self::prove() : self::facts() );
	}

	private static function facts() {
		global $wpdb, $wp_version, $gearman_servers;

		$plugin = WP_Gears_Plugin::find();
		$found  = is_object( $plugin );
		return array(
			'facts' => self::settings() + array(
				'wordpress'          => (string) $wp_version,
				'php'                => PHP_VERSION,
				'extensions'         => get_loaded_extensions(),
				'name'               => (string) get_option( 'blogname' ),
				'home'               => (string) home_url(),
				'network'            => is_multisite(),
				'blogs'              => is_multisite() ? (int) get_blog_count() : 1,
				'plugin'             => $found ? $plugin->name() : null,
				'client'             => $found ? $plugin->client_class() : null,
				'function'           => $found ? $plugin->function_name() : null,
				'why_not'            => $found ? null : $plugin,
				'can_add'            => function_exists( 'wp_async_task_add' ),
				'servers'            => is_array( $gearman_servers ) ? array_values( array_map( 'strval', $gearman_servers ) ) : null,
				'object_cache'       => (bool) wp_using_ext_object_cache(),
				'max_connections'    => (int) $wpdb->get_var( 'SELECT @@max_connections' ),
				'max_allowed_packet' => (int) $wpdb->get_var( 'SELECT @@max_allowed_packet' ),
				'early'              => self::$early,
			),
		);
	}

	private static function settings() {
		$salt = defined( 'WP_ASYNC_TASK_SALT' ) ? (string) WP_ASYNC_TASK_SALT : '';
		return array(
			'wp_gears' => defined( 'WP_GEARS' ) && WP_GEARS,
			'backend'  => defined( 'WP_MINIONS_BACKEND' ) ? (string) WP_MINIONS_BACKEND : null,
			// Enough to tell whether two sites share one, and nothing to use it with.
			'salt'     => '' === $salt ? null : substr( hash( 'sha256', $salt ), 0, 12 ),
		);
	}

	public static function before_plugins( $value ) {
		self::$early = self::settings();
		return $value;
	}

	/** Sends one job through the site and waits until a worker of this host has run it. */
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
			return array( 'error' => 'the plugin did not give the job to Gearman (' . $plugin->client_class() . ')' );
		}
		$until = $added + max( 1, min( 600, (int) self::$request['seconds'] ) );
		do {
			clearstatcache( true, $file );
			$seen = is_file( $file ) ? json_decode( (string) file_get_contents( $file ), true ) : null;
			if ( is_array( $seen ) ) {
				unlink( $file );
				return array(
					'proof' => array(
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
		return array(
			'error'  => 'no worker ran the job ' . $handle . ' in ' . (int) self::$request['seconds'] . ' s',
			'handle' => $handle,
		);
	}

	private static function ms( $seconds ) {
		return (int) max( 0, round( $seconds * 1000 ) );
	}

	/** @return never */
	private static function say( array $answer ) {
		$text = json_encode( $answer, JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES );
		$mark = self::$request['mark'];

		self::$request = null;
		fwrite( STDOUT, "\n$mark $text\n" );
		exit( 0 );
	}

	/** The site ended PHP before it could be asked. */
	public static function on_end() {
		if ( ! self::$request ) {
			return;
		}
		$error = error_get_last();
		$text  = $error ? "{$error['message']} in {$error['file']}:{$error['line']}" : 'something in it called exit()';
		self::say( array( 'error' => ( self::$loaded ? '' : 'WordPress ended while it loaded: ' ) . $text ) );
	}

	public static function wp_die_handler() {
		return array( __CLASS__, 'on_wp_die' );
	}

	public static function on_wp_die( $message ) {
		if ( self::$request ) {
			$text = is_wp_error( $message ) ? $message->get_error_message() : (string) $message;
			self::say( array( 'error' => 'WordPress says: ' . trim( preg_replace( '/\s+/', ' ', strip_tags( $text ) ) ) ) );
		}
		exit( 1 );
	}
}
