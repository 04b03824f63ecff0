<?php
/**
 * What the wizard shows of a site before anything is set up: run as the site's worker user, with the site's folder and a
 * mark as arguments; the answer is the one line of standard output that begins with the mark.
 */

list( , $wp_gears_site, $wp_gears_mark ) = $argv;
$_SERVER['SCRIPT_FILENAME']              = $wp_gears_site . '/index.php';
$_SERVER['SCRIPT_NAME']                  = '/index.php';
$_SERVER['PHP_SELF']                     = '/index.php';
chdir( $wp_gears_site );
require_once $wp_gears_site . '/wp-load.php';

$wp_gears_files = array_merge(
	array_values( (array) get_option( 'active_plugins', array() ) ),
	is_multisite() ? array_keys( (array) get_site_option( 'active_sitewide_plugins', array() ) ) : array(),
	wp_get_mu_plugins()
);
$wp_gears_found = array_intersect( array_map( 'basename', $wp_gears_files ), array( 'wp-minions.php', 'wp-gears.php' ) );

echo "\n", $wp_gears_mark, ' ', json_encode(
	array(
		'name'    => (string) get_option( 'blogname' ),
		'network' => is_multisite(),
		'active'  => function_exists( 'wp_async_task_add' ) || array() !== $wp_gears_found,
	)
), "\n";
