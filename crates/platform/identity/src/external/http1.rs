//! Asking by HTTP: as ingress-nginx does (`auth-url`), or with the request's own path appended (Gateway API, GEP-1494).

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use percent_encoding::utf8_percent_encode;

use super::{ANSWER, Answer, External, ExternalError, origin, refusal};
use crate::answer;
use crate::asked::{Asked, Pass};
use crate::claims;
use crate::fault::Faults;
use crate::outgoing::Outgoing;
use crate::settings;
use crate::variables::{QUERY, Template};

/// How a request is asked about.
pub(super) struct Question {
    client: Outgoing,
    url: Template,
    append_path: bool,
    method: Option<Method>,
    set: Vec<(HeaderName, HeaderValue)>,
    forward_cookies: bool,
    sign_in: Option<(Template, String)>,
}

impl Question {
    pub(super) fn new(written: &settings::External, client: Option<Outgoing>, faults: &mut Faults) -> Option<Self> {
        let url = faults.take("spec.external.url", fixed_host(&written.url));
        let append_path = written.append_path.unwrap_or_default();
        if append_path && written.url.contains('?') {
            faults.add("spec.external.url", "has a query although the request's path is to be appended");
        }
        let method =
            written.method.as_ref().and_then(|method| faults.take("spec.external.method", method.parse::<Method>()));
        if !written.context.is_empty() {
            faults.add("spec.external.context", "is for the protocol Grpc; use setHeaders");
        }
        let set = written.set_headers.iter().filter_map(|(name, value)| {
            let field = format!("spec.external.setHeaders[{name}]");
            let name = faults.take(&field, claims::header(name));
            name.zip(faults.take(&field, HeaderValue::from_str(value).map_err(|_| "the value fits in no header")))
        });
        let set = set.collect();
        let sign_in = written.sign_in.as_ref().and_then(|page| {
            let template = faults.take("spec.external.signIn.url", Template::parse(&page.url))?;
            let absolute = ["https://", "http://", "$scheme://", "$pass_access_scheme://"]
                .iter()
                .any(|start| page.url.starts_with(start));
            if !absolute {
                faults.add("spec.external.signIn.url", format_args!("{:?} is no URL of http or https", page.url));
            }
            let parameter = if page.parameter.is_empty() { "rd" } else { &page.parameter };
            Some((template, parameter.to_owned()))
        });
        Some(Self {
            client: client?,
            url: url?,
            append_path,
            method,
            set,
            forward_cookies: written.forward_cookies,
            sign_in,
        })
    }

    pub(super) async fn ask(
        &self,
        external: &External,
        asked: &Asked<'_>,
        headers: HeaderMap,
        body: Option<&Bytes>,
    ) -> Result<Answer, ExternalError> {
        let request = self.request(asked, headers, body)?;
        let received = self.client.send(request, external.timeout, ANSWER).await?;
        let passes = if self.append_path { received.status == StatusCode::OK } else { received.status.is_success() };
        if passes {
            let mut pass = Pass::default();
            for name in &external.response_headers {
                pass.set.extend(received.headers.get(name).map(|value| (name.clone(), value.clone())));
            }
            if self.forward_cookies {
                let cookies = received.headers.get_all(header::SET_COOKIE).iter();
                pass.respond.extend(cookies.map(|cookie| (header::SET_COOKIE, cookie.clone())));
            }
            return Ok(Answer::Pass(pass));
        }
        let answered = received.status.is_client_error() && received.status != StatusCode::NOT_FOUND;
        let redirect = matches!(received.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        if !answered && !redirect {
            return Err(ExternalError::Status(received.status));
        }
        if received.status == StatusCode::UNAUTHORIZED
            && let Some(to) = self.sign_in(asked)
        {
            let mut redirect = answer::redirect(&to);
            for cookie in received.headers.get_all(header::SET_COOKIE) {
                redirect.headers_mut().append(header::SET_COOKIE, cookie.clone());
            }
            return Ok(Answer::Refuse(redirect));
        }
        Ok(Answer::Refuse(refusal(received.status, &received.headers, received.body)))
    }

    fn request(
        &self,
        asked: &Asked<'_>,
        headers: HeaderMap,
        body: Option<&Bytes>,
    ) -> Result<Request<Full<Bytes>>, ExternalError> {
        let mut url = self.url.url(asked);
        if self.append_path {
            url = format!("{}{}", url.trim_end_matches('/'), asked.target);
        }
        let standard = if self.append_path { asked.method.clone() } else { Method::GET };
        let method = self.method.clone().unwrap_or(standard);
        let has_body = body.is_some();
        let mut request =
            Request::builder().method(method).uri(url).body(Full::new(body.cloned().unwrap_or_default()))?;
        let told = request.headers_mut();
        *told = headers;
        told.remove(header::CONTENT_LENGTH);
        told.remove(header::HOST);
        if !has_body {
            // A length and a type of a body that is not there would make some servers wait for it.
            told.remove(header::CONTENT_TYPE);
        }
        let page = format!("{}{}", asked.origin().unwrap_or_default(), asked.target);
        let facts = [
            ("x-original-url", page),
            ("x-original-method", asked.method.to_string()),
            ("x-auth-request-redirect", asked.target.to_owned()),
            ("x-forwarded-method", asked.method.to_string()),
            ("x-forwarded-uri", asked.target.to_owned()),
        ];
        for (name, value) in facts.into_iter().chain(origin(asked)) {
            told.remove(name);
            if let Ok(value) = HeaderValue::from_str(&value) {
                told.insert(HeaderName::from_static(name), value);
            }
        }
        if self.append_path
            && let Ok(host) = HeaderValue::from_str(asked.host)
        {
            told.insert(header::HOST, host); // the client's own, as the Gateway API wants it
        }
        for (name, value) in &self.set {
            told.insert(name.clone(), value.clone());
        }
        Ok(request)
    }

    /// Where a browser signs in, with the page to return to: that which was asked for.
    fn sign_in(&self, asked: &Asked<'_>) -> Option<String> {
        let (template, parameter) = self.sign_in.as_ref()?;
        let to = template.url(asked);
        let query = to.split_once('?').map_or("", |(_, query)| query);
        if form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key == parameter.as_str()) {
            return Some(to); // the policy says itself where to return to
        }
        let back = format!("{}{}", asked.origin()?, asked.target);
        let separator = if to.contains('?') { '&' } else { '?' };
        Some(format!("{to}{separator}{parameter}={}", utf8_percent_encode(&back, QUERY)))
    }
}

/// A URL whose host no request can choose.
fn fixed_host(url: &str) -> Result<Template, String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| format!("{url:?} is no URL of http or https"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('$') {
        return Err("the host must not depend on the request, else a client could choose who decides".to_owned());
    }
    let valid =
        authority.parse::<http::uri::Authority>().is_ok_and(|read| !read.host().is_empty() && !authority.contains('@'));
    if !valid {
        return Err(format!("{authority:?} is no host"));
    }
    Template::parse(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_chooses_who_decides() {
        assert!(fixed_host("https://auth.example/check?t=$http_x_team").is_ok());
        for wrong in [
            "https://$host/check",
            "https://a@b/",
            "ftp://a/",
            "auth.example/check",
            "https:///check",
            "http://${http_x}.example/",
        ] {
            assert!(fixed_host(wrong).is_err(), "{wrong}");
        }
    }
}
