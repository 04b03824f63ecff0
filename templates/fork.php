<?php
/**
 * Resources of a PHP process that two processes must not share: released before a fork, and created again in the
 * job's process.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Fork {
	/** The functions without which each job gets a process of its own instead. */
	const NEEDS = array(
		'getmypid',
		'lcg_value',
		'mt_srand',
		'pcntl_fork',
		'pcntl_get_last_error',
		'pcntl_sigprocmask',
		'pcntl_sigwaitinfo',
		'pcntl_strerror',
		'pcntl_waitpid',
		'pcntl_wexitstatus',
		'pcntl_wifexited',
		'pcntl_wifsignaled',
		'pcntl_wtermsig',
		'posix_kill',
		'random_int',
		'readlink',
		'scandir',
	);

	/** @var string[] The sockets that were open before the site booted. */
	private static $before = array();
	/** @var array Groups of the object cache, see cache_groups(). */
	private static $groups = array( 'global' => array(), 'local' => array() );

	public static function before_boot() {
		self::$before = self::open_sockets();
	}

	/** Releases what must not be shared by processes, or held while idle. */
	public static function quiesce() {
		global $wpdb, $wp_object_cache;

		if ( function_exists( 'wp_cache_close' ) ) {
			wp_cache_close();
		}
		self::$groups    = self::cache_groups( $wp_object_cache );
		$wp_object_cache = null;

		if ( isset( $wpdb->dbhs ) && is_array( $wpdb->dbhs ) && method_exists( $wpdb, 'disconnect' ) ) {
			foreach ( array_keys( $wpdb->dbhs ) as $name ) {
				$wpdb->disconnect( $name );
			}
		} elseif ( method_exists( $wpdb, 'close' ) && ! empty( $wpdb->dbh ) ) {
			$wpdb->close();
		}
		$wpdb->queries = array();
		foreach ( array( 'gc_collect_cycles', 'gc_mem_caches' ) as $function ) {
			if ( function_exists( $function ) ) {
				$function();
			}
		}
	}

	/** The reason why forking this process is unsafe, or ''. */
	public static function why_not() {
		$missing = array_filter(
			self::NEEDS,
			function ( $function ) {
				return ! function_exists( $function );
			}
		);
		if ( $missing ) {
			return 'PHP has no ' . implode( '(), ', $missing ) . '()';
		}
		if ( extension_loaded( 'grpc' ) ) {
			return 'the PHP extension grpc does not survive a fork';
		}
		$tasks = @scandir( '/proc/self/task' );
		if ( ! $tasks || ! @scandir( '/proc/self/fd' ) ) {
			return 'PHP may not read /proc/self, which shows its threads and sockets (open_basedir)';
		}
		if ( count( $tasks ) > 3 ) { // two of them are . and ..
			return 'something in PHP runs threads';
		}
		$more = array_diff( self::open_sockets(), self::$before );
		if ( $more ) {
			return 'a plugin keeps ' . count( $more ) . ' socket(s) open after WordPress has loaded, which jobs would share';
		}
		return '';
	}

	private static function open_sockets() {
		$sockets = array();
		if ( ! function_exists( 'scandir' ) || ! function_exists( 'readlink' ) ) {
			return $sockets;
		}
		foreach ( @scandir( '/proc/self/fd' ) ?: array() as $number ) {
			$target = @readlink( "/proc/self/fd/$number" );
			if ( $target && 0 === strpos( $target, 'socket:' ) ) {
				$sockets[] = $target;
			}
		}
		return $sockets;
	}

	/** Resets what a new process would not inherit. */
	public static function forget_the_parent( $now ) {
		mt_srand( random_int( PHP_INT_MIN, PHP_INT_MAX ) );
		// lcg_value() cannot be seeded, but skipping values makes children start at different points.
		for ( $i = random_int( 0, 999 ); $i > 0; $i-- ) {
			lcg_value();
		}
		$_SERVER['REQUEST_TIME']       = (int) $now;
		$_SERVER['REQUEST_TIME_FLOAT'] = $now;
		$GLOBALS['timestart']          = $now;
		clearstatcache( true );
	}

	/** Whether the database answers. */
	public static function connect() {
		global $wpdb;
		// A drop-in with its own connections opens them by itself.
		$method = new ReflectionMethod( $wpdb, 'db_connect' );
		if ( 'wpdb' !== $method->getDeclaringClass()->getName() ) {
			return true;
		}
		return (bool) $wpdb->db_connect( false );
	}

	/** Creates a new, empty object cache. The stored data of a persistent cache is not affected. */
	public static function renew_cache() {
		wp_cache_init();
		if ( function_exists( 'wp_cache_add_global_groups' ) && self::$groups['global'] ) {
			wp_cache_add_global_groups( self::$groups['global'] );
		}
		if ( function_exists( 'wp_cache_add_non_persistent_groups' ) && self::$groups['local'] ) {
			wp_cache_add_non_persistent_groups( self::$groups['local'] );
		}
	}

	/** The cache groups that core and plugins registered at boot, from the properties in which drop-ins store them. */
	private static function cache_groups( $cache ) {
		$found = array( 'global' => array(), 'local' => array() );
		$names = array(
			'global_groups'         => 'global',
			'no_mc_groups'          => 'local',
			'ignored_groups'        => 'local',
			'non_persistent_groups' => 'local',
		);
		for ( $class = is_object( $cache ) ? new ReflectionObject( $cache ) : null; $class; $class = $class->getParentClass() ) {
			foreach ( $names as $name => $kind ) {
				if ( ! $class->hasProperty( $name ) ) {
					continue;
				}
				$property = $class->getProperty( $name );
				if ( PHP_VERSION_ID < 80100 ) {
					$property->setAccessible( true );
				}
				foreach ( (array) $property->getValue( $cache ) as $key => $value ) {
					$found[ $kind ][] = is_string( $key ) ? $key : $value;
				}
			}
		}
		return array_map( 'array_values', array_map( 'array_unique', $found ) );
	}
}
