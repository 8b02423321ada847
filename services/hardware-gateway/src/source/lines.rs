//! Streams of bytes, cut into lines or into records. Bounded; pure.

/// Longest line that is kept, bytes: the decoder's own limit, and its line end.
pub const MAX_LINE: usize = csi::decode::esp32_csv::MAX_LINE_BYTES + 2;

/// A piece of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line without its end, or a record without its length.
    Whole(&'a [u8]),
    /// Something longer than is allowed, of so many bytes; it is skipped.
    TooLong(u64),
}

/// Cuts lines. A line that is too long is skipped to its end, and the next one is whole again.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// Bytes of a line that is being skipped.
    skipped: u64,
}

impl Lines {
    /// Takes bytes and gives the lines that they end.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.skipped > 0 || self.partial.len() + line.len() > MAX_LINE {
                let length = self.skipped + self.partial.len() as u64 + line.len() as u64;
                each(Piece::TooLong(length));
            } else if self.partial.is_empty() {
                each(Piece::Whole(line));
            } else {
                self.partial.extend_from_slice(line);
                each(Piece::Whole(&self.partial));
            }
            self.partial.clear();
            self.skipped = 0;
        }
        if self.skipped > 0 || self.partial.len() + bytes.len() > MAX_LINE {
            self.skipped += (self.partial.len() + bytes.len()) as u64;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    /// Forgets an unfinished line: the stream starts anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// How the length of a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Little-endian u32: ADR-018 datagrams in a stream.
    U32Le,
    /// Big-endian u16: Intel's log.
    U16Be,
}

/// Longest record, bytes: a UDP datagram.
pub const MAX_RECORD: usize = 65_507;

/// Cuts records. Where no record can begin, bytes are skipped until one can: a length, and behind it what all records of
/// the kind begin with.
#[derive(Debug)]
pub struct Records {
    length: Length,
    partial: Vec<u8>,
}

impl Records {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(length: Length) -> Self {
        Self {
            length,
            partial: Vec::new(),
        }
    }

    /// Takes bytes and gives the records that they end. Returns how many bytes had to be skipped.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> u64 {
        self.partial.extend_from_slice(bytes);
        let (mut at, mut skipped) = (0, 0);
        loop {
            let rest = self.partial.get(at..).unwrap_or_default();
            let (length, header, begins) = match (self.length, rest) {
                // The magic numbers of the family: 0xC511....
                (Length::U32Le, [a, b, c, d, _, _, e, f, ..]) => {
                    let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
                    (length, 4, (*e, *f) == (0x11, 0xC5))
                }
                // 0xBB is a beamforming record, 0xC1 a payload.
                (Length::U16Be, [a, b, code, ..]) => {
                    let length = usize::from(u16::from_be_bytes([*a, *b]));
                    (length, 2, matches!(code, 0xBB | 0xC1))
                }
                _ => break,
            };
            if !begins || length == 0 || length > MAX_RECORD {
                at += 1;
                skipped += 1;
                continue;
            }
            // A decoder of Intel's records wants the length too.
            let from = match self.length {
                Length::U32Le => header,
                Length::U16Be => 0,
            };
            let Some(record) = rest.get(from..header + length) else {
                break;
            };
            each(record);
            at += header + length;
        }
        self.partial.drain(..at);
        skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(lines: &mut Lines, bytes: &[u8]) -> Vec<Result<Vec<u8>, u64>> {
        let mut pieces = Vec::new();
        lines.push(bytes, |piece| {
            pieces.push(match piece {
                Piece::Whole(line) => Ok(line.to_vec()),
                Piece::TooLong(length) => Err(length),
            });
        });
        pieces
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let text = b"one\n\ntwo\r\nthree\n";
        let whole = cut(&mut Lines::default(), text);
        let expected = ["one", "", "two\r", "three"].map(|line| Ok(line.as_bytes().to_vec()));
        assert_eq!(whole, expected);
        let mut lines = Lines::default();
        let bytewise: Vec<_> = text
            .iter()
            .flat_map(|byte| cut(&mut lines, &[*byte]))
            .collect();
        assert_eq!(bytewise, expected);
    }

    #[test]
    fn a_line_without_end_costs_no_memory_and_the_next_one_is_whole() {
        let mut lines = Lines::default();
        for _ in 0..1_000 {
            assert!(cut(&mut lines, &[b'x'; 1_000]).is_empty());
            assert!(lines.partial.capacity() <= 2 * MAX_LINE);
        }
        let pieces = cut(&mut lines, b"tail\nnext\n");
        assert_eq!(pieces, [Err(1_000_004), Ok(b"next".to_vec())]);
        let mut line = vec![b'y'; MAX_LINE];
        line.push(b'\n');
        assert_eq!(cut(&mut lines, &line), [Ok(vec![b'y'; MAX_LINE])]);
    }

    fn record(fill: u8, length: usize) -> Vec<u8> {
        let mut record = vec![1, 0, 0x11, 0xC5];
        record.resize(length, fill);
        record
    }

    fn stream(records: &[Vec<u8>]) -> Vec<u8> {
        let with_length = |record: &Vec<u8>| {
            let mut bytes = u32::try_from(record.len()).unwrap().to_le_bytes().to_vec();
            bytes.extend(record);
            bytes
        };
        records.iter().flat_map(with_length).collect()
    }

    fn records(cutter: &mut Records, bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut found = Vec::new();
        let skipped = cutter.push(bytes, |record| found.push(record.to_vec()));
        (found, skipped)
    }

    #[test]
    fn records_come_whole_however_they_arrive() {
        let sent = [record(1, 20), record(2, 4), record(3, 300)];
        let stream = stream(&sent);
        assert_eq!(
            records(&mut Records::new(Length::U32Le), &stream),
            (sent.to_vec(), 0)
        );
        let mut cutter = Records::new(Length::U32Le);
        let bytewise: Vec<_> = stream
            .iter()
            .flat_map(|byte| records(&mut cutter, &[*byte]).0)
            .collect();
        assert_eq!(bytewise, sent);
        let intel = records(
            &mut Records::new(Length::U16Be),
            &[0, 2, 0xBB, 1, 0, 1, 0xC1, 0],
        );
        assert_eq!(intel, (vec![vec![0, 2, 0xBB, 1], vec![0, 1, 0xC1]], 0));
    }

    #[test]
    fn a_damaged_stream_is_found_again_and_costs_no_memory() {
        let sent = [record(1, 20), record(2, 30)];
        let mut cutter = Records::new(Length::U32Le);
        let damaged = [&[0xFF; 1000][..], &stream(&sent)].concat();
        assert_eq!(records(&mut cutter, &damaged), (sent.to_vec(), 1000));
        for _ in 0..100 {
            records(&mut cutter, &[0xFF; 10_000]);
            assert!(cutter.partial.len() < 10);
        }
        assert_eq!(records(&mut cutter, &stream(&sent)).0, sent);
    }
}
