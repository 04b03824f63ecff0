//! SHA-256 checksums, and bytes in lowercase hexadecimal.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

const CHUNK: usize = 128 << 10;

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// That of all that can be read, which is not held in memory.
pub fn sha256_of(mut input: impl Read) -> io::Result<String> {
    let (mut sum, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match input.read(&mut chunk)? {
            0 => return Ok(hex(&sum.finalize())),
            length => sum.update(&chunk[..length]),
        }
    }
}

/// The first digits of it, which tell texts apart.
pub fn short(text: &[u8], digits: usize) -> String {
    let mut sum = sha256(text);
    sum.truncate(digits);
    sum
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_in_pieces_has_the_checksum_of_the_whole() {
        for length in [0, 1, CHUNK, CHUNK * 2 + 7] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            assert_eq!(sha256_of(&bytes[..]).unwrap(), sha256(&bytes));
        }
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), known);
        assert_eq!(short(b"abc", 8), "ba7816bf");
    }
}
