<?php
/**
 * The site's connections to its database, which two processes must not share.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Database {
	/** How often the worker is told how many connections are left, in seconds. */
	const TELLS = 5;

	/** @var float When it was told last, or another process was left to do so. */
	private static $told = 0.0;
	/** @var bool Whether the process that connects next tells it. */
	private static $tells = true;
	/** @var wpdb|null Whose connection is handed over. */
	private static $wpdb;
	/** @var mysqli|null The connection, once it is handed over. */
	private static $handed;
	/** @var int How many queries the boot took. */
	private static $queries = 0;

	/** Closes all connections, before the first job. */
	public static function disconnect() {
		global $wpdb;

		if ( self::has_connections( $wpdb ) ) {
			foreach ( array_keys( (array) $wpdb->dbhs ) as $name ) {
				$wpdb->disconnect( $name );
			}
		}
		if ( method_exists( $wpdb, 'close' ) && ! empty( $wpdb->dbh ) ) {
			self::release( $wpdb );
		}
		$wpdb->queries = array();
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
					WP_Gears_Database::forget_handles( $value, $handles, $depth - 1 );
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

	/** Whether the database answers. */
	public static function connect() {
		global $wpdb;
		if ( self::has_connections( $wpdb ) || ! method_exists( $wpdb, 'db_connect' ) ) {
			return true; // It connects with the first query.
		}
		$wpdb->db_connect( false );
		return ! empty( $wpdb->dbh );
	}

	/** Another job is about to begin, in this process or in one that it forks. */
	public static function before_job() {
		$now         = microtime( true );
		// The clock may have been set back.
		self::$tells = $now < self::$told || $now - self::$told > self::TELLS;
		self::$told  = self::$tells ? $now : self::$told;
	}

	/**
	 * Tells the worker how many connections there are and how many are left, so that a crew does not take those that pages
	 * need. A user may have fewer than all.
	 */
	public static function tell() {
		$connection = self::$tells ? WP_Gears_Identity::connection() : null;
		if ( ! $connection ) {
			return;
		}
		self::$tells = false;
		self::$told  = microtime( true );
		$counts      = array(
			'@@max_connections'      => "SHOW GLOBAL STATUS LIKE 'Threads_connected'",
			'@@max_user_connections' => "SELECT '', COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = SUBSTRING_INDEX( USER(), '@', 1 )",
		);
		$told = null;
		foreach ( $counts as $limit => $count ) {
			$most = (int) WP_Gears_Identity::ask( $connection, "SELECT $limit", 0 );
			$used = $most > 0 ? WP_Gears_Identity::ask( $connection, $count, 1 ) : null;
			$free = max( 0, $most - (int) $used );
			if ( null !== $used && ( null === $told || $free < $told['free'] ) ) {
				$told = array( 'most' => $most, 'free' => $free );
			}
		}
		if ( $told ) {
			WP_Gears_Runner::send( array( 'connections' => $told ) );
		}
	}

	/**
	 * Whether a process can connect and then leave the connection to one that it forks: it has to be WordPress's own code
	 * that connects, so that there is one connection and nobody else knows of it, and it must not be encrypted, which is a
	 * state that two processes cannot share.
	 */
	public static function can_hand_over() {
		global $wpdb;
		if ( wp_using_ext_object_cache() ) {
			return false;
		}
		if ( ! $wpdb instanceof wpdb || ! $wpdb->dbh instanceof mysqli || property_exists( $wpdb, 'dbhs' ) ) {
			return false;
		}
		if ( ! self::is_of_wordpress( new ReflectionMethod( $wpdb, 'db_connect' ) ) || 0 === strpos( DB_HOST, 'p:' ) ) {
			return false; // A persistent connection is not closed.
		}
		try {
			$answer = $wpdb->dbh->query( "SHOW SESSION STATUS LIKE 'Ssl_cipher'" );
			$row    = $answer instanceof mysqli_result ? $answer->fetch_row() : null;
		} catch ( Throwable $e ) {
			return false;
		}
		if ( ! isset( $row[1] ) || '' !== $row[1] ) {
			return false;
		}
		self::$wpdb    = $wpdb;
		self::$queries = $wpdb->num_queries;
		return true;
	}

	/** Whether the class or method is WordPress's own, not that of a drop-in. */
	public static function is_of_wordpress( $code ) {
		return realpath( dirname( (string) $code->getFileName() ) ) === realpath( ABSPATH . WPINC );
	}

	/**
	 * Leaves the connection to the process that is forked next. This one does not use it until that one is gone, and then
	 * closes it properly.
	 */
	public static function hand_over() {
		global $wpdb;
		self::$handed = $wpdb->dbh;
	}

	/** In the process that has forked it, when it is gone. */
	public static function let_go() {
		global $wpdb, $wp_object_cache;
		$handed       = self::$handed;
		self::$handed = null;
		self::close( $handed ); // again, if the job has done so
		$wpdb->dbh         = null;
		$wpdb->queries     = array();
		$wpdb->num_queries = self::$queries;
		$wp_object_cache   = null;
	}

	/** Whether PHP has no other connection. To look for others takes long, as it writes to the memory of all that it meets. */
	private static function is_alone() {
		global $wpdb;
		$links = function_exists( 'mysqli_get_links_stats' ) ? mysqli_get_links_stats() : array();
		return isset( $links['total'] ) && $links['total'] === ( $wpdb->dbh instanceof mysqli ? 1 : 0 );
	}

	/** Closes connections properly, so that the database does not log them as aborted. */
	public static function hang_up() {
		global $wpdb;
		if ( null !== self::$wpdb && self::$wpdb === $wpdb && self::is_alone() ) {
			self::close( $wpdb->dbh );
			return;
		}
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
			// What was handed over is closed by the process that it comes from.
			if ( $handle instanceof mysqli && $handle !== self::$handed ) {
				@$handle->close();
			}
		} catch ( Throwable $closed ) {
			return; // Several properties may have the same one.
		}
	}
}
