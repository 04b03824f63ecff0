<?php
// Finishes a site: its tables, its administrator. Run once, in its folder.
define('WP_INSTALLING', true);
$_SERVER['HTTP_HOST'] = $argv[1];
require 'wp-load.php';
require 'wp-admin/includes/upgrade.php';
wp_install('Test', 'admin', 'admin@example.org', false, '', 'not-a-secret');
update_option('siteurl', "http://$argv[1]");
update_option('home', "http://$argv[1]");
