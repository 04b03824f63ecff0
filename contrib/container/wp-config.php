<?php
// Everything that differs between installations comes from the environment, and secrets
// from files that the environment names, as Compose and Kubernetes mount them.
function site_setting( $name ) {
	$file = getenv( $name . '_FILE' );
	return false === $file ? (string) getenv( $name ) : rtrim( (string) file_get_contents( $file ), "\n" );
}

define( 'DB_HOST', site_setting( 'DB_HOST' ) );
define( 'DB_NAME', site_setting( 'DB_NAME' ) );
define( 'DB_USER', site_setting( 'DB_USER' ) );
define( 'DB_PASSWORD', site_setting( 'DB_PASSWORD' ) );
define( 'DB_CHARSET', 'utf8mb4' );
define( 'DB_COLLATE', '' );

// Keys of all containers of the site have to be the same: jobs are sealed with them.
define( 'AUTH_KEY', site_setting( 'AUTH_KEY' ) );
define( 'SECURE_AUTH_KEY', site_setting( 'SECURE_AUTH_KEY' ) );
define( 'LOGGED_IN_KEY', site_setting( 'LOGGED_IN_KEY' ) );
define( 'NONCE_KEY', site_setting( 'NONCE_KEY' ) );
define( 'AUTH_SALT', site_setting( 'AUTH_SALT' ) );
define( 'SECURE_AUTH_SALT', site_setting( 'SECURE_AUTH_SALT' ) );
define( 'LOGGED_IN_SALT', site_setting( 'LOGGED_IN_SALT' ) );
define( 'NONCE_SALT', site_setting( 'NONCE_SALT' ) );
// It names the site's queue, so it stays the same when the image is built again.
define( 'WP_ASYNC_TASK_SALT', site_setting( 'WP_ASYNC_TASK_SALT' ) );

$table_prefix = 'wp_';

if ( ! defined( 'ABSPATH' ) ) {
	define( 'ABSPATH', __DIR__ . '/' );
}
require_once ABSPATH . 'wp-settings.php';
