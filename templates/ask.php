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

	const CANNOT_CONNECT = 'PHP has no stream_socket_client(), which disable_functions may disable';

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
			'can_add'            => function_exists( 'wp_async_task_add' ),
			'servers'            => is_array( $gearman_servers ) ? array_values( array_map( 'strval', $gearman_servers ) ) : null,
			'max_connections'    => (int) $wpdb->get_var( 'SELECT @@max_connections' ),
			'max_allowed_packet' => (int) $wpdb->get_var( 'SELECT @@max_allowed_packet' ),
			'settings'           => self::settings(),
			'early'              => self::$early,
			'runner'             => '' === self::$request['runner'] ? null : self::runner_over_http( self::$request['runner'] ),
		);
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

	/** Submits one job through the site and waits until a worker on this host has run it. */
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
		$token  = bin2hex( random_bytes( 16 ) );
		$sent   = microtime( true );
		$handle = wp_async_task_add( 'wp_gears_probe', array( $token ), 'high' );
		$added  = microtime( true );
		if ( ! is_string( $handle ) || '' === $handle ) {
			wp_clear_scheduled_hook( 'wp_gears_probe', array( array( $token ) ) );
			return array( 'error' => 'the plugin did not submit the job to Gearman (' . $plugin->client_class() . ')' );
		}
		$seen = self::await( $token, $added + max( 1, min( 600, (int) self::$request['seconds'] ) ) );
		if ( $seen ) {
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
		$token = bin2hex( random_bytes( 16 ) );
		$page  = self::ask_a_page( 'prove', $token );
		if ( empty( $page['handle'] ) ) {
			return $page;
		}
		$seen = self::await( $token, microtime( true ) + (int) self::$request['seconds'] );
		if ( ! $seen ) {
			return array( 'error' => 'no worker ran the job ' . $page['handle'] . ' within ' . (int) self::$request['seconds'] . ' s' ) + $page;
		}
		return $page + array(
			'started_ms' => self::ms( $seen['started'] - $page['sent'] ),
			'done_ms'    => self::ms( $seen['done'] - $page['sent'] ),
		);
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
				'hash'  => hash( 'sha256', $secret ),
				'until' => time() + 60,
				'token' => $token,
				'is'    => self::identity( self::$site ),
				'files' => array_merge( self::$request['forget'], array( self::$site . '/wp-config.php' ) ),
			)
		);
		$wpdb->delete( $table, array( 'option_name' => 'wp_gears_proof' ) );
		$wpdb->insert(
			$table,
			array(
				'option_name'  => 'wp_gears_proof',
				'option_value' => $known,
				'autoload'     => 'no',
			)
		);
		$page = self::page( $action, $secret, microtime( true ) + (int) self::$request['seconds'] );
		$wpdb->delete( $table, array( 'option_name' => 'wp_gears_proof' ) );
		return $page;
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
		if ( ! self::can_connect() ) {
			return array( 'unreachable' => self::CANNOT_CONNECT );
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
		$heard   = self::exchange( $listener, $home, $query, $headers, 15 );
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

	/** One request, without a library: the page's host name goes to this host's own address. */
	private static function exchange( array $listener, array $to, $query, array $headers, $patience ) {
		$host   = isset( $to['host'] ) ? $to['host'] : 'localhost';
		if ( ! self::can_connect() ) {
			return array( 'error' => self::CANNOT_CONNECT );
		}
		$path   = isset( $to['path'] ) ? $to['path'] : '/';
		$https  = isset( $to['scheme'] ) && 'https' === $to['scheme'];
		$port   = (int) $listener['port'];
		$tls    = 443 === $port || ( $https && isset( $to['port'] ) && (int) $to['port'] === $port );
		$at     = ( false !== strpos( $listener['address'], ':' ) ? "[{$listener['address']}]" : $listener['address'] ) . ":$port";
		$url    = ( $tls ? 'https' : 'http' ) . "://$host" . ( $port === ( $tls ? 443 : 80 ) ? '' : ":$port" ) . $path;
		$ssl    = array(
			'verify_peer'       => false,
			'verify_peer_name'  => false,
			'allow_self_signed' => true,
			'peer_name'         => $host,
			'SNI_enabled'       => true,
		);
		$socket = @stream_socket_client( ( $tls ? 'ssl' : 'tcp' ) . "://$at", $number, $error, 5, STREAM_CLIENT_CONNECT, stream_context_create( array( 'ssl' => $ssl ) ) );
		if ( ! $socket ) {
			return array( 'error' => "{$listener['program']} on $at: $error" );
		}
		stream_set_timeout( $socket, $patience );
		$headers[] = 'Host: ' . $host . ( isset( $to['port'] ) ? ":{$to['port']}" : '' );
		$headers[] = 'User-Agent: wp-gears';
		$headers[] = 'Cache-Control: no-cache';
		$headers[] = 'Connection: close';
		if ( $https && ! $tls ) {
			$headers[] = 'X-Forwarded-Proto: https';
		}
		// HTTP/1.0, so that the answer comes in one piece.
		fwrite( $socket, "GET $path$query HTTP/1.0\r\n" . implode( "\r\n", $headers ) . "\r\n\r\n" );
		$text = (string) stream_get_contents( $socket, 1 << 20 );
		$late = stream_get_meta_data( $socket )['timed_out'];
		fclose( $socket );
		return array(
			'url'    => $url,
			'text'   => $text,
			'late'   => $late,
			'status' => preg_match( '#^HTTP/\S+ (\d+[^\r\n]*)#', $text, $found ) ? $found[1] : '',
		);
	}

	private static function can_connect() {
		return function_exists( 'stream_socket_client' ) && function_exists( 'stream_context_create' ) && function_exists( 'stream_get_meta_data' );
	}

	/** What visitors get who request the runner: of several servers' answers, the one that is least closed. */
	private static function runner_over_http( $name ) {
		$url  = wp_parse_url( site_url( "/$name" ) );
		$none = wp_parse_url( site_url( '/wp-gears-' . bin2hex( random_bytes( 8 ) ) . '.php' ) );
		$best = array( 'unreachable' => 'no web server listens on this host' );
		foreach ( self::$request['listeners'] as $listener ) {
			$heard = self::exchange( $listener, $url, '', array(), 3 );
			if ( isset( $heard['error'] ) || ( '' === $heard['status'] && ! $heard['late'] ) ) {
				$why  = isset( $heard['error'] ) ? $heard['error'] : "{$listener['program']} on port {$listener['port']} does not speak HTTP";
				$best = isset( $best['unreachable'] ) ? array( 'unreachable' => $why ) : $best;
				continue;
			}
			$answer = array(
				'url'    => $heard['url'],
				'status' => (int) $heard['status'],
				'hangs'  => (bool) $heard['late'],
			);
			if ( $heard['late'] ) {
				return $answer;
			}
			if ( 200 === $answer['status'] ) {
				// A server that answers everything with 200 says nothing about the runner.
				$other = self::exchange( $listener, $none, '', array(), 3 );

				$answer['everything'] = ! isset( $other['error'] ) && 200 === (int) $other['status'];
				if ( ! $answer['everything'] ) {
					return $answer;
				}
			}
			// A redirect to another server of this host tells less than that server's own answer.
			if ( isset( $best['unreachable'] ) || $best['status'] < 400 ) {
				$best = $answer;
			}
		}
		return $best;
	}

	/** What the worker wrote of the job, or null. */
	private static function await( $token, $until ) {
		$file = self::$request['run'] . "/probe-$token.json";
		do {
			clearstatcache( true, $file );
			$seen = is_file( $file ) ? json_decode( (string) file_get_contents( $file ), true ) : null;
			if ( is_array( $seen ) ) {
				unlink( $file );
				return $seen;
			}
			usleep( 5000 );
		} while ( microtime( true ) < $until );
		return null;
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
