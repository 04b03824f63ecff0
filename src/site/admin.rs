//! What setup adds to WordPress for administrators of a site who have no shell: a page
//! with the failed jobs, Site Health, and commands of WP-CLI. The must-use plugin loads
//! it where one of them is used, so that no other page does.

use std::sync::LazyLock;

/// Its folder among the must-use plugins, of which WordPress loads nothing by itself.
pub const ADMIN_FOLDER: &str = "wp-gears-admin";

/// Its file in there.
pub const ADMIN_FILE: &str = "admin.php";

/// Classes, one in each file.
const PARTS: [&str; 9] = [
    include_str!("../../templates/admin/admin.php"),
    include_str!("../../templates/admin/jobs.php"),
    include_str!("../../templates/admin/seen.php"),
    include_str!("../../templates/admin/figures.php"),
    include_str!("../../templates/admin/numbers.php"),
    include_str!("../../templates/admin/health.php"),
    include_str!("../../templates/admin/screen.php"),
    include_str!("../../templates/admin/table.php"),
    include_str!("../../templates/admin/command.php"),
];

/// What the first line of code in each of them ends with: it answers no request.
const GUARD: &str = "\texit;\n}\n";

/// Its text.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let [first, others @ ..] = PARTS;
        let code = |part: &'static str| part.split_once(GUARD).map_or(part, |(_, code)| code);
        others
            .iter()
            .fold(first.to_owned(), |text, part| text + code(part))
    });
    &TEXT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::paths::BASE;
    use crate::worker::store::MAX_KEPT;

    #[test]
    fn it_is_one_file_that_answers_no_request_and_knows_our_folder() {
        assert_eq!(text().matches("<?php").count(), 1);
        assert_eq!(text().matches(GUARD).count(), 1);
        assert_eq!(text().matches("\nfinal class ").count(), PARTS.len());
        assert!(text().contains(&format!("const STATE = '{BASE}';")));
        assert!(text().contains(&format!("const MAX_KEPT = {MAX_KEPT};")));
    }
}
