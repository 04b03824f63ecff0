<?php
/**
 * The site's connections to its database, which two processes must not share.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Database {
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
}
