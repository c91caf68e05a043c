//! Texts with variables of a request, in the notation of nginx.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::asked::Asked;
use crate::cookies;

/// A text with variables, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Header(String),
    Cookie(String),
    Parameter(String),
    Fact(Fact),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Client,
    Host,
    Scheme,
    Method,
    Target,
    Path,
}

const FACTS: [(&str, Fact); 9] = [
    ("remote_addr", Fact::Client),
    ("host", Fact::Host),
    ("best_http_host", Fact::Host),
    ("scheme", Fact::Scheme),
    ("pass_access_scheme", Fact::Scheme),
    ("request_method", Fact::Method),
    ("request_uri", Fact::Target),
    ("escaped_request_uri", Fact::Target),
    ("uri", Fact::Path),
];

/// What stays as it is within a URL's query.
pub(crate) const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Template {
    /// Reads `$name` and `${name}`.
    ///
    /// # Errors
    /// When there is no such variable, with the remedy.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, behind) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or("a variable's brace is not closed")?,
                None => {
                    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                    after.split_at(end)
                }
            };
            parts.push(variable(name)?);
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The text for a request; none if there are variables and all of them are empty.
    pub(crate) fn key(&self, asked: &Asked<'_>) -> Option<String> {
        let mut said = !self.0.iter().any(|part| !matches!(part, Part::Text(_)));
        let mut key = String::new();
        for part in &self.0 {
            let value = part.value(asked);
            said |= !matches!(part, Part::Text(_)) && !value.is_empty();
            // Lengths keep the borders between values, so that two requests never share a key by chance.
            key.push_str(&format!("{}:{value}", value.len()));
        }
        said.then_some(key)
    }

    /// The text for a request, as part of a URL: what variables hold is percent-encoded, except for whole targets that
    /// are the path of the URL.
    pub(crate) fn url(&self, asked: &Asked<'_>) -> String {
        let mut url = String::new();
        for part in &self.0 {
            let value = part.value(asked);
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Fact(Fact::Scheme) => url.push_str(&value),
                Part::Fact(Fact::Host) if url.ends_with("://") && asked.origin().is_some() => url.push_str(&value),
                Part::Fact(Fact::Target | Fact::Path) if !url.contains('?') => url.push_str(&value),
                _ => url.extend(utf8_percent_encode(&value, QUERY)),
            }
        }
        url
    }

    /// Whether the text is the same for every request.
    pub(crate) fn is_fixed(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }
}

fn variable(name: &str) -> Result<Part, String> {
    let named = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    if let Some((_, fact)) = FACTS.iter().find(|(known, _)| *known == name) {
        return Ok(Part::Fact(*fact));
    }
    if let Some(header) = named("http_") {
        return Ok(Part::Header(header.replace('_', "-")));
    }
    if let Some(cookie) = named("cookie_") {
        return Ok(Part::Cookie(cookie.to_owned()));
    }
    if let Some(parameter) = named("arg_") {
        return Ok(Part::Parameter(parameter.to_owned()));
    }
    let known = FACTS.map(|(known, _)| format!("${known}")).join(", ");
    Err(format!("there is no variable ${name} here; use $http_NAME, $cookie_NAME, $arg_NAME, {known}"))
}

impl Part {
    fn value<'a>(&'a self, asked: &Asked<'a>) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Header(name) => asked.header(name).unwrap_or_default().into(),
            Self::Cookie(name) => cookies::get(asked.headers, name).unwrap_or_default().into(),
            Self::Parameter(name) => asked.parameter(name).unwrap_or_default().into(),
            Self::Fact(Fact::Client) => asked.client.to_canonical().to_string().into(),
            Self::Fact(Fact::Host) => asked.host.into(),
            Self::Fact(Fact::Scheme) => asked.scheme.into(),
            Self::Fact(Fact::Method) => asked.method.as_str().into(),
            Self::Fact(Fact::Target) => asked.target.into(),
            Self::Fact(Fact::Path) => asked.path().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ask;

    #[test]
    fn variables_are_those_of_the_request() {
        let request = ask("GET", "https://a.example/p/q?x=1&next=/b", &[("cookie", "sid=s1"), ("x-team", "t&1")]);
        let url = |text: &str| Template::parse(text).map(|read| read.url(&request.asked()));
        assert_eq!(
            url("https://auth.example/start?h=$http_x_team&c=${cookie_sid}&a=$arg_x$arg_y"),
            Ok("https://auth.example/start?h=t%261&c=s1&a=1".to_owned())
        );
        assert_eq!(url("$scheme://$host/oauth2/auth"), Ok("https://a.example/oauth2/auth".to_owned()));
        assert_eq!(
            url("https://x.example/?rd=$scheme://$host$escaped_request_uri"),
            Ok("https://x.example/?rd=https://a.example%2Fp%2Fq%3Fx%3D1%26next%3D%2Fb".to_owned())
        );
        assert!(url("$nginx_version").is_err_and(|why| why.contains("$remote_addr")));
        assert!(url("${host").is_err());
    }

    #[test]
    fn keys_of_different_requests_differ_and_empty_ones_are_none() {
        let key = |headers: &[(&str, &str)]| {
            let template = Template::parse("k$http_a$http_b").expect("a template");
            template.key(&ask("GET", "https://a.example/", headers).asked())
        };
        assert_eq!(key(&[]), None);
        assert_ne!(key(&[("a", "xy"), ("b", "z")]), key(&[("a", "x"), ("b", "yz")]));
        assert_eq!(key(&[("a", "x")]), key(&[("a", "x"), ("c", "z")]));
    }
}
