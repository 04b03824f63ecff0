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
		global $wpdb, $wp_object_cache;

		if ( function_exists( 'wp_cache_close' ) ) {
			wp_cache_close();
		}
		self::$groups    = self::cache_groups( $wp_object_cache );
		$wp_object_cache = null;

		if ( self::has_connections( $wpdb ) ) {
			foreach ( array_keys( (array) $wpdb->dbhs ) as $name ) {
				$wpdb->disconnect( $name );
			}
		}
		if ( method_exists( $wpdb, 'close' ) && ! empty( $wpdb->dbh ) ) {
			self::release( $wpdb );
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

	/** Closes the handle of a drop-in with a single connection, also if its close() does nothing. */
	private static function release( $wpdb ) {
		if ( $wpdb->dbh instanceof mysqli ) {
			try {
				$wpdb->close();
			} catch ( Throwable $closed ) {
				$closed = null; // It was one of those that disconnect() has closed.
			}
		} else {
			$handles = array();
			self::forget_handles( $wpdb->dbh, $handles, 3 );
			foreach ( $GLOBALS as $name => $value ) {
				if ( in_array( $value, $handles, true ) ) {
					unset( $GLOBALS[ $name ] );
				}
			}
			$handles = null;
			$value   = null;
		}
		$wpdb->dbh = null;
	}

	/**
	 * Removes the handles of SQLite and the like from an object and from those that it has, so that PHP closes them: its
	 * own references are the last ones. Public for the closure.
	 */
	public static function forget_handles( $object, array &$handles, $depth ) {
		if ( ! is_object( $object ) || 0 === $depth ) {
			return;
		}
		$forget = function () use ( &$handles, $depth ) {
			foreach ( get_object_vars( $this ) as $name => $value ) {
				if ( $value instanceof PDO || $value instanceof PDOStatement || $value instanceof SQLite3 || $value instanceof SQLite3Stmt ) {
					try {
						unset( $this->$name );
						$handles[] = $value;
					} catch ( Error $readonly ) {
						continue; // It stays open, so that jobs are not forked.
					}
				} else {
					WP_Gears_Fork::forget_handles( $value, $handles, $depth - 1 );
				}
			}
		};
		for ( $class = new ReflectionObject( $object ); $class && ! $class->isInternal(); $class = $class->getParentClass() ) {
			Closure::bind( $forget, $object, $class->getName() )->__invoke();
		}
	}

	/** Whether it opens connections by itself, several of them, as HyperDB and LudicrousDB do. */
	private static function has_connections( $wpdb ) {
		return is_object( $wpdb ) && property_exists( $wpdb, 'dbhs' ) && method_exists( $wpdb, 'disconnect' );
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
		// lcg_value() cannot be seeded, but skipping values makes children start at different points.
		for ( $i = random_int( 0, 999 ); $i > 0; $i-- ) {
			lcg_value();
		}
		clearstatcache( true );
	}

	/** Whether the database answers. */
	public static function connect() {
		global $wpdb;
		if ( self::has_connections( $wpdb ) || ! method_exists( $wpdb, 'db_connect' ) ) {
			return true; // It connects with the first query.
		}
		$wpdb->db_connect( false );
		return ! empty( $wpdb->dbh );
	}

	/** Closes connections properly, so that the database does not log them as aborted. */
	public static function hang_up() {
		foreach ( $GLOBALS as $value ) {
			self::close( $value );
			if ( $value instanceof wpdb ) {
				self::close( $value->dbh );
				if ( self::has_connections( $value ) ) {
					array_map( array( __CLASS__, 'close' ), (array) $value->dbhs );
				}
			}
		}
	}

	private static function close( $handle ) {
		try {
			if ( $handle instanceof mysqli ) {
				$handle->close();
			}
		} catch ( Throwable $closed ) {
			return; // Several properties may have the same one.
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

/**
 * Times that the site took when it booted. A process that booted in advance may have waited for minutes, and code that
 * limits its own time would think that it has run for minutes. So when the job starts, such times move to just before
 * it, as if the process had only just booted.
 */
final class WP_Gears_Clock {
	/** How many values to look at. A site has some ten thousand. */
	const LIMIT = 200000;

	/** @var float When the boot was over. */
	private static $booted;
	/** @var array[] Where those times are: object or class, property, class that declares it. */
	private static $places = array();

	/**
	 * Looks for numbers that can only be times of the boot: in global variables, static properties, and the properties of
	 * all objects that they lead to.
	 */
	public static function look() {
		self::$booted = microtime( true );
		self::$places = array();
		$seen         = new SplObjectStorage();
		$queue        = array();
		foreach ( $GLOBALS as $name => $value ) {
			if ( self::is_of_the_boot( $value ) ) {
				self::$places[] = array( null, $name, null );
			} elseif ( 'GLOBALS' !== $name && ( is_object( $value ) || is_array( $value ) ) ) {
				$queue[] = $value;
			}
		}
		foreach ( get_declared_classes() as $class ) {
			$reflection = new ReflectionClass( $class );
			if ( $reflection->isInternal() || 0 === strpos( $class, 'WP_Gears_' ) ) {
				continue;
			}
			try {
				$statics = $reflection->getStaticProperties();
			} catch ( Throwable $undefined ) {
				continue; // A constant in a default value.
			}
			foreach ( $statics as $name => $value ) {
				if ( self::is_of_the_boot( $value ) ) {
					self::$places[] = array( $class, $name, $class );
				} elseif ( is_object( $value ) || is_array( $value ) ) {
					$queue[] = $value;
				}
			}
		}
		// What is near comes first, and so is what hooks call.
		for ( $at = 0, $count = 0; isset( $queue[ $at ] ); $at++ ) {
			$holder       = $queue[ $at ];
			$queue[ $at ] = null;
			$object       = is_object( $holder ) ? $holder : null;
			if ( $object ) {
				if ( isset( $seen[ $object ] ) ) {
					continue;
				}
				$seen[ $object ] = true;
				if ( $object instanceof Closure ) {
					$function = new ReflectionFunction( $object );
					$queue[]  = array( $function->getClosureThis() );
					$queue[]  = $function->getStaticVariables(); // Those that it uses, too.
				}
				if ( ( new ReflectionObject( $object ) )->isInternal() ) {
					continue;
				}
			}
			foreach ( (array) $holder as $key => $value ) {
				if ( ++$count > self::LIMIT ) {
					return;
				}
				if ( is_object( $value ) || is_array( $value ) ) {
					$queue[] = $value;
				} elseif ( $object && self::is_of_the_boot( $value ) ) {
					// Names of private and protected properties are "\0class\0name" and "\0*\0name".
					$parts          = explode( "\0", (string) $key );
					$class          = isset( $parts[2] ) && '*' !== $parts[1] ? $parts[1] : get_class( $object );
					self::$places[] = array( $object, end( $parts ), $class );
				}
			}
		}
	}

	private static function is_of_the_boot( $value ) {
		$from = $_SERVER['REQUEST_TIME_FLOAT'];
		return ( is_float( $value ) && $value >= $from || is_int( $value ) && $value >= (int) $from ) && $value <= self::$booted;
	}

	/** Moves them to just before the job. */
	public static function set( $now ) {
		$later  = $now - self::$booted;
		$places = self::$places;

		self::$places                  = array();
		$_SERVER['REQUEST_TIME_FLOAT'] += $later;
		$_SERVER['REQUEST_TIME']       = (int) $_SERVER['REQUEST_TIME_FLOAT'];
		foreach ( $places as $place ) {
			list( $holder, $name, $class ) = $place;
			try {
				if ( null === $holder ) {
					$GLOBALS[ $name ] = self::moved( $GLOBALS[ $name ], $later );
				} elseif ( ! property_exists( $class, $name ) ) {
					$holder->$name = self::moved( $holder->$name, $later );
				} else {
					$property = new ReflectionProperty( $class, $name );
					if ( PHP_VERSION_ID < 80100 ) {
						$property->setAccessible( true );
					}
					if ( is_string( $holder ) ) {
						$property->setValue( null, self::moved( $property->getValue(), $later ) );
					} else {
						$property->setValue( $holder, self::moved( $property->getValue( $holder ), $later ) );
					}
				}
			} catch ( Throwable $readonly ) {
				continue;
			}
		}
	}

	private static function moved( $time, $later ) {
		return is_int( $time ) ? $time + (int) round( $later ) : $time + $later;
	}
}
