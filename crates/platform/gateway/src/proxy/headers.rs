//! The headers a backend gets: ours about where the request came from, none of the client's.

use std::net::IpAddr;

use http::Uri;
use http::header::{self, HeaderName, HeaderValue};
use pingora_core::{ErrorType, OrErr as _, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::model::HeaderEdit;

/// Where a request came from.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    pub(super) client: Option<IpAddr>,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) tls: bool,
    /// Headers that guards have set, which are no claims of the client.
    pub(super) told: &'a [HeaderName],
}

/// The host a request is for, with its port if it names one.
pub(super) fn host(request: &RequestHeader) -> Option<&str> {
    let authority = request.uri.authority().map(|authority| authority.as_str());
    let named = || request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.or_else(named).filter(|host| !host.is_empty())
}

/// Replaces everything a client could have said about its origin.
pub(super) fn forwarded(request: &mut RequestHeader, origin: &Origin<'_>) -> Result<()> {
    let is_clients = |name: &&HeaderName| is_claim(name.as_str()) && !origin.told.contains(name);
    let claims: Vec<HeaderName> = request.headers.keys().filter(is_clients).cloned().collect();
    for name in &claims {
        request.remove_header(name);
    }
    if let Some(client) = origin.client {
        let client = client.to_string();
        request.insert_header("X-Forwarded-For", &client)?;
        request.insert_header("X-Real-IP", client)?;
    }
    request.insert_header("X-Forwarded-Proto", if origin.tls { "https" } else { "http" })?;
    request.insert_header("X-Forwarded-Host", origin.host)?;
    request.insert_header("X-Forwarded-Port", origin.port.to_string())
}

/// Changes headers as a rule says: set, add, remove.
pub(super) fn edit_request(request: &mut RequestHeader, edit: &HeaderEdit) -> Result<()> {
    for (name, value) in &edit.set {
        if *name == header::HOST {
            set_host(request, value.clone())?;
        } else {
            request.insert_header(name.clone(), value)?;
        }
    }
    for (name, value) in &edit.add {
        request.append_header(name.clone(), value)?;
    }
    for name in &edit.remove {
        request.remove_header(name);
    }
    Ok(())
}

/// Changes headers as a rule says: set, add, remove.
pub(super) fn edit_response(response: &mut ResponseHeader, edit: &HeaderEdit) -> Result<()> {
    for (name, value) in &edit.set {
        response.insert_header(name.clone(), value)?;
    }
    for (name, value) in &edit.add {
        response.append_header(name.clone(), value)?;
    }
    for name in &edit.remove {
        response.remove_header(name);
    }
    Ok(())
}

/// Makes `host` the host a backend sees, in whatever version of HTTP.
pub(super) fn set_host(request: &mut RequestHeader, host: HeaderValue) -> Result<()> {
    if request.uri.authority().is_some() {
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        set_target(request, &target)?;
    }
    request.insert_header(header::HOST, host)
}

/// Asks for another path, with its query.
pub(super) fn set_target(request: &mut RequestHeader, target: &str) -> Result<()> {
    let parsed = target.parse::<Uri>().or_err(ErrorType::InvalidHTTPHeader, "a rewritten path is no path")?;
    request.set_uri(parsed);
    Ok(())
}

/// True for headers that only a proxy may set. An underscore counts as a dash, for servers that
/// turn both into the same variable; `Proxy` would be read as `HTTP_PROXY` there.
fn is_claim(name: &str) -> bool {
    let name = name.replace('_', "-");
    name.starts_with("x-forwarded-") || matches!(name.as_str(), "forwarded" | "x-real-ip" | "proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_claims_about_itself_is_replaced() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        let claims = [
            ("X-Forwarded-For", "6.6.6.6"),
            ("x_forwarded_proto", "https"),
            ("Forwarded", "for=6.6.6.6"),
            ("Proxy", "p"),
            ("X-Forwarded-Email", "admin@example.com"),
            ("X-Forwarded-User", "alice"),
        ];
        for (name, value) in claims {
            request.append_header(name, value).unwrap();
        }
        request.append_header("Accept", "*/*").unwrap();
        let told = [HeaderName::from_static("x-forwarded-user")];
        let client = "10.1.2.3".parse().ok();
        let origin = Origin { client, host: "a.localhost:8080", port: 8080, tls: false, told: &told };
        forwarded(&mut request, &origin).unwrap();
        let mut told: Vec<String> =
            request.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        told.sort();
        assert_eq!(
            told,
            [
                "accept: */*",
                "x-forwarded-for: 10.1.2.3",
                "x-forwarded-host: a.localhost:8080",
                "x-forwarded-port: 8080",
                "x-forwarded-proto: http",
                "x-forwarded-user: alice",
                "x-real-ip: 10.1.2.3"
            ]
        );
    }
}
