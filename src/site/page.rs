//! The must-use plugin by which a page of the site proves that its jobs reach
//! Gearman, and what pages and web servers answer.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::base::text::printable;

/// Its name among the must-use plugins.
pub const PROOF_PLUGIN: &str = "wp-gears-proof.php";

const PROOF: &str = include_str!("../../templates/proof.php");
const PLUGIN: &str = include_str!("../../templates/plugin.php");

/// Its text: the page's part, with the table of plugins that it shares with the
/// runner in place of a mark.
pub fn plugin() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let classes = PLUGIN.find("final class").map_or("", |at| &PLUGIN[at..]);
        PROOF.replace("// WP_GEARS_PLUGIN", classes.trim_end())
    });
    &TEXT
}

/// What a page of the site says of the job that it submitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PageProof {
    /// Why no page could be asked.
    pub unreachable: Option<String>,
    /// Why its job did not go through Gearman, or was not run.
    pub error: Option<String>,
    /// The web server's program.
    pub server: String,
    /// What was requested.
    pub url: String,
    /// PHP's interface to the web server, as PHP names it: "fpm-fcgi".
    pub sapi: String,
    /// PHP's version.
    pub php: String,
    /// The user id of the process that answered.
    pub user: Option<u32>,
    /// The process that answered.
    pub pid: Option<u32>,
    /// Whether it has the gearman extension.
    pub extension: bool,
    /// The ini file that it has read.
    pub ini: String,
    pub client: Option<String>,
    pub handle: Option<String>,
    /// In milliseconds since the job was about to be submitted.
    pub add_ms: u64,
    pub started_ms: u64,
    pub done_ms: u64,
    /// The other host whose worker ran it; `None` if it was one of this host.
    pub host: Option<String>,
}

impl PageProof {
    /// The same, safe to show.
    pub fn shown(mut self) -> Self {
        for text in [&mut self.error, &mut self.unreachable, &mut self.host] {
            *text = text.take().map(|text| printable(&text));
        }
        for text in [&mut self.sapi, &mut self.php, &mut self.url, &mut self.ini] {
            *text = printable(text);
        }
        self
    }
}

/// A web server's answer to a request for the runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunnerAnswer {
    /// Why no web server could be asked.
    pub unreachable: Option<String>,
    pub url: String,
    /// The HTTP status; 0 if there was none.
    pub status: u16,
    /// The answer did not come, or did not end, in time.
    pub hangs: bool,
    /// The server answers 200 for files that do not exist, too.
    pub everything: bool,
}

impl RunnerAnswer {
    /// The same, safe to show.
    pub fn shown(self) -> Self {
        RunnerAnswer {
            url: printable(&self.url),
            unreachable: self.unreachable.map(|why| printable(&why)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_shared_classes_and_no_second_opening_tag() {
        let text = plugin();
        assert!(text.contains("final class WP_Gears_Plugin"));
        assert_eq!(text.matches("<?php").count(), 1);
    }
}
