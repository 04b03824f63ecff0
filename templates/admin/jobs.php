<?php
/**
 * Failed jobs and those that wait for a retry, in the table that the workers keep in the site's database (store.php):
 * lists, retries and deletes them. The workers find what has changed when they look at it.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Jobs {
	/** States of a job in the table. */
	const WAITS  = 0;
	const FAILED = 1;
	const OVER   = 2;

	/** How many failed jobs of an installation the workers keep. */
	const MAX_KEPT = 1000;

	/** Whose a retry is until a worker takes it. No host has this name. */
	const HOLDER = 'site';

	/** How much of a row is read to learn what job it is, and how much if that was too little: 16 KiB and 1 MiB in Base64. */
	const HEAD         = 21848;
	const LONGEST_HEAD = 1398104;

	/** How many rows are in memory at a time. */
	const CHUNK = 200;

	/**
	 * The jobs in a state that a filter takes, the latest first.
	 *
	 * @param array $filter Any of: hook, a pattern with * and ?; error, a part of the last error; search, a part of either;
	 *                      since, in milliseconds since 1970; blog, the id of a network's site.
	 * @return array jobs, and total: how many there are without the limit.
	 */
	public static function find( $state, array $filter, $limit, $offset = 0 ) {
		global $wpdb;
		$table = self::table();
		if ( null === $table ) {
			return array( 'jobs' => array(), 'total' => 0 );
		}
		if ( ! $filter ) {
			$total = (int) $wpdb->get_var( $wpdb->prepare( "SELECT COUNT(*) FROM $table WHERE state = %d", $state ) );
			$rows  = $wpdb->get_results( $wpdb->prepare( self::select( $table ) . ' WHERE state = %d ORDER BY id DESC LIMIT %d OFFSET %d', self::HEAD, $state, $limit, $offset ) );
			return array( 'jobs' => array_map( array( __CLASS__, 'job' ), (array) $rows ), 'total' => $total );
		}
		$jobs  = array();
		$total = 0;
		self::each(
			$state,
			$filter,
			function ( array $job ) use ( &$jobs, &$total, $limit, $offset ) {
				if ( $total >= $offset && count( $jobs ) < $limit ) {
					$jobs[] = $job;
				}
				++$total;
			}
		);
		return array( 'jobs' => $jobs, 'total' => $total );
	}

	/** Shows all jobs in a state that a filter takes, the latest first. */
	public static function each( $state, array $filter, $see ) {
		global $wpdb;
		$table = self::table();
		$last  = null;
		while ( null !== $table ) {
			$before = null === $last ? '' : $wpdb->prepare( ' AND id < %s', $last );
			$rows   = $wpdb->get_results( $wpdb->prepare( self::select( $table ) . " WHERE state = %d$before ORDER BY id DESC LIMIT %d", self::HEAD, $state, self::CHUNK ) );
			foreach ( (array) $rows as $row ) {
				$last = $row->id;
				$job  = self::job( $row );
				if ( self::takes( $filter, $job ) ) {
					$see( $job );
				}
			}
			if ( count( (array) $rows ) < self::CHUNK ) {
				return;
			}
		}
	}

	/**
	 * Jobs that failed in the same way, the most frequent first.
	 *
	 * @return array[] Each with hook, error, count and latest.
	 */
	public static function groups( array $filter ) {
		$groups = array();
		self::each(
			self::FAILED,
			$filter,
			function ( array $job ) use ( &$groups ) {
				$error = self::shorten( $job['error'], 400 );
				$key   = $job['hook'] . "\n" . $error;
				if ( ! isset( $groups[ $key ] ) ) {
					$groups[ $key ] = array( 'hook' => $job['hook'], 'error' => $error, 'count' => 0, 'latest' => 0 );
				}
				++$groups[ $key ]['count'];
				$groups[ $key ]['latest'] = max( $groups[ $key ]['latest'], $job['at'] );
			}
		);
		$groups = array_values( $groups );
		usort(
			$groups,
			function ( $a, $b ) {
				return array( $b['count'], $b['latest'] ) <=> array( $a['count'], $a['latest'] );
			}
		);
		return $groups;
	}

	/** How many jobs are in a state; with a blog, only its own. */
	public static function count( $state, $blog = null ) {
		$found = self::find( $state, null === $blog ? array() : array( 'blog' => $blog ), 0 );
		return $found['total'];
	}

	/**
	 * Has a worker run a failed job again. Of several clicks one counts.
	 *
	 * @param string[] $tokens Of jobs, as they were when they were shown.
	 * @param int|null $blog   The only network's site whose jobs may be retried.
	 * @return int How many jobs are retried.
	 */
	public static function retry( array $tokens, $blog = null ) {
		return self::change( $tokens, $blog, self::WAITS );
	}

	/** Deletes failed jobs. Like retry(). */
	public static function forget( array $tokens, $blog = null ) {
		return self::change( $tokens, $blog, self::OVER );
	}

	private static function change( array $tokens, $blog, $to ) {
		global $wpdb;
		$table = self::table();
		$sizes = array();
		foreach ( null === $table ? array() : $tokens as $token ) {
			if ( is_string( $token ) && preg_match( '/^([0-9A-Za-z-]{1,64}):(\d{1,18})$/', $token, $is ) ) {
				$sizes[ $is[1] ] = $is[2];
			}
		}
		$now     = (int) ( microtime( true ) * 1000 );
		$changed = 0;
		$set     = self::WAITS === $to
			? $wpdb->prepare( 'state = %d, due = %d, holder = %s, held_until = 0', self::WAITS, $now, self::HOLDER )
			: $wpdb->prepare( "state = %d, holder = %s, held_until = %d, size = 0, body = ''", self::OVER, self::HOLDER, $now );
		foreach ( array_chunk( $sizes, self::CHUNK, true ) as $chunk ) {
			$chosen = array();
			foreach ( $chunk as $id => $size ) {
				if ( null === $blog || self::is_of( (string) $id, $blog ) ) {
					// With each attempt the job grows: whoever clicks on what has failed again since then has not seen that.
					$chosen[] = $wpdb->prepare( '(id = %s AND size = %d)', $id, $size );
				}
			}
			if ( $chosen ) {
				$chosen   = implode( ' OR ', $chosen );
				$changed += (int) $wpdb->query( $wpdb->prepare( "UPDATE $table SET $set WHERE state = %d", self::FAILED ) . " AND ($chosen)" );
			}
		}
		return $changed;
	}

	/** Whether a job is one of this network's site. */
	private static function is_of( $id, $blog ) {
		global $wpdb;
		$row = $wpdb->get_row( $wpdb->prepare( self::select( self::table() ) . ' WHERE id = %s', self::HEAD, $id ) );
		$job = $row ? self::job( $row ) : null;
		return $job && $job['blog'] === $blog;
	}

	/**
	 * Has a worker look at the table now. It would otherwise do so within hours.
	 *
	 * @return bool Whether a job server has accepted that.
	 */
	public static function wake() {
		if ( ! function_exists( 'wp_async_task_add' ) ) {
			return false;
		}
		$handle = wp_async_task_add( 'wp_gears_look', array(), 'high' );
		if ( is_string( $handle ) && '' !== $handle ) {
			return true;
		}
		wp_unschedule_hook( 'wp_gears_look' ); // WP-Cron got it, and is no worker.
		return false;
	}

	/** The first characters of a text. */
	public static function shorten( $text, $length ) {
		return mb_strlen( $text ) > $length ? mb_substr( $text, 0, $length ) . '…' : $text;
	}

	/** The table, quoted, if there is one: the first job that fails makes it. */
	private static function table() {
		global $wpdb;
		static $exists = false;

		$table = '`' . $wpdb->base_prefix . 'wp_gears_jobs`';
		if ( ! $exists ) {
			$suppressed = $wpdb->suppress_errors( true );
			if ( method_exists( $wpdb, 'send_reads_to_masters' ) ) {
				$wpdb->send_reads_to_masters();
			}
			$exists = false !== $wpdb->query( "SELECT id FROM $table LIMIT 1" );
			$wpdb->suppress_errors( $suppressed );
		}
		return $exists ? $table : null;
	}

	private static function select( $table ) {
		return "SELECT id, state, due, size, SUBSTR(body, 1, %d) AS head FROM $table";
	}

	/** What a row says: the line of JSON before the payload, which stays unread. See JobRecord in src/worker/store.rs. */
	private static function job( $row ) {
		global $wpdb;
		$line = self::line( $row->head );
		if ( null === $line && strlen( $row->head ) >= self::HEAD ) {
			$table = self::table();
			$line  = self::line( $wpdb->get_var( $wpdb->prepare( "SELECT SUBSTR(body, 1, %d) FROM $table WHERE id = %s", self::LONGEST_HEAD, $row->id ) ) );
		}
		$record = null === $line ? null : json_decode( $line, true );
		$record = is_array( $record ) ? $record : array();
		$tries  = array();
		foreach ( isset( $record['tries'] ) && is_array( $record['tries'] ) ? $record['tries'] : array() as $try ) {
			$tries[] = array(
				'at'    => isset( $try['at'] ) ? (int) $try['at'] : 0,
				'ms'    => isset( $try['ms'] ) ? (int) $try['ms'] : 0,
				'error' => isset( $try['error'] ) && is_string( $try['error'] ) ? $try['error'] : '',
			);
		}
		$last = end( $tries );
		return array(
			'id'    => (string) $row->id,
			'token' => $row->id . ':' . $row->size,
			'due'   => (int) $row->due,
			'hook'  => isset( $record['hook'] ) && is_string( $record['hook'] ) ? $record['hook'] : '',
			'blog'  => isset( $record['blog'] ) ? (int) $record['blog'] : null,
			'error' => $last ? $last['error'] : '',
			'at'    => $last ? $last['at'] : ( isset( $record['taken'] ) ? (int) $record['taken'] : 0 ),
			'tries' => $tries,
		);
	}

	private static function line( $head ) {
		$text = base64_decode( (string) $head, false );
		$end  = strpos( $text, "\n" );
		return false === $end ? null : substr( $text, 0, $end );
	}

	private static function takes( array $filter, array $job ) {
		if ( isset( $filter['blog'] ) && $job['blog'] !== $filter['blog'] ) {
			return false;
		}
		if ( isset( $filter['since'] ) && $job['at'] < $filter['since'] ) {
			return false;
		}
		if ( isset( $filter['hook'] ) && ! self::matches( $filter['hook'], $job['hook'] ) ) {
			return false;
		}
		if ( isset( $filter['error'] ) && ! self::contains( $job['error'], $filter['error'] ) ) {
			return false;
		}
		return ! isset( $filter['search'] ) || self::contains( $job['hook'] . "\n" . $job['error'], $filter['search'] );
	}

	private static function matches( $pattern, $hook ) {
		$pattern = strtr( preg_quote( $pattern, '/' ), array( '\*' => '.*', '\?' => '.' ) );
		return 1 === preg_match( "/^$pattern\$/Ds", $hook );
	}

	private static function contains( $text, $part ) {
		return false !== ( function_exists( 'mb_stripos' ) ? mb_stripos( $text, $part ) : stripos( $text, $part ) );
	}
}
