//! An API client on one connection: HTTP/1.1 over TLS, blocking, no more than the benchmark needs.
//!
//! Why not a real client library: it would have to be built with its types for every kind, and its
//! own work would be part of what is measured.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::http2;

const JSON: &str = "application/json";

/// No answer takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Who we are and whom we trust.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// As the person of a kubeconfig that Knarr wrote, at `address`.
    pub(crate) fn new(kubeconfig: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(kubeconfig)?;
        let pem = |key: &str| -> anyhow::Result<Vec<u8>> {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
            let value = line.with_context(|| format!("no {key} in {}", kubeconfig.display()))?;
            Ok(base64::engine::general_purpose::STANDARD.decode(value.trim().trim_matches('"'))?)
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem("certificate-authority-data:")?)?)?;
        let certificate = CertificateDer::from_pem_slice(&pem("client-certificate-data:")?)?;
        let key = PrivateKeyDer::from_pem_slice(&pem("client-key-data:")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = tls.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key)?;
        Ok(Self { address, tls: Arc::new(tls) })
    }

    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        Ok(Connection(BufReader::with_capacity(1 << 16, self.open(Arc::clone(&self.tls))?)))
    }

    pub(crate) fn connect_http2(&self) -> anyhow::Result<http2::Connection> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        http2::Connection::new(self.open(Arc::new(tls))?)
    }

    fn open(&self, tls: Arc<ClientConfig>) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let name = ServerName::IpAddress(self.address.ip().into());
        Ok(StreamOwned::new(ClientConnection::new(tls, name)?, stream))
    }
}

/// An open connection; one request at a time.
pub(crate) struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

/// How the length of an answer is told.
enum Length {
    Bytes(usize),
    Chunked,
}

impl Connection {
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.get_as(path, JSON)
    }

    pub(crate) fn get_as(&mut self, path: &str, accept: &str) -> anyhow::Result<Vec<u8>> {
        self.ask("GET", path, (accept, JSON), None)
    }

    pub(crate) fn post(&mut self, path: &str, object: &Value) -> anyhow::Result<()> {
        self.ask("POST", path, (JSON, JSON), Some(object)).map(drop)
    }

    /// Server-side apply.
    pub(crate) fn apply(&mut self, path: &str, object: &Value) -> anyhow::Result<Vec<u8>> {
        self.ask("PATCH", path, (JSON, "application/apply-patch+yaml"), Some(object))
    }

    /// `forms`: of the answer and of what is sent.
    fn ask(
        &mut self,
        method: &str,
        path: &str,
        forms: (&str, &str),
        object: Option<&Value>,
    ) -> anyhow::Result<Vec<u8>> {
        let (status, length) = self.send(method, path, forms, object)?;
        let body = match length {
            Length::Bytes(length) => {
                let mut body = vec![0; length];
                self.0.read_exact(&mut body)?;
                body
            }
            Length::Chunked => {
                let mut body = Vec::new();
                while self.chunk(&mut body)? {}
                body
            }
        };
        ensure!((200..300).contains(&status), "{method} {path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// Turns the connection into a watch on `path`; returns when the server has accepted it.
    pub(crate) fn watch(mut self, path: &str) -> anyhow::Result<Events> {
        let join = if path.contains('?') { '&' } else { '?' };
        match self.send("GET", &format!("{path}{join}watch=1&resourceVersion=0"), (JSON, JSON), None)? {
            (200, Length::Chunked) => Ok(Events { connection: self, pending: Vec::new() }),
            (status, _) => bail!("watch on {path}: {status}"),
        }
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        (accept, sent): (&str, &str),
        object: Option<&Value>,
    ) -> anyhow::Result<(u16, Length)> {
        let body = object.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: kubernetes\r\nAccept: {accept}\r\n");
        if object.is_some() {
            request += &format!("Content-Type: {sent}\r\nContent-Length: {}\r\n", body.len());
        }
        let mut bytes = (request + "\r\n").into_bytes();
        bytes.extend(body);
        self.0.get_mut().write_all(&bytes)?;
        self.0.get_mut().flush()?;
        self.head()
    }

    /// Reads an answer's status and headers.
    fn head(&mut self) -> anyhow::Result<(u16, Length)> {
        let status = self.line()?;
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.with_context(|| format!("no HTTP answer: {status:?}"))?;
        let mut length = Length::Bytes(0);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            let Some((name, value)) = line.split_once(':') else { return Ok((code, length)) };
            match (name, value.trim()) {
                ("content-length", value) => length = Length::Bytes(value.parse()?),
                ("transfer-encoding", "chunked") => length = Length::Chunked,
                _ => {}
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "the server closed the connection");
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    /// Appends one chunk; false after the last.
    fn chunk(&mut self, body: &mut Vec<u8>) -> anyhow::Result<bool> {
        let size = usize::from_str_radix(&self.line()?, 16).context("no chunk")?;
        let start = body.len();
        body.resize(start + size, 0);
        self.0.read_exact(&mut body[start..])?;
        self.line()?;
        Ok(size > 0)
    }
}

/// The events of a watch.
pub(crate) struct Events {
    connection: Connection,
    pending: Vec<u8>,
}

impl Events {
    /// The object of the next event.
    pub(crate) fn next(&mut self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice::<Value>(&self.line()?)?["object"].take())
    }

    /// The next event as it came.
    pub(crate) fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.pending[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(searched + end + 1);
                return Ok(std::mem::replace(&mut self.pending, rest));
            }
            searched = self.pending.len();
            ensure!(self.connection.chunk(&mut self.pending)?, "the watch ended");
        }
    }
}
