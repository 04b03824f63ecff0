//! WordPress sites: finding them, their PHP and plugins, editing wp-config.php,
//! and querying the running site.

pub mod admin;
pub mod answers;
pub mod ask;
pub mod config;
pub mod content;
pub mod extension;
pub mod find;
pub mod maintenance;
pub mod page;
pub mod php;
pub mod php_settings;
pub mod php_user;
pub mod plugins;
pub mod queue;
pub mod release;
pub mod roots;
pub mod seal;
pub mod settings;
pub mod stub;
pub mod web;
pub mod web_php;
