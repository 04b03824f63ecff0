//! Line numbers, and where a word stands.

/// The number of the line, from 1, with the byte at `at`. LF, CRLF and CR end
/// lines.
pub fn line_of(source: &[u8], at: usize) -> usize {
    let before = &source[..at.min(source.len())];
    let mut lines = 1;
    for (i, byte) in before.iter().enumerate() {
        match byte {
            b'\n' => lines += 1,
            b'\r' if source.get(i + 1) != Some(&b'\n') => lines += 1,
            _ => {}
        }
    }
    lines
}

/// Line numbers by offset, for many lookups in one file.
pub struct Lines(Vec<usize>);

impl Lines {
    pub fn new(source: &[u8]) -> Self {
        let ends = source.iter().enumerate().filter(|(i, byte)| {
            **byte == b'\n' || (**byte == b'\r' && source.get(i + 1) != Some(&b'\n'))
        });
        Lines(ends.map(|(i, _)| i).collect())
    }

    pub fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

/// Where a word stands.
pub fn find_all<'a>(text: &'a [u8], word: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    text.windows(word.len())
        .enumerate()
        .filter(move |(_, window)| window[0] == word[0] && *window == word)
        .map(|(at, _)| at)
}
