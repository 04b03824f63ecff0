//! The must-use plugins through which a site submits its jobs: the one that stands in
//! for a plugin of the site, and the one that seals jobs, whoever submits them.

use std::sync::LazyLock;

/// Its name among the must-use plugins.
pub const SEAL_PLUGIN: &str = "wp-gears-seal.php";

const SEALING: &str = include_str!("../../templates/sealing.php");
const BUNDLED: &str = include_str!("../../templates/bundled.php");
/// Classes for both, in blocks.
const CLIENT: [&str; 4] = [
    include_str!("../../templates/peer.php"),
    include_str!("../../templates/events.php"),
    include_str!("../../templates/servers.php"),
    include_str!("../../templates/client.php"),
];
const SEAL: &str = include_str!("../../templates/seal.php");

/// The text of the one that wraps the client of the site's plugin, with the classes that
/// it shares with the runner in place of a mark: PHP of the web may not be able to read
/// the runner's files.
pub fn plugin(seals: bool) -> &'static str {
    static TEXTS: LazyLock<[String; 2]> = LazyLock::new(|| {
        let classes = format!("{}\n\n{}", client(), block(SEAL));
        [false, true].map(|seals: bool| {
            SEALING
                .replace("WP_GEARS_SEALS", &seals.to_string())
                .replace("// WP_GEARS_SEAL", &classes)
        })
    });
    &TEXTS[usize::from(seals)]
}

/// The text of the plugin for a site that has none.
pub fn bundled() -> &'static str {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| BUNDLED.replace("// WP_GEARS_CLIENT", &client()));
    &TEXT
}

fn client() -> String {
    CLIENT.map(block).join("\n\n")
}

fn block(part: &'static str) -> &'static str {
    let begin = part.find("if ( ! class_exists").unwrap_or(part.len());
    part[begin..].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_hold_the_shared_classes_and_no_second_opening_tag() {
        for (text, seals) in [
            (plugin(true), true),
            (plugin(false), true),
            (bundled(), false),
        ] {
            assert!(text.contains("final class WP_Gears_Client"));
            assert!(text.contains("final class WP_Gears_Servers"));
            assert!(text.contains("final class WP_Gears_Peer"));
            assert_eq!(text.contains("final class WP_Gears_Seal"), seals);
            assert_eq!(text.matches("<?php").count(), 1);
        }
        assert!(plugin(true).contains("WP_Gears_Seal::install( true );"));
        assert!(plugin(false).contains("WP_Gears_Seal::install( false );"));
    }
}
