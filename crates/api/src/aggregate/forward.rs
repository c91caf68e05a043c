//! One request, carried to the server of its version.
//!
//! Invariant: what a client says of its own identity in front-proxy headers never gets through; the server reads there who
//! we found it to be, and believes it because the connection shows the front proxy's certificate.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    Aggregate, Server,
    table::{Place, Reference},
};
use crate::{
    body::{Body, full},
    core::Core,
    custom::webhook,
    error::ApiError,
    identity::User,
    pipeline::BODY_LIMIT,
    streaming::{kubelet::Stream, relay},
};

const PATIENCE: Duration = Duration::from_secs(10);
/// Connectors that are kept.
const KEPT: usize = 256;
const REMOTE: &str = "x-remote-";

/// Whom a connection trusts: a bundle, or anybody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    Bundle(String),
    Anybody,
}

/// Carries a request whose sender may make it.
pub(crate) async fn forward(
    core: &Core,
    server: &Server,
    user: &User,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    match &server.place {
        Place::Here(offer) => {
            let (parts, body) = request.into_parts();
            let body = Limited::new(body, BODY_LIMIT).collect().await;
            let body =
                body.map_err(|error| ApiError::bad_request(format!("cannot read the body of the request: {error}")))?;
            Ok(offer(Request::from_parts(parts, body.to_bytes())).await.map(full))
        }
        Place::Service(reference) => {
            let unreachable = |why: String| ApiError::unavailable(format!("error trying to reach service: {why}"));
            let stream = dial(core, reference).await.map_err(unreachable)?;
            send(core, reference, stream, user, request).await
        }
    }
}

async fn send(
    core: &Core,
    reference: &Reference,
    stream: Box<dyn Stream>,
    user: &User,
    mut request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    introduce(request.headers_mut(), user);
    let path = request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    let authority = format!("{}:{}", reference.host(), reference.port);
    let answer = relay::over(&core.access.kubelets, stream, &authority, &path, request).await;
    answer.map_err(|error| match error {
        relay::Error::Api(error) => error,
        other => ApiError::unavailable(format!("error trying to reach service: {}", base::error::chain(&other))),
    })
}

/// Says who sends the request.
fn introduce(headers: &mut HeaderMap, user: &User) {
    let claimed: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(REMOTE)).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        // what no header can say is left out: the server then knows less of the user, never something else
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if let Some(uid) = &user.uid {
        add("x-remote-uid", uid);
    }
    for group in &user.groups {
        add("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", percent_encoding::utf8_percent_encode(key, UNSAFE));
        values.iter().for_each(|value| add(&name, value));
    }
}

/// What cannot stand in the name of a header.
const UNSAFE: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A connection to a ready pod of the service.
pub(super) async fn dial(core: &Core, reference: &Reference) -> Result<Box<dyn Stream>, String> {
    let (host, port) = webhook::address(core, &reference.namespace, &reference.name, reference.port)?;
    let trust = if reference.insecure { Trust::Anybody } else { Trust::Bundle(reference.bundle.clone()) };
    let connector = core.aggregate.connector(trust)?;
    let name = ServerName::try_from(reference.host()).map_err(|error| error.to_string())?;
    let connect = async {
        let tcp = TcpStream::connect((host.as_str(), port)).await;
        let tcp = tcp.map_err(|error| format!("dial tcp {host}:{port}: connect: {error}"))?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let tls = connector.connect(name, tcp).await.map_err(|error| format!("tls: {error}"))?;
        Ok(Box::new(tls) as Box<dyn Stream>)
    };
    tokio::time::timeout(PATIENCE, connect)
        .await
        .unwrap_or_else(|_| Err(format!("dial tcp {host}:{port}: i/o timeout")))
}

impl Aggregate {
    fn connector(&self, trust: Trust) -> Result<TlsConnector, String> {
        if let Some(held) = self.connectors.lock().get(&trust) {
            return Ok(held.clone());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = match &trust {
            Trust::Bundle(bundle) => builder.with_root_certificates(webhook::roots(bundle)?),
            Trust::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(pki::Anyone(Arc::clone(&provider))))
            }
        };
        let config = builder.with_client_auth_cert(self.chain.clone(), self.key.clone_key());
        let connector = TlsConnector::from(Arc::new(config.map_err(|error| error.to_string())?));
        let mut held = self.connectors.lock();
        if held.len() >= KEPT {
            held.clear();
        }
        held.insert(trust, connector.clone());
        Ok(connector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_introduce_itself() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-remote-user", "root"), ("x-remote-group", "system:masters"), ("x-remote-extra-a", "b")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut user = User::component("ann", &["dev"]);
        user.extra.insert("example.com/Team".into(), vec!["a".into(), "b".into()]);
        introduce(&mut headers, &user);
        let all = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-remote-user"), ["ann"]);
        assert_eq!(all("x-remote-group"), ["dev", "system:authenticated"]);
        assert_eq!(all("x-remote-extra-example.com%2fteam"), ["a", "b"]);
        assert_eq!(headers.len(), 5);
    }
}
