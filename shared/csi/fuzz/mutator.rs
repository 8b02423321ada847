//! Changes to seeds, the same ones for the same number: for the tests of the corpus and `examples/fuzz_loop.rs`.

/// A source of changes.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// One that makes the same changes as every other of this `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            state: 0x9E37_79B9_7F4A_7C15 ^ seed.wrapping_mul(0xD129_0D3F_6E5B_A2C7),
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % below.max(1) as u64) as usize
    }

    /// A changed `seed`: bytes changed, set to the ends of their range, cut out, doubled, exchanged for those of another of
    /// `seeds`; mostly near the front, where the headers are.
    pub fn mutate(&mut self, seed: &[u8], seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.random(6) {
            let near = if self.random(2) == 0 { 48 } else { bytes.len() };
            let at = self.random(near.min(bytes.len()));
            let length = 1 + self.random(64);
            let end = (at + length).min(bytes.len());
            match self.random(9) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.extend_from_within(at..end),
                3 => {
                    // The same twice: a log of two records.
                    let again = bytes.clone();
                    bytes.extend(again);
                }
                4 => {
                    let other = self.random(seeds.len());
                    let other = seeds.get(other).map_or(&[][..], Vec::as_slice);
                    let from = self.random(other.len());
                    let part = other.get(from..(from + length).min(other.len()));
                    bytes.splice(at..at, part.unwrap_or_default().iter().copied());
                }
                5 => {
                    // The ends of what a number of one to four bytes can hold.
                    let value = [0, 0xFF, 0x7F, 0x80][self.random(4)];
                    let width = 1 + self.random(4);
                    bytes
                        .iter_mut()
                        .skip(at)
                        .take(width)
                        .for_each(|byte| *byte = value);
                }
                6 => bytes
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte ^= 1 << (length % 8)),
                _ => {
                    let value = self.random(256) as u8;
                    bytes
                        .iter_mut()
                        .skip(at)
                        .take(1)
                        .for_each(|byte| *byte = value);
                }
            }
            bytes.truncate(1 << 20);
        }
        bytes
    }
}
