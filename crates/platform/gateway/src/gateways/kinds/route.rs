//! The five kinds of routes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::{Deserialize, Serialize};

use super::{BackendRef, LocalRef, ParentRef};

macro_rules! routes {
    ($($(#[$doc:meta])* $route:ident of $rule:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        pub struct $route {
            /// Without annotations.
            #[serde(deserialize_with = "informer::identity")]
            pub metadata: ObjectMeta,
            /// What is asked for.
            pub spec: RouteSpec<$rule>,
            /// What is told.
            #[serde(default)]
            pub status: RouteStatus,
        }
    )*};
}

routes! {
    /// HTTP requests to backends.
    HttpRoute of HttpRule;
    /// gRPC calls to backends.
    GrpcRoute of GrpcRule;
    /// TLS connections to backends, by the name the client asks for.
    TlsRoute of StreamRule;
    /// TCP connections to backends.
    TcpRoute of StreamRule;
    /// UDP datagrams to backends.
    UdpRoute of StreamRule;
}

/// What a route asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec<R> {
    /// What it attaches to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Any when empty; TCP and UDP have none.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// What is done with what comes in.
    #[serde(default = "Vec::new")]
    pub rules: Vec<R>,
}

impl<R> Default for RouteSpec<R> {
    fn default() -> Self {
        Self { parent_refs: Vec::new(), hostnames: Vec::new(), rules: Vec::new() }
    }
}

/// What is told of a route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteStatus {
    /// One for each parent that a controller knows.
    pub parents: Vec<ParentStatus>,
}

/// What a parent's controller tells of a route.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentStatus {
    /// As in the spec.
    pub parent_ref: ParentRef,
    /// Who tells it.
    pub controller_name: String,
    /// `Accepted`, `ResolvedRefs`, `PartiallyInvalid`.
    pub conditions: Vec<Condition>,
}

/// A rule of a TLSRoute, TCPRoute or UDPRoute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamRule {
    /// Where connections go.
    pub backend_refs: Vec<BackendRef>,
}

/// A rule of an HTTPRoute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRule {
    /// Its name, for people and policies.
    pub name: Option<String>,
    /// One of them must match; every path when empty.
    pub matches: Vec<HttpMatch>,
    /// What is done to requests and answers.
    pub filters: Vec<Filter>,
    /// Where requests go.
    pub backend_refs: Vec<BackendFilters>,
    /// For how long.
    pub timeouts: Option<Timeouts>,
    /// How often.
    pub retry: Option<Retry>,
    /// Whether one client stays with one backend.
    pub session_persistence: Option<Persistence>,
}

/// A rule of a GRPCRoute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRule {
    /// Its name, for people and policies.
    pub name: Option<String>,
    /// One of them must match; every call when empty.
    pub matches: Vec<GrpcMatch>,
    /// What is done to calls and answers.
    pub filters: Vec<Filter>,
    /// Where calls go.
    pub backend_refs: Vec<BackendFilters>,
    /// Whether one client stays with one backend.
    pub session_persistence: Option<Persistence>,
}

/// A backend with filters of its own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BackendFilters {
    /// The backend.
    #[serde(flatten)]
    pub backend: BackendRef,
    /// What is done to requests that go there.
    pub filters: Vec<Filter>,
}

/// What a request must be like: all of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMatch {
    /// Any when none.
    pub path: Option<PathMatch>,
    /// All of them.
    pub headers: Vec<ValueMatch>,
    /// All of them.
    pub query_params: Vec<ValueMatch>,
    /// Any when none.
    pub method: Option<String>,
}

/// A path.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PathMatch {
    /// `PathPrefix` when none, `Exact` or `RegularExpression`.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// `/` when none.
    pub value: Option<String>,
}

/// A header or a query parameter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ValueMatch {
    /// `Exact` when none, or `RegularExpression`.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// Of several with one name the first counts.
    pub name: String,
    /// What it must be.
    pub value: String,
}

/// What a call must be like: all of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GrpcMatch {
    /// Any when none.
    pub method: Option<GrpcMethod>,
    /// All of them.
    pub headers: Vec<ValueMatch>,
}

/// Methods of gRPC services.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GrpcMethod {
    /// `Exact` when none, or `RegularExpression`.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// Any when none.
    pub service: Option<String>,
    /// Any when none.
    pub method: Option<String>,
}

/// One thing done to requests or answers; `type_` says which field counts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// Which.
    #[serde(rename = "type")]
    pub type_: String,
    /// Of requests.
    pub request_header_modifier: Option<HeaderEdits>,
    /// Of answers.
    pub response_header_modifier: Option<HeaderEdits>,
    /// A copy elsewhere.
    pub request_mirror: Option<Mirror>,
    /// An answer that sends the client elsewhere.
    pub request_redirect: Option<Redirect>,
    /// Another host or path for the backend.
    pub url_rewrite: Option<Rewrite>,
    /// Which pages of other origins may ask.
    pub cors: Option<Cors>,
    /// Somebody else decides.
    pub external_auth: Option<ExternalAuth>,
    /// Something of an implementation.
    pub extension_ref: Option<LocalRef>,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeaderEdits {
    /// In place of what is there.
    pub set: Vec<Header>,
    /// Beside what is there.
    pub add: Vec<Header>,
    /// Taken away.
    pub remove: Vec<String>,
}

/// A header.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A copy of requests that nobody waits for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mirror {
    /// Where it goes.
    pub backend_ref: BackendRef,
    /// Of how many in a hundred.
    pub percent: Option<i32>,
    /// Of how many of how many.
    pub fraction: Option<Fraction>,
}

/// A share.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Fraction {
    /// So many.
    pub numerator: i32,
    /// Of so many, 100 when none.
    pub denominator: Option<i32>,
}

/// Where a client is sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// As asked when none.
    pub scheme: Option<String>,
    /// As asked when none.
    pub hostname: Option<String>,
    /// As asked when none.
    pub path: Option<PathModifier>,
    /// That of the scheme, or the listener's, when none.
    pub port: Option<i32>,
    /// 302 when none.
    pub status_code: Option<u16>,
}

/// What the backend sees.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rewrite {
    /// As asked when none.
    pub hostname: Option<String>,
    /// As asked when none.
    pub path: Option<PathModifier>,
}

/// Another path.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathModifier {
    /// `ReplaceFullPath` or `ReplacePrefixMatch`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The whole path.
    pub replace_full_path: Option<String>,
    /// What the matching prefix becomes.
    pub replace_prefix_match: Option<String>,
}

/// Which pages of other origins may ask (CORS of the Fetch standard).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// `*`, an origin, or one with a star in its host.
    pub allow_origins: Vec<String>,
    /// With cookies.
    pub allow_credentials: Option<bool>,
    /// Methods, or `*`.
    pub allow_methods: Vec<String>,
    /// Headers of requests, or `*`.
    pub allow_headers: Vec<String>,
    /// Headers of answers, or `*`.
    pub expose_headers: Vec<String>,
    /// For how long a browser may remember, in seconds; 5 when none.
    pub max_age: Option<i32>,
}

/// Who decides whether a request is let in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalAuth {
    /// `GRPC` or `HTTP`.
    pub protocol: String,
    /// Who is asked.
    pub backend_ref: BackendRef,
    /// For `GRPC`.
    pub grpc: Option<HttpAuth>,
    /// For `HTTP`.
    pub http: Option<HttpAuth>,
    /// The body goes along when some.
    pub forward_body: Option<ForwardBody>,
}

/// How somebody is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpAuth {
    /// In front of the request's path.
    pub path: String,
    /// Headers that go along.
    pub allowed_headers: Vec<String>,
    /// Headers of the answer that the backend gets.
    pub allowed_response_headers: Vec<String>,
}

/// How much of the body goes along.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardBody {
    /// Bytes.
    pub max_size: u16,
}

/// For how long; durations as Go writes them (GEP-2257).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// The whole request.
    pub request: Option<String>,
    /// One try of a backend.
    pub backend_request: Option<String>,
}

/// How often a request is tried.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// Which answers are tried again.
    pub codes: Vec<u16>,
    /// How often at most, beside the first time.
    pub attempts: Option<i32>,
    /// Time between two tries.
    pub backoff: Option<String>,
}

/// One client stays with one backend.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Persistence {
    /// Name of the cookie or header.
    pub session_name: Option<String>,
    /// For how long at most.
    pub absolute_timeout: Option<String>,
    /// For how long it may be idle.
    pub idle_timeout: Option<String>,
    /// `Cookie` when none, or `Header`.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// For `Cookie`.
    pub cookie_config: Option<CookieConfig>,
}

/// How long a cookie lives.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieConfig {
    /// `Session` when none, or `Permanent`.
    pub lifetime_type: Option<String>,
}
