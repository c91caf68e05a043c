//! The HTTP client for whom we ask: ACME servers, Vault, and our own challenges.

use std::time::Duration;

/// A client that follows no redirects, and whose requests take no longer than `patience`.
pub(crate) fn builder(patience: Duration) -> reqwest::ClientBuilder {
    // ring is the process's provider; a second call finds it there, which is as well
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .timeout(patience)
        .connect_timeout(patience.min(Duration::from_secs(10)))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("knarr-certs/", env!("CARGO_PKG_VERSION")))
        .pool_idle_timeout(Duration::from_secs(30))
}
