//! What people may say about caching: the `spec` of a [`resource::CachePolicy`], and the settings of an edge node.
//!
//! As written; [`rules::Rules`] is what is meant. Times are durations in the form of the Gateway API (GEP-2257:
//! `1h30m`, `10s`), sizes are quantities (`64Mi`).

pub mod resource;
pub mod rules;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use rules::{Fault, Rules};

/// How responses of a route are cached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// False switches the cache off for the targets, where a wider policy switched it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The methods whose requests are answered from the cache: GET, HEAD, or both, which is the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// How long responses are fresh when the origin does not say, by status. The first that fits counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_ttl: Vec<DefaultTtl>,
    /// How long responses are fresh whatever the origin says. What the origin forbids to store is still not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_ttl: Option<String>,
    /// Whether the origin's `Cache-Control` counts.
    #[serde(default)]
    pub origin_directives: Heed,
    /// Whether `Cache-Control` of requests counts (`no-cache`, `max-age`, `only-if-cached`, ...).
    #[serde(default)]
    pub request_directives: Heed,
    /// Whether a response without a lifetime is fresh for a tenth of the time since it was last modified, a day at most
    /// (RFC 9111 section 4.2.2).
    #[serde(default)]
    pub heuristic: bool,
    /// How long after its lifetime a response may be served while it is fetched anew, when the origin does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<String>,
    /// How long after its lifetime a response may be served because the origin fails, when the origin does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<String>,
    /// What besides scheme, host and path tells objects apart.
    #[serde(default)]
    pub key: Key,
    /// Requests that pass by the cache.
    #[serde(default)]
    pub bypass: Bypass,
    /// A response is stored once it was asked for this often within the cache's short memory. 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_uses: Option<u8>,
    /// The largest body that is stored. 64Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_object_size: Option<String>,
    /// Fields of responses that carry tags to purge by, apart by commas or spaces. They are not shown to clients.
    /// `Cache-Tag` and `Surrogate-Key` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_headers: Option<Vec<String>>,
    /// What happens to requests with `Authorization`.
    #[serde(default)]
    pub authorization: Authorization,
    /// What happens to responses with `Set-Cookie`.
    #[serde(default)]
    pub set_cookie: SetCookie,
    /// Whether a response is stored though its media type does not fit the extension of its path. Refusing guards
    /// against cache deception (`/account/x.css` answered with an account page).
    #[serde(default)]
    pub extensions: Extensions,
    /// How long a request waits for another that fetches the same object. 5s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_timeout: Option<String>,
    /// Whether clients see `X-Cache` and `Cache-Status`.
    #[serde(default)]
    pub show: Show,
}

/// A lifetime for some statuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DefaultTtl {
    /// Statuses such as `200` or `4xx`; all that may be stored without being told when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<String>,
    /// The lifetime; `0s` forbids to store.
    pub ttl: String,
}

/// Whether a side's directives count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Heed {
    /// They count, as RFC 9111 has it.
    #[default]
    Obey,
    /// They do not.
    Ignore,
}

/// What tells objects apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Key {
    /// The query.
    #[serde(default)]
    pub query: Query,
    /// Request fields whose values tell objects apart, though the origin does not name them in `Vary`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Cookies whose values tell objects apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// Tells phones, tablets and other devices apart by `User-Agent`.
    #[serde(default)]
    pub device: bool,
}

/// Which parameters of the query count. Those that do not are not sent to the origin either, or one client could choose
/// what all get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Query {
    /// Only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<String>>,
    /// All but these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// Their order does not count.
    #[serde(default)]
    pub sort: bool,
}

/// Requests that pass by the cache: neither answered from it nor stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bypass {
    /// Those with one of these cookies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// Those with one of these fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Those to one of these paths; a path that ends with `*` means all that begin so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// What happens to requests with `Authorization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Authorization {
    /// Their responses are stored when the origin allows that with `public`, `s-maxage` or `must-revalidate`
    /// (RFC 9111 section 3.5).
    #[default]
    WhenAllowed,
    /// They pass by the cache.
    Never,
}

/// What happens to responses with `Set-Cookie`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SetCookie {
    /// They are not stored.
    #[default]
    Refuse,
    /// They are stored without it.
    Strip,
}

/// Whether the media type must fit the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Extensions {
    /// It need not.
    #[default]
    Any,
    /// It must, for the extensions of static files.
    MustFit,
}

/// Whether clients see what the cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Show {
    /// `X-Cache` and `Cache-Status` are sent.
    #[default]
    Status,
    /// Neither is.
    Nothing,
}
