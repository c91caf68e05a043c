//! A small mutator, always the same for the same seed: what `make test` has instead of a fuzzer.

/// Texts that break things: brackets, escapes, limits of number types, bytes that are no text.
const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"1e400",
    b"-0",
    b"0.1",
    b"9223372036854775808",
    b"18446744073709551616",
    b"2147483648",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xc3\x28",
    b"\0",
    b"\n",
    b"/",
    b"~1",
    b"~0",
    b"..",
    b"(",
    b")",
    b"!",
    b"=",
    b"!=",
    b" in ",
    b"$patch",
    b"$setElementOrder/",
    b"$deleteFromPrimitiveList/",
    b"$retainKeys",
    b"\"\"",
    b"{}",
    b"[]",
    b"self",
    b".all(x, ",
    b"?",
    b"metadata",
    b"$ref",
    b"pattern",
    b"(a+)+$",
    b"maxItems",
    b"x-kubernetes-validations",
    b"additionalProperties",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"k:{",
    b"f:",
    b"v:",
];

/// Longer inputs show nothing new and take longer.
const LONGEST: usize = 16 * 1024;

/// A reproducible source of changes.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same changes.
    #[must_use]
    pub fn new(seed: &str) -> Self {
        Self(
            seed.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
        )
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides.max(1)
    }

    fn span(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let from = self.roll(bytes.len() + 1);
        let most = (bytes.len() - from).min(64);
        from..from + self.roll(most + 1)
    }

    /// One of `inputs`, changed in one to four places.
    pub fn change(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.roll(inputs.len())].clone();
        for _ in 0..=self.roll(4) {
            let span = self.span(&bytes);
            match self.roll(8) {
                0 if !bytes.is_empty() => {
                    let at = self.roll(bytes.len());
                    bytes[at] ^= 1 << self.roll(8);
                }
                0 | 1 => bytes.insert(span.start, u8::try_from(self.roll(256)).unwrap_or(0)),
                2 => drop(bytes.drain(span)),
                3 => {
                    let copy = bytes[span.clone()].repeat(1 + self.roll(3));
                    bytes.splice(span.start..span.start, copy);
                }
                4 => {
                    let other = &inputs[self.roll(inputs.len())];
                    let piece = self.span(other);
                    bytes.splice(span, other[piece].iter().copied());
                }
                5 => {
                    // many of the same: depth, length, numbers of operations
                    let copy = bytes[span.clone()].repeat(2 + self.roll(120));
                    bytes.splice(span, copy);
                }
                _ => {
                    let word = WORDS[self.roll(WORDS.len())];
                    let end = if self.roll(2) == 0 { span.end } else { span.start };
                    bytes.splice(span.start..end, word.iter().copied());
                }
            }
            bytes.truncate(LONGEST);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_changes() {
        let inputs = vec![b"{\"a\":1}".to_vec(), b"[]".to_vec()];
        let changed = |seed: &str| {
            let mut dice = Dice::new(seed);
            (0..50).map(|_| dice.change(&inputs)).collect::<Vec<_>>()
        };
        assert_eq!(changed("a"), changed("a"));
        assert_ne!(changed("a"), changed("b"));
    }
}
