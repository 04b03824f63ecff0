<?php
/**
 * Tells whether a stranger listens in a job server's place: a local user who took its port while it was down, and would
 * get the jobs of every page. The must-use plugins contain it, from the line below.
 */

if ( ! class_exists( 'WP_Gears_Peer', false ) ) {

	final class WP_Gears_Peer {
		/** The users that gearmand's packages make, and folders that only root can give to another one. */
		const USERS   = array( 'gearman', 'gearmand' );
		const FOLDERS = array( '/var/lib/gearman', '/run/gearman', '/run/gearmand' );

		/** Those of the servers that are on this machine and belong to another user than gearmand's, root or ours. */
		public static function strangers( array $servers ) {
			$ports = array();
			foreach ( $servers as $server ) {
				if ( preg_match( '/^\s*(?:127\.[\d.]+|localhost|\[?::1\]?)(?::(\d+))?\s*$/i', $server, $found ) ) {
					$ports[ isset( $found[1] ) ? (int) $found[1] : 4730 ][] = $server;
				}
			}
			$strangers = array();
			foreach ( $ports ? self::owners( array_keys( $ports ) ) : array() as $port => $uids ) {
				if ( array_filter( $uids, array( __CLASS__, 'is_stranger' ) ) ) {
					$strangers = array_merge( $strangers, $ports[ $port ] );
				}
			}
			return $strangers;
		}

		/** The users whose processes listen on ports, from the kernel's lists: state 0A is that of a listener. */
		private static function owners( array $ports ) {
			$found = array();
			foreach ( array( '/proc/net/tcp', '/proc/net/tcp6' ) as $table ) {
				if ( count( $found ) === count( $ports ) ) {
					break; // the kernel takes milliseconds for each
				}
				// open_basedir may hide it.
				foreach ( @file( $table ) ?: array() as $line ) {
					$words = preg_split( '/\s+/', trim( $line ) );
					if ( isset( $words[7] ) && '0A' === $words[3] ) {
						$port = hexdec( substr( $words[1], strrpos( $words[1], ':' ) + 1 ) );
						if ( in_array( $port, $ports, true ) ) {
							$found[ $port ][] = (int) $words[7];
						}
					}
				}
			}
			return $found;
		}

		private static function is_stranger( $uid ) {
			if ( 0 === $uid || ! function_exists( 'posix_geteuid' ) || posix_geteuid() === $uid ) {
				return false;
			}
			$known = array();
			foreach ( function_exists( 'posix_getpwnam' ) ? self::USERS : array() as $name ) {
				$user = posix_getpwnam( $name );
				if ( $user ) {
					$known[] = $user['uid'];
				}
			}
			foreach ( self::FOLDERS as $folder ) {
				$owner = @fileowner( $folder );
				if ( $owner ) {
					$known[] = $owner;
				}
			}
			return $known && ! in_array( $uid, $known, true );
		}
	}
}
