<?php
/**
 * Which database the site uses, so that hosts with the same site can be told from copies of it, and the table in it that
 * is ours.
 */

if ( ! defined( 'DOING_ASYNC' ) && ! defined( 'WP_GEARS_ASK' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Identity {
	/** What tells a database server from others. Each is asked by itself, as hardly any server knows all. */
	const VARIABLES = array( 'hostname', 'port', 'datadir', 'server_uuid', 'server_uid' );

	/**
	 * A hash of the database server, the database and the prefix: the same on all hosts that use them. '' if it is not known
	 * which server answers, as with SQLite, and with drop-ins that use several.
	 */
	public static function database() {
		global $wpdb;

		$connection = self::connection();
		if ( ! $connection || ! defined( 'DB_NAME' ) ) {
			return '';
		}
		$server = self::server( $connection );
		$of     = array( 'wp-gears: database', $server, DB_NAME, (string) $wpdb->base_prefix );
		return $server ? substr( hash( 'sha256', json_encode( $of ) ), 0, 12 ) : '';
	}

	/** The connection to the one server that the site uses, or null. */
	public static function connection() {
		global $wpdb;
		$is_one = is_object( $wpdb ) && ! empty( $wpdb->dbh ) && $wpdb->dbh instanceof mysqli && ! property_exists( $wpdb, 'dbhs' );
		return $is_one ? $wpdb->dbh : null;
	}

	/** The table of failed jobs and retries, quoted. See store.php. */
	public static function table() {
		global $wpdb;
		return '`' . $wpdb->base_prefix . 'wp_gears_jobs`';
	}

	private static function server( mysqli $database ) {
		// The servers of a Galera cluster have the same data.
		if ( '1' === (string) self::ask( $database, 'SELECT @@wsrep_on', 0 ) ) {
			return array_filter( array( self::ask( $database, "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'", 1 ) ) );
		}
		$found = array();
		foreach ( self::VARIABLES as $name ) {
			$found[ $name ] = self::ask( $database, "SELECT @@$name", 0 );
		}
		return null === $found['hostname'] ? array() : array_filter( $found );
	}

	/** A column of the first row of the answer, or null. */
	public static function ask( mysqli $database, $query, $column ) {
		try {
			$answer = $database->query( $query );
			$row    = $answer instanceof mysqli_result ? $answer->fetch_row() : null;
			return isset( $row[ $column ] ) ? (string) $row[ $column ] : null;
		} catch ( Throwable $e ) {
			return null; // It does not know it.
		}
	}
}
