//! Keys of clients. Compared by keyed digests: finding one tells nothing of the others by its time.

use std::collections::HashMap;

use http::header::{HeaderName, HeaderValue};
use ring::hmac;

use crate::answer::{self, Outcome};
use crate::asked::{Asked, Pass};
use crate::basic::data_of;
use crate::bearer::Places;
use crate::claims;
use crate::fault::Faults;
use crate::guard::Sources;
use crate::means::Means;
use crate::settings::{self, Source, TokenSource};

/// Shorter keys can be guessed.
const LEAST_KEY: usize = 16;

/// The keys there are.
pub(crate) struct ApiKeys {
    secret: hmac::Key,
    clients: HashMap<Vec<u8>, String>,
    places: Places,
    client_header: Option<HeaderName>,
    forward: bool,
}

impl ApiKeys {
    pub(crate) fn new(
        written: &settings::ApiKey,
        sources: &dyn Sources,
        means: &Means,
        faults: &mut Faults,
    ) -> Option<Self> {
        let field = "spec.apiKey.secret";
        let data = faults.take(field, data_of(sources, &Source::Secret(written.secret.clone())))?;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &faults.take(field, means.random::<32>())?);
        let mut clients = HashMap::new();
        for (client, key) in &data {
            let key = key.trim_ascii();
            if key.len() < LEAST_KEY {
                faults.add(
                    field,
                    format_args!(
                        "the key of {client} in Secret {} has fewer than {LEAST_KEY} bytes: make a longer one",
                        written.secret
                    ),
                );
            } else if let Some(other) = clients.insert(hmac::sign(&secret, key).as_ref().to_vec(), client.clone()) {
                faults.add(field, format_args!("{client} and {other} in Secret {} have the same key", written.secret));
            }
        }
        if data.is_empty() {
            faults.add(field, format_args!("Secret {} has no key: nobody could pass", written.secret));
        }
        let standard = TokenSource { header: Some("X-API-Key".to_owned()), ..TokenSource::default() };
        let places = Places::new("spec.apiKey.from", written.from.as_ref().unwrap_or(&standard), faults);
        let client_header = written.client_header.as_ref();
        let client_header =
            client_header.and_then(|name| faults.take("spec.apiKey.clientHeader", claims::header(name)));
        Some(Self { secret, clients, places, client_header, forward: written.forward })
    }

    pub(crate) fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        self.client_header.iter()
    }

    pub(crate) fn ask(&self, asked: &Asked<'_>) -> Outcome {
        let Some(key) = self.places.find(asked) else {
            return Outcome::Refuse(answer::unauthorized("ApiKey", "an API key is needed"));
        };
        let Some(client) = self.clients.get(hmac::sign(&self.secret, key.as_bytes()).as_ref()) else {
            return Outcome::Refuse(answer::unauthorized("ApiKey", "the API key is wrong"));
        };
        let header = self.client_header.clone().zip(HeaderValue::from_str(client).ok());
        let mut pass = Pass { set: header.into_iter().collect(), who: Some(client.clone()), ..Pass::default() };
        self.places.forward(asked, self.forward, &mut pass);
        Outcome::Pass(pass)
    }
}
