//! Pulling an image from a registry.
//!
//! Layers are fetched to a file (the client checks the digest), then unpacked on a blocking
//! thread; at most two unpack at once on the whole node, and layers that are here are skipped.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::StreamExt as _;
use oci_client::Client;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;

use super::reference::Reference;
use super::store::{Addition, Batch, Inner, Store, unpack_aside};
use super::{ConfigFile, Error, Image};

/// Layers fetched at the same time.
const FETCHES: usize = 3;

/// Who we are to a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    #[default]
    Anonymous,
    Basic {
        username: String,
        password: String,
    },
    Bearer(String),
}

/// How to reach registries.
#[derive(Clone, Default)]
pub struct PullOptions {
    pub auth: Auth,
    /// Registries (`host[:port]`) spoken to over plain http; localhost always is.
    pub insecure: Vec<String>,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub layers: usize,
    pub layers_done: usize,
    /// Compressed bytes.
    pub bytes: u64,
    pub bytes_done: u64,
}

/// Worded as containerd words them; kubelets show these to users.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Store(#[from] Error),
    #[error(
        "failed to pull and unpack image \"{reference}\": failed to resolve reference \"{reference}\": {reference}: not found"
    )]
    NotFound { reference: String },
    #[error(
        "failed to pull and unpack image \"{reference}\": the registry refused our credentials: {message}; check the pull secret"
    )]
    Denied { reference: String, message: String },
    #[error("failed to pull and unpack image \"{reference}\": {message}")]
    Registry { reference: String, message: String },
}

impl Store {
    /// Pulls from a registry; layers that are here are not fetched again.
    pub async fn pull(
        &self,
        reference: &str,
        options: &PullOptions,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Image, PullError> {
        let reference: Reference = reference.parse()?;
        let wrap = |error| pull_error(&reference, error);
        let client = client(&reference, options).map_err(wrap)?;
        let auth = match &options.auth {
            Auth::Anonymous => RegistryAuth::Anonymous,
            Auth::Basic { username, password } => RegistryAuth::Basic(username.clone(), password.clone()),
            Auth::Bearer(token) => RegistryAuth::Bearer(token.clone()),
        };
        let remote = remote(&reference);
        let (manifest, digest, config, list_digest) =
            client.pull_manifest_and_config_and_list_digest(&remote, &auth).await.map_err(wrap)?;
        let damaged = |why: String| Error::Damaged(reference.to_string(), why);
        let parsed: ConfigFile = serde_json::from_str(&config)
            .map_err(|error| damaged(format!("its configuration cannot be read: {error}")))?;
        let diff_ids = parsed.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() || !diff_ids.iter().all(|id| super::reference::is_digest(id)) {
            return Err(damaged("its configuration and its manifest name different layers".into()).into());
        }
        let inner = Arc::clone(&self.inner);
        let batch = blocking(move || inner.batch()).await?;
        let pull = Pull { client, remote, reference: reference.clone(), inner: Arc::clone(&self.inner) };
        let layers = diff_ids.into_iter().zip(manifest.layers.clone()).collect();
        let batch = pull.fetch(batch, layers, progress).await?;

        let mut references = vec![reference.key(), reference.with_digest(&digest)];
        references.extend(list_digest.iter().map(|digest| reference.with_digest(digest)));
        let addition = Addition {
            config: config.into_bytes(),
            digest: Some(list_digest.unwrap_or(digest)),
            references,
            pulled: true,
        };
        let images = blocking(move || batch.finish(vec![addition])).await?;
        images.into_iter().next().ok_or_else(|| damaged("it vanished while it was pulled".into()).into())
    }
}

struct Pull {
    client: Client,
    remote: oci_client::Reference,
    reference: Reference,
    inner: Arc<Inner>,
}

impl Pull {
    async fn fetch(
        &self,
        mut batch: Batch,
        layers: Vec<(String, OciDescriptor)>,
        progress: impl Fn(Progress),
    ) -> Result<Batch, PullError> {
        let size = |layer: &OciDescriptor| u64::try_from(layer.size).unwrap_or_default();
        let mut wanted = std::collections::BTreeMap::new();
        for (diff_id, layer) in &layers {
            if batch.needs(diff_id) {
                wanted.insert(diff_id.clone(), layer.clone());
            }
        }
        let total = Progress {
            layers: layers.len(),
            layers_done: layers.len() - wanted.len(),
            bytes: wanted.values().map(size).sum(),
            bytes_done: 0,
        };
        progress(total);
        let (done, bytes_done) = (AtomicUsize::new(total.layers_done), AtomicU64::new(0));
        let aside = batch.aside().to_owned();
        let results: Vec<Result<(String, u64), PullError>> = futures::stream::iter(wanted)
            .map(|(diff_id, layer)| {
                let (aside, done, bytes_done, progress) = (aside.clone(), &done, &bytes_done, &progress);
                async move {
                    let unpacked = self.layer(&aside, &diff_id, &layer).await?;
                    progress(Progress {
                        layers_done: done.fetch_add(1, Ordering::Relaxed) + 1,
                        bytes_done: bytes_done.fetch_add(size(&layer), Ordering::Relaxed) + size(&layer),
                        ..total
                    });
                    Ok((diff_id, unpacked))
                }
            })
            .buffer_unordered(FETCHES)
            .collect()
            .await;
        for result in results {
            let (diff_id, unpacked) = result?;
            batch.note(&diff_id, unpacked);
        }
        Ok(batch)
    }

    /// Fetches and unpacks one layer; its unpacked size.
    async fn layer(&self, aside: &std::path::Path, diff_id: &str, layer: &OciDescriptor) -> Result<u64, PullError> {
        let path = aside.join(format!("{}.blob", diff_id.trim_start_matches("sha256:")));
        let failed = || Error::io(format!("write {}", path.display()));
        let mut file = tokio::fs::File::create(&path).await.map_err(failed())?;
        self.client
            .pull_blob(&self.remote, layer, &mut file)
            .await
            .map_err(|error| pull_error(&self.reference, error))?;
        drop(file);
        let _turn = self.inner.unpacking.acquire().await.expect("invariant: the semaphore is never closed");
        let (aside, image, diff_id) = (aside.to_owned(), self.reference.to_string(), diff_id.to_owned());
        let unpack = move || {
            let blob = File::open(&path).map_err(Error::io(format!("read {}", path.display())))?;
            let size = unpack_aside(&aside, &image, &diff_id, blob)?;
            std::fs::remove_file(&path).map_err(Error::io(format!("remove {}", path.display())))?;
            Ok(size)
        };
        Ok(blocking(unpack).await?)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::io("finish a blocking step")(std::io::Error::other(error))))
}

fn client(reference: &Reference, options: &PullOptions) -> Result<Client, OciDistributionError> {
    // whoever composes the process has usually chosen already; the answer is the same
    drop(rustls::crypto::ring::default_provider().install_default());
    let plain = is_local(&reference.registry) || options.insecure.contains(&reference.registry);
    let protocol = if plain { ClientProtocol::Http } else { ClientProtocol::Https };
    Client::try_from(ClientConfig { protocol, ..ClientConfig::default() })
}

fn remote(reference: &Reference) -> oci_client::Reference {
    let (registry, repository) = (reference.registry.clone(), reference.repository.clone());
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, digest.clone()),
        (None, tag) => {
            oci_client::Reference::with_tag(registry, repository, tag.clone().unwrap_or_else(|| "latest".into()))
        }
    }
}

/// Spoken to over plain http without being asked, as docker does.
fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn pull_error(reference: &Reference, error: OciDistributionError) -> PullError {
    let name = reference.to_string();
    let denied = |message: String| PullError::Denied { reference: name.clone(), message };
    match &error {
        OciDistributionError::ImageManifestNotFoundError(_) | OciDistributionError::ServerError { code: 404, .. } => {
            PullError::NotFound { reference: name }
        }
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            denied(error.to_string())
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let has = |wanted: &[OciErrorCode]| envelope.errors.iter().any(|one| wanted.contains(&one.code));
            if has(&[OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]) {
                PullError::NotFound { reference: name }
            } else if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                denied(error.to_string())
            } else {
                PullError::Registry { message: base::error::chain(&error), reference: name }
            }
        }
        _ => PullError::Registry { message: base::error::chain(&error), reference: name },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_is_local() {
        for registry in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3"] {
            assert!(is_local(registry), "{registry}");
        }
        for registry in ["docker.io", "localhost.example", "10.0.0.1:5000"] {
            assert!(!is_local(registry), "{registry}");
        }
    }
}
