//! The wp-config.php editor: bytes in, bytes out.
