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
require_once __DIR__ . '/seal.php';
require_once __DIR__ . '/keys.php';
require_once __DIR__ . '/plugin.php';
require_once __DIR__ . '/request.php';
require_once __DIR__ . '/exits.php';

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

	/** Arguments of a sealed job that are longer, in bytes, are not shown if it fails. */
	const SHOWN = 16384;

	/** Options that change all the time and do not configure anything. */
	const VOLATILE = '/^(cron|rewrite_rules|_transient_.*|_site_transient_.*|.*\.lock|doing_cron)$/';

	/** @var resource|null The pipe; null when run by hand. */
	private static $pipe;
	/** @var array The first message from the worker, see Hello in src/worker/message.rs. */
	private static $hello = array();
	/** @var string What an unexpected exit would interrupt: boot, idle, job, exit, done or left. */
	private static $phase = 'boot';
	/** @var float When the job started. */
	private static $began;
	/** @var object|null The object that has the plugin's do_job(). */
	private static $engine;
	/** @var array The autoloaded options at boot. */
	private static $options = array();
	/** @var object|null Kept alive until PHP destroys all objects, see WP_Gears_Last. */
	public static $last;

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
		);
		$script = self::$hello['site'] . '/wp-gears-runner.php';
		foreach ( array( 'SCRIPT_FILENAME', 'SCRIPT_NAME', 'PHP_SELF', 'PATH_TRANSLATED' ) as $key ) {
			$_SERVER[ $key ] = $script;
		}
		$GLOBALS['argv'] = array( $script );
		$GLOBALS['argc'] = 1;
		$_SERVER['argv'] = $GLOBALS['argv'];
		$_SERVER['argc'] = 1;

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
		add_action( 'wp_gears_probe', array( __CLASS__, 'probe' ) );

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
			$plugin->run_once( array( __CLASS__, 'run_by_hand' ) );
			exit( 1 );
		}

		$name = self::$hello['name'];
		if ( function_exists( 'cli_set_process_title' ) ) {
			@cli_set_process_title( "wp-gears $name: waiting for jobs" );
		}
		self::$options = self::autoloaded();
		$unsealed      = self::$hello['seal'] ? WP_Gears_Keys::learn( self::$hello['run'], $plugin->client() ) : 'seal = false';
		self::$engine  = $plugin->engine();
		require_once __DIR__ . '/job.php'; // Not before: it needs the extension.
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
				),
			)
		);

		if ( $fork ) {
			// Received by wait_for(), and blocked here so that none is missed. The kernel sends HUP when the worker dies.
			pcntl_sigprocmask( SIG_BLOCK, array( SIGCHLD, SIGHUP, SIGTERM, SIGINT ) );
		}
		while ( null !== ( $job = self::receive() ) ) {
			$pid = $fork ? pcntl_fork() : 0;
			if ( 0 === $pid ) {
				self::perform( $job, $fork );
			}
			$job = null;
			if ( $pid < 0 ) {
				self::send( array( 'unready' => 'fork: ' . pcntl_strerror( pcntl_get_last_error() ) ) );
				self::send( array( 'ended' => array( 'pid' => 0 ) ) );
				continue;
			}
			self::send( array( 'started' => $pid ) );
			self::wait_for( $pid );
		}
		self::$phase = 'left';
		WP_Gears_Last::end();
	}

	/** Waits for the child. If the worker dies, kills both: the job goes to another worker. */
	private static function wait_for( $pid ) {
		$status = 0;
		while ( 0 === pcntl_waitpid( $pid, $status, WNOHANG ) ) {
			$info = array();
			if ( SIGHUP === pcntl_sigwaitinfo( array( SIGCHLD, SIGHUP ), $info ) ) {
				posix_kill( $pid, SIGKILL );
				posix_kill( getmypid(), SIGKILL );
			}
		}
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

	/** Runs one job in this process, which exits afterwards. */
	private static function perform( array $job, $forked ) {
		self::$phase = 'job';
		self::$began = microtime( true );
		if ( function_exists( 'pcntl_signal' ) && function_exists( 'pcntl_async_signals' ) ) {
			self::keep_on_term();
		}
		if ( $forked ) {
			pcntl_sigprocmask( SIG_SETMASK, array() );
			WP_Gears_Fork::forget_the_parent();
		}
		$refusal = WP_Gears_Keys::open( $job, ! isset( $job['plain'] ) || $job['plain'] );
		if ( null === $refusal ) {
			self::leave( array( 'stale' => array( 'the secret keys' ) ) );
		}
		if ( '' !== $refusal ) {
			self::leave( array( 'refused' => $refusal ) );
		}
		WP_Gears_Clock::set( self::$began );
		if ( ! WP_Gears_Fork::connect() ) {
			self::leave( array( 'unready' => 'the database does not answer' ) );
		}
		WP_Gears_Fork::renew_cache();
		$changed = self::changed_options();
		if ( $changed ) {
			self::leave( array( 'stale' => $changed ) );
		}

		$data = json_decode( $job['workload'], true );
		if ( ! is_array( $data ) || ! isset( $data['hook'] ) || ! is_string( $data['hook'] ) || '' === $data['hook'] ) {
			self::leave( array( 'failed' => array( 'message' => 'the payload is not a job of wp_async_task_add(), which is a JSON object with a hook (' . strlen( $job['workload'] ) . ' bytes)' ) ) );
		}
		// do_job() reads hook, args and blog_id.
		if ( ! array_key_exists( 'args', $data ) || ! array_key_exists( 'blog_id', $data ) ) {
			$job['workload'] = json_encode( $data + array( 'args' => array(), 'blog_id' => null ) );
		}
		if ( isset( $job['at'] ) ) {
			self::tell_what_it_is( $data, $job['at'] );
		}
		self::set_host( $data );
		$data = null;

		register_shutdown_function( array( __CLASS__, 'after_the_others' ), 2 );
		$result = array( 'done' => true );
		try {
			self::$phase = 'job';
			$answer      = self::$engine->do_job( @new WP_Gears_Job( $job ) );
			if ( false === $answer ) {
				$log    = ini_get( 'error_log' );
				$result = array( 'failed' => array( 'message' => 'the plugin caught an exception in the job and logged it' . ( $log ? " in $log" : '' ) ) );
			}
		} catch ( Throwable $e ) {
			$result = array( 'failed' => self::describe( $e ) );
			$site   = set_exception_handler( null );
			if ( $site ) {
				try {
					$site( $e );
				} catch ( Throwable $ignored ) {
					error_log( 'wp-gears: the exception handler of the site failed: ' . $ignored->getMessage() );
				}
			}
			error_log( 'wp-gears: uncaught ' . $e );
		}
		self::$phase = 'done';
		self::send( $result );
		if ( method_exists( self::$engine, 'get_gearman_worker' ) ) {
			do_action( 'wp_async_task_after_work', ! isset( $result['failed'] ), self::$engine );
		}
		exit( 0 );
	}

	/** Tells the worker what it cannot read in a sealed job. */
	private static function tell_what_it_is( array $data, $at ) {
		$arguments = isset( $data['args'] ) ? json_encode( $data['args'], JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE ) : '[]';
		self::send(
			array(
				'opened' => array(
					'hook'      => $data['hook'],
					'blog'      => isset( $data['blog_id'] ) && is_int( $data['blog_id'] ) && $data['blog_id'] > 0 ? $data['blog_id'] : null,
					'at'        => $at,
					'arguments' => is_string( $arguments ) && strlen( $arguments ) <= self::SHOWN ? $arguments : null,
				),
			)
		);
	}

	/** Runs a job that no worker of wp-gears has taken. It sees the job server's job, or one that was opened. */
	public static function run_by_hand( $from, $engine ) {
		$job = array(
			'workload' => $from->workload(),
			'function' => $from->functionName(),
			'unique'   => $from->unique(),
			'handle'   => $from->handle(),
			'from'     => $from,
		);
		$refusal = WP_Gears_Keys::open( $job, ! WP_Gears_Keys::is_sealing() );
		if ( '' !== $refusal ) {
			fwrite( STDERR, "wp-gears: the job {$job['handle']} was not run: $refusal\n" );
			// Without an answer, it stays in the queue, for the workers.
			exit( 1 );
		}
		return $engine->do_job( isset( $job['at'] ) ? @new WP_Gears_Job( $job ) : $from );
	}

	/** Exits before the job starts. */
	private static function leave( array $message ) {
		self::$phase = 'left';
		// First, as the worker may kill this process when it gets the message.
		WP_Gears_Fork::hang_up();
		self::send( $message );
		WP_Gears_Last::end();
	}

	/** Lets the job finish even if all processes of the service are asked to stop. */
	private static function keep_on_term() {
		pcntl_async_signals( true );
		foreach ( array( SIGTERM, SIGINT ) as $signal ) {
			// Programs that the job starts inherit SIG_IGN, but not a handler.
			pcntl_signal( $signal, array( __CLASS__, 'on_signal' ) );
		}
	}

	public static function on_signal() {
	}

	private static function autoloaded() {
		$options = wp_load_alloptions();
		if ( is_multisite() ) {
			$options['network:active_sitewide_plugins'] = get_site_option( 'active_sitewide_plugins' );
		}
		return $options;
	}

	/** The names of options that changed since boot, so that plugins may hold old values. */
	private static function changed_options() {
		$now     = self::autoloaded();
		$changed = array();
		if ( $now === self::$options ) {
			return $changed;
		}
		foreach ( $now + self::$options as $name => $ignored ) {
			$was = isset( self::$options[ $name ] ) ? self::$options[ $name ] : null;
			$is  = isset( $now[ $name ] ) ? $now[ $name ] : null;
			if ( $was !== $is && ! preg_match( self::VOLATILE, $name ) && ! in_array( $name, self::$hello['volatile'], true ) ) {
				$changed[] = (string) $name;
			}
		}
		return $changed;
	}

	/** Makes this the request of the blog that the job belongs to. */
	private static function set_host( array $data ) {
		if ( is_multisite() && ! empty( $data['blog_id'] ) ) {
			WP_Gears_Request::of_blog( $data['blog_id'] );
		}
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
			if ( function_exists( 'ini_set' ) ) {
				ini_set( 'memory_limit', '-1' );
			}
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
			if ( $fatal ) {
				self::send( array( 'fatal' => array( 'message' => $error['message'], 'file' => $error['file'], 'line' => $error['line'] ) ) );
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

	/** Shutdown functions may register others, so this one registers itself again to run after them. */
	public static function after_the_others( $times ) {
		if ( $times > 0 ) {
			register_shutdown_function( array( __CLASS__, 'after_the_others' ), $times - 1 );
			return;
		}
		if ( 'done' !== self::$phase ) {
			return; // The job called exit(): its exit status is the result.
		}
		while ( ob_get_level() && @ob_end_flush() ) {
			continue;
		}
		if ( PHP_SESSION_ACTIVE === session_status() ) {
			session_write_close();
		}
		self::$last = new WP_Gears_Last();
	}

	public static function send( array $message ) {
		if ( ! self::$pipe ) {
			return;
		}
		$text = json_encode( $message, JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES ) . "\n";
		for ( $sent = 0; $sent < strlen( $text ); $sent += $n ) {
			$n = @fwrite( self::$pipe, substr( $text, $sent ) );
			if ( ! $n ) {
				return; // The worker is gone.
			}
		}
	}

	/** The next job, or null when the worker needs no more. */
	private static function receive() {
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

	private static function describe( Throwable $e ) {
		return array(
			'message' => get_class( $e ) . ': ' . $e->getMessage(),
			'file'    => $e->getFile(),
			'line'    => $e->getLine(),
		);
	}

	/** The test job of setup and doctor: leaves a trace for them. */
	public static function probe( $args ) {
		$token = is_array( $args ) && isset( $args[0] ) && is_string( $args[0] ) ? $args[0] : '';
		if ( ! self::$pipe || ! preg_match( '/^[0-9a-f]{32}$/', $token ) ) {
			return;
		}
		$file = self::$hello['run'] . "/probe-$token.json";
		$text = json_encode( array( 'started' => self::$began, 'done' => microtime( true ), 'fork' => (bool) self::$hello['fork'] ) );
		if ( false === file_put_contents( "$file.new", $text ) || ! rename( "$file.new", $file ) ) {
			throw new RuntimeException( "cannot write $file" );
		}
	}
}

/** Kills the process when PHP destroys this object, the last one: PHP's own cleanup takes longer than a job. */
final class WP_Gears_Last {
	public function __destruct() {
		self::end();
	}

	public static function end() {
		WP_Gears_Fork::hang_up();
		if ( function_exists( 'posix_kill' ) && function_exists( 'getmypid' ) ) {
			posix_kill( getmypid(), SIGKILL );
		}
		exit( 0 );
	}
}
