//! The parts of a policy that are about endpoints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// How the endpoint of a request is chosen.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// `RoundRobin` (the default), `LeastRequests`, `Random` or `RingHash`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// With `RingHash`: what decides. Requests with the same go to the same endpoint as long as it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<HashOn>,
    /// New endpoints get less at first. Not with `RingHash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
    /// `Prefer` (the default): endpoints that EndpointSlices hint at for the gateway's zone come first, while enough of
    /// them are well. `Ignore`: zones do not matter.
    #[serde(default)]
    pub zone: Zone,
    /// When fewer endpoints than this share are well, all are used. 50 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub panic_percent: Option<u8>,
}

/// How endpoints are chosen.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Of two at random the one with less to do.
    LeastRequests,
    /// At random.
    Random,
    /// The same for the same key.
    RingHash,
}

/// What decides a consistent choice.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HashOn {
    /// `Client`, `Header`, `Cookie` or `Uri`.
    pub source: HashSource,
    /// The name of the header or cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
}

/// Where the key of a consistent choice comes from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashSource {
    /// The client's address.
    Client,
    /// A header.
    Header,
    /// A cookie.
    Cookie,
    /// Path and query.
    Uri,
}

/// New endpoints get less at first.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SlowStart {
    /// How long an endpoint is new.
    pub window: Span,
    /// What it gets at first, in percent of its share. 10 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub least_percent: Option<u8>,
}

/// Whether zones matter.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// The own zone first.
    #[default]
    Prefer,
    /// They do not.
    Ignore,
}

/// What is asked of every endpoint: one of `http`, `tcp`, `grpc`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(has(self.http) ? 1 : 0) + (has(self.tcp) ? 1 : 0) + (has(self.grpc) ? 1 : 0) == 1", "message": "say one of http, tcp, grpc"}]))]
pub struct Health {
    /// A request that must be answered well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// A connection that must be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
    /// `grpc.health.v1.Health` that must say SERVING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcCheck>,
    /// Between two rounds. `10s` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// For one answer. `2s` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Good answers in a row that make an endpoint well again. 2 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub healthy: Option<u32>,
    /// Bad answers in a row that make it not well. 3 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy: Option<u32>,
    /// Another port of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// A plain HTTP/1.1 request.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpCheck {
    /// Path and query.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^/"))]
    pub path: String,
    /// The Host header; the endpoint's address when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// Good statuses. 200 to 299 when not said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 100, max = 599)))]
    pub statuses: Vec<u16>,
}

/// A connection, nothing more.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpCheck {}

/// The gRPC health service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcCheck {
    /// The service asked about; the server as a whole when not said.
    #[serde(default)]
    #[schemars(length(max = 127))]
    pub service: String,
}

/// When an endpoint that answers badly is left alone for a while.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Outlier {
    /// Answers 5xx in a row, no answer among them. 5 when not said, 0 is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_errors: Option<u32>,
    /// Answers 502, 503 or 504 in a row, no answer among them. 0 (never) when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_errors: Option<u32>,
    /// Failures to connect in a row. 1 when not said, 0 is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_failures: Option<u32>,
    /// How long the first time; each time doubles it. `30s` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Span>,
    /// How long at most. `300s` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<Span>,
    /// How many of the endpoints at most. 50 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub most_percent: Option<u8>,
}

/// How much may be under way to the Service. What is not said has no bound.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Circuit {
    /// Connections of TCP and TLS routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Requests that wait for a connection to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<u32>,
    /// Requests in flight. Over HTTP/1.1 each has a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Retries in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Requests in flight to one endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_endpoint: Option<u32>,
}

/// How many retries there may be (GEP-3388).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// In percent of the requests of the interval. 20 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<u8>,
    /// How long is looked back. `10s` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Retries per second that are allowed whatever the requests are. 10 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_per_second: Option<u32>,
}

/// The version of the PROXY protocol that endpoints are sent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// When a request is sent again. What the endpoint cannot have seen is, always, once.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Retries at most. 1 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub attempts: Option<u32>,
    /// Statuses that are worth another try.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 400, max = 599)))]
    pub statuses: Vec<u16>,
    /// Statuses of gRPC that are, as numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 1, max = 16)))]
    pub grpc_statuses: Vec<u16>,
    /// Connections that end before an answer are.
    #[serde(default)]
    pub reset: bool,
    /// A try that takes longer than `perTry` is.
    #[serde(default)]
    pub timeout: bool,
    /// Also when the method is not idempotent: the endpoint may then do it twice.
    #[serde(default)]
    pub any_method: bool,
    /// Before the first retry at most; doubled by each. `25ms` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Span>,
    /// What it grows to. `250ms` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_backoff: Option<Span>,
    /// Bodies up to that many bytes are kept to be sent again. 65536 at most, and when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65536))]
    pub body_bytes: Option<u32>,
    /// How long one try may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try: Option<Span>,
}
