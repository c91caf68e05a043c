//! Conversion by somebody else: a `ConversionReview` over HTTPS.
//!
//! Invariant: a webhook changes the contents of an object, its labels and annotations, and nothing else of its metadata;
//! whatever it answers, its time, its answer's size and the objects per question are bounded. The words of failures are
//! upstream's, for they are what the author of a webhook reads.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kinds::structural::Custom;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    core::{Core, text},
    error::ApiError,
};

/// What upstream's client of conversion webhooks allows.
const PATIENCE: Duration = Duration::from_secs(30);
/// Objects in one question.
const BATCH: usize = 1000;
/// Bytes that an answer may have, beyond a multiple of the question's.
const ANSWER: usize = 16 << 20;
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Authorities whose connectors are kept.
const KEPT: usize = 256;

/// Connectors by the authority they trust; making one parses certificates.
#[derive(Default)]
pub(crate) struct Clients {
    connectors: Mutex<HashMap<String, TlsConnector>>,
}

impl Clients {
    fn connector(&self, bundle: &str) -> Result<TlsConnector, String> {
        if let Some(held) = self.connectors.lock().get(bundle) {
            return Ok(held.clone());
        }
        let roots = roots(bundle).map_err(|why| format!("unable to load root certificates: {why}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let mut held = self.connectors.lock();
        if held.len() >= KEPT {
            held.clear();
        }
        held.insert(bundle.to_owned(), connector.clone());
        Ok(connector)
    }
}

/// The certificates of a bundle; without one, those that the machine trusts.
pub(crate) fn roots(bundle: &str) -> Result<RootCertStore, String> {
    let pem = match bundle.trim() {
        "" => std::fs::read(SYSTEM_ROOTS).unwrap_or_default(),
        held => STANDARD.decode(held).map_err(|error| error.to_string())?,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("unable to parse bytes as PEM block".to_owned()) } else { Ok(roots) }
}

/// Whether a bundle says whom to trust, or says nothing.
pub(super) fn is_authority(bundle: &str) -> bool {
    bundle.trim().is_empty() || roots(bundle).is_ok()
}

/// The objects in another version, in the same order.
pub(super) async fn convert(
    core: &Core,
    custom: &Custom,
    webhook: &Value,
    objects: Vec<Value>,
    version: &str,
) -> Result<Vec<Value>, ApiError> {
    let mut converted = Vec::with_capacity(objects.len());
    for batch in objects.chunks(BATCH) {
        let about = batch.first().map(described).unwrap_or_default();
        let answer = ask(core, webhook, batch, version).await;
        let answer = answer.map_err(|why| failure(custom, format!("conversion webhook for {about} failed: {why}")))?;
        if answer.len() != batch.len() {
            let (got, wanted) = (answer.len(), batch.len());
            let why = format!("conversion webhook for {about} returned {got} objects, expected {wanted}");
            return Err(failure(custom, why));
        }
        for (index, (mut object, original)) in answer.into_iter().zip(batch).enumerate() {
            restore(original, &mut object, version, index)
                .map_err(|why| failure(custom, format!("conversion webhook for {about} returned {why}")))?;
            converted.push(object);
        }
    }
    Ok(converted)
}

/// Upstream forgets to give this a reason.
fn failure(custom: &Custom, why: String) -> ApiError {
    tracing::debug!(definition = custom.definition, why, "a conversion failed");
    ApiError::new(500, "", why)
}

/// `example.com/v1, Kind=CronTab`
fn described(object: &Value) -> String {
    format!("{}, Kind={}", text(object, "/apiVersion"), text(object, "/kind"))
}

async fn ask(core: &Core, webhook: &Value, objects: &[Value], version: &str) -> Result<Vec<Value>, String> {
    let speaks = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
    let review = speaks.filter_map(Value::as_str).find(|version| matches!(*version, "v1" | "v1beta1"));
    let review = review.ok_or("no supported conversion review versions")?;
    let (api_version, uid) = (format!("apiextensions.k8s.io/{review}"), uuid::Uuid::new_v4().to_string());
    let question = json!({
        "kind": "ConversionReview",
        "apiVersion": api_version,
        "request": {"uid": uid, "desiredAPIVersion": version, "objects": objects},
    });
    let answer = post(core, &webhook["clientConfig"], &question, PATIENCE).await?;
    // older webhooks were never asked to say what they answer
    if review == "v1" {
        let (kind, held) = (text(&answer, "/kind"), text(&answer, "/apiVersion"));
        if kind != "ConversionReview" || held != api_version {
            return Err(format!(
                "expected webhook response of {api_version}, Kind=ConversionReview, got {held}, Kind={kind}"
            ));
        }
    }
    let Some(response) = answer.get("response").filter(|response| response.is_object()) else {
        return Err("no response provided".to_owned());
    };
    let given = text(response, "/uid");
    if review == "v1" && given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    let status = text(response, "/result/status");
    if status != "Success" {
        return Err(match text(response, "/result/message") {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    Ok(response["convertedObjects"].as_array().cloned().unwrap_or_default())
}

/// Where a webhook is: what it is called, and where that is.
struct Place {
    /// Host and port as in its address.
    authority: String,
    name: String,
    path: String,
    host: String,
    port: u16,
}

/// Asks whoever a `WebhookClientConfig` names, and waits no longer than `patience` (seconds) for the answer.
pub(crate) async fn post(core: &Core, client: &Value, question: &Value, patience: Duration) -> Result<Value, String> {
    match tokio::time::timeout(patience, converse(core, client, question, patience)).await {
        Ok(answer) => answer,
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}

async fn converse(core: &Core, client: &Value, question: &Value, patience: Duration) -> Result<Value, String> {
    let service = &client["service"];
    let (place, found) = match client["url"].as_str() {
        Some(address) => (by_address(address)?, Ok(())),
        None => {
            let (mut place, namespace, name) = by_service(service);
            let found = resolve(core, namespace, name, &mut place);
            (place, found)
        }
    };
    let bundle = text(client, "/caBundle");
    let address = format!("https://{}{}?timeout={}s", place.authority, place.path, patience.as_secs());
    let failed = |why: String| format!("Post {address:?}: {why}");
    found.map_err(failed)?;
    let connector = core.customs.clients.connector(bundle).map_err(failed)?;
    let tcp = TcpStream::connect((place.host.as_str(), place.port)).await;
    let tcp = tcp.map_err(|error| failed(format!("dial tcp {}:{}: connect: {error}", place.host, place.port)))?;
    let name = ServerName::try_from(place.name.clone()).map_err(|error| failed(error.to_string()))?;
    let tls = connector.connect(name, tcp).await.map_err(|error| failed(format!("tls: {error}")))?;
    exchange(core, tls, &place, question, patience).await.map_err(failed)
}

async fn exchange(
    core: &Core,
    tls: tokio_rustls::client::TlsStream<TcpStream>,
    place: &Place,
    question: &Value,
    patience: Duration,
) -> Result<Value, String> {
    let body = serde_json::to_vec(question).expect("invariant: a JSON value encodes into memory");
    let limit = ANSWER + 4 * body.len();
    let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(|error| error.to_string())?;
    let children = core.customs.children().ok_or("the server is still starting")?;
    let driver = children.spawn("connection to a webhook", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a webhook broke");
        }
    });
    let request = Request::post(format!("{}?timeout={}s", place.path, patience.as_secs()))
        .header(header::HOST, &place.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::USER_AGENT, "kube-apiserver")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let code = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await.map_err(|error| error.to_string())?;
        let bytes = body.to_bytes();
        if !code.is_success() {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).trim().to_owned();
            return Err(format!("the server responded with the status code {} ({shown:?})", code.as_u16()));
        }
        let read = kinds::decode::json(&bytes, kinds::decode::MAX_DEPTH);
        read.map(|(value, _)| value).map_err(|error| format!("cannot read the answer: {error}"))
    };
    let answer = answer.await;
    driver.abort();
    answer
}

fn by_address(address: &str) -> Result<Place, String> {
    let uri: http::Uri = address.parse().map_err(|error| format!("invalid url {address:?}: {error}"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = if uri.path().is_empty() { "/" } else { uri.path() };
    Ok(Place { authority, name: host.clone(), path: path.to_owned(), host, port })
}

/// The place a service has in the cluster, before it is known where its pods are; its namespace and name.
fn by_service(service: &Value) -> (Place, &str, &str) {
    let (namespace, name) = (text(service, "/namespace"), text(service, "/name"));
    let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
    let path = match text(service, "/path") {
        "" => "/".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    let host = format!("{name}.{namespace}.svc");
    (Place { authority: format!("{host}:{port}"), name: host.clone(), path, host, port }, namespace, name)
}

/// Where a port of a service leads: a ready pod, or the address of the service itself.
pub(crate) fn address(core: &Core, namespace: &str, name: &str, port: u16) -> Result<(String, u16), String> {
    let service = json!({ "namespace": namespace, "name": name, "port": port });
    let (mut place, ..) = by_service(&service);
    resolve(core, namespace, name, &mut place)?;
    Ok((place.host, place.port))
}

/// Finds a ready pod behind a service, or the address of the service itself.
fn resolve(core: &Core, namespace: &str, name: &str, place: &mut Place) -> Result<(), String> {
    let services = core.kind("", "services").ok_or("services are not served")?;
    let service = core.get(services, namespace, name).ok_or_else(|| format!("service {name:?} not found"))?;
    if text(&service, "/spec/type") == "ExternalName" {
        text(&service, "/spec/externalName").clone_into(&mut place.host);
        return Ok(());
    }
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(port) = ports.find(|port| port["port"] == place.port) else {
        return Err(format!("no service port {} found for service {name:?}", place.port));
    };
    let slices = core.kind("discovery.k8s.io", "endpointslices").map(|kind| core.list(kind, namespace));
    for slice in slices.into_iter().flatten() {
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] != name {
            continue;
        }
        let mut held = slice["ports"].as_array().into_iter().flatten();
        let number =
            held.find(|held| text(held, "/name") == text(port, "/name")).and_then(|held| held["port"].as_u64());
        let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else { continue };
        let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.find(|endpoint| endpoint["conditions"]["ready"] != false);
        if let Some(address) = ready.and_then(|endpoint| endpoint["addresses"][0].as_str()) {
            (place.host, place.port) = (address.to_owned(), number);
            return Ok(());
        }
    }
    match text(&service, "/spec/clusterIP") {
        "" | "None" => Err(format!("no endpoints available for service {name:?}")),
        address => {
            address.clone_into(&mut place.host);
            Ok(())
        }
    }
}

/// Holds a converted object to what it may change, and puts back the rest.
fn restore(original: &Value, converted: &mut Value, version: &str, index: usize) -> Result<(), String> {
    let (given, kind) = (text(converted, "/apiVersion"), text(converted, "/kind"));
    let invalid = "invalid converted object at index";
    if given != version {
        return Err(format!("{invalid} {index}: invalid groupVersion (expected {version}, received {given})"));
    }
    let wanted = text(original, "/kind");
    if kind != wanted {
        return Err(format!("{invalid} {index}: invalid kind (expected {wanted}, received {kind})"));
    }
    for (field, shown) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let pointer = format!("/metadata/{field}");
        let (before, after) = (text(original, &pointer), text(converted, &pointer));
        if before != after {
            return Err(format!("{invalid} {index}: must have the same {shown}: {before} != {after}"));
        }
    }
    let in_metadata = |why: String| format!("invalid metadata in object at index {index}: {why}");
    let Some(answered) = converted.get("metadata").and_then(Value::as_object) else {
        return Err(in_metadata("missing metadata in converted object".to_owned()));
    };
    let mut metadata = original["metadata"].clone();
    for field in ["labels", "annotations"] {
        let held = answered.get(field).filter(|held| !held.is_null()).cloned();
        let fields = metadata.as_object_mut().expect("invariant: stored objects have metadata");
        match held {
            None => drop(fields.remove(field)),
            Some(Value::Object(entries)) => {
                if let Some((key, _)) = entries.iter().find(|(_, value)| !value.is_string()) {
                    return Err(in_metadata(format!("metadata.{field}[{key}] must be a string in converted object")));
                }
                fields.insert(field.to_owned(), Value::Object(entries));
            }
            Some(_) => return Err(in_metadata(format!("invalid metadata.{field} in converted object"))),
        }
    }
    converted["metadata"] = metadata;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str) -> Value {
        json!({"apiVersion": version, "kind": "A", "metadata": {"name": "a", "uid": "1", "generation": 3}, "spec": {}})
    }

    #[test]
    fn a_webhook_changes_labels_and_contents_and_no_other_metadata() {
        let mut converted = object("x.io/v2");
        converted["metadata"]["generation"] = json!(9);
        converted["metadata"]["labels"] = json!({"a": "b"});
        converted["spec"]["new"] = json!(true);
        restore(&object("x.io/v1"), &mut converted, "x.io/v2", 0).unwrap();
        assert_eq!(converted["metadata"], json!({"name": "a", "uid": "1", "generation": 3, "labels": {"a": "b"}}));
        assert_eq!(converted["spec"], json!({"new": true}));
    }

    #[test]
    fn a_webhook_that_answers_another_object_is_refused() {
        let told = |change: fn(&mut Value)| {
            let mut converted = object("x.io/v2");
            change(&mut converted);
            restore(&object("x.io/v1"), &mut converted, "x.io/v2", 1).unwrap_err()
        };
        assert_eq!(
            told(|held| held["apiVersion"] = json!("x.io/v3")),
            "invalid converted object at index 1: invalid groupVersion (expected x.io/v2, received x.io/v3)"
        );
        assert!(told(|held| held["kind"] = json!("B")).ends_with("invalid kind (expected A, received B)"));
        assert!(told(|held| held["metadata"]["uid"] = json!("2")).ends_with("must have the same UID: 1 != 2"));
        assert!(told(|held| held["metadata"]["labels"] = json!({"a": 1})).contains("metadata.labels[a]"));
        assert!(told(|held| held["metadata"]["labels"] = json!([])).contains("invalid metadata.labels"));
    }
}
