//! The wp-config.php editor, with PHP as the judge of what it writes.

mod generated;
mod judge;
mod mutations;
mod shapes;
mod undo;
