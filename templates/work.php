<?php
/**
 * A job: from its payload to its end, in the process that runs it.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Work {
	/** Arguments of a sealed job that are longer, in bytes, are not shown if it fails. */
	const SHOWN = 16384;

	/** Options that change all the time and do not configure anything. */
	const VOLATILE = '/^(cron|rewrite_rules|_transient_.*|_site_transient_.*|.*\.lock|doing_cron)$/';

	/** Classes of WordPress whose destructors do nothing. */
	const EMPTY_DESTRUCTORS = array( 'wpdb', 'WP_Object_Cache' );

	/** @var float When the job started. */
	private static $began;
	/** @var object|null The object that has the plugin's do_job(). */
	private static $engine;
	/** @var array The autoloaded options at boot. */
	private static $options = array();
	/** @var object|null Kept alive until PHP destroys all objects, see WP_Gears_Last. */
	public static $last;
	/** @var string[] The classes that were declared at boot. */
	private static $classes = array();
	/** @var bool Whether any of them has a destructor that does something. */
	private static $has_destructors = true;

	/** The site has loaded. */
	public static function start( $engine, $ahead ) {
		self::$options = self::autoloaded();
		self::$engine  = $engine;
		self::$classes = get_declared_classes();

		self::$has_destructors = ! $ahead || self::destructors( self::$classes );
	}

	/**
	 * Whether any of the classes has a destructor of its own. If none has, PHP need not destroy all objects when a job
	 * ends, which takes as long as the rest of it.
	 */
	private static function destructors( array $classes ) {
		foreach ( $classes as $class ) {
			if ( ! method_exists( $class, '__destruct' ) ) {
				continue;
			}
			$owner = ( new ReflectionMethod( $class, '__destruct' ) )->getDeclaringClass();
			if ( $owner->isInternal() || 0 === strpos( $owner->getName(), 'WP_Gears_' ) ) {
				continue; // Sockets and files close when the process ends.
			}
			if ( ! in_array( $owner->getName(), self::EMPTY_DESTRUCTORS, true ) || ! WP_Gears_Database::is_of_wordpress( $owner ) ) {
				return true;
			}
		}
		return false;
	}

	/**
	 * Does what each job needs first, in the process that then forks one for it: the job's process would have to copy
	 * each page of memory that this writes to.
	 *
	 * @return bool|null Whether it is done; null if the job must not run, as the worker was told.
	 */
	public static function prepare() {
		// The kernel sends HUP when the worker dies. No job starts after that.
		pcntl_sigprocmask( SIG_UNBLOCK, array( SIGHUP ) );
		$why_not = null;
		try {
			$why_not = self::why_not();
			if ( null === $why_not ) {
				WP_Gears_Clock::set( microtime( true ) );
			}
			$is_done = null === $why_not;
		} catch ( Throwable $e ) {
			$is_done = false; // So that it fails in the job's process.
		}
		if ( $is_done ) {
			WP_Gears_Database::hand_over();
		} else {
			WP_Gears_Database::hang_up();
		}
		pcntl_sigprocmask( SIG_BLOCK, array( SIGHUP ) );
		if ( null !== $why_not ) {
			WP_Gears_Runner::send( $why_not );
			return null;
		}
		return $is_done;
	}

	/** Connects to the database and compares the options: why a job cannot run now, for the worker, or null. */
	private static function why_not( $is_connected = false ) {
		if ( ! $is_connected && ! WP_Gears_Database::connect() ) {
			return array( 'unready' => 'the database does not answer' );
		}
		WP_Gears_Database::tell();
		WP_Gears_Fork::renew_cache();
		$changed = self::changed_options();
		return $changed ? array( 'stale' => $changed ) : null;
	}

	/** Runs a job in this process, and others after it if the worker says so. Then it exits. */
	public static function perform( array $job, $forked, $is_prepared ) {
		if ( function_exists( 'pcntl_signal' ) && function_exists( 'pcntl_async_signals' ) ) {
			self::keep_on_term();
		}
		if ( $forked ) {
			pcntl_sigprocmask( SIG_SETMASK, array() );
			WP_Gears_Fork::forget_the_parent();
		}
		register_shutdown_function( array( __CLASS__, 'after_the_others' ), 2 );
		while ( null !== $job && self::run( $job, $is_prepared ) && ! empty( $job['keep'] ) ) {
			self::close_up();
			WP_Gears_Runner::$phase = 'idle';
			WP_Gears_Runner::send( array( 'kept' => getmypid() ) );
			$job = WP_Gears_Runner::receive();
			if ( null !== $job ) {
				// Before all else: the worker knows by it that the job has begun.
				WP_Gears_Runner::send( array( 'started' => getmypid() ) );
				clearstatcache( true );
				WP_Gears_Database::before_job();
				$is_prepared = null;
			}
		}
		WP_Gears_Runner::$phase = 'done';
		exit( 0 );
	}

	/** @param bool|null $is_prepared Whether what it needs is done; null in a process that has run others. */
	private static function run( array $job, $is_prepared ) {
		WP_Gears_Runner::$phase = 'job';

		self::$began = microtime( true );
		$refusal = WP_Gears_Keys::open( $job, ! isset( $job['plain'] ) || $job['plain'] );
		if ( null === $refusal ) {
			WP_Gears_Runner::leave( array( 'stale' => array( 'the secret keys' ) ) );
		}
		if ( '' !== $refusal ) {
			WP_Gears_Runner::leave( array( 'refused' => $refusal ) );
		}
		if ( ! $is_prepared ) {
			WP_Gears_Clock::set( self::$began );
		}
		if ( ! $is_prepared ) {
			$why_not = self::why_not( null === $is_prepared );
			if ( null !== $why_not ) {
				WP_Gears_Runner::leave( $why_not );
			}
		}

		$data = json_decode( $job['workload'], true );
		if ( ! is_array( $data ) || ! isset( $data['hook'] ) || ! is_string( $data['hook'] ) || '' === $data['hook'] ) {
			WP_Gears_Runner::leave( array( 'failed' => array( 'message' => 'the payload is not a job of wp_async_task_add(), which is a JSON object with a hook (' . strlen( $job['workload'] ) . ' bytes)' ) ) );
		}
		$excess = isset( $job['memory'] ) ? WP_Gears_Memory::limit( $job['memory']['megabytes'], $job['memory']['rule'] ) : '';
		if ( '' !== $excess ) {
			WP_Gears_Runner::leave( array( 'failed' => array( 'message' => $excess ) ) );
		}
		if ( WP_Gears_Memory::is_limited() ) {
			// Counts if nothing else follows.
			WP_Gears_Runner::send( array( 'fatal' => array( 'message' => WP_Gears_Memory::last_words() ) ) );
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

		$result = array( 'done' => true );
		try {
			$answer = self::$engine->do_job( @new WP_Gears_Job( $job ) );
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
		WP_Gears_Runner::$phase = 'done';
		WP_Gears_Runner::send( $result );
		if ( method_exists( self::$engine, 'get_gearman_worker' ) ) {
			do_action( 'wp_async_task_after_work', ! isset( $result['failed'] ), self::$engine );
		}
		return ! isset( $result['failed'] );
	}

	/** Ends what a job may have left open. */
	private static function close_up() {
		while ( ob_get_level() && @ob_end_flush() ) {
			continue;
		}
		if ( PHP_SESSION_ACTIVE === session_status() ) {
			session_write_close();
		}
	}

	/** Tells the worker what it cannot read in a sealed job. */
	private static function tell_what_it_is( array $data, $at ) {
		$arguments = isset( $data['args'] ) ? json_encode( $data['args'], JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE ) : '[]';
		WP_Gears_Runner::send(
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
			if ( $was !== $is && ! preg_match( self::VOLATILE, $name ) && ! in_array( $name, WP_Gears_Runner::$hello['volatile'], true ) ) {
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

	/** Shutdown functions may register others, so this one registers itself again to run after them. */
	public static function after_the_others( $times ) {
		if ( $times > 0 ) {
			register_shutdown_function( array( __CLASS__, 'after_the_others' ), $times - 1 );
			return;
		}
		if ( 'done' !== WP_Gears_Runner::$phase ) {
			return; // The job called exit(): its exit status is the result.
		}
		self::close_up();
		$classes = get_declared_classes();
		$more    = count( $classes ) > count( self::$classes ) ? array_diff( $classes, self::$classes ) : array();
		if ( ! self::$has_destructors && ! self::destructors( $more ) ) {
			WP_Gears_Last::end();
		}
		self::$last = new WP_Gears_Last();
	}

	private static function describe( Throwable $e ) {
		return array(
			'message' => get_class( $e ) . ': ' . $e->getMessage(),
			'file'    => $e->getFile(),
			'line'    => $e->getLine(),
		);
	}

	/** The job of a page that has changed the table of jobs: the worker looks at it when this job is over. */
	public static function look() {
		if ( WP_Gears_Runner::is_worked() ) {
			WP_Gears_Runner::send( array( 'look' => true ) );
		}
	}

	/** The test job of setup and doctor: leaves a trace for them. */
	public static function probe( $args ) {
		global $wpdb;

		$token = is_array( $args ) && isset( $args[0] ) && is_string( $args[0] ) ? $args[0] : '';
		if ( ! WP_Gears_Runner::is_worked() || ! preg_match( '/^[0-9a-f]{32}$/', $token ) ) {
			return;
		}
		$file = WP_Gears_Runner::$hello['run'] . "/probe-$token.json";
		$seen = array( 'started' => self::$began, 'done' => microtime( true ), 'fork' => (bool) WP_Gears_Runner::$hello['fork'], 'host' => function_exists( 'php_uname' ) ? php_uname( 'n' ) : null );
		$text = json_encode( $seen );
		// If another host waits for it, there is such a row.
		$wpdb->update( $wpdb->base_prefix . 'options', array( 'option_value' => $text ), array( 'option_name' => "wp_gears_probe_$token" ) );
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
		WP_Gears_Database::hang_up();
		if ( function_exists( 'posix_kill' ) && function_exists( 'getmypid' ) ) {
			posix_kill( getmypid(), SIGKILL );
		}
		exit( 0 );
	}
}
