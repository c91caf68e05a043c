//! How a webhook is reached: an address or a service.

use base::name;
use serde_json::Value;

use super::super::Faults;
use crate::json::{int, text};
use crate::path::Path;

const FORM: &str = "; desired format: https://host[/path]";

/// An https address without anything that a hook has no use for.
pub(crate) fn address(url: &str, path: &Path<'_>, faults: &mut Faults) {
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if let Some(why) = fault(rest) {
        let detail = format!("url must be a valid URL: parse {}: {why}{FORM}", crate::error::quote(url));
        faults.required(path, detail);
        return;
    }
    let (scheme, rest) = split_scheme(rest);
    let scheme = scheme.to_lowercase();
    if scheme != "https" {
        faults.invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or(""));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        faults.invalid(path, "", format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        faults.invalid(path, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        faults.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        faults.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

fn split_scheme(url: &str) -> (&str, &str) {
    match url.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => ("", url),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Why Go would not read the address.
fn fault(url: &str) -> Option<String> {
    if url.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Some("net/url: invalid control character in URL".to_owned());
    }
    if url.starts_with(':') {
        return Some("missing protocol scheme".to_owned());
    }
    let (scheme, rest) = split_scheme(url);
    if scheme.is_empty() && url.split('/').next().is_some_and(|first| first.contains(':')) {
        return Some("first path segment in URL cannot contain colon".to_owned());
    }
    let authority = rest.strip_prefix("//")?.split('/').next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = host.rsplit_once(':').filter(|(before, _)| !before.contains('[') || before.ends_with(']'))?.1;
    let right = port.bytes().all(|byte| byte.is_ascii_digit());
    (!right).then(|| format!("invalid port {} after host", crate::error::quote(&format!(":{port}"))))
}

/// A service inside the cluster. Upstream mixes up the name and the namespace here; both are only asked to be there.
pub(crate) fn service(service: &Value, path: &Path<'_>, faults: &mut Faults) {
    if text(service, "namespace").is_empty() {
        faults.required(&path.field("name"), "");
    }
    if text(service, "name").is_empty() {
        faults.required(&path.field("namespace"), "");
    }
    let port = int(service, "port").unwrap_or(0);
    if let Err(reasons) = name::port_number(port) {
        faults.invalid(&path.field("port"), port, format!("port is not valid: {reasons}"));
    }
    self::place(text(service, "path"), &path.field("path"), faults);
}

/// The path of an address below a service: each step a name.
pub(crate) fn place(place: &str, path: &Path<'_>, faults: &mut Faults) {
    if place == "//" {
        faults.invalid(path, place, "segment[0] may not be empty");
    } else if !matches!(place, "" | "/") {
        if !place.starts_with('/') {
            faults.invalid(path, place, "must start with a '/'");
        }
        let mut rest = place.chars();
        rest.next();
        let rest = rest.as_str();
        for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
            if step.is_empty() {
                faults.invalid(path, place, format!("segment[{index}] may not be empty"));
                continue;
            }
            for reason in name::dns_subdomain(step).err().into_iter().flatten() {
                faults.invalid(path, place, format!("segment[{index}]: {reason}"));
            }
        }
    }
}
