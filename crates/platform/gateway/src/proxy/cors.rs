//! What browsers are told of other origins: the Fetch standard's CORS protocol, as GEP-1767 describes the filter.

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use pingora_http::RequestHeader;

use super::answer::Answer;
use crate::model::{AllowOrigin, Cors};

/// The answer to a preflight request; none when `request` is not one.
pub(super) fn preflight(policy: &Cors, request: &RequestHeader) -> Option<Answer> {
    let asked = request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if request.method != Method::OPTIONS {
        return None;
    }
    let origin = request.headers.get(header::ORIGIN)?;
    let mut answer = Answer::new(StatusCode::NO_CONTENT, "");
    let Some(allowed) = allowed(policy, origin) else { return Some(answer) };
    answer.headers = common(policy, allowed);
    let echo = |name: HeaderName| request.headers.get(name).cloned();
    let methods = if policy.any_method && policy.credentials {
        Some(asked.clone())
    } else {
        list(policy.any_method, policy.methods.iter().map(Method::as_str))
    };
    let headers = if policy.any_header && policy.credentials {
        echo(header::ACCESS_CONTROL_REQUEST_HEADERS)
    } else {
        list(policy.any_header, policy.headers.iter().map(HeaderName::as_str))
    };
    answer.headers.extend(methods.map(|value| (header::ACCESS_CONTROL_ALLOW_METHODS, value)));
    answer.headers.extend(headers.map(|value| (header::ACCESS_CONTROL_ALLOW_HEADERS, value)));
    let age = policy.max_age.map(|age| HeaderValue::from(age.as_secs()));
    answer.headers.extend(age.map(|age| (header::ACCESS_CONTROL_MAX_AGE, age)));
    // Browsers read it of the answer itself; the Gateway API wants it told here too (its conformance suite).
    answer.headers.extend(exposed(policy));
    Some(answer)
}

/// What is added to the answer of another request.
pub(super) fn marks(policy: &Cors, request: &RequestHeader) -> Vec<(HeaderName, HeaderValue)> {
    let origin = request.headers.get(header::ORIGIN);
    let Some(allowed) = origin.and_then(|origin| allowed(policy, origin)) else { return Vec::new() };
    let mut marks = common(policy, allowed);
    marks.extend(exposed(policy));
    marks
}

/// With credentials a star is taken literally, so nothing is exposed then by a star.
fn exposed(policy: &Cors) -> Option<(HeaderName, HeaderValue)> {
    let expose = list(policy.expose_any && !policy.credentials, policy.expose.iter().map(HeaderName::as_str));
    expose.map(|value| (header::ACCESS_CONTROL_EXPOSE_HEADERS, value))
}

/// The headers that are a policy's, and replace those of the backend.
pub(super) const OWN: [HeaderName; 3] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

fn common(policy: &Cors, allowed: HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(6);
    if allowed != "*" {
        headers.push((header::VARY, HeaderValue::from_static("Origin")));
    }
    headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
    if policy.credentials {
        headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
    }
    headers
}

/// What `Access-Control-Allow-Origin` says to `origin`: a star only without credentials, for browsers refuse it with them.
fn allowed(policy: &Cors, origin: &HeaderValue) -> Option<HeaderValue> {
    let text = origin.to_str().ok()?;
    policy.origins.iter().find(|allowed| allowed.allows(text)).map(|allowed| match allowed {
        AllowOrigin::Any if !policy.credentials => HeaderValue::from_static("*"),
        _ => origin.clone(),
    })
}

fn list<'a>(any: bool, names: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    if any {
        return Some(HeaderValue::from_static("*"));
    }
    let joined = names.collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&joined).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        for (name, value) in headers {
            request.insert_header(*name, *value).unwrap();
        }
        request
    }

    fn told(headers: &[(HeaderName, HeaderValue)]) -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_told_everything_and_of_another_nothing() {
        let policy = Cors {
            origins: vec![AllowOrigin::parse("https://a.com")],
            methods: vec![Method::GET, Method::PUT],
            headers: vec![header::CONTENT_TYPE],
            credentials: true,
            max_age: Some(std::time::Duration::from_secs(60)),
            ..Cors::default()
        };
        let ask = |origin: &str| {
            let asked = request("OPTIONS", &[("origin", origin), ("access-control-request-method", "PUT")]);
            told(&preflight(&policy, &asked).unwrap().headers)
        };
        assert_eq!(
            ask("https://a.com"),
            [
                "vary: Origin",
                "access-control-allow-origin: https://a.com",
                "access-control-allow-credentials: true",
                "access-control-allow-methods: GET, PUT",
                "access-control-allow-headers: content-type",
                "access-control-max-age: 60"
            ]
        );
        assert_eq!(ask("https://b.com"), Vec::<String>::new());
        assert!(preflight(&policy, &request("OPTIONS", &[("origin", "https://a.com")])).is_none());
        assert!(preflight(&policy, &request("GET", &[("origin", "https://a.com")])).is_none());
    }

    #[test]
    fn a_star_is_said_only_without_credentials() {
        let asked = request("GET", &[("origin", "https://a.com")]);
        let mut policy = Cors { origins: vec![AllowOrigin::Any], ..Cors::default() };
        assert_eq!(told(&marks(&policy, &asked)), ["access-control-allow-origin: *"]);
        policy.credentials = true;
        assert_eq!(told(&marks(&policy, &asked))[1], "access-control-allow-origin: https://a.com");
        assert!(marks(&policy, &request("GET", &[])).is_empty());
    }
}
