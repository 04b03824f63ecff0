<?php
/**
 * The runner of wp-gears. Started by `wp-gears worker` it boots the site and runs the jobs that come over a pipe,
 * each in a process of its own. Run by hand in the WordPress root it takes one job from Gearman, and ends.
 */

if ( 'cli' !== PHP_SAPI ) {
	http_response_code( 403 );
	exit;
}

ignore_user_abort( true );

if ( defined( 'DOING_AJAX' ) || defined( 'DOING_ASYNC' ) ) {
	exit;
}

define( 'DOING_ASYNC', true );

require_once __DIR__ . '/fork.php';
require_once __DIR__ . '/plugin.php';

WP_Gears_Runner::start( isset( $argv[1] ) && '--worker' === $argv[1] );

// WordPress wants to be loaded from global scope.
if ( ! defined( 'ABSPATH' ) ) {
	require_once WP_Gears_Runner::wp_load();
}

WP_Gears_Runner::run();

final class WP_Gears_Runner {
	/** Where the pipe to the worker is; stdin, stdout and stderr are the jobs'. */
	const PIPE = 'php://fd/3';

	/** Errors that end a process. */
	const FATAL = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;

	/** Options that change all the time and configure nothing. */
	const VOLATILE = '/^(cron|rewrite_rules|_transient_.*|_site_transient_.*|.*\.lock|doing_cron)$/';

	/** @var resource|null The pipe; null when run by hand. */
	private static $pipe;
	/** @var array What the worker said first: site, run, fork, volatile. */
	private static $hello = array();
	/** @var string boot, idle, job, done or left: what a sudden end would interrupt. */
	private static $phase = 'boot';
	/** @var float When the job began. */
	private static $began;
	/** @var object|null What has the plugin's do_job(). */
	private static $engine;
	/** @var array Autoloaded options as they were when the site booted. */
	private static $options = array();
	/** @var object|null Kept until PHP destroys objects, see WP_Gears_Last. */
	public static $last;

	public static function start( $by_worker ) {
		if ( ! $by_worker ) {
			return;
		}
		$pipe = fopen( self::PIPE, 'r+' );
		if ( ! $pipe ) {
			fwrite( STDERR, "wp-gears: no pipe to the worker\n" );
			exit( 1 );
		}
		stream_set_read_buffer( $pipe, 1 << 16 );
		self::$pipe  = $pipe;
		self::$hello = json_decode( (string) fgets( $pipe ), true );
		if ( ! is_array( self::$hello ) ) {
			exit( 1 );
		}
		$script = self::$hello['site'] . '/wp-gears-runner.php';
		foreach ( array( 'SCRIPT_FILENAME', 'SCRIPT_NAME', 'PHP_SELF', 'PATH_TRANSLATED' ) as $key ) {
			$_SERVER[ $key ] = $script;
		}
		$GLOBALS['argv'] = array( $script );
		$GLOBALS['argc'] = 1;
		$_SERVER['argv'] = $GLOBALS['argv'];
		$_SERVER['argc'] = 1;

		WP_Gears_Fork::before_boot();
		// As WordPress takes hooks from before it is loaded.
		$GLOBALS['wp_filter']['wp_die_handler'][1][] = array(
			'function'      => array( __CLASS__, 'wp_die_handler' ),
			'accepted_args' => 1,
		);
		// The first shutdown function of all, so that none before it can hide why PHP ends.
		register_shutdown_function( array( __CLASS__, 'on_end' ) );
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

		$plugin = WP_Gears_Plugin::find();
		if ( is_string( $plugin ) ) {
			self::broken( $plugin );
		}
		if ( ! self::$pipe ) {
			$plugin->run_once();
			exit( 1 );
		}

		$name = self::$hello['name'];
		@cli_set_process_title( "wp-gears $name: waits for jobs" );
		self::$options = self::autoloaded();
		self::$engine  = $plugin->engine();
		WP_Gears_Fork::quiesce();

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
				),
			)
		);

		if ( $fork ) {
			// Waited for below; blocked so that none is missed. HUP is how the kernel tells that the worker died.
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

	/** Waits for the child; ends with it where the worker is gone, as the job is given to another then. */
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

	/** Runs one job in this process, which ends with it. */
	private static function perform( array $job, $forked ) {
		self::$phase = 'job';
		self::$began = microtime( true );
		if ( function_exists( 'pcntl_signal' ) ) {
			self::keep_on_term();
		}
		if ( $forked ) {
			pcntl_sigprocmask( SIG_SETMASK, array() );
			WP_Gears_Fork::forget_the_parent( self::$began );
		}
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
			self::leave( array( 'failed' => array( 'message' => 'the payload is no job of wp_async_task_add: no JSON object with a hook (' . strlen( $job['workload'] ) . ' bytes)' ) ) );
		}
		// do_job reads all three.
		if ( ! array_key_exists( 'args', $data ) || ! array_key_exists( 'blog_id', $data ) ) {
			$job['workload'] = json_encode( $data + array( 'args' => array(), 'blog_id' => null ) );
		}
		self::set_host( $data );
		$data = null;

		register_shutdown_function( array( __CLASS__, 'after_the_others' ), 2 );
		$result = array( 'done' => true );
		try {
			self::$phase = 'job';
			$answer      = self::$engine->do_job( new WP_Gears_Job( $job ) );
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
					error_log( 'wp-gears: the exception handler of the site: ' . $ignored->getMessage() );
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

	/** Ends before the job began. */
	private static function leave( array $message ) {
		self::$phase = 'left';
		self::send( $message );
		WP_Gears_Last::end();
	}

	/** A job at hand is finished though somebody asks every process of the service to stop. */
	private static function keep_on_term() {
		pcntl_async_signals( true );
		foreach ( array( SIGTERM, SIGINT ) as $signal ) {
			// A handler, not SIG_IGN: programs that the job starts get the default again.
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

	/** Names of options that are not what they were when the site booted, so that its plugins may hold old values. */
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

	/** Host and path of the blog that the job belongs to. */
	private static function set_host( array $data ) {
		if ( ! is_multisite() || empty( $data['blog_id'] ) ) {
			return;
		}
		$blog = get_site( $data['blog_id'] );
		if ( $blog ) {
			$_SERVER['HTTP_HOST']   = $blog->domain;
			$_SERVER['SERVER_NAME'] = $blog->domain;
			$_SERVER['REQUEST_URI'] = $blog->path;
		}
	}

	/** All that this process has read code from. */
	private static function files() {
		$files = get_included_files();
		$ini   = array( php_ini_loaded_file(), WPMU_PLUGIN_DIR );
		foreach ( array_merge( $ini, explode( ',', (string) php_ini_scanned_files() ) ) as $file ) {
			$file = trim( (string) $file );
			if ( '' !== $file ) {
				$files[] = $file;
			}
		}
		return $files;
	}

	/** The first shutdown function. */
	public static function on_end() {
		$error = error_get_last();
		$fatal = $error && ( $error['type'] & self::FATAL );
		if ( $fatal ) {
			// There is room for what follows, even where memory ran out.
			ini_set( 'memory_limit', '-1' );
		}
		if ( 'boot' === self::$phase ) {
			self::$phase = 'left';
			self::send( array( 'broken' => $fatal ? "{$error['message']} in {$error['file']}:{$error['line']}" : 'WordPress ended while it loaded' ) );
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

	/** wp_die() in words instead of a page. With nothing to say it is how a hook ends that serves the web too. */
	public static function on_wp_die( $message, $title = '', $args = array() ) {
		$text = is_wp_error( $message ) ? $message->get_error_message() : (string) $message;
		$text = trim( preg_replace( '/\s+/', ' ', strip_tags( $text ) ) );
		if ( 'boot' === self::$phase ) {
			self::broken( "WordPress ended while it loaded: $text" );
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

	/** Shutdown functions may register others; this one goes behind them. */
	public static function after_the_others( $times ) {
		if ( $times > 0 ) {
			register_shutdown_function( array( __CLASS__, 'after_the_others' ), $times - 1 );
			return;
		}
		if ( 'done' !== self::$phase ) {
			return; // exit() in the job: its status tells how it went.
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

	/** The next job, or null where the worker wants no more. */
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

	/** The job that setup and doctor send to see one run. */
	public static function probe( $args ) {
		$token = is_array( $args ) && isset( $args[0] ) && is_string( $args[0] ) ? $args[0] : '';
		if ( ! self::$pipe || ! preg_match( '/^[0-9a-f]{32}$/', $token ) ) {
			return;
		}
		$file = self::$hello['run'] . "/probe-$token.json";
		$text = json_encode( array( 'started' => self::$began, 'done' => microtime( true ), 'fork' => (bool) self::$hello['fork'], 'pid' => getmypid() ) );
		if ( false === file_put_contents( "$file.new", $text ) || ! rename( "$file.new", $file ) ) {
			throw new RuntimeException( "cannot write $file" );
		}
	}
}

/** Ends the process hard, as the last object that PHP destroys: PHP's own way of unloading takes longer than a job. */
final class WP_Gears_Last {
	public function __destruct() {
		self::end();
	}

	public static function end() {
		global $wpdb;
		// Said good-bye to, the database does not log an aborted connection.
		if ( isset( $wpdb->dbh ) && $wpdb->dbh instanceof mysqli ) {
			@mysqli_close( $wpdb->dbh );
		}
		if ( function_exists( 'posix_kill' ) ) {
			posix_kill( getmypid(), SIGKILL );
		}
		exit( 0 );
	}
}

/** The job as the plugin and the hooks see it. */
class WP_Gears_Job extends GearmanJob {
	private $wp_gears;

	public function __construct( array $job ) {
		$this->wp_gears = $job;
	}

	public function __destruct() {
	}

	public function workload(): string {
		return $this->wp_gears['workload'];
	}

	public function workloadSize(): int {
		return strlen( $this->wp_gears['workload'] );
	}

	public function handle(): string {
		return $this->wp_gears['handle'];
	}

	public function unique(): string {
		return $this->wp_gears['unique'];
	}

	public function functionName(): string {
		return $this->wp_gears['function'];
	}

	public function returnCode(): int {
		return 0; // GEARMAN_SUCCESS
	}

	public function setReturn( $gearman_return_t ): bool {
		return true;
	}

	public function sendStatus( $numerator, $denominator ): bool {
		WP_Gears_Runner::send( array( 'status' => array( (int) $numerator, (int) $denominator ) ) );
		return true;
	}

	public function sendData( $data ): bool {
		WP_Gears_Runner::send( array( 'data' => bin2hex( $data ) ) );
		return true;
	}

	public function sendWarning( $warning ): bool {
		WP_Gears_Runner::send( array( 'warning' => bin2hex( $warning ) ) );
		return true;
	}

	public function sendComplete( $result ): bool {
		return true; // The worker says so, once the job is over.
	}

	public function sendException( $exception ): bool {
		return true;
	}

	public function sendFail(): bool {
		return true;
	}
}
