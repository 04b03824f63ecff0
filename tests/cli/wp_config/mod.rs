//! The wp-config.php editor, judged by PHP itself.

mod advice;
mod generated;
pub mod judge;
mod mutations;
mod shapes;
mod undo;
