//! The other side of the socket, for the command line.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::MOST;
use crate::Stats;
use crate::store::purge::Purge;

/// Whoever asks a cache that another process runs.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why a cache does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no cache answers at {}; is a gateway or an edge running, and are you its user?", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The answer broke off.
    #[error("the cache did not answer properly: {0}")]
    Broken(String),
    /// It refused, for a reason.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// Of the cache that listens at `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf() }
    }

    /// Purges, and tells how many objects that was.
    ///
    /// # Errors
    /// When there is no cache, or it refuses.
    pub async fn purge(&self, purge: &Purge) -> Result<u64, ClientError> {
        let body = serde_json::to_vec(purge).map_err(|error| ClientError::Broken(error.to_string()))?;
        let answer: serde_json::Value = self.ask(Method::POST, "/purge", body).await?;
        answer["purged"].as_u64().ok_or_else(|| ClientError::Broken("it does not say how many objects".to_owned()))
    }

    /// Figures of now.
    ///
    /// # Errors
    /// When there is no cache.
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        self.ask(Method::GET, "/stats", Vec::new()).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| ClientError::Connect { socket: self.socket.clone(), source })?;
        let broken = |error: &dyn std::fmt::Display| ClientError::Broken(error.to_string());
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
        let request = Request::builder().method(method).uri(path).header(http::header::HOST, "cache");
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| broken(&error))?;
        let asking = async {
            let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(|error| broken(&error))?;
            Ok((status, body.to_bytes()))
        };
        let (status, body) = tokio::select! {
            answer = asking => answer?,
            ended = connection => return Err(ClientError::Broken(format!("the connection ended: {ended:?}"))),
        };
        if status != StatusCode::OK {
            return Err(ClientError::Refused(String::from_utf8_lossy(&body).trim().to_owned()));
        }
        serde_json::from_slice(&body).map_err(|error| broken(&error))
    }
}
