//! The must-use plugin that seals a site's jobs.

/// Its name among the must-use plugins.
pub const SEAL_PLUGIN: &str = "wp-gears-seal.php";

const SEALING: &str = include_str!("../../templates/sealing.php");
/// Classes for it, in blocks.
const PARTS: [&str; 2] = [
    include_str!("../../templates/peer.php"),
    include_str!("../../templates/seal.php"),
];

/// Its text, with the classes that it shares with the runner in place of a mark: PHP of
/// the web may not be able to read the runner's files.
pub fn plugin() -> String {
    let block = |part: &'static str| {
        let begin = part.find("if ( ! class_exists").unwrap_or(part.len());
        part[begin..].trim_end()
    };
    SEALING.replace("// WP_GEARS_SEAL", &PARTS.map(block).join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_shared_classes_and_no_second_opening_tag() {
        let text = plugin();
        assert!(text.contains("final class WP_Gears_Seal"));
        assert!(text.contains("final class WP_Gears_Client"));
        assert!(text.contains("final class WP_Gears_Peer"));
        assert_eq!(text.matches("<?php").count(), 1);
    }
}
