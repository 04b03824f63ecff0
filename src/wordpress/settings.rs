//! The wp-config.php of a site on a host: which file it is, what it includes,
//! and its refusals in words for people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::config;
use crate::host::Host;
use crate::problem::Problem;
