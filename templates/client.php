<?php
/**
 * What stands in place of a plugin's GearmanClient: it seals the site's jobs, and gives them to WP-Cron where no job
 * server answers. The must-use plugin and the runner contain it, from the line below.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

if ( ! class_exists( 'WP_Gears_Client', false ) ) {

	/** Not a subclass of GearmanClient: the signatures of its methods differ between versions. */
	final class WP_Gears_Client {
		/** The methods that submit a job, and which argument is its unique key. */
		const SUBMITS = array(
			'do'                    => 2,
			'donormal'              => 2,
			'dohigh'                => 2,
			'dolow'                 => 2,
			'dobackground'          => 2,
			'dohighbackground'      => 2,
			'dolowbackground'       => 2,
			'addtask'               => 3,
			'addtaskhigh'           => 3,
			'addtasklow'            => 3,
			'addtaskbackground'     => 3,
			'addtaskhighbackground' => 3,
			'addtasklowbackground'  => 3,
		);

		/** Those whose job WP-Cron can run instead: nobody waits for its result. */
		const FOR_LATER = array( 'dobackground', 'dohighbackground', 'dolowbackground' );

		/** Those that need a job server, besides those that submit. */
		const CONNECTED = array( 'ping', 'echo', 'jobstatus', 'dostatus', 'dojobhandle', 'runtasks' );

		/** @var GearmanClient */
		private $client;
		/** @var callable Names the function of the site's jobs. */
		private $function;
		/** @var string[]|null The servers that it is connected to, as far as they were looked at. */
		private $servers;
		/** @var bool Whether the plugin has given it its servers. */
		private $has_servers;
		/** @var bool Whether it gets its servers here. */
		private $is_ours;
		/** @var float When it looked at the servers. */
		private $looked = 0;

		public function __construct( $client, $function, $has_servers = true ) {
			$this->client      = $client;
			$this->function    = $function;
			$this->has_servers = $has_servers;
			$this->is_ours     = ! $has_servers;
		}

		public function __call( $name, $arguments ) {
			$method  = strtolower( $name );
			$submits = isset( self::SUBMITS[ $method ], $arguments[1] ) && call_user_func( $this->function ) === $arguments[0];
			$later   = $submits && in_array( $method, self::FOR_LATER, true );
			$ready   = true;
			if ( $submits || isset( self::SUBMITS[ $method ] ) || in_array( $method, self::CONNECTED, true ) ) {
				$ready = $this->is_ready();
			}
			if ( ! $submits ) {
				return $this->client->$name( ...$arguments );
			}
			if ( ! $ready ) {
				return $later && self::cron( $arguments[1] );
			}
			$payload = $arguments[1];
			$at      = self::SUBMITS[ $method ];
			$unique  = isset( $arguments[ $at ] ) ? $arguments[ $at ] : null;

			if ( class_exists( 'WP_Gears_Seal', false ) ) {
				$arguments[1] = WP_Gears_Seal::submitted( $payload, $arguments[0], $unique );
				if ( null !== $unique ) {
					$arguments[ $at ] = WP_Gears_Seal::hidden( $unique );
				}
			}
			if ( ! $later ) {
				return $this->client->$name( ...$arguments );
			}
			// A server that goes away in this moment may have the job or not; another one gets it rather than WP-Cron.
			for ( $left = 2; $left > 0 && $ready; $left-- ) {
				try {
					$handle = @$this->client->$name( ...$arguments );
					if ( GEARMAN_SUCCESS === $this->client->returnCode() ) {
						return $handle;
					}
					$why = $this->client->error();
				} catch ( Throwable $e ) {
					$why = $e->getMessage();
				}
				$ready = $this->has_other( $why );
			}
			return self::cron( $payload );
		}

		private function forgo( $why, $are_last = true ) {
			if ( class_exists( 'WP_Gears_Servers', false ) ) {
				WP_Gears_Servers::forgo( $this->servers ? $this->servers : WP_Gears_Servers::all(), $why, $are_last );
			}
			$this->looked = 0;
		}

		/** Forgoes its server, and whether it has another one now. */
		private function has_other( $why ) {
			$others = $this->is_ours && class_exists( 'WP_Gears_Servers', false )
				&& array_diff( WP_Gears_Servers::all(), (array) $this->servers );
			$this->forgo( $why, ! $others );
			return $others && $this->is_ready();
		}

		/** Whether there is a job server for it; looks once in a second. */
		private function is_ready() {
			if ( ! class_exists( 'WP_Gears_Servers', false ) || microtime( true ) - $this->looked <= 1 ) {
				return true;
			}
			try {
				$live = WP_Gears_Servers::live();
			} catch ( Throwable $e ) {
				$live = WP_Gears_Servers::all(); // a function that it needs is disabled
			}
			if ( ! $live ) {
				return false;
			}
			// One, as libgearman with several waits for an answer that does not come with one job in a hundred. The same on all
			// pages, as only one server can tell that two jobs have the same unique key.
			foreach ( $live as $at => $server ) {
				try {
					if ( $this->connect( $server ) ) {
						$this->servers = $this->is_ours ? $this->servers : $live;
						$this->looked  = microtime( true );
						return true;
					}
					$why = 'the client does not take it';
				} catch ( Throwable $e ) {
					$why = $e->getMessage();
				}
				$this->forgo( $why, ! isset( $live[ $at + 1 ] ) );
				$this->servers = array();
			}
			return false;
		}

		/** Whether its client has this server, or those that the plugin has given it. */
		private function connect( $server ) {
			if ( $this->is_ours && null !== $this->servers && array( $server ) !== $this->servers ) {
				$class             = get_class( $this->client );
				$this->client      = new $class();
				$this->has_servers = false;
			}
			if ( $this->client->timeout() < 0 ) {
				$this->client->setTimeout( WP_Gears_Servers::PATIENCE ); // before it has servers, because that connects to them
			}
			if ( ! $this->has_servers ) {
				$this->servers     = array( $server );
				$this->has_servers = (bool) @$this->client->addServers( $server );
			}
			return $this->has_servers;
		}

		private static function cron( $payload ) {
			$job = json_decode( (string) $payload, true );
			if ( ! class_exists( 'WP_Gears_Servers', false ) || ! is_array( $job ) || ! isset( $job['hook'] ) ) {
				return false;
			}
			$blog     = is_multisite() && ! empty( $job['blog_id'] ) ? (int) $job['blog_id'] : get_current_blog_id();
			$switched = get_current_blog_id() !== $blog && switch_to_blog( $blog );
			$accepted = WP_Gears_Servers::cron( $job['hook'], isset( $job['args'] ) ? $job['args'] : null );
			if ( $switched ) {
				restore_current_blog();
			}
			return $accepted;
		}
	}
}

if ( ! class_exists( 'WP_Gears_Cron', false ) ) {

	/** A plugin's client that connects when it submits its first job rather than when the site loads. */
	trait WP_Gears_Late {
		public function register() {
			return true;
		}

		public function get_gearman_client() {
			if ( is_null( $this->gearman_client ) ) {
				parent::get_gearman_client();
				if ( ! class_exists( 'WP_Gears_Servers', false ) ) {
					parent::register(); // without the must-use plugin, nothing else gives it its servers
				} elseif ( $this->gearman_client instanceof GearmanClient ) {
					$this->gearman_client = new WP_Gears_Client( $this->gearman_client, array( $this, 'get_async_group' ), false );
				}
			}
			return $this->gearman_client;
		}
	}

	/** In $wp_async_task where WP Gears 1 could not be loaded, because no job server answers. */
	final class WP_Gears_Cron {
		public function uses_gearman() {
			return false;
		}

		public function add( $hook, $args = array(), $priority = 'normal' ) {
			return WP_Gears_Servers::cron( $hook, $args );
		}
	}
}
