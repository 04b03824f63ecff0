<?php
/**
 * Plugin Name: WP Gears (bundled with wp-gears)
 * Description: Runs the site's background jobs through Gearman: wp_async_task_add( $hook, $args, $priority ).
 * Version: 1
 * License: MIT
 */

if ( ! defined( 'ABSPATH' ) ) {
	return;
}

add_action(
	'plugins_loaded',
	function () {
		global $wp_async_task;

		// A plugin that defines the same function has priority. It loads after this one, and would fail with
		// "cannot redeclare" if the function already existed.
		if ( function_exists( 'wp_async_task_add' ) ) {
			return;
		}
		if ( ! defined( 'WP_ASYNC_TASK_SALT' ) ) {
			define( 'WP_ASYNC_TASK_SALT', '' );
		}
		$wp_async_task = new WP_Gears_Bundled();

		/**
		 * Adds a job: runs the action $hook with $args as its only argument, later and in another process.
		 *
		 * @param string $hook     The action.
		 * @param mixed  $args     Its argument, which must survive JSON.
		 * @param string $priority high, normal or low.
		 */
		function wp_async_task_add( $hook, $args = array(), $priority = 'normal' ) {
			global $wp_async_task;
			return $wp_async_task->add( $hook, $args, $priority );
		}
	},
	PHP_INT_MIN
);

/** The object in the global variable $wp_async_task. */
final class WP_Gears_Bundled {
	/** How long a page waits for a job server to answer, in milliseconds. WP_GEARS_TIMEOUT overrides it. */
	const TIMEOUT = 200;

	/**
	 * How long a job server that answers may take to accept a job, in milliseconds: its queue may be on a slow disk.
	 * Giving up earlier would pass a job to WP-Cron that the job server also accepts, and it would run twice.
	 */
	const PATIENCE = 5000;

	/** How long a process that got no answer uses WP-Cron before it tries again, in seconds. */
	const PAUSE = 10;

	/** It seals its jobs where the must-use plugin for that is installed. */
	const SEALS = true;

	/** @var GearmanClient|null */
	private $client;
	/** @var float When to try the job servers again. */
	private $retry_at = 0;

	/** Whether wp-config.php enables Gearman and PHP has the extension. */
	public function uses_gearman() {
		return defined( 'WP_GEARS' ) && WP_GEARS && class_exists( 'GearmanClient' );
	}

	/** The Gearman function of this site's jobs, the same as in WP Gears 2 and WP Minions. */
	public function gearman_function() {
		return WP_ASYNC_TASK_SALT . ':WP_Async_Task';
	}

	/** @return string|bool The job's handle, true if WP-Cron accepted it, or false if neither did. */
	public function add( $hook, $args = array(), $priority = 'normal' ) {
		$payload = json_encode(
			array(
				'hook'    => $hook,
				'args'    => $args,
				'blog_id' => is_multisite() ? get_current_blog_id() : null,
			)
		);
		$handle = false === $payload ? false : $this->send( $payload, $priority );
		if ( $handle ) {
			return $handle;
		}
		// Either way, a hook receives its arguments as a single value, so they are wrapped. WP-Cron drops an event if an
		// identical one is due within ten minutes, but two identical jobs are two jobs.
		return wp_schedule_single_event( time(), $hook, array( $args ) )
			|| wp_schedule_single_event( time(), $hook, array( $args, null, wp_generate_uuid4() ) );
	}

	private function send( $payload, $priority ) {
		$methods = array( 'high' => 'doHighBackground', 'low' => 'doLowBackground' );
		$method  = is_string( $priority ) && isset( $methods[ strtolower( $priority ) ] ) ? $methods[ strtolower( $priority ) ] : 'doBackground';
		if ( ! $this->uses_gearman() || microtime( true ) < $this->retry_at ) {
			return false;
		}
		try {
			$client = $this->client();
			$handle = @$client->$method( $this->gearman_function(), $payload );
			if ( GEARMAN_SUCCESS === $client->returnCode() ) {
				return $handle;
			}
			$why = $client->error();
		} catch ( Throwable $e ) {
			$why = $e->getMessage();
		}
		$this->client = null;
		$this->retry_at  = microtime( true ) + self::PAUSE;
		error_log( 'WP Gears: using WP-Cron for jobs: ' . $this->servers() . ": $why" );
		return false;
	}

	private function client() {
		if ( ! $this->client ) {
			$servers = explode( ',', $this->servers() );
			if ( class_exists( 'WP_Gears_Peer', false ) ) {
				$strangers = WP_Gears_Peer::strangers( $servers );
				if ( $strangers ) {
					throw new RuntimeException( 'another user listens on ' . implode( ',', $strangers ) . ' in place of gearmand' );
				}
			}
			$live = array_filter( $servers, array( __CLASS__, 'answers' ) );
			if ( ! $live ) {
				throw new RuntimeException( 'no answer' );
			}
			$client = new GearmanClient();
			// Must be set before adding servers, because that connects to them.
			$client->setTimeout( self::PATIENCE );
			if ( ! @$client->addServers( implode( ',', $live ) ) ) {
				throw new RuntimeException( 'no answer' );
			}
			$sealed       = class_exists( 'WP_Gears_Seal', false );
			$this->client = $sealed ? WP_Gears_Seal::wrapped( $client, array( $this, 'gearman_function' ) ) : $client;
		}
		return $this->client;
	}

	private static function answers( $server ) {
		try {
			$probe = new GearmanClient();
			$probe->setTimeout( self::timeout() );
			return @$probe->addServers( $server ) && @$probe->ping( 'wp-gears' );
		} catch ( Throwable $e ) {
			return false;
		}
	}

	private static function timeout() {
		if ( defined( 'WP_GEARS_TIMEOUT' ) ) {
			return (int) WP_GEARS_TIMEOUT;
		}
		// No visitor waits for a job, or for setup's test job.
		return defined( 'WP_GEARS_ASK' ) || ( defined( 'DOING_ASYNC' ) && DOING_ASYNC ) ? self::PATIENCE : self::TIMEOUT;
	}

	private function servers() {
		global $gearman_servers;
		return $gearman_servers ? implode( ',', (array) $gearman_servers ) : '127.0.0.1:4730';
	}

	/** Runs one job in this process. */
	public function do_job( $job ) {
		$data = json_decode( $job->workload(), true );
		$hook = $data['hook'];

		$switched = is_multisite() && $data['blog_id'] && (int) $data['blog_id'] !== get_current_blog_id();
		if ( $switched ) {
			switch_to_blog( (int) $data['blog_id'] );
		}
		try {
			do_action( 'wp_async_task_before_job', $hook, $job );
			do_action( 'wp_async_task_before_job_' . $hook, $job );

			do_action( $hook, $data['args'], $job );

			do_action( 'wp_async_task_after_job', $hook, $job );
			do_action( 'wp_async_task_after_job_' . $hook, $job );
		} finally {
			if ( $switched ) {
				restore_current_blog();
			}
		}
		return true;
	}
}
