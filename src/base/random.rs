//! Random text for salts and passwords.

use anyhow::{Result, anyhow};

/// Returns `count` random letters, digits, dots and underscores, with six bits
/// of entropy each.
pub fn letters(count: usize) -> Result<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
    let mut bytes = vec![0u8; count];
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("the system has no random numbers: {e}"))?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 64)]))
        .collect())
}
