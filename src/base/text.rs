//! Foreign text: what a file, a program or a site says, shown on a terminal.

/// Whether a terminal may be given this character as it is. Control characters can
/// drive it, and bidirectional ones can show text in another order than it has.
pub fn is_harmless(c: char) -> bool {
    let reorders = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !c.is_control() && !reorders
}

/// Foreign text on one line, with everything that is not harmless replaced.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if is_harmless(c) { c } else { '\u{fffd}' })
        .collect()
}
