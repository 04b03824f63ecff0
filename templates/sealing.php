<?php
/**
 * Plugin Name: wp-gears seal
 * Description: Encrypts and authenticates the background jobs that this site submits, unless 'seal = false', and gives them to WP-Cron where no job server answers.
 * Version: 1
 * License: MIT
 */

if ( ! defined( 'ABSPATH' ) ) {
	return;
}

// WP_GEARS_SEAL

WP_Gears_Seal::install( WP_GEARS_SEALS );

// What administrators see. No other page loads anything of it.
call_user_func(
	function () {
		$load = function ( $value = null ) {
			$file = __DIR__ . '/wp-gears-admin/admin.php';
			if ( ! is_file( $file ) ) {
				return $value;
			}
			require_once $file;
			return WP_Gears_Admin::on( current_filter(), $value );
		};
		foreach ( array( 'admin_menu', 'network_admin_menu', 'site_status_tests', 'debug_information', 'cli_init' ) as $hook ) {
			add_filter( $hook, $load );
		}
	}
);
