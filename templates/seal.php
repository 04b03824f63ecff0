<?php
/**
 * Seals the payloads of jobs: encrypted and authenticated with a key that is derived from the site's own secret keys.
 * Puts WP_Gears_Client in place of the GearmanClient of the plugin that submits jobs.
 *
 * The runner loads it, and the must-use plugin contains it, from the line below. Whichever comes first in a process is
 * used: everything is in blocks, so that nothing is declared twice.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

if ( ! class_exists( 'WP_Gears_Seal', false ) ) {

	final class WP_Gears_Seal {
		/** How a sealed payload begins. The key's id, a colon, the nonce and the box follow. */
		const MAGIC = 'wp-gears-seal:1:';

		/** How a payload that is not sealed ends: with the time of its submission, in milliseconds since 1970. */
		const STAMP = ',"wp_gears_at":';

		/** The secret keys of wp-config.php. */
		const SECRETS = array( 'AUTH_KEY', 'SECURE_AUTH_KEY', 'LOGGED_IN_KEY', 'NONCE_KEY', 'AUTH_SALT', 'SECURE_AUTH_SALT', 'LOGGED_IN_SALT', 'NONCE_SALT' );

		/** How long a new copy of this file does not seal yet, in seconds: a PHP that runs jobs may still be an old one. */
		const SETTLES = 2;

		/** @var bool Whether the must-use plugin is there, so that it is known how this site's jobs are submitted. */
		public static $wraps = false;
		/** @var bool Whether this site's jobs are sealed. */
		public static $installed = false;
		/** @var bool Whether to seal even if this file is new. */
		public static $at_once = false;
		/** @var string|null The key, once it was needed. */
		private static $key;

		/** Wraps what this process submits its jobs with, and seals them if asked. The must-use plugin calls it. */
		public static function install( $seals = true ) {
			self::$wraps     = true;
			self::$installed = $seals;
			spl_autoload_register( array( __CLASS__, 'delay' ), true, true );
			foreach ( array( 'mu_plugin_loaded', 'network_plugin_loaded', 'plugin_loaded' ) as $action ) {
				add_action( $action, array( __CLASS__, 'wrap' ) );
			}
			add_action( 'plugins_loaded', array( __CLASS__, 'wrap_all' ), PHP_INT_MIN );
			if ( ! defined( 'DOING_ASYNC' ) || ! DOING_ASYNC ) {
				self::guard_wp_gears_1();
			}
		}

		/**
		 * Lets WP Gears 2 and WP Minions connect when they submit their first job: they do so while the site loads,
		 * without a time limit. Called when PHP needs a class.
		 */
		public static function delay( $class ) {
			if ( ! in_array( $class, array( 'WpMinions\\Plugin', 'WpGears\\Plugin' ), true ) ) {
				return;
			}
			// By the plugin's own autoloader. PHP does not look for a class while it is looking for it.
			foreach ( spl_autoload_functions() as $load ) {
				if ( ! class_exists( $class, false ) && array( __CLASS__, 'delay' ) !== $load ) {
					$load( $class );
				}
			}
			if ( ! class_exists( $class, false ) || ! method_exists( $class, 'get_instance' ) ) {
				return;
			}
			$plugin = $class::get_instance();
			$client = method_exists( $plugin, 'get_client' ) ? $plugin->get_client() : null;
			switch ( $client ? get_class( $client ) : '' ) {
				case 'WpMinions\Gearman\Client':
					$plugin->client = new class() extends \WpMinions\Gearman\Client {
						use WP_Gears_Late;
					};
					break;
				case 'WpGears\Gearman\Client':
					$plugin->client = new class() extends \WpGears\Gearman\Client {
						use WP_Gears_Late;
					};
					break;
				default:
					return;
			}
			// It would connect as a worker too.
			if ( ( ! defined( 'DOING_ASYNC' ) || ! DOING_ASYNC ) && property_exists( $plugin, 'did_enable' ) ) {
				$plugin->did_enable = true;
			}
		}

		/**
		 * WP Gears 1 connects while it is loaded, without a time limit and without catching what GearmanClient throws. Where
		 * no job server answers, the page is loaded without it, and its jobs go to WP-Cron.
		 */
		private static function guard_wp_gears_1() {
			$file  = 'wp-gears/wp-gears.php';
			$parts = WP_PLUGIN_DIR . '/wp-gears/includes';
			// Version 2 has the file too, and does not load it.
			if ( ! file_exists( "$parts/class-gearman-async-task.php" ) || is_dir( "$parts/WpGears" ) || ! class_exists( 'GearmanClient' ) ) {
				return;
			}
			if ( ! defined( 'WP_GEARS' ) || ! WP_GEARS || ! class_exists( 'WP_Gears_Servers', false ) ) {
				return;
			}
			$network = is_multisite() ? (array) get_site_option( 'active_sitewide_plugins', array() ) : array();
			if ( ! isset( $network[ $file ] ) && ! in_array( $file, (array) get_option( 'active_plugins', array() ), true ) ) {
				return;
			}
			if ( WP_Gears_Servers::live() ) {
				return;
			}
			$filters = array(
				'option_active_plugins'               => function ( $plugins ) use ( $file ) {
					return is_array( $plugins ) ? array_values( array_diff( $plugins, array( $file ) ) ) : $plugins;
				},
				'site_option_active_sitewide_plugins' => function ( $plugins ) use ( $file ) {
					return is_array( $plugins ) ? array_diff_key( $plugins, array( $file => 1 ) ) : $plugins;
				},
			);
			foreach ( $filters as $filter => $without ) {
				add_filter( $filter, $without );
			}
			// Only while plugins are loaded: an administrator may change which are active.
			add_action(
				'plugins_loaded',
				function () use ( $filters ) {
					foreach ( $filters as $filter => $without ) {
						remove_filter( $filter, $without );
					}
					if ( ! function_exists( 'wp_async_task_add' ) ) {
						$GLOBALS['wp_async_task'] = new WP_Gears_Cron();

						function wp_async_task_add( $hook, $args = array(), $priority = 'normal' ) {
							return $GLOBALS['wp_async_task']->add( $hook, $args, $priority );
						}
					}
				},
				PHP_INT_MIN
			);
		}

		public static function wrap_all() {
			self::wrap();
			// After WP Minions, which connects here. What is added now comes after what was added before.
			add_action( 'plugins_loaded', array( __CLASS__, 'wrap' ), 9 );
		}

		/** Wraps the client of the plugin that submits the site's jobs, as far as it is loaded. */
		public static function wrap() {
			global $wp_async_task;

			if ( class_exists( 'WP_Gears_Bundled', false ) && ! defined( 'WP_Gears_Bundled::SEALS' ) && function_exists( 'opcache_invalidate' ) ) {
				// One of an earlier version, from an opcode cache that does not look at files.
				$old = new ReflectionClass( 'WP_Gears_Bundled' );
				@opcache_invalidate( $old->getFileName(), true );
			}
			foreach ( array( 'WpMinions' => 'wp_minions_autoloader', 'WpGears' => 'wp_gears_autoloader' ) as $space => $autoloader ) {
				$plugin = "$space\\Plugin";
				// Once all plugins are loaded, it has its constants.
				if ( ! class_exists( $plugin, false ) && 'plugins_loaded' === current_filter() && function_exists( $autoloader ) ) {
					$autoloader();
					class_exists( $plugin );
				}
				if ( ! class_exists( $plugin, false ) ) {
					continue;
				}
				$plugin = $plugin::get_instance();
				if ( 'plugins_loaded' === current_filter() || ! is_null( $plugin->client ) ) {
					self::wrap_in( $plugin->get_client() );
				}
			}
			if ( is_object( $wp_async_task ) ) {
				self::wrap_in( $wp_async_task );
			}
		}

		/** Wraps what a plugin's client submits its jobs with, where that is known. */
		public static function wrap_in( $client ) {
			if ( $client instanceof Gearman_Async_Task ) {
				$wrap = function () {
					if ( $this->_client instanceof GearmanClient ) {
						$this->_client = new WP_Gears_Client( $this->_client, array( $this, 'gearman_function' ) );
					}
				};
				Closure::bind( $wrap, $client, 'Gearman_Async_Task' )->__invoke();
			} elseif ( self::has_client( $client ) && $client->get_gearman_client() instanceof GearmanClient ) {
				$client->gearman_client = new WP_Gears_Client( $client->gearman_client, array( $client, 'get_async_group' ) );
			}
		}

		/** Whether what this client submits is sealed. */
		public static function seals( $client ) {
			if ( ! self::$installed ) {
				return false;
			}
			if ( $client instanceof Gearman_Async_Task ) {
				$look = function () {
					return $this->_client instanceof WP_Gears_Client;
				};
				return Closure::bind( $look, $client, 'Gearman_Async_Task' )->__invoke();
			}
			return $client instanceof WP_Gears_Bundled && defined( 'WP_Gears_Bundled::SEALS' ) || self::has_client( $client ) && $client->get_gearman_client() instanceof WP_Gears_Client;
		}

		/** Whether it has a GearmanClient as WP Gears 2 and WP Minions have it. */
		private static function has_client( $client ) {
			if ( ! ( $client instanceof \WpMinions\Gearman\Client ) && ! ( $client instanceof \WpGears\Gearman\Client ) ) {
				return false;
			}
			return array_key_exists( 'gearman_client', get_object_vars( $client ) );
		}

		/** Wraps a GearmanClient, where the must-use plugin is. */
		public static function wrapped( $client, $function ) {
			return self::$wraps && $client instanceof GearmanClient ? new WP_Gears_Client( $client, $function ) : $client;
		}

		/** Why this PHP cannot seal, or ''. */
		public static function why_not() {
			if ( ! function_exists( 'sodium_crypto_secretbox' ) || ! function_exists( 'sodium_crypto_secretbox_open' ) ) {
				return 'this PHP has no libsodium, and WordPress before 5.2 has none either';
			}
			return null === self::key() ? 'wp-config.php has no secret keys (AUTH_KEY and the like), and the database has none either' : '';
		}

		/** Why the jobs that this client submits are not sealed, or ''. */
		public static function why_unsealed( $client ) {
			$why = self::why_not();
			if ( '' === $why && ! self::seals( $client ) ) {
				$why = self::$installed ? 'it is not known how ' . get_class( $client ) . ' submits its jobs' : 'the must-use plugin that seals them is not loaded';
			}
			return $why;
		}

		public static function is_sealed( $payload ) {
			return self::MAGIC === substr( $payload, 0, strlen( self::MAGIC ) );
		}

		/** A payload for a page or a job to submit: sealed, if that is possible. */
		public static function submitted( $payload, $function, $unique = '' ) {
			if ( ! is_string( $payload ) || self::is_sealed( $payload ) ) {
				return $payload;
			}
			if ( ! self::$installed ) {
				return self::stamped( $payload, $unique );
			}
			$stat = @stat( __FILE__ );
			$age  = $stat ? time() - $stat['mtime'] : -1;
			if ( ! self::$at_once && $age >= 0 && $age <= self::SETTLES ) {
				return self::stamped( $payload, $unique );
			}
			return '' === self::why_not() ? self::seal( $payload, $function, $unique, self::key() ) : self::stamped( $payload, $unique );
		}

		/** A payload that is not sealed, with the time of its submission as one more key of its object. */
		private static function stamped( $payload, $unique ) {
			// The unique key "-" stands for the payload, so that it has to stay the same.
			if ( ! self::$wraps || '-' === $unique || '{"' !== substr( $payload, 0, 2 ) || '}' !== substr( $payload, -1 ) ) {
				return $payload;
			}
			return substr( $payload, 0, -1 ) . self::STAMP . (int) ( microtime( true ) * 1000 ) . '}';
		}

		/** The payload as its plugin has made it. */
		public static function unstamped( $payload ) {
			$length = strlen( self::STAMP ) + 14; // 13 digits, until the year 2286
			$is     = preg_match( '/^,"wp_gears_at":[1-9][0-9]{12}}$/D', substr( $payload, -$length ) );
			return $is ? substr( $payload, 0, -$length ) . '}' : $payload;
		}

		/** The same for every job with this unique key, which it does not reveal. */
		public static function hidden( $unique ) {
			if ( ! self::$installed || ! is_string( $unique ) || '' === $unique || '-' === $unique || '' !== self::why_not() ) {
				return $unique;
			}
			return substr( hash_hmac( 'sha256', "unique $unique", self::key() ), 0, 40 );
		}

		public static function seal( $payload, $function, $unique, $key ) {
			$head  = json_encode(
				array(
					'function' => self::hash_of( $function ),
					'at'       => (int) ( microtime( true ) * 1000 ),
					'id'       => bin2hex( random_bytes( 8 ) ),
					'unique'   => bin2hex( (string) $unique ),
				)
			);
			$nonce = random_bytes( SODIUM_CRYPTO_SECRETBOX_NONCEBYTES );
			return self::MAGIC . self::id( $key ) . ':' . $nonce . sodium_crypto_secretbox( "$head\n$payload", $nonce, $key );
		}

		/** The id of the key that sealed it. */
		public static function key_of( $sealed ) {
			return substr( $sealed, strlen( self::MAGIC ), 16 );
		}

		/** @return array|null What is in it: its head, and the payload under ''; null if it is not what was sealed. */
		public static function open( $sealed, $key ) {
			$at   = strlen( self::MAGIC ) + 17;
			$from = $at + SODIUM_CRYPTO_SECRETBOX_NONCEBYTES;
			if ( strlen( $sealed ) < $from + SODIUM_CRYPTO_SECRETBOX_MACBYTES || ':' !== $sealed[ $at - 1 ] ) {
				return null;
			}
			$text = sodium_crypto_secretbox_open( substr( $sealed, $from ), substr( $sealed, $at, SODIUM_CRYPTO_SECRETBOX_NONCEBYTES ), $key );
			if ( ! is_string( $text ) ) {
				return null;
			}
			$end  = strpos( $text, "\n" );
			$head = false === $end ? null : json_decode( substr( $text, 0, $end ), true );
			return is_array( $head ) ? array( '' => (string) substr( $text, $end + 1 ) ) + $head : null;
		}

		/** What stands for a function in the seal: names may hold any bytes. */
		public static function hash_of( $function ) {
			return substr( hash( 'sha256', (string) $function ), 0, 32 );
		}

		/** A key's id, which says nothing about the key. */
		public static function id( $key ) {
			return substr( hash_hmac( 'sha256', 'wp-gears: id', $key ), 0, 16 );
		}

		/** The id of the key that jobs of this process are sealed with, or null. */
		public static function used() {
			return self::$installed && '' === self::why_not() ? self::id( self::key() ) : null;
		}

		/** The site's key, 32 bytes; null if it has no secrets. */
		public static function key() {
			if ( null === self::$key ) {
				$secrets = self::secrets();
				if ( $secrets ) {
					$all = '';
					foreach ( $secrets as $name => $secret ) {
						$all .= "$name " . strlen( $secret ) . " $secret\n";
					}
					self::$key = hash_hmac( 'sha256', 'wp-gears: key that seals jobs, version 1', $all, true );
				}
			}
			return self::$key;
		}

		/** The site's secrets: those of wp-config.php, else those that WordPress then keeps in the database. */
		private static function secrets() {
			$found = array();
			foreach ( self::SECRETS as $name ) {
				if ( defined( $name ) && self::is_secret( constant( $name ) ) && ! in_array( constant( $name ), $found, true ) ) {
					$found[ $name ] = constant( $name );
				}
			}
			if ( strlen( implode( '', $found ) ) >= 32 ) {
				return $found;
			}
			if ( ! function_exists( 'get_site_option' ) ) {
				return array();
			}
			if ( ! self::is_secret( get_site_option( 'auth_key' ) ) && function_exists( 'wp_salt' ) ) {
				// WordPress makes them when it first needs them.
				wp_salt( 'auth' );
			}
			$found = array();
			foreach ( array( 'auth_key', 'auth_salt' ) as $name ) {
				$value = get_site_option( $name );
				if ( self::is_secret( $value ) ) {
					$found[ $name ] = $value;
				}
			}
			return strlen( implode( '', $found ) ) >= 32 ? $found : array();
		}

		private static function is_secret( $value ) {
			return is_string( $value ) && strlen( $value ) >= 16 && false === stripos( $value, 'put your unique phrase here' ) && strlen( preg_replace( '/(.)(?=.*\1)/s', '', $value ) ) >= 8;
		}
	}
}
