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
	/** Errors that terminate a process. */
	const FATAL = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;

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

		WP_Gears_Request::start( self::$request['home'], self::$request['host'], self::$request['settled'] ? null : array( __CLASS__, 'on_other_home' ) );
		WP_Gears_Exits::watch( '' !== self::$request['trace'] );
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
		WP_Gears_Exits::end();
		if ( '' !== self::$request['trace'] ) {
			self::reply( array( 'error' => 'WordPress exited while loading, but not when loaded again: ' . self::$request['trace'] ) );
		}
		WP_Gears_Request::check();
		self::$loaded = true;
		switch ( self::$request['ask'] ) {
			case 'identify':
				self::reply( array( 'answer' => self::identify() ) );
			case 'prove':
				self::reply( self::prove() );
			case 'page':
				self::reply( array( 'answer' => self::ask_a_page( 'describe', '' ) ) );
			case 'forget':
				self::reply( array( 'answer' => self::ask_a_page( 'forget', '' ) ) );
			case 'jobs':
				self::reply( array( 'answer' => array( 'jobs' => self::stored_jobs() ) ) );
			case 'dropjobs':
				self::reply( self::drop_jobs() );
			case 'web':
				self::reply( array( 'answer' => self::prove_by_a_page() ) );
			default:
				self::reply( array( 'answer' => self::facts() ) );
		}
	}

	/** The site's home is another than this process assumed. */
	public static function on_other_home( $home, $may_go_on ) {
		if ( $may_go_on ) {
			WP_Gears_Request::become( $home );
		} else {
			self::reply( array( 'home' => $home ) );
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
			'database' => WP_Gears_Identity::database(),
			'active'  => function_exists( 'wp_async_task_add' ) || array() !== $found,
			'content' => array(
				'dir'      => self::folder( WP_CONTENT_DIR ),
				'plugins'  => self::folder( WP_PLUGIN_DIR ),
				'must_use' => self::folder( WPMU_PLUGIN_DIR ),
			),
		);
	}

	/** A folder without links; the last part of its name need not exist yet. */
	private static function folder( $dir ) {
		$dir  = rtrim( (string) $dir, '/' );
		$real = realpath( $dir );
		if ( false === $real ) {
			$above = realpath( dirname( $dir ) );
			$real  = false === $above ? $dir : rtrim( $above, '/' ) . '/' . basename( $dir );
		}
		return $real;
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
			'unsealed'           => $found ? self::why_unsealed( $plugin->client() ) : '',
			'key'                => $found ? self::key( $plugin->client() ) : '',
			'can_add'            => function_exists( 'wp_async_task_add' ),
			'servers'            => is_array( $gearman_servers ) ? array_values( array_map( 'strval', $gearman_servers ) ) : null,
			'max_connections'    => (int) $wpdb->get_var( 'SELECT @@max_connections' ),
			'max_allowed_packet' => (int) $wpdb->get_var( 'SELECT @@max_allowed_packet' ),
			'settings'           => self::settings(),
			'early'              => self::$early,
			'runner'             => '' === self::$request['runner'] ? null : WP_Gears_Http::runner( self::$request['listeners'], self::$request['runner'] ),
		);
	}

	/** The id of the key that seals its jobs, or ''. */
	private static function key( $client ) {
		$is_sealing = class_exists( 'WP_Gears_Seal', false ) && '' === WP_Gears_Seal::why_unsealed( $client );
		return $is_sealing ? WP_Gears_Seal::id( WP_Gears_Seal::key() ) : '';
	}

	private static function why_unsealed( $client ) {
		// The must-use plugin has the class.
		return class_exists( 'WP_Gears_Seal', false ) ? WP_Gears_Seal::why_unsealed( $client ) : 'the must-use plugin that seals them is not loaded';
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

	/** Submits one job through the site and waits until a worker has run it. */
	private static function prove() {
		if ( ! function_exists( 'wp_async_task_add' ) ) {
			return array( 'error' => 'the site has no function wp_async_task_add()' );
		}
		$plugin = WP_Gears_Plugin::find();
		if ( is_string( $plugin ) ) {
			return array( 'error' => $plugin );
		}
		if ( class_exists( 'WP_Gears_Seal', false ) ) {
			WP_Gears_Seal::$at_once = true;
		}
		$token  = self::announce();
		$sent   = microtime( true );
		$handle = wp_async_task_add( 'wp_gears_probe', array( $token ), 'high' );
		$added  = microtime( true );
		if ( ! is_string( $handle ) || '' === $handle ) {
			wp_clear_scheduled_hook( 'wp_gears_probe', array( array( $token ) ) );
			return array( 'error' => 'the plugin did not submit the job to Gearman (' . $plugin->client_class() . ')' );
		}
		$seen = self::await( $token, $added + max( 1, min( 600, (int) self::$request['seconds'] ) ) );
		self::withdraw( $token );
		if ( $seen ) {
			return array(
				'answer' => array(
					'handle'     => $handle,
					'function'   => $plugin->function_name(),
					'add_ms'     => self::ms( $added - $sent ),
					'started_ms' => self::ms( $seen['started'] - $sent ),
					'done_ms'    => self::ms( $seen['done'] - $sent ),
					'forked'     => (bool) $seen['fork'],
					'host'       => $seen['host'],
				),
			);
		}
		return array(
			'answer' => array(
				'handle' => $handle,
				'error'  => 'no worker ran the job ' . $handle . ' within ' . (int) self::$request['seconds'] . ' s',
			),
		);
	}

	/** Has a page of the site submit a job, through a web server of this host, and waits until a worker has run it. */
	private static function prove_by_a_page() {
		// The page that proves must not have loaded the old wp-config.php: only its salt may have changed.
		$page = self::ask_a_page( 'forget', '' );
		if ( isset( $page['unreachable'] ) ) {
			return $page;
		}
		$token = self::announce();
		$page  = self::ask_a_page( 'prove', $token );
		$seen  = empty( $page['handle'] ) ? null : self::await( $token, microtime( true ) + (int) self::$request['seconds'] );
		self::withdraw( $token );
		if ( empty( $page['handle'] ) ) {
			return $page;
		}
		if ( ! $seen ) {
			return array( 'error' => self::why_not_run( $page ) ) + $page;
		}
		return $page + array(
			'started_ms' => self::ms( $seen['started'] - $page['sent'] ),
			'done_ms'    => self::ms( $seen['done'] - $page['sent'] ),
			'host'       => $seen['host'],
		);
	}

	private static function why_not_run( array $page ) {
		$known = class_exists( 'WP_Gears_Seal', false ) && method_exists( 'WP_Gears_Seal', 'used' ) ? WP_Gears_Seal::used() : null;
		if ( isset( $page['key'] ) && $known && $known !== $page['key'] ) {
			return 'the page seals jobs with other secret keys (AUTH_KEY and the like) than its workers have, so they refuse them: wp-config.php must give web requests and the command line the same keys';
		}
		return 'no worker ran the job ' . $page['handle'] . ' within ' . (int) self::$request['seconds'] . ' s';
	}

	/**
	 * Asks a page of the site through a web server of this host. The must-use plugin answers only who knows the secret
	 * that this process writes into the database.
	 */
	private static function ask_a_page( $action, $token ) {
		global $wpdb;

		$secret = bin2hex( random_bytes( 32 ) );
		$table  = $wpdb->base_prefix . 'options';
		$known  = json_encode(
			array(
				'hash'     => hash( 'sha256', $secret ),
				'until'    => time() + 60,
				'token'    => $token,
				'function' => self::function_name(),
				'is'       => self::identity( self::$site ),
				'files'    => array_merge( self::$request['forget'], array( self::$site . '/wp-config.php' ) ),
			)
		);
		self::put( 'wp_gears_proof', $known );
		$page = self::page( $action, $secret, microtime( true ) + (int) self::$request['seconds'] );
		$wpdb->delete( $table, array( 'option_name' => 'wp_gears_proof' ) );
		return $page;
	}

	/** The function that workers take the site's jobs from; null if it is not known here. */
	private static function function_name() {
		$plugin = WP_Gears_Plugin::find();
		return is_object( $plugin ) ? $plugin->function_name() : null;
	}

	/** What tells this copy of the site from another with the same database, in a chroot too. */
	private static function identity( $site ) {
		$stat = stat( "$site/wp-load.php" );
		return array( $stat['dev'], $stat['ino'] );
	}

	/** The page's answer: that of the first server that gives one, once its PHP has seen the new wp-config.php. */
	private static function page( $action, $secret, $until ) {
		$home = wp_parse_url( home_url( '/' ) );
		$mark = substr( hash( 'sha256', "mark $secret" ), 0, 32 );
		$why  = 'no web server listens on this host';
		if ( ! WP_Gears_Http::can_connect() ) {
			return array( 'unreachable' => WP_Gears_Http::CANNOT_CONNECT );
		}
		do {
			foreach ( self::$request['listeners'] as $listener ) {
				list( $answer, $why_not ) = self::request( $listener, $home, $action, $secret, $mark );
				if ( null === $answer ) {
					$why = $why_not;
					continue;
				}
				$answer['server'] = $listener['program'];
				$answer['url']    = $why_not;
				$settled          = 'prove' !== $action || ! empty( $answer['handle'] ) || microtime( true ) > $until || ! empty( $answer['extension'] ) && empty( $answer['opcache'] );
				if ( $settled ) {
					return $answer;
				}
				// An opcode cache may still hold the old wp-config.php; the plugin has told it to forget that.
				usleep( 300000 );
				continue 2;
			}
			return array( 'unreachable' => $why );
		} while ( true );
	}

	/** Asks the must-use plugin through one server: its answer and the URL, or null and why there is none. */
	private static function request( array $listener, array $home, $action, $secret, $mark ) {
		$query   = '?wp-gears-proof=' . substr( $mark, 0, 8 );
		$headers = array( "X-WP-Gears-Proof: $secret", "X-WP-Gears-Action: $action" );
		$heard   = WP_Gears_Http::exchange( $listener, $home, $query, $headers, 15 );
		if ( isset( $heard['error'] ) ) {
			return array( null, $heard['error'] );
		}
		if ( preg_match( "/^$mark (.*)$/m", $heard['text'], $found ) ) {
			$answer = json_decode( $found[1], true );
			if ( is_array( $answer ) ) {
				return array( $answer, $heard['url'] );
			}
		}
		$status = '' === $heard['status'] ? 'no HTTP answer' : $heard['status'];
		return array( null, "{$listener['program']} answers {$heard['url']} with $status, and not as this site" );
	}

	/**
	 * A new name for a test job. Where workers on other hosts may run it, a row in the database is where they say so.
	 */
	private static function announce() {
		$token = bin2hex( random_bytes( 16 ) );
		if ( self::$request['elsewhere'] ) {
			self::put( "wp_gears_probe_$token", '' );
		}
		return $token;
	}

	private static function withdraw( $token ) {
		global $wpdb;

		if ( self::$request['elsewhere'] ) {
			$wpdb->delete( $wpdb->base_prefix . 'options', array( 'option_name' => "wp_gears_probe_$token" ) );
		}
	}

	/** Writes a row of the options table, past every cache. */
	private static function put( $name, $value ) {
		global $wpdb;

		$table = $wpdb->base_prefix . 'options';
		$wpdb->delete( $table, array( 'option_name' => $name ) );
		$wpdb->insert(
			$table,
			array(
				'option_name'  => $name,
				'option_value' => $value,
				'autoload'     => 'no',
			)
		);
	}

	/** What is in the table of store.php, if there is one. */
	private static function stored_jobs() {
		global $wpdb;

		$wpdb->suppress_errors( true );
		$table = WP_Gears_Identity::table();
		$row   = $wpdb->get_row( "SELECT COALESCE( SUM( state = 1 ), 0 ) AS failed, COALESCE( SUM( state = 0 ), 0 ) AS waiting FROM $table" );
		return $row ? array( 'failed' => (int) $row->failed, 'waiting' => (int) $row->waiting ) : null;
	}

	private static function drop_jobs() {
		global $wpdb;

		$wpdb->suppress_errors( true );
		$table = WP_Gears_Identity::table();
		if ( false === $wpdb->query( "DROP TABLE IF EXISTS $table" ) ) {
			return array( 'error' => "cannot drop the table $table: " . $wpdb->last_error );
		}
		return array( 'answer' => array( 'jobs' => null ) );
	}

	/** What the worker that ran the job says of it: in a file on this host, or in the database. */
	private static function await( $token, $until ) {
		$file = self::$request['run'] . "/probe-$token.json";
		do {
			clearstatcache( true, $file );
			$seen = is_file( $file ) ? json_decode( (string) file_get_contents( $file ), true ) : null;
			if ( is_array( $seen ) ) {
				unlink( $file );
				$seen['host'] = null;
				return $seen;
			}
			$seen = self::$request['elsewhere'] ? self::row( $token ) : null;
			if ( is_array( $seen ) && isset( $seen['host'] ) ) {
				// Its clock may not be ours.
				$now = microtime( true );
				return array( 'started' => $now, 'done' => $now ) + $seen;
			}
			usleep( 5000 );
		} while ( microtime( true ) < $until );
		return null;
	}

	/** A row that another host's worker has filled in. */
	private static function row( $token ) {
		global $wpdb;

		$table = $wpdb->base_prefix . 'options';
		$row   = $wpdb->get_var( $wpdb->prepare( "SELECT option_value FROM `$table` WHERE option_name = %s", "wp_gears_probe_$token" ) );
		$seen  = json_decode( (string) $row, true );
		// This host's worker writes its file as well, which says more.
		return is_array( $seen ) && isset( $seen['host'] ) && function_exists( 'php_uname' ) && php_uname( 'n' ) !== $seen['host'] ? $seen : null;
	}

	private static function ms( $seconds ) {
		return (int) max( 0, round( $seconds * 1000 ) );
	}

	/** @return never */
	private static function reply( array $answer ) {
		$text = json_encode( $answer, ( defined( 'JSON_INVALID_UTF8_SUBSTITUTE' ) ? JSON_INVALID_UTF8_SUBSTITUTE : 0 ) | JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES );
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
		WP_Gears_Exits::end();
		$error = error_get_last();
		if ( $error && ( $error['type'] & self::FATAL ) ) {
			$text = explode( "\nStack trace:", $error['message'] )[0] . " in {$error['file']}:{$error['line']}";
		} else {
			WP_Gears_Request::look();
			$text = WP_Gears_Exits::describe();
			if ( ! self::$loaded && '' === self::$request['trace'] && WP_Gears_Exits::can_trace() ) {
				self::reply( array( 'exited' => $text ) );
			}
		}
		self::reply( array( 'error' => ( self::$loaded ? '' : 'WordPress exited while loading: ' ) . $text ) );
	}

	public static function wp_die_handler() {
		return array( __CLASS__, 'on_wp_die' );
	}

	public static function on_wp_die( $message ) {
		if ( self::$request ) {
			WP_Gears_Request::look();
			$text = is_wp_error( $message ) ? $message->get_error_message() : (string) $message;
			$by   = WP_Gears_Exits::caller_of( 'wp_die' );
			self::reply( array( 'error' => 'WordPress reports: ' . trim( preg_replace( '/\s+/', ' ', strip_tags( $text ) ) ) . ( '' === $by ? '' : " (wp_die() was called in $by)" ) ) );
		}
		exit( 1 );
	}
}
