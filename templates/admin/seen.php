<?php
/**
 * What this PHP can see of the workers and the queue: the files that workers keep in the site's run folder, if it may
 * read them, and what the job servers say. See src/worker/status_file.rs.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Seen {
	/** Where workers store what they have. WP_GEARS_STATE overrides it. */
	const STATE = '/var/lib/wp-gears';

	/** How long a job server may take to answer, in seconds. */
	const PATIENCE = 1;

	/** The maximum number of files in a folder that are looked at, and of bytes of a file. */
	const MAX_FILES = 10000;
	const MAX_SIZE  = 4194304;

	/** @var string|null|false The site's run folder; null if it cannot be seen, false if nobody has looked. */
	private static $folder = false;
	/** @var string Why it cannot be seen. */
	private static $why_not = '';

	/** Why the workers' files cannot be seen; '' if they can. */
	public static function why_not() {
		self::folder();
		return self::$why_not;
	}

	/**
	 * The running workers of this host.
	 *
	 * @return array|null alive, idle, paused, broken (why a worker cannot run jobs, or ''), and since: when the latest job was
	 *                    submitted that one of them has got, in milliseconds since 1970. Null if that cannot be seen.
	 */
	public static function workers() {
		$folder = self::folder();
		if ( null === $folder ) {
			return null;
		}
		$seen = array( 'alive' => 0, 'idle' => 0, 'paused' => false, 'broken' => '', 'since' => 0 );
		foreach ( self::files( $folder, 'worker-' ) as $path ) {
			$status = self::locked( $path );
			if ( ! is_array( $status ) || ! isset( $status['activity'] ) ) {
				continue;
			}
			// A crew whose members have left, as there are no jobs, stands for them.
			$number         = isset( $status['stands_for'] ) ? (int) $status['stands_for'] : 1;
			$seen['alive'] += $number;
			$seen['idle']  += 'idle' === $status['activity'] ? $number : 0;
			$seen['paused'] = $seen['paused'] || 'paused' === $status['activity'];
			$seen['since']  = max( $seen['since'], isset( $status['submitted'] ) ? (int) $status['submitted'] : 0 );
			if ( 'broken' === $status['activity'] ) {
				$seen['broken'] = isset( $status['why'] ) && is_string( $status['why'] ) ? $status['why'] : '?';
			}
		}
		foreach ( self::files( $folder, 'crew-' ) as $path ) {
			$crew          = self::locked( $path );
			$seen['since'] = max( $seen['since'], isset( $crew['empty_at'] ) ? (int) $crew['empty_at'] : 0 );
		}
		return $seen;
	}

	/** What is in a file of the site's run folder, or ''. */
	public static function read( $name ) {
		$folder = self::folder();
		return null === $folder ? '' : self::content( "$folder/$name", self::MAX_SIZE );
	}

	/**
	 * What the job servers say of the site's queue.
	 *
	 * @return array waiting, running, workers, and silent: the servers that do not answer. waiting is null if none does.
	 */
	public static function queue() {
		static $queue = null;
		if ( null !== $queue ) {
			return $queue;
		}
		$queue    = array( 'waiting' => null, 'running' => 0, 'workers' => 0, 'silent' => array() );
		$function = self::function_name();
		foreach ( WP_Gears_Servers::all() as $server ) {
			$text = self::ask( $server );
			if ( null === $text ) {
				$queue['silent'][] = $server;
				continue;
			}
			$queue['waiting'] = (int) $queue['waiting'];
			foreach ( explode( "\n", $text ) as $line ) {
				$fields = explode( "\t", $line );
				if ( 4 === count( $fields ) && $fields[0] === $function ) {
					$queue['waiting'] += max( 0, $fields[1] - $fields[2] );
					$queue['running'] += (int) $fields[2];
					$queue['workers']  = max( $queue['workers'], (int) $fields[3] ); // Each is registered at all servers.
				}
			}
		}
		return $queue;
	}

	/** What a job server says of its functions, or null. */
	private static function ask( $server ) {
		if ( ! is_callable( array( 'WP_Gears_Servers', 'address' ) ) ) {
			return null; // A must-use plugin of ours that an upgrade has just replaced is still in the opcode cache.
		}
		$stream = @stream_socket_client( 'tcp://' . WP_Gears_Servers::address( $server ), $number, $error, self::PATIENCE );
		if ( ! $stream ) {
			return null;
		}
		$until = microtime( true ) + self::PATIENCE;
		stream_set_timeout( $stream, self::PATIENCE );
		fwrite( $stream, "status\n" );
		$text = '';
		while ( "\n.\n" !== substr( "\n$text", -3 ) ) {
			$part = fread( $stream, 65536 );
			if ( '' === (string) $part || microtime( true ) > $until || strlen( $text ) > self::MAX_SIZE ) {
				return null;
			}
			$text .= $part;
		}
		return $text;
	}

	/** The Gearman function of the site's jobs. It has the salt in it: never shown. */
	private static function function_name() {
		global $wp_async_task;

		foreach ( array( 'WpMinions\Plugin', 'WpGears\Plugin' ) as $class ) {
			if ( class_exists( $class, false ) ) {
				$client = $class::get_instance()->get_client();
				return method_exists( $client, 'get_async_group' ) ? $client->get_async_group() : null;
			}
		}
		return is_object( $wp_async_task ) && method_exists( $wp_async_task, 'gearman_function' ) ? $wp_async_task->gearman_function() : null;
	}

	/** The site's folder below 'run' is the one whose workers have loaded this WordPress. */
	private static function folder() {
		if ( false !== self::$folder ) {
			return self::$folder;
		}
		self::$folder = null;
		$run          = ( defined( 'WP_GEARS_STATE' ) ? WP_GEARS_STATE : self::STATE ) . '/run';
		$folders      = @scandir( $run );
		if ( ! is_array( $folders ) ) {
			self::$why_not = ini_get( 'open_basedir' )
				/* translators: %s: a folder */
				? sprintf( __( 'This PHP may not look into %s (open_basedir).', 'wp-gears' ), $run )
				/* translators: %s: a folder */
				: sprintf( __( 'There is no folder %s on this host: the workers run on another one, or in a container.', 'wp-gears' ), $run );
			return null;
		}
		$site   = array( rtrim( ABSPATH, '/' ), realpath( ABSPATH ) );
		$closed = 0;
		foreach ( $folders as $name ) {
			$folder = "$run/$name";
			if ( '.' === $name[0] || ! is_dir( $folder ) || is_link( $folder ) ) {
				continue;
			}
			if ( ! is_readable( $folder ) || ! is_executable( $folder ) ) {
				++$closed;
				continue;
			}
			$told = self::content( "$folder/function", 16384 );
			if ( preg_match( '/"stamps":\{"site":("(?:[^"\\\\]|\\\\.)*")/', $told, $is ) && in_array( json_decode( $is[1] ), $site, true ) ) {
				self::$folder = $folder;
				return $folder;
			}
		}
		$user          = function_exists( 'posix_getpwuid' ) && function_exists( 'posix_geteuid' ) ? posix_getpwuid( posix_geteuid() ) : null;
		self::$why_not = $closed
			/* translators: %s: a user's name */
			? sprintf( __( 'PHP runs as the user %s here, who may not read the files of the workers.', 'wp-gears' ), $user ? $user['name'] : '?' )
			: __( 'No worker of this site has run on this host yet.', 'wp-gears' );
		return null;
	}

	private static function files( $folder, $prefix ) {
		$found = array();
		$names = @scandir( $folder );
		foreach ( is_array( $names ) && count( $names ) <= self::MAX_FILES ? $names : array() as $name ) {
			if ( 0 === strpos( $name, $prefix ) ) {
				$found[] = "$folder/$name";
			}
		}
		return $found;
	}

	/** What a running process says in its file: it keeps it locked. */
	private static function locked( $path ) {
		$file = is_file( $path ) && ! is_link( $path ) ? @fopen( $path, 'r' ) : false;
		if ( ! $file ) {
			return null;
		}
		$is_locked = ! flock( $file, LOCK_SH | LOCK_NB );
		$text      = (string) stream_get_contents( $file, 8192 );
		fclose( $file );
		return $is_locked ? json_decode( $text, true ) : null;
	}

	private static function content( $path, $size ) {
		$text = is_file( $path ) && ! is_link( $path ) && is_readable( $path ) ? @file_get_contents( $path, false, null, 0, $size ) : false;
		return is_string( $text ) ? $text : '';
	}
}
