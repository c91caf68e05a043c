//! Making names: random suffixes for generateName and stable hashes of templates.
//!
//! Invariant: the alphabet has no vowels and no digits that look like letters, so no suffix spells a word (as upstream).
//! Why FNV of our own in `template_hash`: the hash is stored in object names and must be the same
//! in every process and build, which `DefaultHasher` does not promise.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde_json::Value;

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The longest base of a generated name; with five more characters it stays a DNS label.
pub const MAX_GENERATED_BASE: usize = 58;

thread_local! {
    static RANDOM: Cell<u64> = Cell::new(RandomState::new().hash_one(0u8));
}

/// A random 64-bit number; good for names and jitter, not for secrets.
pub fn random() -> u64 {
    // splitmix64 over a seed from the operating system's randomness.
    RANDOM.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mut mixed = next;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// `length` random characters of the name alphabet.
pub fn suffix(length: usize) -> String {
    (0..length).map(|_| char::from(ALPHABET[(random() % ALPHABET.len() as u64) as usize])).collect()
}

/// The name for a generateName: the base cut so that five random characters fit.
pub fn generate(base: &str) -> String {
    let mut end = base.len().min(MAX_GENERATED_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], suffix(5))
}

/// Maps each character of a number or hash onto the name alphabet.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(ALPHABET[byte as usize % ALPHABET.len()])).collect()
}

/// A stable hash of a JSON value in the name alphabet: equal values (whatever the order of members) have equal hashes.
pub fn template_hash(value: &Value) -> String {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    hash_value(value, &mut hasher);
    let folded = hasher.0 ^ (hasher.0 >> 32);
    safe_encode(&(folded & 0xffff_ffff).to_string())
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn hash_value(value: &Value, hasher: &mut Fnv) {
    match value {
        Value::Null => hasher.write(b"n"),
        Value::Bool(flag) => hasher.write(if *flag { b"t" } else { b"f" }),
        Value::Number(number) => {
            hasher.write(b"#");
            hasher.write(number.to_string().as_bytes());
            hasher.write(b";");
        }
        Value::String(text) => hash_text(text, hasher),
        Value::Array(items) => {
            hasher.write(b"[");
            items.iter().for_each(|item| hash_value(item, hasher));
            hasher.write(b"]");
        }
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            hasher.write(b"{");
            for name in names {
                hash_text(name, hasher);
                hash_value(&members[name], hasher);
            }
            hasher.write(b"}");
        }
    }
}

fn hash_text(text: &str, hasher: &mut Fnv) {
    hasher.write(b"\"");
    hasher.write(&(text.len() as u64).to_le_bytes());
    hasher.write(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn generated_names_keep_their_base_and_fit_a_label() {
        let name = generate(&"a".repeat(100));
        assert_eq!(name.len(), 63);
        assert!(crate::name::dns_label(&name).is_ok());
        assert!(generate("web-").starts_with("web-"));
        assert_ne!(generate("web-"), generate("web-"));
    }

    #[test]
    fn a_base_of_wide_characters_is_cut_at_a_character() {
        assert!(generate(&"é".repeat(40)).len() <= 63);
    }

    #[test]
    fn equal_templates_hash_alike_and_the_hash_never_changes() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":["x"]}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"b":["x"],"a":1}"#).unwrap();
        assert_eq!(template_hash(&a), template_hash(&b));
        assert_ne!(template_hash(&a), template_hash(&json!({"a": 2, "b": ["x"]})));
        expect_test::expect!["65d7dbd688"].assert_eq(&template_hash(&a));
    }
}
