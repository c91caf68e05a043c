//! A registry that serves one image, with or without asking who is there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use parking_lot::Mutex;

use super::made::{Made, digest};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    Nothing,
    /// User `me` with password `secret`, at the registry.
    Password,
    /// A token, given to the same user.
    Token,
}

pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

struct Content {
    asks: Asks,
    address: SocketAddr,
    paths: BTreeMap<String, (&'static str, Vec<u8>)>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Serves `image` as `team/app:v1` until the context is dropped.
    pub(crate) async fn serve(image: &Made, asks: Asks, context: &tasks::Context) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manifest = image.manifest();
        let mut paths = BTreeMap::new();
        for name in ["v1".to_owned(), digest(&manifest)] {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            paths.insert(format!("/v2/team/app/manifests/{name}"), (kind, manifest.clone()));
        }
        for blob in image.layers.iter().chain([&image.config]) {
            let path = format!("/v2/team/app/blobs/{}", digest(blob));
            paths.insert(path, ("application/octet-stream", blob.clone()));
        }
        let requests = Arc::new(Mutex::new(Vec::new()));
        let content = Arc::new(Content { asks, address, paths, requests: Arc::clone(&requests) });
        let children = context.children.clone();
        context.children.spawn("registry", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let content = Arc::clone(&content);
                children.spawn("connection", async move {
                    let service = hyper::service::service_fn(|request| {
                        let content = Arc::clone(&content);
                        async move { Ok::<_, Infallible>(content.answer(&request)) }
                    });
                    let io = hyper_util::rt::TokioIo::new(stream);
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) fn image(&self) -> String {
        format!("{}/team/app:v1", self.address)
    }

    /// How many layers and configurations were asked for.
    pub(crate) fn blobs_fetched(&self) -> usize {
        self.requests.lock().iter().filter(|path| path.contains("/blobs/")).count()
    }
}

impl Content {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        self.requests.lock().push(path.clone());
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let by_password = header == "Basic bWU6c2VjcmV0"; // me:secret
        if path == "/token" {
            let (status, text) =
                if by_password { (StatusCode::OK, r#"{"token":"opaque"}"#) } else { (StatusCode::UNAUTHORIZED, "{}") };
            return respond(status, "application/json", text);
        }
        let (known, challenge) = match self.asks {
            Asks::Nothing => (true, String::new()),
            Asks::Password => (by_password, "Basic realm=\"test\"".to_owned()),
            Asks::Token => {
                (header == "Bearer opaque", format!("Bearer realm=\"http://{}/token\",service=\"test\"", self.address))
            }
        };
        if !known {
            let mut response = respond(StatusCode::UNAUTHORIZED, "application/json", "{}");
            response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
            return response;
        }
        match self.paths.get(&path) {
            _ if path == "/v2/" => respond(StatusCode::OK, "application/json", "{}"),
            Some((kind, data)) => {
                let mut response = respond(StatusCode::OK, kind, data.clone());
                response.headers_mut().insert("docker-content-digest", digest(data).parse().unwrap());
                response
            }
            None => {
                let text = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
                respond(StatusCode::NOT_FOUND, "application/json", text)
            }
        }
    }
}

fn respond(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).header("content-type", kind).body(Full::new(body.into())).unwrap()
}
