//! Hashes of passwords in the forms that htpasswd and crypt(3) write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use ring::digest;
use sha_crypt::{PasswordVerifier as _, ShaCrypt};

use super::equal;

/// Costs above these would let one request keep a thread busy for seconds.
const MOST_BCRYPT: u32 = 14;
const MOST_ROUNDS: u32 = 1_000_000;

/// The hash of a password.
#[derive(Debug)]
pub enum Hash {
    /// `$2y$`, `$2a$`, `$2b$`.
    Bcrypt(String),
    /// `$apr1$` and `$1$`: the magic, the salt, the digest.
    Md5 { magic: &'static str, salt: String, digest: String },
    /// `{SHA}`.
    Sha1(Vec<u8>),
    /// `{SSHA}`: the digest and its salt.
    SaltedSha1(Vec<u8>, Vec<u8>),
    /// `$5$`, `$6$`.
    ShaCrypt(String),
}

impl Hash {
    /// Reads a hash.
    ///
    /// # Errors
    /// When its form is not one of these; the hash itself is not told.
    pub fn parse(text: &str) -> Result<Self, String> {
        if ["$2y$", "$2a$", "$2b$"].iter().any(|magic| text.starts_with(magic)) {
            return bcrypt(text);
        }
        for magic in ["$apr1$", "$1$"] {
            if let Some(rest) = text.strip_prefix(magic) {
                let (salt, digest) = rest.split_once('$').ok_or("the MD5 hash has no salt")?;
                let salt = salt.chars().take(8).collect();
                return Ok(Self::Md5 { magic, salt, digest: digest.to_owned() });
            }
        }
        if let Some(digest) = text.strip_prefix("{SHA}") {
            let digest = STANDARD.decode(digest).ok().filter(|digest| digest.len() == 20);
            return digest.map(Self::Sha1).ok_or_else(|| "the SHA-1 hash is not 20 bytes in base64".to_owned());
        }
        if let Some(digest) = text.strip_prefix("{SSHA}") {
            let bytes = STANDARD.decode(digest).ok().filter(|bytes| bytes.len() > 20);
            let split = bytes.map(|bytes| (bytes[..20].to_vec(), bytes[20..].to_vec()));
            let (digest, salt) = split.ok_or("the salted SHA-1 hash is too short or not base64")?;
            return Ok(Self::SaltedSha1(digest, salt));
        }
        if text.starts_with("$5$") || text.starts_with("$6$") {
            return sha_crypt(text);
        }
        Err("the hash is of no accepted form: make it with htpasswd -B (bcrypt); also accepted are $apr1$, {SHA}, $5$, \
             $6$ (no plain text, no DES)"
            .to_owned())
    }

    /// Whether it is the hash of this password. Slow, as it must be.
    pub(crate) fn matches(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Md5 { magic, salt, digest } => {
                equal(md5_crypt(password.as_bytes(), salt.as_bytes(), magic.as_bytes()).as_bytes(), digest.as_bytes())
            }
            Self::Sha1(hash) => equal(sha1(&[password.as_bytes()]).as_ref(), hash),
            Self::SaltedSha1(hash, salt) => equal(sha1(&[password.as_bytes(), salt]).as_ref(), hash),
            Self::ShaCrypt(hash) => ShaCrypt::SHA512.verify_password(password.as_bytes(), hash.as_str()).is_ok(),
        }
    }
}

fn bcrypt(text: &str) -> Result<Hash, String> {
    let cost = text.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok());
    match cost {
        Some(4..=MOST_BCRYPT) if text.len() == 60 => Ok(Hash::Bcrypt(text.to_owned())),
        Some(cost) if cost > MOST_BCRYPT => {
            Err(format!("the bcrypt cost {cost} is above {MOST_BCRYPT}: hash with less"))
        }
        _ => Err("the bcrypt hash is malformed".to_owned()),
    }
}

fn sha_crypt(text: &str) -> Result<Hash, String> {
    let fields: Vec<&str> = text.split('$').skip(2).collect();
    let rounds = fields.first().and_then(|field| field.strip_prefix("rounds="));
    let sane =
        rounds.is_none_or(|rounds| rounds.parse::<u32>().is_ok_and(|rounds| (1000..=MOST_ROUNDS).contains(&rounds)));
    if !sane {
        return Err(format!("the rounds of the SHA-crypt hash are not between 1000 and {MOST_ROUNDS}"));
    }
    if fields.len() != if rounds.is_some() { 3 } else { 2 } || fields.iter().any(|field| field.is_empty()) {
        return Err("the SHA-crypt hash is malformed".to_owned());
    }
    Ok(Hash::ShaCrypt(text.to_owned()))
}

fn sha1(parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| context.update(part));
    context.finish()
}

/// The MD5 crypt of FreeBSD, of which Apache's `$apr1$` differs by its magic alone.
fn md5_crypt(password: &[u8], salt: &[u8], magic: &[u8]) -> String {
    let alternate = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut first = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for at in (0..password.len()).step_by(16) {
        first.update(&alternate[..(password.len() - at).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        first.update(if bits & 1 == 1 { &[0] } else { password.get(..1).unwrap_or_default() });
        bits >>= 1;
    }
    let mut digest = first.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        next.update(if round % 2 == 1 { password } else { digest.as_slice() });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round % 2 == 1 { digest.as_slice() } else { password });
        digest = next.finalize();
    }
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(22);
    let mut put = |mut value: u32, letters: usize| {
        for _ in 0..letters {
            text.push(char::from(LETTERS[(value & 63) as usize]));
            value >>= 6;
        }
    };
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        put(u32::from(digest[a]) << 16 | u32::from(digest[b]) << 8 | u32::from(digest[c]), 4);
    }
    put(u32::from(digest[11]), 2);
    text
}
