//! From one Ingress to its rules.

use std::sync::Arc;
use std::time::Duration;

use base::Key;
use http::header::HeaderValue;
use http::{HeaderName, Method, StatusCode};
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressSpec};

use identity::Guard;

use super::annotations::{self, Spoken, Wishes};
use super::{Place, Served, Translator, everything};
use crate::model::{
    AllowOrigin, Backend, Cors, Filter, HeaderEdit, Host, Limits, Match, PathEdit, PathMatch, PersistBy, Persistence,
    Port, Protocol, Rank, Redirect, Retry, Rewrite, Rule, Source, Split, StreamRoute, Target, Timeouts, UpstreamTls,
};

/// What `cors-allow-headers` and `cors-allow-methods` are when they are not said.
const CORS_HEADERS: &[&str] = &[
    "dnt",
    "keep-alive",
    "user-agent",
    "x-requested-with",
    "if-modified-since",
    "cache-control",
    "content-type",
    "range",
    "authorization",
];
const CORS_METHODS: &[Method] =
    &[Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH, Method::OPTIONS];
const CORS_MAX_AGE: Duration = Duration::from_secs(1_728_000);
/// The cookie of a session, as ingress-nginx names it.
const SESSION_COOKIE: &str = "INGRESSCOOKIE";

impl Place {
    pub(super) fn of(host: &str, path: &HTTPIngressPath, patterns: bool) -> Self {
        let text = path.path.as_deref().unwrap_or_default();
        let (kind, text) = match path.path_type.as_str() {
            "Exact" => (0, text),
            _ if patterns => (2, text),
            _ => (1, text.trim_end_matches('/')),
        };
        Self { host: Host::parse(host, false), kind, path: text.to_owned() }
    }
}

impl Translator<'_> {
    /// Adds the rules and certificates of an Ingress.
    pub(super) fn ingress(&mut self, rank: &Rank, ingress: &Ingress) {
        self.outcome.served.insert(rank.key.clone());
        let Some(spec) = &ingress.spec else { return };
        let (wishes, closed) = self.wishes(&rank.key, ingress);
        self.tls(&rank.key, spec, &wishes);
        let (guard, closed) = self.guard(&rank.key, &wishes, closed);
        let mut maker = Maker { key: &rank.key, rank, wishes: &wishes, guard, closed };
        maker.rules(self, spec);
    }

    /// What the annotations ask for, and why the routes are closed if they are.
    pub(super) fn wishes(&mut self, key: &Key, ingress: &Ingress) -> (Wishes, Option<Arc<str>>) {
        let (wishes, troubles) = annotations::read(ingress);
        let closed = troubles.iter().find(|trouble| trouble.closes);
        let closed = closed.map(|trouble| Arc::from(format!("Ingress {key}: {}\n", trouble.message)));
        for trouble in troubles {
            let reason = if trouble.closes { "Closed" } else { "BadAnnotation" };
            self.fault(key, reason, trouble.message);
        }
        (wishes, closed)
    }

    /// Who guards the routes; closed when nobody can though somebody should.
    fn guard(
        &mut self,
        key: &Key,
        wishes: &Wishes,
        closed: Option<Arc<str>>,
    ) -> (Option<Arc<Guard>>, Option<Arc<str>>) {
        let Some(settings) = &wishes.identity else { return (None, closed) };
        match (self.world.guard)(key, settings) {
            Ok(guard) => (Some(guard), closed),
            Err(why) => {
                self.fault(key, "Closed", why.clone());
                (None, closed.or_else(|| Some(format!("Ingress {key}: who may pass cannot be told: {why}\n").into())))
            }
        }
    }

    /// Where `backend` leads; none, with a fault, when it is no service.
    pub(super) fn target(&mut self, ingress: &Key, backend: &IngressBackend, wishes: &Wishes) -> Option<Target> {
        let Some(service) = &backend.service else {
            self.fault(ingress, "BadBackend", "a backend must be a service; resource is not supported");
            return None;
        };
        let port = service.port.clone().unwrap_or_default();
        let port = match (port.name.filter(|name| !name.is_empty()), port.number) {
            (Some(name), _) => Port::Name(name),
            (None, number) => Port::Number(number.unwrap_or_default()),
        };
        let protocol = self.protocol(ingress, wishes)?;
        let endpoints = (self.world.endpoints)(&Key::new(&ingress.namespace, &service.name), &port);
        Some(Target::Backend(Arc::new(Backend { endpoints, protocol })))
    }

    fn protocol(&mut self, ingress: &Key, wishes: &Wishes) -> Option<Protocol> {
        Some(match wishes.protocol {
            Spoken::Http => Protocol::Http,
            Spoken::Grpc => Protocol::H2c,
            Spoken::Https => Protocol::Https(self.upstream_tls(ingress, wishes)?),
            Spoken::Grpcs => Protocol::H2(self.upstream_tls(ingress, wishes)?),
        })
    }

    /// As ingress-nginx: a backend's certificate is verified only when `proxy-ssl-verify` says so.
    fn upstream_tls(&mut self, ingress: &Key, wishes: &Wishes) -> Option<Arc<UpstreamTls>> {
        let wished = &wishes.upstream_tls;
        let mut tls = UpstreamTls { name: wished.name.clone().unwrap_or_default(), ..UpstreamTls::default() };
        let Some(secret) = &wished.secret else {
            if wished.verify {
                self.fault(ingress, "Closed", "proxy-ssl-verify needs proxy-ssl-secret, whose ca.crt it verifies with");
                return None;
            }
            return Some(Arc::new(tls));
        };
        let key = self.own(ingress, secret)?;
        let field = |name: &str| (self.world.secret)(&key, name);
        let (authority, pair) = (field("ca.crt"), field("tls.crt").zip(field("tls.key")));
        if wished.verify {
            match authority.map(|pem| crate::certificates::authorities(&pem)) {
                Some(Ok(found)) => tls.authorities = Some(found.into()),
                Some(Err(why)) => {
                    self.fault(ingress, "Closed", format!("ca.crt of Secret {key} cannot be read: {why}"));
                    return None;
                }
                None => {
                    self.fault(ingress, "Closed", format!("Secret {key} has no ca.crt to verify the backend with"));
                    return None;
                }
            }
        }
        if let Some((chain, pair_key)) = pair {
            match crate::certificates::pair(&chain, &pair_key) {
                Ok(pair) => tls.client = Some(Arc::new(pair)),
                Err(why) => self.fault(ingress, "BadCertificate", format!("Secret {key} cannot be shown: {why}")),
            }
        }
        Some(Arc::new(tls))
    }

    /// The key of a Secret that an annotation names, which must be of the Ingress's own namespace.
    pub(super) fn own(&mut self, ingress: &Key, name: &str) -> Option<Key> {
        let key = name.split_once('/').map_or_else(|| Key::new(&ingress.namespace, name), |(n, s)| Key::new(n, s));
        if key.namespace != ingress.namespace {
            let message = format!("Secret {key} is of another namespace; copy it to {}", ingress.namespace);
            self.fault(ingress, "Closed", message);
            return None;
        }
        Some(key)
    }

    fn tls(&mut self, ingress: &Key, spec: &IngressSpec, wishes: &Wishes) {
        for entry in spec.tls.iter().flatten() {
            let secret = entry.secret_name.as_deref().filter(|name| !name.is_empty());
            // Always of the Ingress's own namespace: there is no way to name another.
            let found = secret.and_then(|name| (self.world.certificate)(&Key::new(&ingress.namespace, name)));
            let found = found.unwrap_or_default();
            if let Some(why) = &found.fault {
                let still = if found.good.is_some() { "; the one it held before is served on" } else { "" };
                let secret = secret.unwrap_or_default();
                let message = format!("Secret {secret} cannot be used for TLS: {why}{still}");
                self.fault(ingress, "BadCertificate", message);
            }
            let certificate = found.good;
            // Without hosts the certificate is for all hosts of the rules.
            let named = entry.hosts.iter().flatten().map(String::as_str);
            let of_rules = spec.rules.iter().flatten().filter_map(|rule| rule.host.as_deref());
            let hosts: Vec<&str> =
                if entry.hosts.as_ref().is_none_or(Vec::is_empty) { of_rules.collect() } else { named.collect() };
            for host in hosts.into_iter().chain(wishes.aliases.iter().map(String::as_str)) {
                let host = Host::parse(host, false);
                if host != Host::Any {
                    self.certificates.offer(&host, certificate.clone());
                    self.secured.insert(host, ());
                }
            }
        }
    }

    /// True when `host` has TLS, itself or by a wildcard.
    fn has_tls(&self, host: &Host) -> bool {
        match host {
            Host::Exact(name) => self.certificates.has(name),
            other => self.secured.contains_key(other),
        }
    }
}

/// Makes the rules of one Ingress.
struct Maker<'a> {
    key: &'a Key,
    rank: &'a Rank,
    wishes: &'a Wishes,
    guard: Option<Arc<Guard>>,
    /// Why its routes answer 503, if they do.
    closed: Option<Arc<str>>,
}

impl Maker<'_> {
    fn rules(&mut self, translator: &mut Translator<'_>, spec: &IngressSpec) {
        let default =
            spec.default_backend.as_ref().and_then(|backend| translator.target(self.key, backend, self.wishes));
        let rules = spec.rules.as_deref().unwrap_or_default();
        if rules.is_empty()
            && let Some(target) = &default
        {
            self.default(translator, &Host::Any, target);
        }
        for (at, rule) in rules.iter().enumerate() {
            let named = rule.host.as_deref().unwrap_or_default();
            let aliases = self.wishes.aliases.iter().map(String::as_str);
            for host in std::iter::once(named).chain(aliases) {
                let paths = rule.http.iter().flat_map(|http| &http.paths);
                for (path_at, path) in paths.enumerate() {
                    self.path(translator, (host, at, path_at), path);
                }
                let host = Host::parse(host, false);
                if let Some(target) = &default {
                    self.default(translator, &host, target);
                }
                if self.wishes.identity.as_ref().is_some_and(|settings| settings.client_certificate.is_some()) {
                    translator.clients.insert(host.clone());
                }
                self.extras(translator, &host);
            }
        }
    }

    fn default(&self, translator: &mut Translator<'_>, host: &Host, target: &Target) {
        if !translator.defaults.contains_key(host) {
            let rule = self.rule(translator, host, Split::all(target.clone()), "defaultBackend", None);
            let rank = Rank { rule: usize::MAX, ..self.rank.clone() };
            translator.defaults.insert(host.clone(), Served { rank, wanted: everything(), rule });
        }
    }

    fn path(&self, translator: &mut Translator<'_>, at: (&str, usize, usize), path: &HTTPIngressPath) {
        let Some(target) = translator.target(self.key, &path.backend, self.wishes) else { return };
        let (host, rule_at, path_at) = at;
        // A rewrite with groups makes a pattern of its path, as it does in ingress-nginx.
        let patterns = self.wishes.patterns || self.wishes.rewrite.as_ref().is_some_and(|to| to.contains('$'));
        let place = Place::of(host, path, patterns);
        let text = path.path.clone().unwrap_or_default();
        if self.wishes.ssl_passthrough {
            return self.passthrough(translator, &place.host, target);
        }
        if let Some(taken) = translator.places.get(&place) {
            if taken.rank.key != *self.key {
                let message = format!("path {text:?} of host {host:?} is served by Ingress {}", taken.rank.key);
                translator.fault(self.key, "Conflict", message);
            }
            return;
        }
        let (wanted, pattern) = match place.kind {
            0 => (PathMatch::Exact(text.clone()), None),
            1 => (PathMatch::Prefix(place.path.clone()), None),
            _ => match annotations::location(&text) {
                Ok(pattern) => (PathMatch::Pattern(pattern.clone()), Some(pattern)),
                Err(why) => return translator.fault(self.key, "BadPath", format!("path of host {host:?}: {why}")),
            },
        };
        let section = format!("{rule_at}/{path_at}");
        let rule = self.rule(translator, &place.host, Split::all(target), &section, pattern);
        let rank = Rank { rule: rule_at, ..self.rank.clone() };
        translator.places.insert(place, Served { rank, wanted: Match::path(wanted), rule });
    }

    fn passthrough(&self, translator: &mut Translator<'_>, host: &Host, target: Target) {
        if *host == Host::Any {
            return translator.fault(self.key, "BadAnnotation", "ssl-passthrough needs a host: it is found by name");
        }
        let source = Arc::new(Source::new("Ingress", self.key.clone(), "passthrough"));
        let route =
            StreamRoute { hosts: vec![host.clone()], split: Split::all(target), rank: self.rank.clone(), source };
        translator.passthrough.entry(host.clone()).or_insert(route);
    }

    /// Redirects that need a place of their own: `app-root`, `from-to-www-redirect`.
    fn extras(&self, translator: &mut Translator<'_>, host: &Host) {
        let put = |host: Host, wanted: PathMatch, redirect: Redirect, translator: &mut Translator<'_>| {
            let source = Arc::new(Source::new("Ingress", self.key.clone(), "redirect"));
            let mut rule = Rule::new(source, Split::default());
            rule.filters.push(Filter::Redirect(redirect));
            let (kind, path) = match &wanted {
                PathMatch::Exact(path) => (0, path.clone()),
                _ => (1, String::new()),
            };
            let rule = self.secured(translator, &host, rule);
            let served = Served { rank: self.rank.clone(), wanted: Match::path(wanted), rule };
            translator.places.entry(Place { host, kind, path }).or_insert(served);
        };
        if let Some(root) = &self.wishes.app_root {
            let redirect = redirect_to(root, StatusCode::FOUND);
            put(host.clone(), PathMatch::Exact("/".to_owned()), redirect, translator);
        }
        if self.wishes.www
            && let Host::Exact(name) = host
        {
            let other = name.strip_prefix("www.").map_or_else(|| format!("www.{name}"), str::to_owned);
            if translator.has_tls(host) && !translator.has_tls(&Host::Exact(other.clone())) {
                translator.secured.insert(Host::Exact(other.clone()), ());
            }
            let redirect = Redirect { host: Some(name.clone()), ..same_place(StatusCode::PERMANENT_REDIRECT) };
            put(Host::Exact(other), PathMatch::Prefix(String::new()), redirect, translator);
        }
    }

    /// The rule without TLS and the rule inside it.
    fn rule(
        &self,
        translator: &mut Translator<'_>,
        host: &Host,
        split: Split,
        section: &str,
        pattern: Option<regex::Regex>,
    ) -> [Rule; 2] {
        let source = Arc::new(Source::new("Ingress", self.key.clone(), section));
        let mut rule = Rule::new(source, split);
        if let Some(why) = &self.closed {
            rule.filters.push(Filter::Answer(StatusCode::SERVICE_UNAVAILABLE, Arc::clone(why)));
            return [rule.clone(), rule];
        }
        self.filters(&mut rule, pattern);
        rule.timeouts = self.timeouts();
        rule.retry = self.retry();
        rule.persistence = self.persistence();
        rule.limits = self.limits();
        self.secured(translator, host, rule)
    }

    /// Without TLS a host that has it is sent on (`ssl-redirect`), and one that must have it too.
    fn secured(&self, translator: &Translator<'_>, host: &Host, rule: Rule) -> [Rule; 2] {
        let wanted = self.wishes.ssl_redirect != Some(false) && translator.has_tls(host);
        let mut plain = rule.clone();
        if wanted || self.wishes.force_ssl_redirect {
            let port = translator.world.ports.1;
            let to = Redirect {
                scheme: Some("https"),
                port: Some(port).filter(|port| *port != 443),
                ..same_place(StatusCode::PERMANENT_REDIRECT)
            };
            plain.filters = vec![Filter::Redirect(to)];
        }
        [plain, rule]
    }

    fn filters(&self, rule: &mut Rule, pattern: Option<regex::Regex>) {
        let wishes = self.wishes;
        if wishes.cors {
            rule.filters.push(Filter::Cors(Arc::new(self.cors())));
        }
        let permanent = (&wishes.permanent, wishes.permanent_code.unwrap_or(StatusCode::MOVED_PERMANENTLY));
        let temporal = (&wishes.temporal, wishes.temporal_code.unwrap_or(StatusCode::FOUND));
        for (to, code) in [temporal, permanent] {
            if let Some(to) = to {
                rule.filters.push(Filter::Redirect(redirect_to(to, code)));
            }
        }
        if let Some(to) = &wishes.rewrite {
            let path = match pattern {
                Some(pattern) => PathEdit::Pattern(Arc::new(pattern), braced(to)),
                None => PathEdit::Full(to.clone()),
            };
            rule.filters.push(Filter::Rewrite(Rewrite { host: None, path: Some(path) }));
        }
        rule.filters.extend(self.guard.clone().map(Filter::Guard));
        if let Some(prefix) = wishes.forwarded_prefix.as_ref().and_then(|prefix| HeaderValue::from_str(prefix).ok()) {
            let set = vec![(HeaderName::from_static("x-forwarded-prefix"), prefix)];
            rule.filters.push(Filter::Request(HeaderEdit { set, ..HeaderEdit::default() }));
        }
    }

    fn cors(&self) -> Cors {
        let wishes = self.wishes;
        let origins = Some(wishes.cors_origins.clone()).filter(|all| !all.is_empty());
        let headers = || CORS_HEADERS.iter().map(|name| HeaderName::from_static(name)).collect();
        Cors {
            origins: origins.unwrap_or_else(|| vec![AllowOrigin::Any]),
            methods: wishes.cors_methods.clone().unwrap_or_else(|| CORS_METHODS.to_vec()),
            headers: wishes.cors_headers.clone().unwrap_or_else(headers),
            expose: wishes.cors_expose.clone(),
            credentials: wishes.cors_credentials.unwrap_or(true),
            max_age: Some(wishes.cors_max_age.unwrap_or(CORS_MAX_AGE)),
            ..Cors::default()
        }
    }

    fn timeouts(&self) -> Timeouts {
        let Wishes { connect, read, send, .. } = *self.wishes;
        Timeouts { connect, read, send, ..Timeouts::default() }
    }

    fn retry(&self) -> Option<Retry> {
        let on = self.wishes.retry_on.as_ref()?;
        let codes = on.iter().filter_map(|word| word.strip_prefix("http_")?.parse().ok()).collect();
        let any_method = on.iter().any(|word| word == "non_idempotent");
        let attempts = match self.wishes.tries.unwrap_or(3) {
            0 => u32::MAX,
            tries => tries - 1,
        };
        (!on.iter().any(|word| word == "off")).then_some(Retry { codes, attempts, backoff: Duration::ZERO, any_method })
    }

    fn persistence(&self) -> Option<Persistence> {
        let wished = &self.wishes.affinity;
        wished.cookie.then(|| Persistence {
            by: PersistBy::Cookie(wished.name.clone().unwrap_or_else(|| SESSION_COOKIE.to_owned())),
            absolute: wished.max_age,
            idle: None,
            permanent: wished.max_age.is_some(),
            path: wished.path.clone().unwrap_or_else(|| "/".to_owned()),
            same_site: wished.same_site,
            secure: wished.secure,
        })
    }

    fn limits(&self) -> Limits {
        let wishes = self.wishes;
        let burst = wishes.burst.unwrap_or(5).max(1);
        let strictest = wishes.rate.iter().min_by_key(|rate| u64::from(rate.requests) * 60 / rate.per.as_secs().max(1));
        Limits {
            body: wishes.body.filter(|bytes| *bytes > 0),
            rate: strictest.map(|rate| crate::model::Rate { burst, ..*rate }),
            at_once: wishes.at_once.filter(|count| *count > 0),
            unlimited: wishes.unlimited.clone(),
            upstream_host: wishes.upstream_host.clone(),
        }
    }
}

fn same_place(status: StatusCode) -> Redirect {
    Redirect { scheme: None, host: None, port: None, path: None, keep_query: true, status }
}

/// A redirect to a path of the same host, or to a URL.
fn redirect_to(to: &str, status: StatusCode) -> Redirect {
    let url = to.split_once("://").map(|(scheme, rest)| (if scheme == "https" { "https" } else { "http" }, rest));
    let Some((scheme, rest)) = url else {
        return Redirect { path: Some(PathEdit::Full(to.to_owned())), keep_query: false, ..same_place(status) };
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (authority, None),
    };
    Redirect {
        scheme: Some(scheme),
        host: Some(host.to_owned()),
        port,
        path: Some(PathEdit::Full(path.to_owned())),
        keep_query: false,
        status,
    }
}

/// `/$2` as the regex library wants it, so that `/$1a` names the first group.
fn braced(to: &str) -> String {
    let mut braced = String::with_capacity(to.len() + 4);
    let mut rest = to;
    while let Some((before, after)) = rest.split_once('$') {
        braced.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            braced.push_str(&format!("${{{}}}", &after[..digits]));
        } else {
            braced.push_str("$$");
        }
        rest = &after[digits..];
    }
    braced + rest
}
