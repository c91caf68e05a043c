//! A policy as meant: parsed, checked, ready to be asked on every request.

use std::time::Duration;

use base::quantity::Quantity;
use http::{HeaderName, Method, StatusCode};

use super::{Authorization, Extensions, Heed, Policy, SetCookie, Show};

const MAX_OBJECT: u64 = 64 << 20;
const LOCK_TIME: Duration = Duration::from_secs(5);
/// No list of a policy is longer: each is gone through on every request.
const MOST: usize = 64;

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Fault {
    /// The field, as a path below `spec`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

/// A policy as meant.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the policy")]
pub struct Rules {
    /// The cache is used at all.
    pub enabled: bool,
    pub(crate) get: bool,
    pub(crate) head: bool,
    default_ttl: Vec<(Vec<Statuses>, Duration)>,
    pub(crate) override_ttl: Option<Duration>,
    pub(crate) obey_origin: bool,
    pub(crate) obey_request: bool,
    pub(crate) heuristic: bool,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) query: Query,
    pub(crate) sort_query: bool,
    pub(crate) key_headers: Vec<HeaderName>,
    pub(crate) key_cookies: Vec<String>,
    pub(crate) device: bool,
    pub(crate) bypass_cookies: Vec<String>,
    pub(crate) bypass_headers: Vec<HeaderName>,
    pub(crate) bypass_paths: Vec<(String, bool)>,
    pub(crate) min_uses: u8,
    pub(crate) max_object: u64,
    pub(crate) tag_headers: Vec<HeaderName>,
    pub(crate) authorized: bool,
    pub(crate) strip_cookies: bool,
    pub(crate) types_must_fit: bool,
    pub(crate) lock_time: Duration,
    pub(crate) show: bool,
}

/// Which parameters of a query count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    All,
    Only(Vec<String>),
    Without(Vec<String>),
}

#[derive(Clone, Copy, Debug)]
enum Statuses {
    One(u16),
    Hundred(u16),
}

impl Rules {
    /// What `policy` means.
    ///
    /// # Errors
    /// All that is wrong with it, at once.
    pub fn new(policy: &Policy) -> Result<Self, Vec<Fault>> {
        let mut read = Reader::default();
        let methods = read.methods(&policy.methods);
        let rules = Self {
            enabled: policy.enabled.unwrap_or(true),
            get: methods.contains(&Method::GET),
            head: methods.contains(&Method::HEAD),
            default_ttl: read.default_ttl(policy),
            override_ttl: policy.override_ttl.as_deref().map(|text| read.duration("overrideTtl", text)),
            obey_origin: policy.origin_directives == Heed::Obey,
            obey_request: policy.request_directives == Heed::Obey,
            heuristic: policy.heuristic,
            stale_while_revalidate: read.duration_or(
                "staleWhileRevalidate",
                policy.stale_while_revalidate.as_deref(),
                Duration::ZERO,
            ),
            stale_if_error: read.duration_or("staleIfError", policy.stale_if_error.as_deref(), Duration::ZERO),
            query: read.query(&policy.key.query),
            sort_query: policy.key.query.sort,
            key_headers: read.headers("key.headers", &policy.key.headers),
            key_cookies: read.names("key.cookies", &policy.key.cookies),
            device: policy.key.device,
            bypass_cookies: read.names("bypass.cookies", &policy.bypass.cookies),
            bypass_headers: read.headers("bypass.headers", &policy.bypass.headers),
            bypass_paths: read.paths(&policy.bypass.paths),
            min_uses: policy.min_uses.unwrap_or(1),
            max_object: read.size(policy.max_object_size.as_deref()),
            tag_headers: match &policy.tag_headers {
                Some(names) => read.headers("tagHeaders", names),
                None => vec![HeaderName::from_static("cache-tag"), HeaderName::from_static("surrogate-key")],
            },
            authorized: policy.authorization == Authorization::WhenAllowed,
            strip_cookies: policy.set_cookie == SetCookie::Strip,
            types_must_fit: policy.extensions == Extensions::MustFit,
            lock_time: read.duration_or("lockTimeout", policy.lock_timeout.as_deref(), LOCK_TIME),
            show: policy.show == Show::Status,
        };
        if rules.min_uses == 0 {
            read.fault("minUses", "0 is no number of uses; 1 stores at the first".to_owned());
        }
        if !rules.obey_origin && rules.override_ttl.is_none() && rules.default_ttl.is_empty() {
            read.fault(
                "originDirectives",
                "Ignore needs an overrideTtl or a defaultTtl: else nothing is fresh".to_owned(),
            );
        }
        if read.faults.is_empty() { Ok(rules) } else { Err(read.faults) }
    }

    /// The lifetime of a response with `status` whose origin gives none.
    pub(crate) fn default_ttl(&self, status: StatusCode) -> Option<Duration> {
        let fits = |of: &Statuses| match of {
            Statuses::One(code) => status.as_u16() == *code,
            Statuses::Hundred(class) => status.as_u16() / 100 == *class,
        };
        let found = self.default_ttl.iter().find(|(statuses, _)| {
            statuses.iter().any(fits) || (statuses.is_empty() && crate::freshness::lasts_by_itself(status))
        });
        found.map(|(_, ttl)| *ttl)
    }
}

#[derive(Default)]
struct Reader {
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, field: impl Into<String>, problem: String) {
        self.faults.push(Fault { field: field.into(), problem });
    }

    fn methods(&mut self, written: &[String]) -> Vec<Method> {
        if written.is_empty() {
            return vec![Method::GET, Method::HEAD];
        }
        let mut methods = Vec::new();
        for (at, name) in written.iter().enumerate() {
            match name.as_str() {
                "GET" => methods.push(Method::GET),
                "HEAD" => methods.push(Method::HEAD),
                _ => self.fault(format!("methods[{at}]"), format!("{name:?} cannot be cached; use GET or HEAD")),
            }
        }
        methods
    }

    fn default_ttl(&mut self, policy: &Policy) -> Vec<(Vec<Statuses>, Duration)> {
        self.limit("defaultTtl", policy.default_ttl.len());
        let mut read = Vec::new();
        for (at, row) in policy.default_ttl.iter().enumerate() {
            let mut statuses = Vec::new();
            for (nth, text) in row.statuses.iter().enumerate() {
                match statuses_of(text) {
                    Some(found) => statuses.push(found),
                    None => self.fault(
                        format!("defaultTtl[{at}].statuses[{nth}]"),
                        format!("{text:?} is no final status that can be stored; use one such as 200 or 4xx"),
                    ),
                }
            }
            read.push((statuses, self.duration(&format!("defaultTtl[{at}].ttl"), &row.ttl)));
        }
        read
    }

    fn duration_or(&mut self, field: &str, text: Option<&str>, default: Duration) -> Duration {
        text.map_or(default, |text| self.duration(field, text))
    }

    fn duration(&mut self, field: &str, text: &str) -> Duration {
        duration(text).unwrap_or_else(|| {
            self.fault(field, format!("{text:?} is no duration; write one such as 10s, 5m or 1h30m"));
            Duration::ZERO
        })
    }

    fn query(&mut self, query: &super::Query) -> Query {
        match (&query.include, &query.exclude) {
            (Some(_), Some(_)) => {
                self.fault("key.query", "include and exclude cannot both be given".to_owned());
                Query::All
            }
            (Some(names), None) => Query::Only(self.names("key.query.include", names)),
            (None, Some(names)) => Query::Without(self.names("key.query.exclude", names)),
            (None, None) => Query::All,
        }
    }

    fn headers(&mut self, field: &str, names: &[String]) -> Vec<HeaderName> {
        self.limit(field, names.len());
        let mut read = Vec::new();
        for (at, name) in names.iter().enumerate() {
            match HeaderName::try_from(name.as_str()) {
                Ok(name) => read.push(name),
                Err(_) => self.fault(format!("{field}[{at}]"), format!("{name:?} is no field name")),
            }
        }
        read
    }

    fn names(&mut self, field: &str, names: &[String]) -> Vec<String> {
        self.limit(field, names.len());
        if let Some(at) = names.iter().position(String::is_empty) {
            self.fault(format!("{field}[{at}]"), "must not be empty".to_owned());
        }
        names.to_vec()
    }

    fn paths(&mut self, paths: &[String]) -> Vec<(String, bool)> {
        self.limit("bypass.paths", paths.len());
        for (at, path) in paths.iter().enumerate().filter(|(_, path)| !path.starts_with('/')) {
            self.fault(format!("bypass.paths[{at}]"), format!("{path:?} does not start with /"));
        }
        paths
            .iter()
            .map(|path| path.strip_suffix('*').map_or((path.clone(), false), |all| (all.to_owned(), true)))
            .collect()
    }

    fn size(&mut self, text: Option<&str>) -> u64 {
        let Some(text) = text else { return MAX_OBJECT };
        let read = text.parse::<Quantity>().ok().and_then(|size| u64::try_from(size.value()).ok());
        read.filter(|size| *size > 0).unwrap_or_else(|| {
            self.fault("maxObjectSize", format!("{text:?} is no size; write one such as 512Ki or 64Mi"));
            MAX_OBJECT
        })
    }

    fn limit(&mut self, field: &str, count: usize) {
        if count > MOST {
            self.fault(field, format!("has {count} entries; {MOST} are the most"));
        }
    }
}

fn statuses_of(text: &str) -> Option<Statuses> {
    let storable = |code: u16| (200..600).contains(&code) && code != 206 && code != 304;
    match text.strip_suffix("xx") {
        Some(class) => class.parse().ok().filter(|class| (2..=5).contains(class)).map(Statuses::Hundred),
        None => text.parse().ok().filter(|code| text.len() == 3 && storable(*code)).map(Statuses::One),
    }
}

/// A duration of the Gateway API (GEP-2257): up to four numbers of five digits, each with its unit.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 5 || parts == 4 {
            return None;
        }
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, after) = if let Some(after) = rest.strip_prefix("ms") {
            (Duration::from_millis(1), after)
        } else if let Some(after) = rest.strip_prefix('s') {
            (Duration::from_secs(1), after)
        } else if let Some(after) = rest.strip_prefix('m') {
            (Duration::from_secs(60), after)
        } else {
            (Duration::from_secs(3600), rest.strip_prefix('h')?)
        };
        total += unit * number;
        rest = after;
        parts += 1;
    }
    (parts > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(policy: serde_json::Value) -> Vec<String> {
        let policy: Policy = serde_json::from_value(policy).unwrap();
        Rules::new(&policy).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_policy_is_the_standard() {
        let rules = Rules::new(&Policy::default()).unwrap();
        assert!(rules.enabled && rules.get && rules.head && rules.obey_origin && rules.obey_request);
        assert!(!rules.heuristic && !rules.strip_cookies);
        assert_eq!((rules.min_uses, rules.max_object), (1, 64 << 20));
    }

    #[test]
    fn durations_are_those_of_the_gateway_api() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("10s500ms"), Some(Duration::from_millis(10_500)));
        for wrong in ["", "1", "1.5h", "-1s", "s", "1d", "100000s", "1h1h1h1h1h"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_field() {
        let found = faults(serde_json::json!({
            "methods": ["GET", "POST"], "defaultTtl": [{ "statuses": ["2xx", "304"], "ttl": "soon" }],
            "key": { "query": { "include": ["a"], "exclude": ["b"] }, "headers": ["a b"] },
            "bypass": { "paths": ["admin"] }, "maxObjectSize": "big", "minUses": 0,
        }));
        let fields: Vec<&str> =
            found.iter().filter_map(|fault| fault.split_once(": ")).map(|(field, _)| field).collect();
        let expected = [
            "methods[1]",
            "defaultTtl[0].statuses[1]",
            "defaultTtl[0].ttl",
            "key.query",
            "key.headers[0]",
            "bypass.paths[0]",
            "maxObjectSize",
            "minUses",
        ];
        assert_eq!(fields, expected, "{found:#?}");
        assert_eq!(faults(serde_json::json!({ "originDirectives": "Ignore" })).len(), 1);
        assert!(serde_json::from_value::<Policy>(serde_json::json!({ "tll": "1s" })).is_err(), "no unknown fields");
    }

    #[test]
    fn the_first_default_that_fits_counts() {
        let policy = serde_json::json!({ "defaultTtl": [
            { "statuses": ["404"], "ttl": "5s" }, { "statuses": ["4xx"], "ttl": "1s" }, { "ttl": "1m" },
        ]});
        let rules = Rules::new(&serde_json::from_value(policy).unwrap()).unwrap();
        let ttl = |code: u16| rules.default_ttl(StatusCode::from_u16(code).unwrap()).map(|ttl| ttl.as_secs());
        assert_eq!((ttl(404), ttl(403), ttl(200), ttl(500)), (Some(5), Some(1), Some(60), None));
    }
}
