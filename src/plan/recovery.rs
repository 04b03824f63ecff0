//! A file that is mounted by itself is written in place, and a run that ends
//! meanwhile leaves it half old, half new: the next run puts the original back.

use anyhow::Result;

use crate::host::Host;
use crate::resource::journal::{self, Undo};

/// Restores what an earlier run left torn; returns the files' names.
pub fn run(host: &Host) -> Result<Vec<String>> {
    let mut restored = Vec::new();
    for scope in journal::scopes(host)? {
        let Some(history) = journal::read(host, &scope)? else {
            continue;
        };
        for entry in history.entries.iter().filter(|entry| entry.unfinished) {
            let Undo::File {
                path,
                was: Some(was),
                will: Some(will),
                ..
            } = &entry.undo
            else {
                continue;
            };
            let (Some(old), Some(new)) =
                (journal::kept(host, &was.sha)?, journal::kept(host, will)?)
            else {
                continue;
            };
            let Some(now) = host.read(path)? else {
                continue;
            };
            if is_torn(&now.bytes, &old, &new) {
                host.write(path, &old, None, Some(&now.meta))?;
                restored.push(path.display().to_string());
            }
        }
    }
    Ok(restored)
}

/// The beginning of the new text over the old one, and neither of them whole.
fn is_torn(now: &[u8], old: &[u8], new: &[u8]) -> bool {
    if now == old || now == new {
        return false;
    }
    let written = now.iter().zip(new).take_while(|(a, b)| a == b).count();
    // What stood behind it is still the old text's.
    (0..=written).rev().any(|at| {
        let rest = old.get(at..).unwrap_or_default();
        now.get(at..) == Some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_is_neither_old_nor_new_nor_edited() {
        let (old, new) = (b"<?php old and longer".as_slice(), b"<?php new".as_slice());
        assert!(is_torn(b"<?php new and longer", old, new));
        assert!(is_torn(b"<?php nld and longer", old, new));
        assert!(!is_torn(old, old, new) && !is_torn(new, old, new));
        assert!(!is_torn(b"<?php somebody's own", old, new));
    }
}
