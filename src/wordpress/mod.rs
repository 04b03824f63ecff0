//! Finding a site, reading its PHP, editing wp-config.php, asking the running site.

pub mod config;
