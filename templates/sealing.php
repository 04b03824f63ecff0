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
