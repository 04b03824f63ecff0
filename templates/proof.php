<?php
/**
 * Plugin Name: wp-gears proof
 * Description: Lets wp-gears submit a test job through the web server, as a page of this site does.
 * Version: 1
 * License: MIT
 *
 * It answers only a request that carries the secret which 'wp-gears setup' or 'wp-gears doctor' has just written
 * into this site's database. Every other request ends at the first line.
 */

if ( ! isset( $_SERVER['HTTP_X_WP_GEARS_PROOF'] ) || 'cli' === PHP_SAPI || ! defined( 'ABSPATH' ) ) {
	return;
}

// In a block, so that PHP declares nothing of it for any other request.
if ( ! class_exists( 'WP_Gears_Proof', false ) ) {

	final class WP_Gears_Proof {
		/** The row in the options table that holds the secret's hash. */
		const OPTION = 'wp_gears_proof';

		/** @var string What the answer begins with. */
		private static $mark;
		/** @var string Names the file that the worker writes. */
		private static $token;
		/** @var string|null Where workers take jobs from. */
		private static $function;

		public static function start( $secret ) {
			global $wpdb;

			if ( ! preg_match( '/^[0-9a-f]{64}$/', $secret ) ) {
				return;
			}
			// Not by get_option(): an object cache of the web server's PHP does not know what another process wrote.
			$table = $wpdb->base_prefix . 'options';
			$row   = $wpdb->get_var( $wpdb->prepare( "SELECT option_value FROM `$table` WHERE option_name = %s", self::OPTION ) );
			$known = json_decode( (string) $row, true );
			if ( ! is_array( $known ) || ! isset( $known['hash'], $known['until'], $known['token'] ) ) {
				return;
			}
			if ( time() > $known['until'] || ! hash_equals( (string) $known['hash'], hash( 'sha256', $secret ) ) ) {
				return;
			}
			// A copy of the site may have the same database.
			$stat = @stat( ABSPATH . 'wp-load.php' );
			if ( ! $stat || ! isset( $known['is'] ) || array( $stat['dev'], $stat['ino'] ) !== $known['is'] ) {
				return;
			}
			self::$mark  = substr( hash( 'sha256', "mark $secret" ), 0, 32 );
			self::$token = (string) $known['token'];
			self::$function = isset( $known['function'] ) ? $known['function'] : null;
			if ( ! defined( 'DONOTCACHEPAGE' ) ) {
				define( 'DONOTCACHEPAGE', true );
			}
			$action = isset( $_SERVER['HTTP_X_WP_GEARS_ACTION'] ) ? $_SERVER['HTTP_X_WP_GEARS_ACTION'] : '';
			if ( 'forget' === $action ) {
				self::answer( array( 'forgotten' => self::forget( $known ) ) + self::facts() );
			}
			if ( 'describe' === $action ) {
				self::answer( self::facts() );
			}
			self::forget( $known );
			if ( ! defined( 'WP_GEARS_PROVES' ) ) {
				define( 'WP_GEARS_PROVES', true ); // no visitor waits, see WP_Gears_Servers
			}
			// Before plugins that redirect or end the request here.
			add_action( 'init', array( __CLASS__, 'prove' ), PHP_INT_MIN );
		}

		/** Submits the job as a page would, and says how this process came by it. */
		public static function prove() {
			$answer = self::facts();
			if ( ! function_exists( 'wp_async_task_add' ) ) {
				self::answer( $answer + array( 'error' => 'no active plugin provides wp_async_task_add()' ) );
			}
			$plugin           = WP_Gears_Plugin::find();
			$answer['client'] = is_object( $plugin ) ? $plugin->client_class() : null;
			if ( is_string( $plugin ) ) {
				self::answer( $answer + array( 'error' => $plugin ) );
			}
			$answer['function'] = $plugin->function_name();
			if ( null !== self::$function && self::$function !== $answer['function'] ) {
				// No worker takes jobs from there: the job would wait for ever.
				self::answer( $answer + array( 'error' => 'the page ran with another salt or function than its workers, as with an older wp-config.php from an opcode cache' ) );
			}

			if ( class_exists( 'WP_Gears_Seal', false ) ) {
				WP_Gears_Seal::$at_once = true;
				$answer['unsealed']     = WP_Gears_Seal::why_not();
				$answer['key']          = WP_Gears_Seal::used();
			}
			$sent   = microtime( true );
			$handle = null;
			try {
				$handle = wp_async_task_add( 'wp_gears_probe', array( self::$token ), 'high' );
			} catch ( Throwable $e ) {
				$answer['error'] = get_class( $e ) . ': ' . $e->getMessage();
			}
			$answer['sent']   = $sent;
			$answer['add_ms'] = (int) round( ( microtime( true ) - $sent ) * 1000 );
			if ( is_string( $handle ) && '' !== $handle ) {
				$answer['handle'] = $handle;
			} else {
				wp_clear_scheduled_hook( 'wp_gears_probe', array( array( self::$token ) ) );
				$answer += array( 'error' => 'the plugin did not give the job to Gearman' );
			}
			self::answer( $answer );
		}

		private static function facts() {
			$user = null;
			if ( function_exists( 'posix_geteuid' ) ) {
				$user = posix_geteuid();
			} elseif ( function_exists( 'tmpfile' ) ) {
				$file = @tmpfile();
				$stat = $file ? fstat( $file ) : false;
				$user = $stat ? $stat['uid'] : null;
			}
			return array(
				'sapi'       => PHP_SAPI,
				'php'        => PHP_VERSION,
				'user'       => $user,
				'pid'        => getmypid(),
				'extension'  => extension_loaded( 'gearman' ),
				'ini'        => (string) php_ini_loaded_file(),
				'software'   => isset( $_SERVER['SERVER_SOFTWARE'] ) ? (string) $_SERVER['SERVER_SOFTWARE'] : '',
				'opcache'    => (bool) ini_get( 'opcache.enable' ) && function_exists( 'opcache_invalidate' ),
				'validates'  => (bool) ini_get( 'opcache.validate_timestamps' ),
				'revalidate' => (int) ini_get( 'opcache.revalidate_freq' ),
				'wp_gears'   => defined( 'WP_GEARS' ) && WP_GEARS,
				'backend'    => defined( 'WP_MINIONS_BACKEND' ) ? (string) WP_MINIONS_BACKEND : null,
			);
		}

		/** Lets this process's opcode cache read the files again that setup or remove has just changed. */
		private static function forget( array $known ) {
			$forgotten = 0;
			if ( function_exists( 'opcache_invalidate' ) && isset( $known['files'] ) && is_array( $known['files'] ) ) {
				foreach ( $known['files'] as $file ) {
					$forgotten += @opcache_invalidate( (string) $file, true ) ? 1 : 0;
				}
			}
			clearstatcache( true );
			return $forgotten;
		}

		/** @return never */
		private static function answer( array $answer ) {
			while ( ob_get_level() && @ob_end_clean() ) {
				continue;
			}
			if ( ! headers_sent() ) {
				http_response_code( 200 );
				header( 'Content-Type: application/json' );
				header( 'Cache-Control: no-store' );
			}
			$text = json_encode( $answer, ( defined( 'JSON_INVALID_UTF8_SUBSTITUTE' ) ? JSON_INVALID_UTF8_SUBSTITUTE : 0 ) | JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES );
			echo "\n", self::$mark, ' ', $text, "\n";
			exit;
		}
	}

	// WP_GEARS_PLUGIN

	WP_Gears_Proof::start( (string) $_SERVER['HTTP_X_WP_GEARS_PROOF'] );
}
