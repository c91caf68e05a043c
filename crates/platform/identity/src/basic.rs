//! Basic authentication (RFC 7617) against the users of a Secret.
//!
//! Hashes are dear on purpose: they are computed on threads for blocking work, few at once, and a password that was right
//! is remembered (as a keyed digest, never itself) for a while. An unknown user costs as much as a known one.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use ring::hmac;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::answer::{self, Outcome};
use crate::asked::{Asked, Pass};
use crate::claims;
use crate::fault::Faults;
use crate::guard::{Data, Sources};
use crate::means::Means;
use crate::memory::Memory;
use crate::settings::{self, BasicForm, Source};

mod crypt;
pub mod htpasswd;

pub(crate) use crypt::Hash;

/// How long a verdict about a password is remembered, in seconds.
const REMEMBER: i64 = 300;
const REMEMBERED: usize = 4096;
/// Wrong passwords are kept apart: however many somebody tries, right ones stay.
const REMEMBERED_WRONG: usize = 1024;
/// Hashes that are computed at once, and requests that may wait for that.
const AT_ONCE: usize = 2;
const WAITING: usize = 64;
const MOST_CREDENTIALS: usize = 2048;

/// Users and their passwords.
pub(crate) struct Basic {
    users: HashMap<String, Arc<Hash>>,
    /// What an unknown user's password is compared with.
    decoy: Arc<Hash>,
    challenge: String,
    user_header: Option<HeaderName>,
    forward: bool,
    key: hmac::Key,
    right: Memory<[u8; 32], ()>,
    wrong: Memory<[u8; 32], ()>,
    work: Arc<Semaphore>,
    waiting: Semaphore,
    means: Means,
}

impl Basic {
    pub(crate) fn new(
        written: &settings::Basic,
        sources: &dyn Sources,
        means: &Means,
        faults: &mut Faults,
    ) -> Option<Self> {
        let field = "spec.basic.secret";
        let source = Source::Secret(written.secret.clone());
        let data = faults.take(field, data_of(sources, &source))?;
        let users = faults
            .take(field, users(&data, written.form).map_err(|why| format!("Secret {}: {why}", written.secret)))?;
        let user_header = written.user_header.as_ref();
        let user_header = user_header.and_then(|name| faults.take("spec.basic.userHeader", claims::header(name)));
        let secret = faults.take(field, means.random::<32>())?;
        let decoy = users.values().next().map(Arc::clone)?;
        Some(Self {
            decoy,
            users,
            challenge: format!("Basic realm={}, charset=\"UTF-8\"", answer::quoted(&written.realm)),
            user_header,
            forward: written.forward,
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            right: Memory::new(REMEMBERED),
            wrong: Memory::new(REMEMBERED_WRONG),
            work: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(WAITING),
            means: means.clone(),
        })
    }

    pub(crate) fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        self.user_header.iter()
    }

    pub(crate) async fn ask(&self, asked: &Asked<'_>) -> Outcome {
        let Some((user, password)) = credentials(asked) else {
            return Outcome::Refuse(answer::unauthorized(&self.challenge, "a user name and a password are needed"));
        };
        match self.verify(&user, &password).await {
            Some(true) => Outcome::Pass(self.pass(&user, asked)),
            Some(false) => {
                Outcome::Refuse(answer::unauthorized(&self.challenge, "the user name or the password is wrong"))
            }
            None => Outcome::Refuse(answer::unavailable("too many passwords are being checked")),
        }
    }

    /// Whether the password is the user's; none when there is too much to do.
    async fn verify(&self, user: &str, password: &str) -> Option<bool> {
        let hash = self.users.get(user);
        let digest = digest(&self.key, user, password);
        let now = self.means.now();
        if let Some(verdict) = self.known(&digest, now) {
            return Some(verdict);
        }
        let _place = self.waiting.try_acquire().ok()?;
        // The permit goes along with the work, which goes on when the client has gone.
        let permit = Arc::clone(&self.work).acquire_owned().await.ok()?;
        if let Some(verdict) = self.known(&digest, now) {
            return Some(verdict);
        }
        let (compared, password) = (Arc::clone(hash.unwrap_or(&self.decoy)), password.to_owned());
        let matches = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            compared.matches(&password)
        });
        let verdict = matches.await.ok()? && hash.is_some();
        let memory = if verdict { &self.right } else { &self.wrong };
        memory.put(digest, (), now + REMEMBER);
        Some(verdict)
    }

    /// The verdict about a user and a password, if it is remembered.
    fn known(&self, digest: &[u8; 32], now: i64) -> Option<bool> {
        let right = self.right.get(digest, now).map(|()| true);
        right.or_else(|| self.wrong.get(digest, now).map(|()| false))
    }

    fn pass(&self, user: &str, asked: &Asked<'_>) -> Pass {
        let mut pass = Pass { who: Some(user.to_owned()), ..Pass::default() };
        pass.set.extend(self.user_header.clone().zip(HeaderValue::from_bytes(user.as_bytes()).ok()));
        match asked.headers.get(AUTHORIZATION).filter(|_| self.forward) {
            Some(value) => pass.set.push((AUTHORIZATION, value.clone())),
            None => pass.remove.push(AUTHORIZATION),
        }
        pass
    }
}

/// The data of an object, or what is wrong.
pub(crate) fn data_of(sources: &dyn Sources, source: &Source) -> Result<Data, String> {
    let (kind, name) = match source {
        Source::Secret(name) => ("Secret", name),
        Source::ConfigMap(name) => ("ConfigMap", name),
    };
    sources.data(source).ok_or_else(|| format!("there is no {kind} {name} in the policy's namespace: create it"))
}

fn users(data: &Data, form: BasicForm) -> Result<HashMap<String, Arc<Hash>>, String> {
    let read = match form {
        BasicForm::File => {
            let file = ["auth", ".htpasswd"].iter().find_map(|key| data.get(*key));
            let file = file.ok_or("has neither the key auth nor .htpasswd: put the file of htpasswd there")?;
            htpasswd::parse(&String::from_utf8_lossy(file))?
        }
        BasicForm::Map => {
            let row = |(user, hash): (&String, &Vec<u8>)| {
                let hash = Hash::parse(String::from_utf8_lossy(hash).trim());
                hash.map(|hash| (user.clone(), hash)).map_err(|why| format!("user {user}: {why}"))
            };
            data.iter().map(row).collect::<Result<_, String>>()?
        }
    };
    let users: HashMap<String, Arc<Hash>> = read.into_iter().map(|(user, hash)| (user, Arc::new(hash))).collect();
    if users.is_empty() { Err("has no user: nobody could pass".to_owned()) } else { Ok(users) }
}

/// User and password of a request; none if it has none.
fn credentials(asked: &Asked<'_>) -> Option<(String, String)> {
    let (scheme, encoded) = asked.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > MOST_CREDENTIALS {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn digest(key: &hmac::Key, user: &str, password: &str) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(&u64::try_from(user.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(user.as_bytes());
    context.update(password.as_bytes());
    let mut digest = [0; 32];
    digest.copy_from_slice(context.sign().as_ref());
    digest
}

/// Whether two texts are equal, in a time that tells only their lengths.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests;
