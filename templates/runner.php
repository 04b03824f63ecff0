<?php
/**
 * The runner of wp-gears. Started by `wp-gears worker`, it boots the site and runs the jobs that it receives over a
 * pipe, each in a process of its own. Run by hand in the WordPress root, it runs one job from Gearman and exits.
 */

if ( 'cli' !== PHP_SAPI ) {
	http_response_code( 403 );
	exit;
}

if ( defined( 'DOING_AJAX' ) || defined( 'DOING_ASYNC' ) ) {
	exit;
}

define( 'DOING_ASYNC', true );

require_once __DIR__ . '/fork.php';
require_once __DIR__ . '/clock.php';
require_once __DIR__ . '/database.php';
require_once __DIR__ . '/work.php';
require_once __DIR__ . '/seal.php';
require_once __DIR__ . '/client.php';
require_once __DIR__ . '/keys.php';
require_once __DIR__ . '/plugin.php';
require_once __DIR__ . '/request.php';
require_once __DIR__ . '/exits.php';
require_once __DIR__ . '/memory.php';
require_once __DIR__ . '/identity.php';
require_once __DIR__ . '/store.php';
require_once __DIR__ . '/overdue.php';

WP_Gears_Runner::start( isset( $argv[1] ) && '--worker' === $argv[1] );

// WordPress has to be loaded in global scope.
if ( ! defined( 'ABSPATH' ) ) {
	require_once WP_Gears_Runner::wp_load();
}

WP_Gears_Runner::run();

final class WP_Gears_Runner {
	/** The pipe to the worker; stdin, stdout and stderr are left to the jobs. */
	const PIPE = 'php://fd/3';

	/** Errors that terminate a process. */
	const FATAL = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;

	/** @var resource|null The pipe; null when run by hand. */
	private static $pipe;
	/** @var array The first message from the worker, see Hello in src/worker/message.rs. */
	public static $hello = array();
	/** @var string What an unexpected exit would interrupt: boot, idle, job, exit, done or left. */
	public static $phase = 'boot';

	public static function start( $by_worker ) {
		if ( ! $by_worker ) {
			return;
		}
		$pipe = fopen( self::PIPE, 'r+' );
		if ( ! $pipe ) {
			fwrite( STDERR, "wp-gears: there is no pipe to the worker\n" );
			exit( 1 );
		}
		stream_set_read_buffer( $pipe, 1 << 16 );
		// It is a socket, and reading from one ends after default_socket_timeout.
		stream_set_timeout( $pipe, 1 << 30 );
		self::$pipe  = $pipe;
		self::$hello = json_decode( (string) fgets( $pipe ), true );
		if ( ! is_array( self::$hello ) ) {
			exit( 1 );
		}
		// A worker of an older version, which an upgrade has not replaced yet, knows nothing of these.
		self::$hello += array(
			'home'    => '',
			'host'    => '',
			'settled' => true,
			'trace'   => null,
			'seal'    => true,
			'ahead'   => true,

			'environment' => array(),
		);
		$script = self::$hello['site'] . '/wp-gears-runner.php';
		foreach ( array( 'SCRIPT_FILENAME', 'SCRIPT_NAME', 'PHP_SELF', 'PATH_TRANSLATED' ) as $key ) {
			$_SERVER[ $key ] = $script;
		}
		$GLOBALS['argv'] = array( $script );
		$GLOBALS['argc'] = 1;
		$_SERVER['argv'] = $GLOBALS['argv'];
		$_SERVER['argc'] = 1;

		foreach ( self::$hello['environment'] as list( $name ) ) {
			if ( function_exists( 'putenv' ) ) {
				putenv( $name );
			}
			unset( $_SERVER[ $name ], $_ENV[ $name ] );
		}
		if ( isset( self::$hello['predefine'] ) ) {
			self::predefine( self::$hello['predefine'] );
		}
		WP_Gears_Fork::before_boot();
		WP_Gears_Request::start( self::$hello['home'], self::$hello['host'], self::$hello['settled'] ? null : array( __CLASS__, 'on_other_home' ) );
		WP_Gears_Exits::watch( (bool) self::$hello['trace'] );
		// The way to add a hook before WordPress is loaded.
		$GLOBALS['wp_filter']['wp_die_handler'][1][] = array(
			'function'      => array( __CLASS__, 'wp_die_handler' ),
			'accepted_args' => 1,
		);
		// Must be the first shutdown function, so that no other can hide why PHP exits.
		register_shutdown_function( array( __CLASS__, 'on_shutdown' ) );
	}

	/** The settings that wp-config.php is going to have, or that remove has just taken out of it. */
	private static function predefine( array $settings ) {
		foreach ( $settings['constants'] as $name => $value ) {
			define( $name, $value );
		}
		if ( isset( $settings['servers'] ) ) {
			$GLOBALS['gearman_servers'] = $settings['servers'];
		}
	}

	public static function wp_load() {
		$file = dirname( $_SERVER['SCRIPT_FILENAME'] ) . '/wp-load.php';
		if ( ! is_file( $file ) ) {
			self::broken( "cannot find $file" );
		}
		return $file;
	}

	public static function run() {
		add_action( 'wp_gears_probe', array( 'WP_Gears_Work', 'probe' ) );
		add_action( 'wp_gears_look', array( 'WP_Gears_Work', 'look' ) );

		if ( self::$pipe ) {
			WP_Gears_Exits::end();
			if ( self::$hello['trace'] ) {
				self::broken( 'WordPress exited while loading, but not when loaded again: ' . self::$hello['trace'] );
			}
			WP_Gears_Request::check();
		}
		$plugin = WP_Gears_Plugin::find();
		if ( is_string( $plugin ) ) {
			self::broken( $plugin );
		}
		if ( ! self::$pipe ) {
			WP_Gears_Keys::learn( '', $plugin->client() );
			require_once __DIR__ . '/job.php';
			$plugin->run_once( array( 'WP_Gears_Work', 'run_by_hand' ) );
			exit( 1 );
		}

		$name = self::$hello['name'];
		if ( function_exists( 'cli_set_process_title' ) ) {
			@cli_set_process_title( "wp-gears $name: waiting for jobs" );
		}
		$unsealed = self::$hello['seal'] ? WP_Gears_Keys::learn( self::$hello['run'], $plugin->client() ) : 'seal = false';
		WP_Gears_Work::start( $plugin->engine(), self::$hello['ahead'] );
		require_once __DIR__ . '/job.php'; // Not before: it needs the extension.
		$ahead    = self::$hello['ahead'] && WP_Gears_Database::can_hand_over();
		$database = WP_Gears_Identity::database();
		WP_Gears_Database::tell();
		WP_Gears_Fork::quiesce();
		WP_Gears_Clock::look();

		$why_not = self::$hello['fork'] ? WP_Gears_Fork::why_not() : '';
		$fork    = self::$hello['fork'] && '' === $why_not;

		self::$hello['fork'] = $fork;
		self::$phase = 'idle';
		self::send(
			array(
				'ready' => array(
					'function' => $plugin->function_name(),
					'plugin'   => $plugin->name(),
					'fork'     => $fork,
					'why_not'  => $why_not,
					'files'    => self::files(),
					'php'      => PHP_VERSION,
					'unsealed' => $unsealed,
					'database' => $database,
					'key'      => '' === $unsealed ? WP_Gears_Keys::id() : '',
					'stores'   => true,
				),
			)
		);

		if ( $fork ) {
			// Received by wait_for(), and blocked here so that none is missed.
			pcntl_sigprocmask( SIG_BLOCK, array( SIGCHLD, SIGHUP, SIGTERM, SIGINT ) );
		}
		while ( null !== ( $job = self::receive() ) ) {
			if ( isset( $job['child'] ) ) {
				break; // Its process is gone. The worker gives it to another PHP.
			}
			// Here, as a job's process would have to copy what it empties.
			clearstatcache( true );
			if ( isset( $job['store'] ) ) {
				$pid = WP_Gears_Store::serve( $job['store'], $job['workload'], $fork );
				if ( $pid > 0 ) {
					self::end_of( $pid );
					// If it could not tell.
					self::send( array( 'stored' => array( 'call' => $job['store']['call'], 'away' => true ) ) );
				}
				$job = null;
				continue;
			}
			WP_Gears_Database::before_job();
			$is_prepared = $fork && $ahead && WP_Gears_Work::prepare();
			if ( null === $is_prepared ) {
				self::send( array( 'ended' => array( 'pid' => 0 ) ) );
				continue;
			}
			$pid = $fork ? pcntl_fork() : 0;
			if ( 0 === $pid ) {
				WP_Gears_Work::perform( $job, $fork, $is_prepared );
			}
			if ( $pid < 0 ) {
				self::send( array( 'unready' => 'fork: ' . pcntl_strerror( pcntl_get_last_error() ) ) );
				self::send( array( 'ended' => array( 'pid' => 0 ) ) );
				continue;
			}
			// As little as possible while there are two processes: a page that one writes to is copied.
			@fwrite( self::$pipe, "{\"started\":$pid}\n" );
			self::wait_for( $pid );
			$job = null;
			if ( $is_prepared ) {
				WP_Gears_Database::let_go();
			}
		}
		self::$phase = 'left';
		WP_Gears_Last::end();
	}

	/** Whether a worker has started this process. */
	public static function is_worked() {
		return null !== self::$pipe;
	}

	/** Waits for the child. If the worker dies, kills both: the job goes to another worker. */
	private static function end_of( $pid ) {
		$status = 0;
		while ( 0 === pcntl_waitpid( $pid, $status, WNOHANG ) ) {
			if ( SIGHUP === pcntl_sigwaitinfo( array( SIGCHLD, SIGHUP ) ) ) {
				posix_kill( $pid, SIGKILL );
				posix_kill( getmypid(), SIGKILL );
			}
		}
		return $status;
	}

	/** Waits for the child, and tells the worker how it ended. */
	private static function wait_for( $pid ) {
		$status = self::end_of( $pid );
		self::send(
			array(
				'ended' => array(
					'pid'    => $pid,
					'code'   => pcntl_wifexited( $status ) ? pcntl_wexitstatus( $status ) : null,
					'signal' => pcntl_wifsignaled( $status ) ? pcntl_wtermsig( $status ) : null,
				),
			)
		);
	}

	/** Exits before the job starts. */
	public static function leave( array $message ) {
		self::$phase = 'left';
		// First, as the worker may kill this process when it gets the message.
		WP_Gears_Database::hang_up();
		self::send( $message );
		WP_Gears_Last::end();
	}

	/** All files from which this process has loaded code or settings. */
	private static function files() {
		$files = get_included_files();
		$ini   = array( php_ini_loaded_file(), PHP_CONFIG_FILE_SCAN_DIR, WPMU_PLUGIN_DIR );
		foreach ( array_merge( $ini, explode( ',', (string) php_ini_scanned_files() ) ) as $file ) {
			$file = trim( (string) $file );
			if ( '' !== $file ) {
				$files[] = $file;
			}
		}
		return $files;
	}

	/** The first shutdown function: reports why PHP exits. */
	public static function on_shutdown() {
		$error = error_get_last();
		$fatal = $error && ( $error['type'] & self::FATAL );
		if ( $fatal ) {
			// The following needs memory, which may have run out.
			WP_Gears_Memory::unlimit();
		}
		if ( 'boot' === self::$phase ) {
			WP_Gears_Exits::end();
			if ( $fatal ) {
				self::$phase = 'left';
				// Without a stack trace.
				$what = explode( "\nStack trace:", $error['message'] )[0];
				self::send( array( 'broken' => "$what in {$error['file']}:{$error['line']}" ) );
				return;
			}
			WP_Gears_Request::look();
			self::$phase = 'left';
			$what        = WP_Gears_Exits::describe();
			// The worker starts PHP again at once, to trace it.
			$again = '' === self::$hello['trace'] && WP_Gears_Exits::can_trace();
			self::send( $again ? array( 'exited' => $what ) : array( 'broken' => "WordPress exited while loading: $what" ) );
		} elseif ( 'job' === self::$phase ) {
			self::$phase = $fatal ? 'left' : 'exit';
			if ( ! $fatal && WP_Gears_Memory::is_limited() ) {
				self::send( array( 'exits' => true ) );
			}
			if ( $fatal ) {
				self::send( array( 'fatal' => array( 'message' => WP_Gears_Memory::explain( $error['message'] ), 'file' => $error['file'], 'line' => $error['line'] ) ) );
			}
		}
	}

	public static function wp_die_handler() {
		return array( __CLASS__, 'on_wp_die' );
	}

	/**
	 * Logs the message of wp_die() instead of showing a page. Without a message it is not a failure: hooks that also serve
	 * web requests exit that way.
	 */
	public static function on_wp_die( $message, $title = '', $args = array() ) {
		$text = is_wp_error( $message ) ? $message->get_error_message() : (string) $message;
		$text = trim( preg_replace( '/\s+/', ' ', strip_tags( $text ) ) );
		if ( 'boot' === self::$phase ) {
			WP_Gears_Request::look();
			$by = WP_Gears_Exits::caller_of( 'wp_die' );
			self::broken( "WordPress exited while loading: $text" . ( '' === $by ? '' : " (wp_die() was called in $by)" ) );
		}
		if ( '' !== $text && in_array( self::$phase, array( 'job', 'done' ), true ) ) {
			error_log( "wp_die: $text" );
			if ( 'job' === self::$phase ) {
				self::send( array( 'failed' => array( 'message' => "wp_die: $text" ) ) );
			}
		}
		if ( ! is_array( $args ) || ! isset( $args['exit'] ) || $args['exit'] ) {
			exit( 0 );
		}
	}

	public static function send( array ...$messages ) {
		if ( ! self::$pipe ) {
			return;
		}
		$text = '';
		foreach ( $messages as $message ) {
			$text .= json_encode( $message, ( defined( 'JSON_INVALID_UTF8_SUBSTITUTE' ) ? JSON_INVALID_UTF8_SUBSTITUTE : 0 ) | JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES ) . "\n";
		}
		for ( $sent = 0; $sent < strlen( $text ); $sent += $n ) {
			$n = @fwrite( self::$pipe, substr( $text, $sent ) );
			if ( ! $n ) {
				return; // The worker is gone.
			}
		}
	}

	/** The next job, or null when the worker needs no more of this process. */
	public static function receive() {
		$line = fgets( self::$pipe );
		$job  = is_string( $line ) ? json_decode( $line, true ) : null;
		if ( ! is_array( $job ) ) {
			return null;
		}
		$job['workload'] = '';
		if ( $job['size'] > 0 ) {
			$job['workload'] = stream_get_contents( self::$pipe, $job['size'] );
			if ( strlen( $job['workload'] ) !== $job['size'] ) {
				return null;
			}
		}
		return $job;
	}

	/** The site's home is another than this process assumed. */
	public static function on_other_home( $home ) {
		self::leave( array( 'home' => $home ) );
	}

	/** @return never */
	private static function broken( $why ) {
		if ( ! self::$pipe ) {
			fwrite( STDERR, "wp-gears: $why\n" );
		}
		self::$phase = 'left';
		self::send( array( 'broken' => $why ) );
		exit( 1 );
	}

}
