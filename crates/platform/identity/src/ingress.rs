//! The annotations of ingress-nginx about identity, as [`Settings`].
//!
//! What cannot be done the same way is refused with the remedy, never left out in silence: an annotation that keeps
//! somebody out must not stop doing so.

use std::collections::BTreeMap;

use crate::fault::Faults;
use crate::settings::{
    Addresses, Basic, BasicForm, Bundle, BundleKind, Cache, Certificate, ErrorPage, External, Headers, Presence,
    Satisfy, Settings,
};

/// What all of these annotations begin with.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// What becomes of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Honoured,
    /// It changes nothing that a client or a backend could notice; the text says why.
    Ignored(&'static str),
    /// The Ingress is not served as it is; the text is the remedy.
    Refused(&'static str),
}

/// Every annotation about identity, without its prefix.
pub const ANNOTATIONS: &[(&str, Fate)] = &[
    ("allowlist-source-range", Fate::Honoured),
    (
        "auth-always-set-cookie",
        Fate::Ignored("cookies of the service reach the client with every answer that it decides"),
    ),
    ("auth-cache-duration", Fate::Honoured),
    ("auth-cache-key", Fate::Honoured),
    ("auth-keepalive", Fate::Ignored("connections to the service are always kept and shared")),
    ("auth-keepalive-requests", Fate::Ignored("connections to the service are always kept and shared")),
    ("auth-keepalive-share-vars", Fate::Ignored("there are no variables of nginx")),
    ("auth-keepalive-timeout", Fate::Ignored("connections to the service are always kept and shared")),
    ("auth-method", Fate::Honoured),
    ("auth-proxy-set-headers", Fate::Refused("write an AccessPolicy with spec.external.setHeaders")),
    ("auth-realm", Fate::Honoured),
    ("auth-request-redirect", Fate::Refused("say the page to return to in auth-signin")),
    ("auth-response-headers", Fate::Honoured),
    ("auth-secret", Fate::Honoured),
    ("auth-secret-type", Fate::Honoured),
    ("auth-signin", Fate::Honoured),
    ("auth-signin-redirect-param", Fate::Honoured),
    ("auth-snippet", Fate::Refused("there is no nginx to configure; write an AccessPolicy with spec.external")),
    ("auth-tls-error-page", Fate::Refused("clients without a good certificate get a 403; leave the annotation out")),
    ("auth-tls-match-cn", Fate::Honoured),
    ("auth-tls-pass-certificate-to-upstream", Fate::Honoured),
    ("auth-tls-secret", Fate::Honoured),
    ("auth-tls-verify-client", Fate::Honoured),
    ("auth-tls-verify-depth", Fate::Ignored("chains have at most six certificates between")),
    ("auth-type", Fate::Honoured),
    ("auth-url", Fate::Honoured),
    ("denylist-source-range", Fate::Honoured),
    ("enable-global-auth", Fate::Ignored("there is no global service to ask")),
    ("satisfy", Fate::Honoured),
    ("whitelist-source-range", Fate::Honoured),
];

/// The annotations of one Ingress.
struct Written<'a> {
    namespace: &'a str,
    hosts: &'a [String],
    annotations: &'a BTreeMap<String, String>,
}

/// The settings that an Ingress' annotations mean; none if none of them is about identity. `hosts` are those of its rules,
/// an empty one for a rule without a host.
///
/// # Errors
/// What cannot be honoured; such an Ingress must answer 503 rather than let everybody in.
pub fn settings(
    namespace: &str,
    hosts: &[String],
    annotations: &BTreeMap<String, String>,
) -> Result<Option<Settings>, Faults> {
    let written = Written { namespace, hosts, annotations };
    let mut faults = Faults::default();
    for (name, fate) in ANNOTATIONS {
        if let (Some(_), Fate::Refused(remedy)) = (written.get(name), fate) {
            faults.add(field(name), format_args!("is not honoured: {remedy}"));
        }
    }
    let settings = Settings {
        satisfy: written.satisfy(&mut faults),
        addresses: written.addresses(),
        basic: written.basic(&mut faults),
        client_certificate: written.certificate(&mut faults),
        external: written.external(&mut faults),
        ..Settings::default()
    };
    let nothing = settings.addresses.is_none()
        && settings.basic.is_none()
        && settings.client_certificate.is_none()
        && settings.external.is_none();
    if faults.0.is_empty() { Ok((!nothing).then_some(settings)) } else { Err(faults) }
}

fn field(name: &str) -> String {
    format!("metadata.annotations[{PREFIX}{name}]")
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

impl Written<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.annotations.get(&format!("{PREFIX}{name}"))?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// A Secret that an annotation names, which must be of the Ingress' own namespace.
    fn secret(&self, name: &str, value: &str, faults: &mut Faults) -> Option<String> {
        match value.split_once('/') {
            None => Some(value.to_owned()),
            Some((namespace, secret)) if namespace == self.namespace => Some(secret.to_owned()),
            Some((namespace, _)) => {
                faults.add(
                    field(name),
                    format_args!(
                        "names a Secret of the namespace {namespace}: it must be one of {}, where the Ingress is",
                        self.namespace
                    ),
                );
                None
            }
        }
    }

    fn satisfy(&self, faults: &mut Faults) -> Satisfy {
        match self.get("satisfy") {
            None | Some("all") => Satisfy::All,
            Some("any") => Satisfy::Any,
            Some(other) => {
                faults.add(field("satisfy"), format_args!("is {other:?}: say all or any"));
                Satisfy::All
            }
        }
    }

    fn addresses(&self) -> Option<Addresses> {
        let read = |name: &str| self.get(name).map(list).unwrap_or_default();
        let mut allow = read("whitelist-source-range");
        allow.extend(read("allowlist-source-range"));
        let deny = read("denylist-source-range");
        (!allow.is_empty() || !deny.is_empty()).then_some(Addresses { allow, deny })
    }

    fn basic(&self, faults: &mut Faults) -> Option<Basic> {
        match self.get("auth-type")? {
            "basic" => {}
            other => {
                faults.add(field("auth-type"), format_args!("is {other:?}: only basic is honoured"));
                return None;
            }
        }
        let Some(named) = self.get("auth-secret") else {
            faults.add(field("auth-secret"), "is missing: name the Secret with the users");
            return None;
        };
        let form = match self.get("auth-secret-type") {
            None | Some("auth-file") => BasicForm::File,
            Some("auth-map") => BasicForm::Map,
            Some(other) => {
                faults.add(field("auth-secret-type"), format_args!("is {other:?}: say auth-file or auth-map"));
                return None;
            }
        };
        Some(Basic {
            secret: self.secret("auth-secret", named, faults)?,
            form,
            realm: self.get("auth-realm").unwrap_or("Authentication Required").to_owned(),
            user_header: None,
            forward: true, // as nginx does
        })
    }

    fn certificate(&self, faults: &mut Faults) -> Option<Certificate> {
        let named = self.get("auth-tls-secret")?;
        let (presence, verified) = match self.get("auth-tls-verify-client") {
            None | Some("on") => (Presence::Required, true),
            Some("optional") => (Presence::Optional, true),
            Some("optional_no_ca") => (Presence::Optional, false),
            Some("off") => return None,
            Some(other) => {
                faults.add(
                    field("auth-tls-verify-client"),
                    format_args!("is {other:?}: say on, off, optional or optional_no_ca"),
                );
                return None;
            }
        };
        let secret = self.secret("auth-tls-secret", named, faults)?;
        let whole = self.get("auth-tls-pass-certificate-to-upstream") == Some("true");
        // nginx looks for the expression anywhere in the subject.
        let subjects = self.get("auth-tls-match-cn").map(|text| format!(".*(?:{text}).*"));
        Some(Certificate {
            presence,
            authorities: verified.then(|| Bundle { kind: BundleKind::Secret, name: secret, key: "ca.crt".to_owned() }),
            names: Vec::new(),
            subjects: subjects.into_iter().collect(),
            headers: if whole { Headers::NginxFull } else { Headers::Nginx },
        })
    }

    fn external(&self, faults: &mut Faults) -> Option<External> {
        let url = self.get("auth-url")?;
        let parameter = self.get("auth-signin-redirect-param").unwrap_or("rd").to_owned();
        let cache = self.get("auth-cache-key").and_then(|key| self.cache(key, faults));
        Some(External {
            url: self.own_host(url, faults)?,
            method: self.get("auth-method").map(str::to_owned),
            response_headers: self.get("auth-response-headers").map(list).unwrap_or_default(),
            forward_cookies: true,
            sign_in: self.get("auth-signin").map(|url| ErrorPage { url: url.to_owned(), parameter }),
            cache,
            ..External::default()
        })
    }

    /// `$host` as the host of the service is the Ingress' host, if there is just one: a client must not choose it.
    fn own_host(&self, url: &str, faults: &mut Faults) -> Option<String> {
        let chosen = ["://$host/", "://${host}/", "://$http_host/"].into_iter().find(|form| url.contains(form));
        let Some(form) = chosen else { return Some(url.to_owned()) };
        match self.hosts {
            [host] if !host.is_empty() && !host.contains('*') => Some(url.replacen(form, &format!("://{host}/"), 1)),
            _ => {
                faults.add(
                    field("auth-url"),
                    "asks at $host, and the Ingress has not exactly one host: name the service's host",
                );
                None
            }
        }
    }

    /// `200 202 401 5m, 500 1s`: one time for all answers that are remembered is what we have; the shortest counts.
    fn cache(&self, key: &str, faults: &mut Faults) -> Option<Cache> {
        let written = self.get("auth-cache-duration").unwrap_or("200 202 401 5m");
        let times = written.split(',').filter_map(|row| row.split_ascii_whitespace().last());
        let shortest = times.filter_map(|time| crate::fault::duration(time).map(|read| (read, time))).min();
        match shortest {
            Some((_, time)) => Some(Cache { key: key.to_owned(), duration: time.to_owned() }),
            None => {
                faults.add(field("auth-cache-duration"), format_args!("{written:?} is no list such as 200 202 401 5m"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hosts: &[&str], rows: &[(&str, &str)]) -> Result<Option<Settings>, Faults> {
        let annotations = rows.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned())).collect();
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        settings("shop", &hosts, &annotations)
    }

    #[test]
    fn annotations_are_told_in_order_and_once() {
        assert!(ANNOTATIONS.is_sorted_by(|left, right| left.0 < right.0));
    }

    #[test]
    fn an_ingress_without_them_needs_nothing() {
        assert_eq!(read(&["a.example"], &[("rewrite-target", "/")]), Ok(None));
        assert_eq!(read(&["a.example"], &[("auth-tls-secret", "ca"), ("auth-tls-verify-client", "off")]), Ok(None));
    }

    #[test]
    fn oauth2_proxy_as_its_manual_says() {
        let rows = [
            ("auth-url", "https://$host/oauth2/auth"),
            ("auth-signin", "https://$host/oauth2/start?rd=$escaped_request_uri"),
            ("auth-response-headers", "X-Auth-Request-User, Authorization"),
            ("auth-cache-key", "$cookie__oauth2_proxy"),
            ("auth-cache-duration", "200 202 401 5m, 403 30s"),
        ];
        let external = read(&["a.example"], &rows).expect("right").expect("some").external.expect("some");
        assert_eq!(external.url, "https://a.example/oauth2/auth");
        assert_eq!(external.response_headers, ["X-Auth-Request-User", "Authorization"]);
        assert_eq!(external.cache.expect("some").duration, "30s");
        for hosts in [&["a.example", "b.example"][..], &["*.example"], &[""], &[]] {
            assert!(
                read(hosts, &rows).is_err_and(|faults| faults.to_string().contains("exactly one host")),
                "{hosts:?}"
            );
        }
    }

    #[test]
    fn users_addresses_and_certificates() {
        let rows = [
            ("auth-type", "basic"),
            ("auth-secret", "shop/users"),
            ("auth-secret-type", "auth-map"),
            ("auth-realm", "Shop"),
            ("whitelist-source-range", "10.0.0.0/8, 192.0.2.1"),
            ("satisfy", "any"),
            ("auth-tls-secret", "shop/ca"),
            ("auth-tls-match-cn", "CN=client-[0-9]+"),
        ];
        let read = read(&["a.example"], &rows).expect("right").expect("some");
        let basic = read.basic.expect("some");
        assert_eq!((basic.secret.as_str(), basic.form, basic.forward), ("users", BasicForm::Map, true));
        assert_eq!(read.addresses.expect("some").allow, ["10.0.0.0/8", "192.0.2.1"]);
        let certificate = read.client_certificate.expect("some");
        assert_eq!((certificate.headers, read.satisfy), (Headers::Nginx, Satisfy::Any));
        assert_eq!(certificate.authorities.expect("some").source(), crate::Source::Secret("ca".to_owned()));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_with_the_remedy() {
        for (rows, expected) in [
            (&[("auth-snippet", "proxy_set_header X 1;")][..], "auth-snippet]: is not honoured: there is no nginx"),
            (&[("auth-type", "digest"), ("auth-secret", "x")], "only basic"),
            (&[("auth-type", "basic")], "auth-secret]: is missing"),
            (&[("auth-type", "basic"), ("auth-secret", "other/x")], "must be one of shop"),
            (
                &[("auth-url", "http://x/"), ("auth-cache-key", "$host"), ("auth-cache-duration", "long")],
                "no list such as",
            ),
            (&[("satisfy", "some")], "say all or any"),
        ] {
            let told = read(&["a.example"], rows).expect_err("refused").to_string();
            assert!(told.contains(expected), "{told}");
        }
    }
}
