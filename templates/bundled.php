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

// WP_GEARS_CLIENT

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
	/** It seals its jobs where the must-use plugin for that is installed. */
	const SEALS = true;

	/** @var WP_Gears_Client|null */
	private $client;

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
		if ( false === $payload || ! $this->uses_gearman() ) {
			return WP_Gears_Servers::cron( $hook, $args );
		}
		if ( ! $this->client ) {
			$this->client = new WP_Gears_Client( new GearmanClient(), array( $this, 'gearman_function' ), false );
		}
		$methods = array( 'high' => 'doHighBackground', 'low' => 'doLowBackground' );
		$method  = is_string( $priority ) && isset( $methods[ strtolower( $priority ) ] ) ? $methods[ strtolower( $priority ) ] : 'doBackground';
		return $this->client->$method( $this->gearman_function(), $payload );
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
