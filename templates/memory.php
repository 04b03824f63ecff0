<?php
/**
 * The limit of a job's memory, from the rule for its hook. PHP's own limit comes first, since its error says what
 * happened; a limit of the process holds where a job raises that one, and for what PHP does not count.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Memory {
	/** How much more a process may have than PHP, and how much more after a fatal error, in bytes. */
	const SLACK = 8388608;

	/** @var string The limit as an error names it, or ''. */
	private static $name = '';
	/** @var int|null The limit of the process after a fatal error. */
	private static $most;

	/** Limits this process and what it starts. Returns why that is not possible, or ''. */
	public static function limit( $megabytes, $rule ) {
		self::$name = "memory = $megabytes of the hook rule \"$rule\"";
		$bytes      = $megabytes << 20;
		$used       = memory_get_usage( true );
		if ( $used >= $bytes ) {
			return 'the site itself uses ' . ceil( $used / 1048576 ) . ' MB, which is more than ' . self::$name;
		}
		if ( function_exists( 'ini_set' ) ) {
			@ini_set( 'memory_limit', (string) $bytes );
		}
		// What the process has, without what PHP counts. The limit is of private memory that can be written.
		$status = (string) @file_get_contents( '/proc/self/status' );
		if ( function_exists( 'posix_setrlimit' ) && defined( 'POSIX_RLIMIT_DATA' ) && preg_match( '/^VmData:\s*(\d+) kB$/m', $status, $data ) ) {
			$soft       = max( 0, 1024 * $data[1] - $used ) + $bytes + self::SLACK;
			self::$most = $soft + self::SLACK;
			@posix_setrlimit( POSIX_RLIMIT_DATA, $soft, self::$most );
		}
		return '';
	}

	/** What the worker is to say if PHP dies without an error: then it has no memory left to report one. */
	public static function last_words() {
		return 'PHP died without an error, as it does when memory runs out (' . self::$name . ')';
	}

	public static function is_limited() {
		return '' !== self::$name;
	}

	/** Makes room to report a fatal error. */
	public static function unlimit() {
		if ( null !== self::$most ) {
			@posix_setrlimit( POSIX_RLIMIT_DATA, self::$most, self::$most );
		}
		if ( function_exists( 'ini_set' ) ) {
			ini_set( 'memory_limit', '-1' );
		}
	}

	/** A fatal error, with the name of the limit if that caused it. PHP has no other sign of it than its message. */
	public static function explain( $message ) {
		$is_memory = '' !== self::$name && preg_match( '/^(Allowed memory size of|Out of memory)/', $message );
		return $is_memory ? "$message (" . self::$name . ')' : $message;
	}
}
