//! What the worker has to know of a sealed job before PHP gets it: its hook, where rules
//! depend on it. The site's keys are in the run folder, where PHP keeps them for the
//! worker user alone. PHP opens the job again when it runs it, and decides whether it
//! may.

use std::fs;
use std::path::Path;

use crypto_secretbox::aead::Aead;
use crypto_secretbox::{Key, KeyInit, Nonce, XSalsa20Poly1305};
use serde::Deserialize;

use crate::worker::job::Peek;
use crate::worker::message::{Opened, unhex};
use crate::worker::seal::SEALED;

/// The version of the seal, as it follows the beginning of every one.
const VERSION: &[u8] = b"1:";
const ID: usize = 16;
const NONCE: usize = 24;

#[derive(Debug, PartialEq)]
pub enum Unsealed {
    Opened(Opened),
    /// There is no such key: PHP may not have kept it yet.
    NoKey,
    /// It is not sealed, not by this site, or not a job.
    Unknown,
}

#[derive(Deserialize)]
struct Head {
    at: u64,
}

/// Opens a sealed payload with the site's keys.
pub fn open(run: &Path, payload: &[u8]) -> Unsealed {
    let Some((id, nonce, sealed)) = parts(payload) else {
        return Unsealed::Unknown;
    };
    let Some(key) = key(run, id) else {
        return Unsealed::NoKey;
    };
    let opened = XSalsa20Poly1305::new(&key).decrypt(nonce, sealed);
    opened
        .ok()
        .and_then(|text| read(&text))
        .map_or(Unsealed::Unknown, Unsealed::Opened)
}

/// The key's id, the nonce and the box.
fn parts(payload: &[u8]) -> Option<(&str, &Nonce, &[u8])> {
    let rest = payload.strip_prefix(SEALED)?.strip_prefix(VERSION)?;
    let (id, rest) = rest.split_at_checked(ID)?;
    // It becomes the name of a file.
    let id = str::from_utf8(id).ok()?;
    let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (nonce, sealed) = rest.strip_prefix(b":")?.split_at_checked(NONCE)?;
    is_id.then(|| (id, Nonce::from_slice(nonce), sealed))
}

fn key(run: &Path, id: &str) -> Option<Key> {
    let text = fs::read_to_string(run.join(format!("seal-{id}.key"))).ok()?;
    let bytes = unhex(text.trim())?;
    (bytes.len() == 32).then(|| *Key::from_slice(&bytes))
}

fn read(text: &[u8]) -> Option<Opened> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&text[..end]).ok()?;
    let peek: Peek = serde_json::from_slice(&text[end + 1..]).ok()?;
    Some(Opened {
        blog: peek.blog(),
        hook: peek.hook?,
        at: head.at,
        arguments: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libsodium sealed it.
    const SEALED_BY_PHP: &str = include_str!("../../fixtures/sealed.txt");

    #[test]
    fn opens_what_php_has_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let mut payload = unhex(SEALED_BY_PHP.trim()).unwrap();
        assert_eq!(open(dir.path(), &payload), Unsealed::NoKey);
        let (id, ..) = parts(&payload).unwrap();
        let key = dir.path().join(format!("seal-{id}.key"));
        fs::write(&key, format!("{}\n", "07".repeat(32))).unwrap();
        let opened = Opened {
            hook: "import_x".into(),
            blog: Some(3),
            at: 1_700_000_000_000,
            arguments: None,
        };
        assert_eq!(open(dir.path(), &payload), Unsealed::Opened(opened));
        for at in (0..payload.len()).chain([payload.len() - 1]) {
            payload[at] ^= 1;
            let got = open(dir.path(), &payload);
            assert!(matches!(got, Unsealed::Unknown | Unsealed::NoKey), "{at}");
            payload[at] ^= 1;
        }
        for end in 0..payload.len() {
            let got = open(dir.path(), &payload[..end]);
            assert_eq!(got, Unsealed::Unknown, "{end}");
        }
    }
}
