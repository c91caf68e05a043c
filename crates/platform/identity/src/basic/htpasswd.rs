//! Reads a file of Apache's htpasswd.

use std::collections::BTreeMap;

use super::crypt::Hash;

const MOST_USERS: usize = 10_000;

/// The users of a file: a line `user:hash` each; empty lines and lines that begin with `#` are left out. Of two lines
/// for a user the first counts, as with Apache and nginx.
///
/// # Errors
/// The first line that is wrong, and what is.
pub fn parse(text: &str) -> Result<BTreeMap<String, Hash>, String> {
    let mut users = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, hash) = line.split_once(':').ok_or_else(|| format!("line {number} is not user:hash"))?;
        if users.len() >= MOST_USERS {
            return Err(format!("more than {MOST_USERS} users"));
        }
        // nginx allows a comment behind a second colon.
        let hash = hash.split(':').next().unwrap_or(hash);
        let hash = Hash::parse(hash).map_err(|why| format!("line {number}: {why}"))?;
        users.entry(user.to_owned()).or_insert(hash);
    }
    Ok(users)
}
