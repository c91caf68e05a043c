//! Orders at an ACME server, and the challenges of an order.

use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};

use super::{ACME_GROUP, IssuerRef, Solver, kind};

kind!(
    /// One order at an ACME server (RFC 8555, 7.1.3).
    Order, OrderSpec, OrderStatus, ACME_GROUP, "orders", NamespaceResourceScope
);
kind!(
    /// One challenge of an order (RFC 8555, 7.1.5). Whoever solves challenges of its type reads token and key here.
    Challenge, ChallengeSpec, ChallengeStatus, ACME_GROUP, "challenges", NamespaceResourceScope
);

/// The states of RFC 8555, and `errored`: refused for good, and not by an answer to the challenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "named as RFC 8555 names them")]
pub enum State {
    #[default]
    #[serde(rename = "")]
    Unknown,
    Valid,
    Ready,
    Pending,
    Processing,
    Invalid,
    Expired,
    Errored,
    Deactivated,
    Revoked,
}

impl State {
    /// Whether nothing more will come of it.
    #[must_use]
    pub fn is_final(self) -> bool {
        self == Self::Valid || self.is_failure()
    }

    /// Whether it has come to nothing.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Invalid | Self::Expired | Self::Errored | Self::Deactivated | Self::Revoked)
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Valid => "valid",
            Self::Ready => "ready",
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Errored => "errored",
            Self::Deactivated => "deactivated",
            Self::Revoked => "revoked",
        }
    }

    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// What is ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrderSpec {
    /// The signing request, PEM.
    #[serde(with = "super::bytes")]
    pub request: Vec<u8>,
    /// Whose account.
    pub issuer_ref: IssuerRef,
    /// One of the names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub common_name: String,
    /// The names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// The addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// How long; only where the issuer says that the server takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The server's profile.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// The certificate it is in place of (RFC 9773, 5).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replaces: String,
}

/// What has become of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrderStatus {
    /// Where the server keeps it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Where the request goes in the end.
    #[serde(rename = "finalizeURL", skip_serializing_if = "String::is_empty")]
    pub finalize_url: String,
    /// What must be shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorizations: Vec<Authorization>,
    /// The chain, PEM.
    #[serde(with = "super::bytes", skip_serializing_if = "Vec::is_empty")]
    pub certificate: Vec<u8>,
    /// How far it is.
    #[serde(skip_serializing_if = "State::is_unknown")]
    pub state: State,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it failed, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<String>,
}

/// That a name is ours, and how that may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authorization {
    /// Where the server keeps it.
    pub url: String,
    /// The name, without `*.`.
    pub identifier: String,
    /// Whether all names below it are meant.
    pub wildcard: bool,
    /// What it was when the order was made.
    #[serde(skip_serializing_if = "State::is_unknown")]
    pub initial_state: State,
    /// The ways.
    pub challenges: Vec<ChallengeOffer>,
}

/// One way to show that a name is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChallengeOffer {
    /// Where the server is told to look.
    pub url: String,
    /// What makes it unlike others.
    pub token: String,
    /// `http-01` or `dns-01`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What must be shown, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChallengeSpec {
    /// Where the server is told to look.
    pub url: String,
    /// What it belongs to.
    #[serde(rename = "authorizationURL")]
    pub authorization_url: String,
    /// The name, without `*.`.
    pub dns_name: String,
    /// Whether all names below it are meant.
    pub wildcard: bool,
    /// `HTTP-01` or `DNS-01`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Part of the path to be asked for.
    pub token: String,
    /// What is to be found: the key authorization, or for DNS its hash.
    pub key: String,
    /// How.
    pub solver: Solver,
    /// Whose account.
    pub issuer_ref: IssuerRef,
}

/// How far a challenge is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChallengeStatus {
    /// Whether it is being worked on.
    pub processing: bool,
    /// Whether it can be found where the server will look.
    pub presented: bool,
    /// Since when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented_at: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the server thinks of it.
    #[serde(skip_serializing_if = "State::is_unknown")]
    pub state: State,
}
