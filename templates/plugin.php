<?php
/**
 * Finds the plugin that submits the site's jobs to Gearman, and how to call it: WP Gears 1.x and 2.x,
 * WP Minions 3 and 4, or the bundled one. Used by runner.php and ask.php.
 */

if ( ! defined( 'DOING_ASYNC' ) && ! defined( 'WP_GEARS_ASK' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Plugin {
	/** @var object The plugin, which has add(). */
	private $plugin;
	/** @var object The object that has do_job(). */
	private $engine;
	/** @var object The object that names the function and submits jobs. */
	private $client;
	/** @var string */
	private $name;

	/** The plugin of the loaded site, or a message that explains why there is none that uses Gearman. */
	public static function find() {
		global $wp_async_task;

		foreach ( array( 'WpMinions' => 'WP Minions', 'WpGears' => 'WP Gears 2' ) as $space => $name ) {
			$class = "$space\\Plugin";
			if ( class_exists( $class, false ) ) {
				return self::with_client_and_worker( $class::get_instance(), $name );
			}
		}
		if ( ! is_object( $wp_async_task ) ) {
			return 'the site has no active plugin with wp_async_task_add()';
		}
		$off = method_exists( $wp_async_task, 'uses_gearman' ) && ! $wp_async_task->uses_gearman();
		if ( $off ) {
			return 'the plugin passes its jobs to WP-Cron: ' . self::why_cron();
		}
		if ( ! method_exists( $wp_async_task, 'do_job' ) ) {
			// The clients of WP Gears 1 extend one class, and its WP-Cron client has no do_job().
			if ( $wp_async_task instanceof WP_Async_Task ) {
				return 'the plugin passes its jobs to WP-Cron: ' . self::why_cron();
			}
			return 'it is not known how to run its jobs: $wp_async_task, of the class ' . get_class( $wp_async_task ) . ', has no do_job()';
		}
		$found         = new self();
		$found->plugin = $wp_async_task;
		$found->engine = $wp_async_task;
		$found->client = $wp_async_task;
		$found->name   = $wp_async_task instanceof Gearman_Async_Task ? 'WP Gears 1' : 'bundled';
		return $found;
	}

	private static function with_client_and_worker( $plugin, $name ) {
		$found         = new self();
		$found->plugin = $plugin;
		$found->engine = $plugin->get_worker();
		$found->client = $plugin->get_client();
		$found->name   = $name;
		foreach ( array( array( $found->engine, 'do_job' ), array( $found->client, 'get_async_group' ) ) as $needed ) {
			if ( method_exists( $needed[0], $needed[1] ) ) {
				continue;
			}
			$class = get_class( $needed[0] );
			// Its own classes for WP-Cron have none of the two.
			if ( 0 === strpos( $class, substr( get_class( $plugin ), 0, -strlen( 'Plugin' ) ) ) ) {
				return "$name passes its jobs to " . self::class_of( $found->client ) . ': ' . self::why_cron();
			}
			return "it is not known how to run its jobs: $name uses the class $class, which has no {$needed[1]}()";
		}
		return $found;
	}

	private static function why_cron() {
		if ( ! class_exists( 'GearmanClient' ) ) {
			return 'this PHP lacks the gearman extension';
		}
		if ( class_exists( 'WpMinions\Plugin', false ) ) {
			return "wp-config.php has no define( 'WP_MINIONS_BACKEND', 'gearman' )";
		}
		if ( ! defined( 'WP_GEARS' ) || ! WP_GEARS ) {
			return "wp-config.php has no define( 'WP_GEARS', true )";
		}
		return 'the job server did not answer';
	}

	public function name() {
		return $this->name;
	}

	/** The class that submits the site's jobs. */
	public function client_class() {
		return self::class_of( $this->client );
	}

	/** The plugin's own class, where ours stands in its place. */
	private static function class_of( $object ) {
		$class = get_class( $object );
		return false !== strpos( $class, '@anonymous' ) ? get_parent_class( $object ) : $class;
	}

	/** The Gearman function of the plugin's jobs; how it contains the salt differs between versions. */
	public function function_name() {
		return method_exists( $this->client, 'get_async_group' ) ? $this->client->get_async_group() : $this->client->gearman_function();
	}

	/** The object that has do_job(). Drops its connections to Gearman: a new one is opened when a job adds jobs. */
	public function engine() {
		global $wp_async_task;

		$class = self::class_of( $this->client );
		if ( 'WpMinions\Gearman\Client' === $class ) {
			$this->client = new class() extends \WpMinions\Gearman\Client {
				use WP_Gears_Late;
			};

			$this->plugin->client = $this->client;
		} elseif ( 'WpGears\Gearman\Client' === $class ) {
			$this->client = new class() extends \WpGears\Gearman\Client {
				use WP_Gears_Late;
			};

			$this->plugin->client = $this->client;
		} elseif ( 'Gearman_Async_Task' === $class ) {
			$wp_async_task = new class() extends Gearman_Async_Task {
				public function add( $hook, $args = array(), $priority = 'normal' ) {
					global $gearman_servers;
					if ( ! $this->_client ) {
						$client = new GearmanClient();
						$client->addServers( $gearman_servers ? implode( ',', $gearman_servers ) : '127.0.0.1:4730' );
						$this->_client = WP_Gears_Seal::wrapped( $client, array( $this, 'gearman_function' ) );
					}
					return parent::add( $hook, $args, $priority );
				}
			};
			$this->plugin = $wp_async_task;
			$this->engine = $wp_async_task;
			$this->client = $wp_async_task;
		}
		if ( isset( $this->engine->gearman_worker ) && $this->engine->gearman_worker instanceof GearmanWorker ) {
			$this->engine->gearman_worker = null;
		}
		return $this->engine;
	}

	/** The object that submits the site's jobs. */
	public function client() {
		return $this->client;
	}

	/**
	 * Runs one job from Gearman, and exits. The plugin's own runner would take as many as JOBS_PER_WORKER says.
	 *
	 * @param callable $run Called with the job from Gearman and the object that has do_job().
	 */
	public function run_once( $run ) {
		global $gearman_servers;

		$engine = $this->engine;
		try {
			$worker = new GearmanWorker();
			$worker->addServers( $gearman_servers ? implode( ',', (array) $gearman_servers ) : '127.0.0.1:4730' );
			$worker->addFunction(
				$this->function_name(),
				function ( $job ) use ( $run, $engine ) {
					return $run( $job, $engine );
				}
			);
			if ( method_exists( $engine, 'get_gearman_worker' ) && array_key_exists( 'gearman_worker', get_object_vars( $engine ) ) ) {
				$this->plugin->enable();
				$engine->gearman_worker = $worker;
				exit( $engine->work() ? 0 : 1 );
			}
			exit( $worker->work() ? 0 : 1 );
		} catch ( Exception $e ) {
			fwrite( STDERR, 'wp-gears: cannot get a job: ' . $e->getMessage() . "\n" );
			exit( 1 );
		}
	}
}
