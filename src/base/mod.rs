//! What every layer uses: errors written for people, masked secrets, time,
//! random text, paths and templates. Nothing here touches the machine.

pub mod clock;
pub mod options;
pub mod parallel;
pub mod paths;
pub mod problem;
pub mod random;
pub mod secrets;
pub mod template;
