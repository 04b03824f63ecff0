//! The must-use plugin by which a page of the site proves that its jobs reach
//! Gearman.

/// Its name among the must-use plugins.
pub const PROOF_PLUGIN: &str = "wp-gears-proof.php";

const PROOF: &str = include_str!("../../templates/proof.php");
const PLUGIN: &str = include_str!("../../templates/plugin.php");

/// Its text: the page's part, with the table of plugins that it shares with the
/// runner in place of a mark.
pub fn plugin() -> String {
    let classes = PLUGIN.find("final class").map_or("", |at| &PLUGIN[at..]);
    PROOF.replace("// WP_GEARS_PLUGIN", classes.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_shared_classes_and_no_second_opening_tag() {
        let text = plugin();
        assert!(text.contains("final class WP_Gears_Plugin"));
        assert!(text.contains("trait WP_Gears_Late_Client"));
        assert_eq!(text.matches("<?php").count(), 1);
    }
}
