//! A small random number generator, the same on every machine: failures name the seed.

pub struct Dice(u64);

impl Dice {
    pub fn new(seed: usize) -> Dice {
        Dice(0x9e37_79b9_7f4a_7c15 ^ (seed as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides.max(1)
    }

    pub fn span(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.roll(len + 1);
        start..(start + self.roll(60)).min(len)
    }

    /// Cuts, copies, or inserts a byte or one of the words, somewhere in the text.
    pub fn mutate(&mut self, text: &mut Vec<u8>, other: &[u8], words: &[&str]) {
        let at = self.roll(text.len() + 1);
        match self.roll(8) {
            0 if at < text.len() => text[at] = self.roll(256) as u8,
            1 => {
                let cut = self.span(text.len());
                text.drain(cut);
            }
            2 => {
                let from = other[self.span(other.len())].to_vec();
                text.splice(at..at, from);
            }
            3 => {
                let copy = text[self.span(text.len())].to_vec();
                text.splice(at..at, copy);
            }
            4 => text.truncate(text.len() - self.roll(text.len().min(200) + 1)),
            _ => {
                let word = words[self.roll(words.len())];
                text.splice(at..at, word.bytes());
            }
        }
    }
}
