//! Real hosts to test on: images that are built once and cached, and containers that
//! boot from them with a disposable layer. Needs root; see `machine`.
#![allow(dead_code, unused_imports)] // the tests and the demo each use a part

pub mod cache;
pub mod command;
pub mod debian;
pub mod host;
pub mod image;
pub mod machine;
pub mod network;
pub mod process;
pub mod rhel;
pub mod site;
pub mod tree;

pub use command::Out;
pub use host::{Host, Shape};
pub use image::{Image, Release};
pub use network::Switch;
pub use site::Site;
pub use tree::Tree;
