//! Base64 as far as the engine needs it: is it right, how long is what it stands for, and writing it.
//!
//! Invariant: the same texts are accepted as by Go's standard encoding (padded, line ends ignored).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The place of the first byte that does not belong.
pub(crate) fn fault(text: &str) -> Option<usize> {
    let (mut count, mut padding) = (0usize, 0usize);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => continue,
            b'=' if count % 4 >= 2 && padding < 2 => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => {}
            _ => return Some(place),
        }
        count += 1;
    }
    (count % 4 != 0).then_some(text.len())
}

/// How many bytes a text stands for.
pub(crate) fn length(text: &str) -> usize {
    let count = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | b'=')).count();
    count / 4 * 3 + [0, 0, 1, 2][count % 4]
}

/// Appends what a text stands for; what does not belong is skipped, for [`fault`] has told of it before.
pub(crate) fn decode_into(text: &[u8], out: &mut Vec<u8>) {
    let (mut word, mut bits) = (0u32, 0u32);
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits & 0xff) as u8);
        }
    }
}

/// What a text stands for.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length(text));
    fault(text).is_none().then(|| decode_into(text.as_bytes(), &mut bytes))?;
    Some(bytes)
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0usize, |word, byte| word << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = ALPHABET[word >> (18 - 6 * place) & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_right_and_as_long_as_it_was() {
        for (bytes, text) in [("", ""), ("h", "aA=="), ("he", "aGU="), ("hel", "aGVs"), ("hello", "aGVsbG8=")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!((fault(text), length(text)), (None, bytes.len()));
            let mut read = Vec::new();
            decode_into(text.as_bytes(), &mut read);
            assert_eq!(read, bytes.as_bytes());
        }
    }

    #[test]
    fn faults_are_found_where_they_are() {
        for (text, place) in [("a", 1), ("a=GV", 1), ("aGV*", 3), ("====", 0), ("aGVsbG8=x", 8), ("aG\nVs", 5)] {
            assert_eq!(fault(text), (text != "aG\nVs").then_some(place), "{text:?}");
        }
    }
}
