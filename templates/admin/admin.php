<?php
/**
 * What administrators see in WordPress: where the must-use plugin calls it.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Admin {
	/** For the hooks of WordPress that the must-use plugin names. */
	public static function on( $hook, $value ) {
		load_muplugin_textdomain( 'wp-gears', 'wp-gears-admin/languages' );
		switch ( $hook ) {
			case 'admin_menu':
			case 'network_admin_menu':
				WP_Gears_Screen::menu();
				break;
			case 'site_status_tests':
				return WP_Gears_Health::tests( $value );
			case 'debug_information':
				return WP_Gears_Health::information( $value );
			case 'cli_init':
				WP_CLI::add_command( 'gears', 'WP_Gears_Command' );
		}
		return $value;
	}
}
