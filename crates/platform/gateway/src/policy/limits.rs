//! The parts of a policy that are about requests and clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// How many requests pass. One limit counts everything its policy is for together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// For headers, logs and metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Requests per `per`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// `1s` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Span>,
    /// How many may come at once after a quiet time. As many as `requests` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// `All` (the default): one limit for everybody. `Client`: one per address (IPv6: per /64). `Header`: one per value of
    /// a header that a proxy or an access policy sets; requests without it share one.
    #[serde(default)]
    pub by: By,
    /// With `by: Header`: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// Clients told apart at most, others share. 100000 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub most_clients: Option<u32>,
    /// The status of a refusal. 429 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<u16>,
    /// Answers say what is left (`RateLimit`, `RateLimit-Policy`). Refusals always do.
    #[serde(default)]
    pub headers: bool,
}

/// Whose requests are counted together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Everybody's.
    #[default]
    All,
    /// Those of an address.
    Client,
    /// Those with the same value of a header.
    Header,
}

/// How much may be under way through what the policy is for. What is not said has no bound.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Requests in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Requests in flight of one client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_client: Option<u32>,
}

/// What is refused before anything else looks at a request.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// `Enforce` (the default), or `Report`: sizes are told in logs and metrics only.
    #[serde(default)]
    pub mode: Mode,
    /// Sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Sizes>,
    /// The first rule that a request matches decides; what none matches passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub rules: Vec<Rule>,
}

/// Whether what is found counts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It is only told.
    Report,
}

/// Sizes of requests. What is not said has no bound but the gateway's own.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sizes {
    /// Header fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<u32>,
    /// Bytes of the header's names and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_bytes: Option<u32>,
    /// Bytes of path and query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_bytes: Option<u32>,
    /// Bytes of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
}

/// One rule. All conditions that are said must hold; of a list, any.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// For logs and metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// `Allow` or `Deny`.
    pub action: Action,
    /// With `Deny`: the status. 403 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<u16>,
    /// `Enforce` (the default), or `Report`: the rule is told of and decides nothing.
    #[serde(default)]
    pub mode: Mode,
    /// Methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 32), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")))]
    pub methods: Vec<String>,
    /// Paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub paths: Vec<PathMatch>,
    /// Networks the client is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// Networks the client is not of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients_outside: Option<Clients>,
    /// Patterns of which one is found in `User-Agent`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 1024)))]
    pub user_agents: Vec<String>,
}

/// What follows when a rule matches.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The request passes.
    Allow,
    /// It is refused.
    Deny,
}

/// A condition on the path.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct PathMatch {
    /// `Prefix` (the default), `Exact` or `Regex` (of the whole path).
    #[serde(default, rename = "type")]
    pub kind: PathKind,
    /// The path or pattern.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// How a path is compared.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathKind {
    /// The path or what is below.
    #[default]
    Prefix,
    /// All of it.
    Exact,
    /// All of it, as a pattern.
    Regex,
}

/// Networks, written here or kept in ConfigMaps.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Clients {
    /// Networks in CIDR form, or addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 2, max = 64)))]
    pub networks: Vec<String>,
    /// Lists in ConfigMaps of the policy's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub sets: Vec<NetsRef>,
}

/// A list of networks: a network per line, `#` begins a comment.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct NetsRef {
    /// The ConfigMap's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A key of its data; all of them when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// Answers are compressed for clients that can read it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// `gzip`, `br` and `zstd`; all of them when not said. Of several that a client can read the client's choice counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub codings: Vec<Coding>,
    /// 1 (fast) to 9 (small). 3 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub level: Option<u32>,
}

/// A content coding.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Br,
    /// RFC 8878.
    Zstd,
}

/// How long things may take, where the route itself does not say; `0s` is no limit.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the request's header to the end of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Span>,
    /// One try at an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Span>,
    /// Connecting to an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Span>,
    /// An endpoint's silence between two reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Span>,
    /// An endpoint's silence between two writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Span>,
}
