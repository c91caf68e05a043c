//! The kubelet API: logs, exec, attach, health and figures of this node, for the API server.
//!
//! Invariant: nothing is answered before the caller's certificate was verified and its right to the
//! path was checked; there is no read-only port and no anonymous access.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use informer::Informer;
use k8s_openapi::api::core::v1::Pod;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

mod auth;
mod exec;
pub(crate) mod logs;
mod portforward;
mod spdy;
mod stats;
mod upgrade;
mod websocket;

use crate::runtime::{Container, Runtime, State};
use auth::{Authorizer, Caller};

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the server answers from.
pub(crate) struct Server {
    pub runtime: Runtime,
    pub pods: Informer<Pod>,
    pub log_dir: std::path::PathBuf,
    pub node_name: String,
    pub authorizer: Authorizer,
    pub started: jiff::Timestamp,
    pub children: tasks::Children,
    rates: stats::Rates,
}

/// Whom the server is part of.
pub(crate) struct Place {
    pub log_dir: std::path::PathBuf,
    pub node_name: String,
    pub children: tasks::Children,
}

pub(crate) use auth::{Authorizer as Access, tls};

/// Accepts connections until the service stops.
pub(crate) async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    tls: TlsAcceptor,
    ctx: &tasks::Context,
) -> anyhow::Result<()> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ctx.stop.cancelled() => return Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!("cannot set TCP_NODELAY: {error}");
                }
                let (server, tls) = (Arc::clone(&server), tls.clone());
                ctx.children.spawn("kubelet connection", connection(server, tls, stream, peer));
            }
            Err(error) => {
                // out of descriptors, most likely: waiting lets connections end
                tracing::warn!("the kubelet API cannot accept a connection: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(server: Arc<Server>, tls: TlsAcceptor, stream: tokio::net::TcpStream, peer: SocketAddr) {
    let handshake = tokio::time::timeout(std::time::Duration::from_secs(10), tls.accept(stream)).await;
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("TLS with {peer}: {error}"),
        Err(_) => return tracing::debug!("TLS with {peer}: no handshake within 10 s"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let Some(caller) = certificate.and_then(|certificate| Caller::of(certificate)) else {
        return tracing::debug!("{peer} came without a readable client certificate");
    };
    let caller = Arc::new(caller);
    let service = service_fn(move |request| {
        let (server, caller) = (Arc::clone(&server), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(server.answer(request, &caller).await) }
    });
    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    if let Err(error) = http.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!("connection of {peer}: {error}");
    }
}

/// A refusal: the code and the text the API server passes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub code: StatusCode,
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl Server {
    pub(crate) fn new(runtime: Runtime, pods: Informer<Pod>, authorizer: Authorizer, place: Place) -> Self {
        let Place { log_dir, node_name, children } = place;
        let (started, rates) = (base::time::now(), stats::Rates::default());
        Self { runtime, pods, log_dir, node_name, authorizer, started, children, rates }
    }

    async fn answer(&self, request: Request<Incoming>, caller: &Caller) -> Response<Body> {
        let result = match self.authorizer.check(caller, request.method(), request.uri().path()).await {
            Ok(()) => self.route(request).await,
            Err(refusal) => Err(refusal),
        };
        result.unwrap_or_else(|refusal| text(refusal.code, refusal.message))
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let query = request.uri().query().unwrap_or_default().to_owned();
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["healthz" | "livez"]) => Ok(text(StatusCode::OK, "ok")),
            (&Method::GET, ["pods"]) => Ok(json(&self.pod_list())),
            (&Method::GET, ["stats", "summary"]) => Ok(json(&stats::summary(self, &query))),
            (&Method::GET, ["metrics"]) => Ok(figures(stats::metrics(self))),
            (&Method::GET, ["metrics", "resource"]) => Ok(figures(stats::resource_metrics(&stats::usage(self)))),
            (&Method::GET, ["containerLogs", namespace, pod, container]) => {
                self.logs(namespace, pod, container, &query).await
            }
            (&Method::GET | &Method::POST, ["exec", namespace, pod, container]) => {
                let id = self.running(namespace, pod, container)?.spec.id.clone();
                exec::exec(self, &id, &query, request)
            }
            (&Method::GET | &Method::POST, ["attach", namespace, pod, container]) => {
                let found = self.running(namespace, pod, container)?;
                exec::attach(self, &found, &query, request)
            }
            (&Method::GET | &Method::POST, ["portForward", namespace, pod]) => {
                portforward::forward(self, namespace, pod, &query, request)
            }
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "404 page not found")),
        }
    }

    fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Pod>, Refusal> {
        let missing = || Refusal::new(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found"));
        self.pods.get(namespace, name).ok_or_else(missing)
    }

    fn running(&self, namespace: &str, pod: &str, container: &str) -> Result<Container, Refusal> {
        let object = self.pod(namespace, pod)?;
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        let found =
            self.runtime.containers().into_iter().filter(|found| {
                found.spec.pod.uid == uid && found.spec.name == container && found.state == State::Running
            });
        found
            .max_by_key(|found| found.spec.attempt)
            .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")")))
    }

    async fn logs(&self, namespace: &str, pod: &str, name: &str, query: &str) -> Result<Response<Body>, Refusal> {
        let options = logs::Options::parse(query, base::time::now()).map_err(Refusal::bad)?;
        let object = self.pod(namespace, pod)?;
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let dir = self.log_dir.join(format!("{namespace}_{pod}_{uid}")).join(name);
        let attempts = logs::attempts(&dir);
        let chosen = if options.previous {
            attempts.iter().rev().nth(1).copied().ok_or_else(|| {
                Refusal::bad(format!("previous terminated container \"{name}\" in pod \"{pod}\" not found"))
            })?
        } else {
            attempts.last().copied().ok_or_else(|| Refusal::bad(waiting(&object, name)))?
        };
        let mut found = self.runtime.containers().into_iter();
        let id = found
            .find(|found| found.spec.pod.uid == uid && found.spec.name == name && found.spec.attempt == chosen)
            .map(|found| found.spec.id.clone());
        let (runtime, path) = (self.runtime.clone(), dir.join(format!("{chosen}.log")));
        let ended = async move {
            if let Some(id) = id
                && let Err(error) = runtime.wait(&id).await
            {
                tracing::debug!("following a log: {}", base::error::chain(&error));
            }
        };
        let stream = logs::stream(path, options, ended).await.map_err(|error| {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to open log file: {error}"))
        })?;
        let mut response = Response::new(stream.boxed_unsync());
        let plain = header::HeaderValue::from_static("text/plain");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        Ok(response)
    }

    fn pod_list(&self) -> serde_json::Value {
        let items: Vec<_> = self.pods.list().iter().map(|pod| serde_json::json!(&**pod)).collect();
        serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    }
}

/// Why a container has no log yet.
fn waiting(pod: &Pod, container: &str) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let all = status.init_container_statuses.into_iter().flatten();
    let all = all.chain(status.container_statuses.into_iter().flatten());
    let mut all = all.chain(status.ephemeral_container_statuses.into_iter().flatten());
    let Some(found) = all.find(|status| status.name == container) else {
        return format!("container \"{container}\" in pod \"{name}\" is not available");
    };
    let reason = found.state.and_then(|state| state.waiting).and_then(|waiting| waiting.reason);
    match reason.as_deref() {
        Some(why @ ("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName")) => {
            format!(
                "container \"{container}\" in pod \"{name}\" is waiting to start: trying and failing to pull image ({why})"
            )
        }
        Some(why) => format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}"),
        None => format!("container \"{container}\" in pod \"{name}\" is not available"),
    }
}

pub(crate) fn text(code: StatusCode, message: impl Into<String>) -> Response<Body> {
    let mut message = message.into();
    if !code.is_success() && !message.ends_with('\n') {
        message.push('\n');
    }
    let mut response = Response::new(Full::new(Bytes::from(message)).boxed_unsync());
    *response.status_mut() = code;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// Figures in the text form of Prometheus.
fn figures(page: String) -> Response<Body> {
    let mut response = text(StatusCode::OK, page);
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn json(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
