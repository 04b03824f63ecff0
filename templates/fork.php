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

	/** @var array What was open before the site booted, see open_files(). */
	private static $before = array();
	/** @var array Groups of the object cache, see cache_groups(). */
	private static $groups = array( 'global' => array(), 'local' => array() );

	public static function before_boot() {
		self::$before = self::open_files();
	}

	/** Releases what must not be shared by processes, or held while idle. */
	public static function quiesce() {
		global $wp_object_cache;

		if ( function_exists( 'wp_cache_close' ) ) {
			wp_cache_close();
		}
		self::$groups    = self::cache_groups( $wp_object_cache );
		$wp_object_cache = null;

		WP_Gears_Database::disconnect();
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
		$more = array_diff_key( self::open_files(), self::$before );
		if ( $more ) {
			$counts = array_count_values( $more );
			$named  = array();
			foreach ( $counts as $what => $count ) {
				$named[] = '/' === $what[0] ? basename( $what ) : "$count $what(s)";
			}
			return 'a plugin keeps ' . implode( ' and ', $named ) . ' open after WordPress has loaded, which jobs would share';
		}
		return '';
	}

	/**
	 * What processes would share after a fork: sockets, pipes and the like, and files that are open for reading and
	 * writing, since a database relies on their position and locks. Logs are open for writing only.
	 *
	 * @return string[] By number and target of the descriptor: the kind of thing, or the path of a file.
	 */
	private static function open_files() {
		$open = array();
		if ( ! function_exists( 'scandir' ) || ! function_exists( 'readlink' ) ) {
			return $open;
		}
		foreach ( @scandir( '/proc/self/fd' ) ?: array() as $number ) {
			$target = (string) @readlink( "/proc/self/fd/$number" );
			if ( preg_match( '/^(socket|pipe|anon_inode):/', $target, $match ) ) {
				$open[ "$number:$target" ] = str_replace( 'anon_inode', 'event queue', $match[1] );
			} elseif ( preg_match( '~^/(?!dev/)~', $target ) ) {
				$info = (string) @file_get_contents( "/proc/self/fdinfo/$number" );
				if ( preg_match( '/^flags:\s*([0-7]+)/m', $info, $flags ) && 2 === ( octdec( $flags[1] ) & 3 ) ) {
					$open[ "$number:$target" ] = $target;
				}
			}
		}
		return $open;
	}

	/** Resets what a new process would not inherit. */
	public static function forget_the_parent() {
		mt_srand( random_int( PHP_INT_MIN, PHP_INT_MAX ) );
		// The generator of lcg_value() cannot be seeded, but skipping values makes children start at different points.
		// PHP 8.4 complains of that function; uniqid() takes values as well, and more time.
		$complains = PHP_VERSION_ID >= 80400 && function_exists( 'uniqid' );
		for ( $i = random_int( 0, $complains ? 99 : 999 ); $i > 0; $i-- ) {
			$complains ? uniqid( '', true ) : lcg_value();
		}
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
