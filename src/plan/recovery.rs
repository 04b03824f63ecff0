//! A file that is a mount point is written in place. A run that is interrupted
//! meanwhile leaves it half written; the next run restores the original.

use anyhow::Result;

use crate::host::Host;
use crate::plan::journal;
use crate::resource::{Inverse, originals};

/// Restores files that an interrupted run left half written; returns their names.
pub fn run(host: &Host) -> Result<Vec<String>> {
    let mut restored = Vec::new();
    for scope in journal::scopes(host)? {
        let Some(history) = journal::read(host, &scope)? else {
            continue;
        };
        for entry in history.entries.iter().filter(|entry| entry.unfinished) {
            let Inverse::File(file) = &entry.inverse else {
                continue;
            };
            let path = &file.path;
            let (Some(before), Some(after)) = (&file.last().before, &file.last().after) else {
                continue;
            };
            let (Some(old), Some(new)) = (
                originals::load(host, &before.sha)?,
                originals::load(host, after)?,
            ) else {
                continue;
            };
            let Some(now) = host.read(path)? else {
                continue;
            };
            if is_partial(&now.bytes, &old, &new) {
                host.write(path, &old, None, Some(&now.meta))?;
                restored.push(path.display().to_string());
            }
        }
    }
    Ok(restored)
}

/// Whether the start of the new text replaced that of the old one, so that it is
/// neither.
fn is_partial(now: &[u8], old: &[u8], new: &[u8]) -> bool {
    if now == old || now == new {
        return false;
    }
    let written = now.iter().zip(new).take_while(|(a, b)| a == b).count();
    // The rest is still that of the old text.
    (0..=written).rev().any(|at| {
        let rest = old.get(at..).unwrap_or_default();
        now.get(at..) == Some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_is_neither_old_nor_new_nor_edited() {
        let (old, new) = (b"<?php old and longer".as_slice(), b"<?php new".as_slice());
        assert!(is_partial(b"<?php new and longer", old, new));
        assert!(is_partial(b"<?php nld and longer", old, new));
        assert!(!is_partial(old, old, new) && !is_partial(new, old, new));
        assert!(!is_partial(b"<?php edited by hand", old, new));
    }
}
