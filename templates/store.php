<?php
/**
 * Failed jobs and those that wait for a retry, in a table of the site's database: there they survive the host that ran
 * them. See src/worker/store/ledger.rs.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Store {
	/** States of a job: it waits for a retry, it has failed, nothing is left to do. */
	const WAITS  = 0;
	const FAILED = 1;
	const OVER   = 2;

	/** How long the table remembers that a job is over, in milliseconds. */
	const REMEMBERED = 30 * 86400 * 1000;

	/** How many jobs one answer has at most. */
	const MOST = 200;

	/** Does in a process of its own what the worker asks for, if this one may fork, and tells it. */
	public static function serve( array $order, $body, $fork ) {
		$pid = $fork ? pcntl_fork() : 0;
		if ( $pid > 0 ) {
			return $pid;
		}
		if ( $fork && 0 === $pid ) {
			WP_Gears_Runner::$phase = 'left';
			pcntl_sigprocmask( SIG_SETMASK, array() );
			WP_Gears_Fork::forget_the_parent();
		}
		$away   = array( 'away' => true );
		$answer = $away;
		try {
			if ( $pid >= 0 && WP_Gears_Database::connect() ) {
				WP_Gears_Fork::renew_cache();
				$answer = self::answer( $order, $body );
				if ( $order['look'] ) {
					$answer['events'] = WP_Gears_Overdue::first();
				}
			}
		} catch ( Throwable $e ) {
			$answer = array( 'error' => $e->getMessage() );
		}
		WP_Gears_Runner::send( array( 'stored' => $answer + array( 'call' => $order['call'] ) ) );
		if ( $fork && 0 === $pid ) {
			WP_Gears_Last::end();
		}
		WP_Gears_Fork::quiesce();
		return 0;
	}

	private static function answer( array $order, $body ) {
		global $wpdb;
		$wpdb->suppress_errors( true );
		if ( method_exists( $wpdb, 'send_reads_to_masters' ) ) {
			$wpdb->send_reads_to_masters();
		}
		$answer = array( 'put' => array(), 'gone' => array(), 'lost' => array(), 'absent' => array(), 'take' => array(), 'next' => null, 'claimed' => false, 'error' => '' );
		$table  = WP_Gears_Identity::table();
		if ( false === $wpdb->query( "SELECT id FROM $table LIMIT 1" ) ) {
			if ( ! $order['put'] ) {
				// Nobody has stored a job yet.
				$answer['claimed'] = true;
				$answer['gone']    = $order['gone'];
				$answer['absent']  = $order['have'];
				return $answer;
			}
			if ( false === self::create( $table ) ) {
				return array( 'error' => "cannot create the table $table: " . $wpdb->last_error );
			}
		}
		$at = 0;
		foreach ( $order['put'] as $job ) {
			$kept = self::put( $table, $order, $job, base64_encode( substr( $body, $at, $job['size'] ) ) );
			$at  += $job['size'];
			if ( null === $kept ) {
				$answer['error'] = "cannot write into the table $table: " . $wpdb->last_error;
			} else {
				$answer[ $kept ? 'put' : 'lost' ][] = $job['id'];
			}
		}
		foreach ( $order['gone'] as $id ) {
			$sql = $wpdb->prepare( "UPDATE $table SET state = %d, holder = %s, held_until = %d, size = 0, body = '' WHERE id = %s", self::OVER, $order['host'], $order['now'], $id );
			if ( $order['look'] ) {
				// It may be that this host has only lost it to another one, or to an administrator who retries it in WordPress.
				$sql .= $wpdb->prepare( ' AND (state != %d OR holder = %s)', self::WAITS, $order['host'] );
			}
			if ( false !== $wpdb->query( $sql ) ) {
				$answer['gone'][] = $id;
			}
		}
		if ( null !== $order['claim'] ) {
			$answer['claimed'] = self::claim( $table, $order );
		}
		return $order['look'] ? self::look( $table, $order, $answer ) : $answer;
	}

	/** The payload is what the job server had: a sealed one stays sealed. */
	private static function create( $table ) {
		global $wpdb;
		return $wpdb->query(
			"CREATE TABLE IF NOT EXISTS $table (
				id varchar(64) NOT NULL,
				state int NOT NULL,
				due bigint NOT NULL,
				holder varchar(160) NOT NULL,
				held_until bigint NOT NULL,
				size bigint NOT NULL,
				body longtext NOT NULL,
				PRIMARY KEY (id)
			)"
		);
	}

	/** Whether the table has the job now; false if it is another host's, or over; null if the database refuses it. */
	private static function put( $table, array $order, array $job, $body ) {
		global $wpdb;
		$insert = "INSERT IGNORE INTO $table (id, state, due, holder, held_until, size, body) VALUES (%s, %d, %d, %s, %d, %d, %s)";
		$update = "UPDATE $table SET state = %d, due = %d, held_until = %d, size = %d, body = %s WHERE id = %s AND holder = %s AND state = %d";

		$done = $wpdb->query( $wpdb->prepare( $insert, $job['id'], $job['state'], $job['due'], $order['host'], $job['until'], $job['size'], $body ) );
		if ( 1 === $done ) {
			return true;
		}
		if ( false === $done || false === $wpdb->query( $wpdb->prepare( $update, $job['state'], $job['due'], $job['until'], $job['size'], $body, $job['id'], $order['host'], self::WAITS ) ) ) {
			return null;
		}
		if ( $job['asked'] ) {
			self::retry( $table, $order, $job['id'], $job['size'], $job['until'] );
		}
		$row = self::row( $table, $job['id'] );
		if ( ! $row ) {
			return null; // It was too large, or the database says less than it should.
		}
		$state = (int) $row->state;
		return self::FAILED === $state && self::FAILED === $job['state'] || self::WAITS === $state && $row->holder === $order['host'];
	}

	/**
	 * Makes a failed job this host's retry. Of all who retry or delete it, here, on other hosts and in WordPress
	 * (admin/jobs.php), one changes the row. With each attempt the job grows, so it is the one that the administrator saw.
	 */
	private static function retry( $table, array $order, $id, $size, $until ) {
		global $wpdb;
		$sql = "UPDATE $table SET state = %d, due = %d, holder = %s, held_until = %d WHERE id = %s AND state = %d AND size = %d";
		$wpdb->query( $wpdb->prepare( $sql, self::WAITS, $order['now'], $order['host'], $until, $id, self::FAILED, $size ) );
	}

	private static function row( $table, $id ) {
		global $wpdb;
		return $wpdb->get_row( $wpdb->prepare( "SELECT state, holder, held_until FROM $table WHERE id = %s", $id ) );
	}

	/** Whether this host may run the job now. Then it is nobody else's until the time that the worker names. */
	private static function claim( $table, array $order ) {
		global $wpdb;
		$claim = $order['claim'];
		if ( $claim['asked'] ) {
			self::retry( $table, $order, $claim['id'], $claim['asked'], $claim['until'] );
		}
		$sql = "UPDATE $table SET held_until = %d WHERE id = %s AND holder = %s AND state = %d";
		$wpdb->query( $wpdb->prepare( $sql, $claim['until'], $claim['id'], $order['host'], self::WAITS ) );
		$row = self::row( $table, $claim['id'] );
		// If it is not there, it may have been lost with the database: better twice than never.
		return ! $row || self::WAITS === (int) $row->state && $row->holder === $order['host'];
	}

	/** What others left, and what became of those that this host has. */
	private static function look( $table, array $order, array $answer ) {
		global $wpdb;
		$rows = $wpdb->get_results( "SELECT id, state, due, holder, held_until, size FROM $table ORDER BY id" );
		if ( ! is_array( $rows ) ) {
			return $answer;
		}
		$have = array_flip( $order['have'] );
		$room = $order['room'];
		$old  = $order['now'] - self::REMEMBERED;
		foreach ( $rows as $row ) {
			$state = (int) $row->state;
			$until = (int) $row->held_until;
			$own   = $row->holder === $order['host'];
			$known = isset( $have[ $row->id ] );
			unset( $have[ $row->id ] );
			if ( self::OVER === $state ) {
				if ( $known ) {
					$answer['lost'][] = $row->id;
				} elseif ( $until < $old ) {
					$wpdb->query( $wpdb->prepare( "DELETE FROM $table WHERE id = %s AND state = %d", $row->id, self::OVER ) );
				}
				continue;
			}
			if ( self::WAITS === $state && $known && ! $own ) {
				$answer['lost'][] = $row->id;
				if ( 0 === $until ) {
					$answer['next'] = $order['now']; // Nobody's: this host may take it once it has dropped its own.
				}
			}
			$waits = self::WAITS === $state && ( ! $known || ! $own );
			if ( $waits && $until >= $order['now'] ) {
				$answer['next'] = null === $answer['next'] ? $until : min( $answer['next'], $until );
				continue;
			}
			if ( $known ) {
				continue;
			}
			if ( $room < $row->size || count( $answer['take'] ) >= self::MOST ) {
				$answer['next'] = $order['now'];
				continue;
			}
			if ( $waits && ! self::adopt( $table, $order, $row ) ) {
				continue;
			}
			$body = base64_decode( (string) $wpdb->get_var( $wpdb->prepare( "SELECT body FROM $table WHERE id = %s", $row->id ) ), true );
			if ( is_string( $body ) && '' !== $body ) {
				$room            -= strlen( $body );
				$answer['take'][] = array( 'id' => $row->id, 'state' => $state, 'due' => (int) $row->due, 'body' => bin2hex( $body ) );
			}
		}
		$answer['absent'] = array_map( 'strval', array_keys( $have ) );
		return $answer;
	}

	/** Takes over what nobody has any more. One of several hosts that try gets it. */
	private static function adopt( $table, array $order, $row ) {
		global $wpdb;
		$sql = "UPDATE $table SET holder = %s, held_until = %d WHERE id = %s AND holder = %s AND held_until = %d AND state = %d";
		return 1 === $wpdb->query( $wpdb->prepare( $sql, $order['host'], $order['now'] + $order['grace'], $row->id, $row->holder, $row->held_until, self::WAITS ) );
	}
}
