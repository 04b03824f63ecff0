<?php
/**
 * Opens the site's sealed jobs, with its key and with former ones: when its secret keys change, jobs may still wait that
 * were sealed before.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Keys {
	/** How long a process may have run before an unknown key makes it start again, in seconds. */
	const FRESH = 60;

	/** @var string[] By id. */
	private static $keys = array();
	/** @var array What the files with secret keys looked like at boot. */
	private static $config = array();
	/** @var string Where former keys are; '' when run by hand. */
	private static $folder = '';
	/** @var float When this process had loaded the site. */
	private static $born = 0;
	/** @var bool */
	private static $is_sealing = false;

	/**
	 * Learns the site's keys, and keeps the present one for the time after it. The worker removes former ones when nothing
	 * waits that they have sealed.
	 *
	 * @return string Why the site's jobs are not sealed, or ''.
	 */
	public static function learn( $folder, $client ) {
		self::$born   = microtime( true );
		self::$config = self::config();
		self::$folder = $folder;
		$why          = WP_Gears_Seal::why_unsealed( $client );
		$files = '' !== $folder && function_exists( 'glob' ) ? glob( "$folder/seal-*.key" ) : array();
		foreach ( $files ?: array() as $file ) {
			$key = @hex2bin( trim( (string) @file_get_contents( $file ) ) );
			if ( is_string( $key ) && 32 === strlen( $key ) ) {
				self::$keys[ WP_Gears_Seal::id( $key ) ] = $key;
			}
		}
		$key = WP_Gears_Seal::key();
		if ( null !== $key ) {
			self::$keys[ self::id() ] = $key;
			if ( '' !== $folder && '' === $why ) {
				self::keep( $key, $files ?: array() );
			}
		}
		self::$is_sealing = '' === $why;
		return $why;
	}

	/** Whether the site's jobs are sealed, so that others are not its own. */
	public static function is_sealing() {
		return self::$is_sealing;
	}

	/** The id of the present key, or ''. */
	public static function id() {
		$key = WP_Gears_Seal::key();
		return null === $key ? '' : WP_Gears_Seal::id( $key );
	}

	/**
	 * Opens a job: its payload, and its unique key as it was submitted.
	 *
	 * @return string|null Why it must not run; null if this process may not have the key yet.
	 */
	public static function open( array &$job, $takes_plain ) {
		if ( ! WP_Gears_Seal::is_sealed( $job['workload'] ) ) {
			$job['workload'] = WP_Gears_Seal::unstamped( $job['workload'] );
			return $takes_plain ? '' : 'it is not sealed, and this site takes only sealed jobs';
		}
		if ( ! function_exists( 'sodium_crypto_secretbox_open' ) ) {
			return 'it is sealed, and ' . WP_Gears_Seal::why_not();
		}
		$id = WP_Gears_Seal::key_of( $job['workload'] );
		if ( ! isset( self::$keys[ $id ] ) ) {
			$may_be_new = '' !== self::$folder && ( microtime( true ) > self::$born + self::FRESH || self::config() !== self::$config );
			return $may_be_new ? null : 'it is sealed with a key that this site does not have: it comes from another site, or the secret keys in wp-config.php differ from those of the page';
		}
		$opened = WP_Gears_Seal::open( $job['workload'], self::$keys[ $id ] );
		if ( null === $opened ) {
			return 'its seal is broken: it was forged or changed';
		}
		if ( ! isset( $opened['function'], $opened['at'] ) || WP_Gears_Seal::hash_of( $job['function'] ) !== $opened['function'] ) {
			return 'it was sealed for another function, that of a copy of this site or of another salt';
		}
		if ( '' !== self::$folder && self::id() !== $id ) {
			self::use_again( self::$folder . "/seal-$id.key" );
		}
		$job['workload'] = $opened[''];
		$job['at']       = (int) $opened['at'];
		if ( ! empty( $opened['unique'] ) ) {
			$job['unique'] = (string) hex2bin( $opened['unique'] );
		}
		return '';
	}

	/** Files that may define the secret keys. */
	private static function config() {
		$found = array();
		foreach ( get_included_files() as $file ) {
			if ( preg_match( '~/(wp-config[^/]*\.php)$~', $file ) ) {
				clearstatcache( true, $file );
				$stat           = @stat( $file );
				$found[ $file ] = $stat ? array( $stat['mtime'], $stat['size'], $stat['ino'] ) : null;
			}
		}
		return $found;
	}

	/** Keeps the present key, and says which one it is. */
	private static function keep( $key, array $files ) {
		$id      = WP_Gears_Seal::id( $key );
		$file    = self::$folder . "/seal-$id.key";
		$present = self::$folder . '/seal-present';
		if ( ! is_file( $file ) ) {
			self::write( $file, bin2hex( $key ) );
		}
		if ( trim( (string) @file_get_contents( $present ) ) !== $id ) {
			// Pages may seal with the former key for a while.
			array_map( array( __CLASS__, 'use_again' ), $files );
			self::write( $present, $id );
		}
	}

	/** A former key is in use: the time of its file says so. */
	private static function use_again( $file ) {
		if ( function_exists( 'touch' ) ) {
			@touch( $file );
		}
	}

	private static function write( $file, $text ) {
		$new  = "$file.new-" . bin2hex( random_bytes( 4 ) );
		$mask = function_exists( 'umask' ) ? umask( 0077 ) : null;
		if ( false === @file_put_contents( $new, "$text\n" ) || ! @rename( $new, $file ) ) {
			@unlink( $new );
		}
		if ( null !== $mask ) {
			umask( $mask );
		}
	}
}
