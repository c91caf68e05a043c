//! Where a redirect leads.

use crate::model::Redirect;

/// The request that is redirected.
#[derive(Debug)]
pub(super) struct From<'a> {
    pub(super) tls: bool,
    /// As the client wrote it, maybe with a port.
    pub(super) host: &'a str,
    /// Of the listener.
    pub(super) port: u16,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) matched: usize,
}

/// The URL for the `Location` header (HTTPRequestRedirectFilter): without a port where it is the usual one of the scheme.
pub(super) fn place(to: &Redirect, from: &From<'_>) -> String {
    let scheme = to.scheme.unwrap_or(if from.tls { "https" } else { "http" });
    let host = to.host.as_deref().unwrap_or_else(|| name(from.host));
    let usual = if scheme == "https" { 443 } else { 80 };
    let port = to.port.unwrap_or(if to.scheme.is_some() { usual } else { from.port });
    let path = to.path.as_ref().map(|edit| edit.apply(from.path, from.matched));
    let path = path.as_deref().unwrap_or(from.path);
    let mut place = format!("{scheme}://{host}");
    if port != usual {
        place.push_str(&format!(":{port}"));
    }
    place.push_str(path);
    if let Some(query) = from.query.filter(|_| to.keep_query) {
        place.push('?');
        place.push_str(query);
    }
    place
}

/// A host without its port.
fn name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && (name.ends_with(']') || !name.contains(':')) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PathEdit;
    use http::StatusCode;

    #[test]
    fn a_redirect_changes_what_it_names_and_leaves_out_usual_ports() {
        let plain =
            Redirect { scheme: None, host: None, port: None, path: None, keep_query: true, status: StatusCode::FOUND };
        let from = From { tls: false, host: "a.com:8080", port: 8080, path: "/x/y", query: Some("q=1"), matched: 2 };
        let usual = From { host: "a.com", port: 80, ..from };
        let to = |change: &dyn Fn(&mut Redirect), from: &From<'_>| {
            let mut redirect = plain.clone();
            change(&mut redirect);
            place(&redirect, from)
        };
        assert_eq!(to(&|_| {}, &from), "http://a.com:8080/x/y?q=1");
        assert_eq!(to(&|_| {}, &usual), "http://a.com/x/y?q=1");
        assert_eq!(to(&|r| r.scheme = Some("https"), &from), "https://a.com/x/y?q=1");
        assert_eq!(to(&|r| (r.scheme, r.port) = (Some("https"), Some(8443)), &from), "https://a.com:8443/x/y?q=1");
        assert_eq!(to(&|r| r.host = Some("b.org".to_owned()), &from), "http://b.org:8080/x/y?q=1");
        assert_eq!(to(&|r| r.port = Some(80), &from), "http://a.com/x/y?q=1");
        assert_eq!(to(&|r| r.path = Some(PathEdit::Prefix("/z".to_owned())), &usual), "http://a.com/z/y?q=1");
        let whole = |r: &mut Redirect| (r.path, r.keep_query) = (Some(PathEdit::Full("/z?w".to_owned())), false);
        assert_eq!(to(&whole, &usual), "http://a.com/z?w");
        assert_eq!(to(&|_| {}, &From { tls: true, host: "[::1]:443", port: 443, ..from }), "https://[::1]/x/y?q=1");
    }
}
