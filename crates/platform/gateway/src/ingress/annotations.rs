//! The annotations of ingress-nginx: which are honoured, which need nothing here, which are refused.
//!
//! One row per annotation; what it means is read into [`Wishes`], which `rules` turns into rules.
//! Source: the annotations page of ingress-nginx's user guide. A row that is refused, or whose
//! value cannot be read, closes the routes of its Ingress when leaving it out could let in whom it
//! keeps out ([`Row::guards`]), unless the Ingress says by [`WITHOUT`] that it may be left out.

use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::Ingress;

use crate::model::{AllowOrigin, Rate, TextMatch, compile};

/// What the names of all rows begin with.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";
/// Names rows, without prefix and comma separated, that may be left out though they are refused.
pub const WITHOUT: &str = "knarr.dev/ingress-without";
/// Other names of rows, from before they had their own.
const ALIASES: &[(&str, &str)] = &[("knarr.dev/ssl-redirect", "ssl-redirect")];

/// One annotation.
pub struct Row {
    /// Its name, without the prefix.
    pub name: &'static str,
    /// True when leaving it out could let in whom it keeps out.
    pub guards: bool,
    /// What becomes of it.
    pub standing: Standing,
}

/// What becomes of an annotation.
pub enum Standing {
    /// It is done; why a value cannot be.
    Honoured(fn(&mut Wishes, &str) -> Result<(), String>),
    /// It changes nothing here, and why.
    Needless(&'static str),
    /// It cannot be had, why, and what to do instead.
    Refused(&'static str),
}

/// What the annotations of an Ingress ask for.
#[derive(Debug, Default)]
pub struct Wishes {
    pub(super) rewrite: Option<String>,
    pub(super) patterns: bool,
    pub(super) app_root: Option<String>,
    pub(super) ssl_redirect: Option<bool>,
    pub(super) force_ssl_redirect: bool,
    pub(super) ssl_passthrough: bool,
    pub(super) permanent: Option<String>,
    pub(super) permanent_code: Option<StatusCode>,
    pub(super) temporal: Option<String>,
    pub(super) temporal_code: Option<StatusCode>,
    pub(super) www: bool,
    pub(super) aliases: Vec<String>,
    pub(super) protocol: Spoken,
    pub(super) upstream_host: Option<String>,
    pub(super) forwarded_prefix: Option<String>,
    pub(super) upstream_tls: UpstreamWishes,
    pub(super) body: Option<u64>,
    pub(super) connect: Option<Duration>,
    pub(super) read: Option<Duration>,
    pub(super) send: Option<Duration>,
    pub(super) retry_on: Option<Vec<String>>,
    pub(super) tries: Option<u32>,
    /// Who may pass, as the crate of identity understands it.
    pub(super) identity: Option<identity::Settings>,
    pub(super) rate: Vec<Rate>,
    pub(super) burst: Option<u32>,
    pub(super) at_once: Option<u32>,
    pub(super) unlimited: Vec<IpNet>,
    pub(super) cors: bool,
    pub(super) cors_origins: Vec<AllowOrigin>,
    pub(super) cors_methods: Option<Vec<Method>>,
    pub(super) cors_headers: Option<Vec<HeaderName>>,
    pub(super) cors_expose: Vec<HeaderName>,
    pub(super) cors_credentials: Option<bool>,
    pub(super) cors_max_age: Option<Duration>,
    pub(super) canary: Canary,
    pub(super) affinity: Affinity,
}

/// What the backend speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Spoken {
    #[default]
    Http,
    Https,
    Grpc,
    Grpcs,
}

#[derive(Debug, Default)]
pub(super) struct UpstreamWishes {
    /// A Secret with `ca.crt`, and with a pair when we show one.
    pub(super) secret: Option<String>,
    pub(super) verify: bool,
    pub(super) name: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Canary {
    pub(super) on: bool,
    pub(super) header: Option<HeaderName>,
    pub(super) value: Option<String>,
    pub(super) pattern: Option<TextMatch>,
    pub(super) cookie: Option<String>,
    pub(super) weight: u32,
    pub(super) total: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Affinity {
    pub(super) cookie: bool,
    pub(super) name: Option<String>,
    pub(super) path: Option<String>,
    pub(super) max_age: Option<Duration>,
    pub(super) same_site: Option<&'static str>,
    pub(super) secure: bool,
}

/// An annotation that is not done as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// With its prefix.
    pub annotation: String,
    /// Why, and what to do.
    pub message: String,
    /// The routes are closed for it.
    pub closes: bool,
}

/// Reads the annotations of `ingress`.
#[must_use]
pub fn read(ingress: &Ingress) -> (Wishes, Vec<Trouble>) {
    let (mut wishes, mut troubles) = (Wishes::default(), Vec::new());
    let all = ingress.metadata.annotations.iter().flatten();
    let without: Vec<&str> =
        all.clone().filter(|(name, _)| *name == WITHOUT).flat_map(|(_, list)| list.split(',')).map(str::trim).collect();
    identity_of(ingress, &without, &mut wishes, &mut troubles);
    for (annotation, value) in all {
        let Some(name) = short(annotation) else { continue };
        if is_identity(name) {
            continue;
        }
        let known = ROWS.iter().find(|row| row.name == name);
        let (message, guards) = match known.map(|row| (&row.standing, row.guards)) {
            Some((Standing::Honoured(read), guards)) => match read(&mut wishes, value.trim()) {
                Ok(()) => continue,
                Err(why) => (format!("{annotation}: {why}"), guards),
            },
            Some((Standing::Needless(_), _)) => continue,
            Some((Standing::Refused(why), guards)) => (format!("{annotation} cannot be had: {why}"), guards),
            None => (format!("{annotation} is not known and changes nothing"), false),
        };
        let closes = guards && !without.contains(&name);
        let hint = if closes { format!("; or let go of it with {WITHOUT}: {name}") } else { String::new() };
        troubles.push(Trouble { annotation: annotation.clone(), message: message + &hint, closes });
    }
    (wishes, troubles)
}

/// True when an annotation is about who may pass: the crate `identity` reads those.
pub(super) fn is_identity(name: &str) -> bool {
    identity::ingress::ANNOTATIONS.iter().any(|(known, _)| *known == name)
}

/// Reads who may pass. All of what cannot be read closes the routes, for it keeps somebody out.
fn identity_of(ingress: &Ingress, without: &[&str], wishes: &mut Wishes, troubles: &mut Vec<Trouble>) {
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let hosts: Vec<String> = ingress
        .spec
        .iter()
        .flat_map(|spec| spec.rules.iter().flatten())
        .map(|r| r.host.clone().unwrap_or_default())
        .collect();
    let mut kept = ingress.metadata.annotations.clone().unwrap_or_default();
    kept.retain(|name, _| short(name).is_some_and(|name| is_identity(name) && !without.contains(&name)));
    match identity::ingress::settings(namespace, &hosts, &kept) {
        Ok(settings) => wishes.identity = settings,
        Err(faults) => troubles.extend(faults.0.iter().map(|fault| {
            let annotation = fault.field.split(['[', ']']).nth(1).unwrap_or(&fault.field).to_owned();
            let hint = short(&annotation).map(|name| format!("; or let go of it with {WITHOUT}: {name}"));
            let message = format!("{annotation} {}{}", fault.why, hint.unwrap_or_default());
            Trouble { annotation, message, closes: true }
        })),
    }
}

/// The name of a row, if `annotation` is one of ingress-nginx's.
#[must_use]
pub fn short(annotation: &str) -> Option<&str> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == annotation).map(|(_, name)| *name);
    alias.or_else(|| annotation.strip_prefix(PREFIX))
}

/// A row that is done.
const fn yes(name: &'static str, read: fn(&mut Wishes, &str) -> Result<(), String>) -> Row {
    Row { name, guards: false, standing: Standing::Honoured(read) }
}

/// A row that is done, and that closes its routes when it cannot be read.
const fn guard(name: &'static str, read: fn(&mut Wishes, &str) -> Result<(), String>) -> Row {
    Row { name, guards: true, standing: Standing::Honoured(read) }
}

const fn needless(name: &'static str, why: &'static str) -> Row {
    Row { name, guards: false, standing: Standing::Needless(why) }
}

const fn refused(name: &'static str, guards: bool, why: &'static str) -> Row {
    Row { name, guards, standing: Standing::Refused(why) }
}

const SNIPPET: &str = "text of nginx's own configuration means nothing here; say it with other annotations, an HTTPRoute or a TrafficPolicy";
const STREAMED: &str = "bodies are passed on as they come, nothing is buffered";
const NO_WAF: &str = "there is no ModSecurity here; a TrafficPolicy has rules for methods, paths, sizes and networks";

/// All annotations of ingress-nginx.
pub static ROWS: &[Row] = &[
    yes("affinity", |w, v| match v {
        "cookie" => {
            w.affinity.cookie = true;
            Ok(())
        }
        _ => Err(format!("{v:?} is unknown; there is cookie")),
    }),
    needless("affinity-mode", "a session stays with its pod while the pod is there (persistent)"),
    needless("affinity-canary-behavior", "the cookie names the pod, so a session stays in its canary too"),
    yes("app-root", |w, v| path(v).map(|root| w.app_root = Some(root))),
    yes("backend-protocol", |w, v| {
        w.protocol = match v.to_ascii_uppercase().as_str() {
            "HTTP" | "AUTO_HTTP" => Spoken::Http,
            "HTTPS" => Spoken::Https,
            "GRPC" => Spoken::Grpc,
            "GRPCS" => Spoken::Grpcs,
            _ => return Err(format!("{v:?} cannot be had; there are HTTP, HTTPS, GRPC and GRPCS")),
        };
        Ok(())
    }),
    yes("canary", |w, v| boolean(v).map(|on| w.canary.on = on)),
    yes("canary-by-cookie", |w, v| {
        w.canary.cookie = Some(v.to_owned());
        Ok(())
    }),
    yes("canary-by-header", |w, v| header(v).map(|name| w.canary.header = Some(name))),
    yes("canary-by-header-pattern", |w, v| {
        compile(v).map(|pattern| w.canary.pattern = Some(TextMatch::Pattern(pattern)))
    }),
    yes("canary-by-header-value", |w, v| {
        w.canary.value = Some(v.to_owned());
        Ok(())
    }),
    yes("canary-weight", |w, v| number(v).map(|weight| w.canary.weight = weight)),
    yes("canary-weight-total", |w, v| number(v).map(|total| w.canary.total = Some(total))),
    needless("client-body-buffer-size", STREAMED),
    refused("configuration-snippet", true, SNIPPET),
    needless("connection-proxy-header", "connections to pods are kept"),
    yes("cors-allow-credentials", |w, v| boolean(v).map(|on| w.cors_credentials = Some(on))),
    yes("cors-allow-headers", |w, v| headers(v).map(|all| w.cors_headers = Some(all))),
    yes("cors-allow-methods", |w, v| list(v, method).map(|all| w.cors_methods = Some(all))),
    yes("cors-allow-origin", |w, v| list(v, |one| Ok(AllowOrigin::parse(one))).map(|all| w.cors_origins = all)),
    yes("cors-expose-headers", |w, v| headers(v).map(|all| w.cors_expose = all)),
    yes("cors-max-age", |w, v| seconds(v).map(|time| w.cors_max_age = Some(time))),
    refused("custom-headers", false, "put the headers into an HTTPRoute's ResponseHeaderModifier"),
    refused("custom-http-errors", false, "answers of pods are passed on as they are"),
    refused(
        "default-backend",
        false,
        "a service without ready pods is answered with 503; defaultBackend of the Ingress takes what no rule does",
    ),
    needless("disable-proxy-intercept-errors", "answers of pods are passed on as they are"),
    needless("enable-access-log", "there is one access log; its sampling is a setting of the gateway"),
    yes("enable-cors", |w, v| boolean(v).map(|on| w.cors = on)),
    refused("enable-modsecurity", true, NO_WAF),
    needless("enable-opentelemetry", "tracing is a setting of the gateway"),
    refused("enable-owasp-core-rules", true, NO_WAF),
    needless("enable-rewrite-log", "knarr gateway routes shows where a path leads"),
    yes("force-ssl-redirect", |w, v| boolean(v).map(|on| w.force_ssl_redirect = on)),
    yes("from-to-www-redirect", |w, v| boolean(v).map(|on| w.www = on)),
    needless("http2-push-preload", "browsers have given up HTTP/2 push"),
    yes("limit-burst-multiplier", |w, v| number(v).map(|times| w.burst = Some(times))),
    yes("limit-connections", |w, v| number(v).map(|count| w.at_once = Some(count))),
    refused("limit-rate", false, "bytes are not slowed down"),
    refused("limit-rate-after", false, "bytes are not slowed down"),
    yes("limit-rpm", |w, v| rate(w, v, 60)),
    yes("limit-rps", |w, v| rate(w, v, 1)),
    yes("limit-allowlist", |w, v| list(v, network).map(|all| w.unlimited = all)),
    yes("limit-whitelist", |w, v| list(v, network).map(|all| w.unlimited = all)),
    yes("load-balance", |_, v| match v {
        "round_robin" => Ok(()), // as it is
        _ => Err(format!("{v:?} cannot be had; there is round_robin, and balance of a TrafficPolicy for the Service")),
    }),
    refused("mirror-host", false, "say it with the RequestMirror filter of an HTTPRoute"),
    refused("mirror-request-body", false, "say it with the RequestMirror filter of an HTTPRoute"),
    refused("mirror-target", false, "say it with the RequestMirror filter of an HTTPRoute"),
    refused("modsecurity-snippet", true, NO_WAF),
    refused("modsecurity-transaction-id", false, NO_WAF),
    needless("opentelemetry-operation-name", "spans are named after their route"),
    needless("opentelemetry-trust-incoming-span", "an incoming traceparent is followed"),
    yes("permanent-redirect", |w, v| place(v).map(|to| w.permanent = Some(to))),
    yes("permanent-redirect-code", |w, v| redirect(v).map(|code| w.permanent_code = Some(code))),
    needless("preserve-trailing-slash", "a path is passed on as it is"),
    yes("proxy-body-size", |w, v| size(v).map(|bytes| w.body = Some(bytes))),
    needless("proxy-buffer-size", STREAMED),
    needless("proxy-buffering", STREAMED),
    needless("proxy-buffers-number", STREAMED),
    needless("proxy-busy-buffers-size", STREAMED),
    yes("proxy-connect-timeout", |w, v| seconds(v).map(|time| w.connect = Some(time))),
    refused("proxy-cookie-domain", false, "cookies of pods are passed on as they are"),
    refused("proxy-cookie-path", false, "cookies of pods are passed on as they are"),
    needless("proxy-http-version", "pods are spoken to in HTTP/1.1, or HTTP/2 by backend-protocol"),
    needless("proxy-max-temp-file-size", STREAMED),
    yes("proxy-next-upstream", |w, v| {
        w.retry_on = Some(v.split_whitespace().map(str::to_owned).collect());
        Ok(())
    }),
    refused("proxy-next-upstream-timeout", false, "bound all tries with timeouts.request of a TrafficPolicy"),
    yes("proxy-next-upstream-tries", |w, v| number(v).map(|count| w.tries = Some(count))),
    yes("proxy-read-timeout", |w, v| seconds(v).map(|time| w.read = Some(time))),
    refused("proxy-redirect-from", false, "Location headers of pods are passed on as they are"),
    refused("proxy-redirect-to", false, "Location headers of pods are passed on as they are"),
    needless("proxy-request-buffering", STREAMED),
    yes("proxy-send-timeout", |w, v| seconds(v).map(|time| w.send = Some(time))),
    needless("proxy-ssl-ciphers", "the ciphers of TLS 1.2 and 1.3 that are still good"),
    yes("proxy-ssl-name", |w, v| {
        w.upstream_tls.name = Some(v.to_owned());
        Ok(())
    }),
    needless("proxy-ssl-protocols", "TLS 1.2 and 1.3"),
    guard("proxy-ssl-secret", |w, v| {
        w.upstream_tls.secret = Some(v.to_owned());
        Ok(())
    }),
    needless("proxy-ssl-server-name", "the name is always sent"),
    guard("proxy-ssl-verify", |w, v| boolean(v).map(|on| w.upstream_tls.verify = on)),
    needless("proxy-ssl-verify-depth", "a chain is verified to its end, whatever its length"),
    needless("relative-redirects", "redirects name the host, as RFC 9110 allows"),
    yes("rewrite-target", |w, v| {
        w.rewrite = Some(v.to_owned()).filter(|to| !to.is_empty());
        Ok(())
    }),
    yes("server-alias", |w, v| list(v, |one| Ok(one.to_owned())).map(|all| w.aliases = all)),
    refused("server-snippet", true, SNIPPET),
    needless("service-upstream", "pods are dialled themselves; a Service's own address would hide which one failed"),
    needless("session-cookie-change-on-failure", "a session whose pod is gone gets another"),
    refused("session-cookie-conditional-samesite-none", false, "browsers that needed it are gone"),
    refused("session-cookie-domain", false, "the cookie is for the host it was set by"),
    yes("session-cookie-expires", |w, v| seconds(v).map(|time| w.affinity.max_age = Some(time))),
    yes("session-cookie-max-age", |w, v| seconds(v).map(|time| w.affinity.max_age = Some(time))),
    yes("session-cookie-name", |w, v| {
        w.affinity.name = Some(v.to_owned());
        Ok(())
    }),
    yes("session-cookie-path", |w, v| path(v).map(|path| w.affinity.path = Some(path))),
    yes("session-cookie-samesite", |w, v| {
        let same_site = ["None", "Lax", "Strict"].into_iter().find(|known| known.eq_ignore_ascii_case(v));
        same_site.ok_or_else(|| format!("{v:?} is unknown; there are None, Lax and Strict"))?;
        {
            w.affinity.same_site = same_site;
            Ok(())
        }
    }),
    yes("session-cookie-secure", |w, v| boolean(v).map(|on| w.affinity.secure = on)),
    needless("ssl-ciphers", "the ciphers of TLS 1.2 and 1.3 that are still good"),
    yes("ssl-passthrough", |w, v| boolean(v).map(|on| w.ssl_passthrough = on)),
    needless("ssl-prefer-server-ciphers", "all ciphers that are left are good"),
    yes("ssl-redirect", |w, v| boolean(v).map(|on| w.ssl_redirect = Some(on))),
    refused("stream-snippet", true, SNIPPET),
    yes("temporal-redirect", |w, v| place(v).map(|to| w.temporal = Some(to))),
    yes("temporal-redirect-code", |w, v| redirect(v).map(|code| w.temporal_code = Some(code))),
    refused("upstream-hash-by", false, "say it with balance: RingHash of a TrafficPolicy for the Service"),
    refused("upstream-hash-by-subset", false, "each value has its own pod"),
    refused("upstream-hash-by-subset-size", false, "each value has its own pod"),
    yes("upstream-vhost", |w, v| {
        w.upstream_host = Some(v.to_owned());
        Ok(())
    }),
    yes("use-regex", |w, v| boolean(v).map(|on| w.patterns = on)),
    yes("x-forwarded-prefix", |w, v| {
        w.forwarded_prefix = Some(v.to_owned());
        Ok(())
    }),
];

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text:?} is no whole number"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    number(text.strip_suffix('s').unwrap_or(text)).map(|count| Duration::from_secs(u64::from(count)))
}

/// A size as nginx writes it; zero is no bound.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write 8m, 512k or 0 for none");
    let (digits, unit) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).ok_or_else(wrong)
}

fn list<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(read).collect()
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    network.map_err(|_| format!("{text:?} is no network; write 10.0.0.0/8 or an address"))
}

fn header(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| format!("{text:?} is no name of a header"))
}

fn headers(text: &str) -> Result<Vec<HeaderName>, String> {
    list(text, header)
}

fn method(text: &str) -> Result<Method, String> {
    text.to_ascii_uppercase().parse().map_err(|_| format!("{text:?} is no method"))
}

fn path(text: &str) -> Result<String, String> {
    text.starts_with('/').then(|| text.to_owned()).ok_or_else(|| format!("{text:?} must begin with /"))
}

/// Where a redirect leads: a URL, or a path.
fn place(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') || text.starts_with("http://") || text.starts_with("https://");
    let clean = !text.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
    (fits && clean).then(|| text.to_owned()).ok_or_else(|| format!("{text:?} is neither a path nor an http(s) URL"))
}

fn redirect(text: &str) -> Result<StatusCode, String> {
    let code = text.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    code.filter(StatusCode::is_redirection).ok_or_else(|| format!("{text:?} is no code of a redirect"))
}

fn rate(wishes: &mut Wishes, text: &str, seconds: u64) -> Result<(), String> {
    let requests = number(text)?;
    if requests > 0 {
        wishes.rate.push(Rate { requests, per: Duration::from_secs(seconds), burst: 5 });
    }
    Ok(())
}

/// A path of an Ingress as a pattern, as ingress-nginx makes it: from the start, whatever the case.
pub(super) fn location(path: &str) -> Result<regex::Regex, String> {
    compile(&format!("(?i)^{path}"))
}
