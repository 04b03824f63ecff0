<?php
/**
 * Plugin Name: wp-gears seal
 * Description: Encrypts and authenticates the background jobs that this site submits, so that nobody else can submit or read them.
 * Version: 1
 * License: MIT
 */

if ( ! defined( 'ABSPATH' ) ) {
	return;
}

// WP_GEARS_SEAL

WP_Gears_Seal::install();
