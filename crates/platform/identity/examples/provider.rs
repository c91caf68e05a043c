//! Runs the OpenID provider of the tests by itself, for tests from outside and for trying logins by hand.
//!
//! `provider LISTEN ISSUER CLIENT SECRET REDIRECT_URI AFTER_LOGOUT [USER JSON-CLAIMS]...` — for example
//! `provider 10.0.0.5:9000 http://10.0.0.5:9000 web s3cret https://app.localhost/.knarr/callback https://app.localhost/
//! alice '{"email":"alice@example.com","email_verified":true,"groups":["dev"]}'`. A form asks for the user's name.

#[path = "../tests/it/provider.rs"]
#[allow(dead_code, reason = "what tests alone switch")]
mod provider;

use anyhow::Context as _;

const USAGE: &str = "provider LISTEN ISSUER CLIENT SECRET REDIRECT_URI AFTER_LOGOUT [USER JSON-CLAIMS]...";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [listen, issuer, client, secret, redirect, after, users @ ..] = words.as_slice() else {
        anyhow::bail!("usage: {USAGE}");
    };
    let client = provider::Client {
        id: client.clone(),
        secret: Some(secret.clone()).filter(|secret| !secret.is_empty()),
        redirect_uris: redirect.split(',').map(str::to_owned).collect(),
        after_logout: after.split(',').map(str::to_owned).collect(),
    };
    let mut known = Vec::new();
    for pair in users.chunks(2) {
        let [name, claims] = pair else { anyhow::bail!("usage: {USAGE}") };
        known.push((name.as_str(), serde_json::from_str(claims).with_context(|| format!("the claims of {name}"))?));
    }
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    println!("{issuer} at {}", listener.local_addr()?);
    provider::Provider::new(issuer, client, &known, || base::time::now().as_second()).serve(listener).await;
    Ok(())
}
