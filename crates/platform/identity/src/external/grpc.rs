//! Asking by gRPC: `envoy.service.auth.v3.Authorization/Check`.
//!
//! The messages are the fields of Envoy's API that a gateway can fill and use, by their numbers there; unary gRPC is a
//! frame of five bytes and a message, over HTTP/2.

use std::collections::{BTreeMap, HashMap};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Full;
use prost::Message as _;

use super::{ANSWER, Answer, External, ExternalError, HOP};
use crate::answer;
use crate::asked::{Asked, Pass};
use crate::claims;
use crate::fault::Faults;
use crate::outgoing::Outgoing;
use crate::settings;

pub(crate) mod messages;

use messages::{AppendAction, CheckRequest, CheckResponse, HeaderValueOption, HttpResponse, OkHttpResponse};

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// `google.rpc.Code`
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

/// How a request is asked about.
pub(super) struct Question {
    client: Outgoing,
    uri: Uri,
    context: HashMap<String, String>,
}

impl Question {
    pub(super) fn new(written: &settings::External, client: Option<Outgoing>, faults: &mut Faults) -> Option<Self> {
        for (field, said) in [
            ("method", written.method.is_some()),
            ("appendPath", written.append_path.is_some()),
            ("signIn", written.sign_in.is_some()),
            ("forwardCookies", written.forward_cookies),
            ("setHeaders", !written.set_headers.is_empty()),
        ] {
            if said {
                faults.add(format!("spec.external.{field}"), "is for the protocol Http: leave it out");
            }
        }
        let read = written.url.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let uri = read.and_then(|uri| {
            let parts = Uri::builder().scheme(uri.scheme_str()?).authority(uri.authority()?.as_str());
            parts.path_and_query(PATH).build().ok()
        });
        let uri = faults
            .take("spec.external.url", uri.ok_or_else(|| format!("{:?} is no URL of http or https", written.url)));
        Some(Self { client: client?, uri: uri?, context: written.context.clone().into_iter().collect() })
    }

    pub(super) async fn ask(
        &self,
        external: &External,
        asked: &Asked<'_>,
        headers: HeaderMap,
        body: Option<&Bytes>,
    ) -> Result<Answer, ExternalError> {
        let mut headers = headers;
        if external.request_headers.is_none() {
            for (name, value) in super::origin(asked) {
                headers.extend(HeaderValue::from_str(&value).ok().map(|value| (HeaderName::from_static(name), value)));
            }
        }
        let question = self.question(asked, &headers, body, external.means.now());
        let timeout = format!("{}m", external.timeout.as_millis());
        let request = Request::post(self.uri.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", timeout)
            .body(Full::new(framed(&question)))?;
        let received = self.client.send(request, external.timeout, ANSWER).await?;
        if received.status != StatusCode::OK {
            return Err(ExternalError::Status(received.status));
        }
        // A failure without a message has its status among the headers ("trailers only").
        let status = received.trailers.get("grpc-status").or_else(|| received.headers.get("grpc-status"));
        match status.and_then(|status| status.to_str().ok()) {
            Some("0") => read(&unframed(&received.body).ok_or(ExternalError::Malformed)?, external, asked),
            Some(code) => Err(ExternalError::Grpc(code.to_owned())),
            None => Err(ExternalError::Malformed),
        }
    }

    fn question(&self, asked: &Asked<'_>, headers: &HeaderMap, body: Option<&Bytes>, now: i64) -> CheckRequest {
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let joined = told.entry(name.as_str().to_owned()).or_default();
            if !joined.is_empty() {
                joined.push_str(if name == http::header::COOKIE { "; " } else { "," });
            }
            joined.push_str(&value);
        }
        for (name, value) in [
            (":method", asked.method.as_str()),
            (":path", asked.target),
            (":authority", asked.host),
            (":scheme", asked.scheme),
        ] {
            told.insert(name.to_owned(), value.to_owned());
        }
        let http = messages::HttpRequest {
            id: String::new(),
            method: asked.method.to_string(),
            headers: told.into_iter().collect(),
            path: asked.target.to_owned(),
            host: asked.host.to_owned(),
            scheme: asked.scheme.to_owned(),
            size: body.and_then(|body| i64::try_from(body.len()).ok()).unwrap_or(-1),
            body: body.and_then(|body| String::from_utf8(body.to_vec()).ok()).unwrap_or_default(),
            raw_body: body
                .filter(|body| std::str::from_utf8(body).is_err())
                .map(|body| body.to_vec())
                .unwrap_or_default(),
        };
        let certificate = asked.certificate.and_then(|shown| shown.first());
        let source = messages::Peer {
            address: Some(messages::Address::of(asked.client.to_canonical().to_string())),
            certificate: certificate.map(|der| crate::certificate::percent_pem(der)).unwrap_or_default(),
        };
        CheckRequest {
            attributes: Some(messages::Attributes {
                source: Some(source),
                request: Some(messages::Request {
                    time: Some(messages::Timestamp { seconds: now, nanos: 0 }),
                    http: Some(http),
                }),
                context_extensions: self.context.clone(),
            }),
        }
    }
}

/// One message as a frame of gRPC, uncompressed.
fn framed(message: &CheckRequest) -> Bytes {
    let size = message.encoded_len();
    let mut frame = BytesMut::with_capacity(size + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

/// The one message of a body; none if there is not exactly one, uncompressed.
fn unframed(body: &Bytes) -> Option<CheckResponse> {
    let (head, message) = body.split_first_chunk::<5>()?;
    let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let whole = head[0] == 0 && usize::try_from(size).ok()? == message.len();
    whole.then(|| CheckResponse::decode(message).ok()).flatten()
}

/// What an answer means. A status that is missing is refused, as Envoy does.
fn read(response: &CheckResponse, external: &External, asked: &Asked<'_>) -> Result<Answer, ExternalError> {
    let code = response.status.as_ref().map_or(PERMISSION_DENIED, |status| status.code);
    match &response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) if code != 0 => {
            let status = denied.status.as_ref().and_then(|status| u16::try_from(status.code).ok());
            let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::FORBIDDEN);
            if !(status.is_redirection() || status.is_client_error() || status.is_server_error()) {
                return Err(ExternalError::Malformed);
            }
            let mut headers = HeaderMap::new();
            for option in &denied.headers {
                if let Some((name, value)) = option.read() {
                    headers.append(name, value);
                }
            }
            Ok(Answer::Refuse(super::refusal(status, &headers, Bytes::from(denied.body.clone().into_bytes()))))
        }
        Some(HttpResponse::OkResponse(ok)) if code == 0 => {
            let mut pass = Pass::default();
            for name in ok.headers_to_remove.iter().filter_map(|name| claims::header(name).ok()) {
                pass.remove.push(name);
            }
            for option in &ok.headers {
                let Some((name, value)) = option.read() else { continue };
                let allowed = external.response_headers.is_empty() || external.response_headers.contains(&name);
                if allowed && claims::header(name.as_str()).is_ok() {
                    change(&mut pass, asked, option, name, value);
                }
            }
            pass.target = target(ok, asked);
            pass.respond.extend(ok.response_headers_to_add.iter().filter_map(HeaderValueOption::read));
            Ok(Answer::Pass(pass))
        }
        _ => match code {
            0 => Ok(Answer::Pass(Pass::default())),
            PERMISSION_DENIED => Ok(Answer::Refuse(answer::forbidden("the request is not accepted"))),
            UNAUTHENTICATED => Ok(Answer::Refuse(answer::unauthorized("Bearer", "the request shows nobody"))),
            code => Err(ExternalError::Grpc(code.to_string())),
        },
    }
}

/// The path and query that an answer wants; none if it wants no change.
fn target(ok: &OkHttpResponse, asked: &Asked<'_>) -> Option<String> {
    if ok.query_parameters_to_set.is_empty() && ok.query_parameters_to_remove.is_empty() {
        return None;
    }
    let changed = |name: &str| {
        ok.query_parameters_to_remove.iter().any(|other| other == name)
            || ok.query_parameters_to_set.iter().any(|other| other.key == name)
    };
    let mut pairs: Vec<String> = Vec::new();
    for pair in asked.query().split('&').filter(|pair| !pair.is_empty()) {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned());
        if !name.is_some_and(|name| changed(&name)) {
            pairs.push(pair.to_owned());
        }
    }
    for set in &ok.query_parameters_to_set {
        pairs.push(form_urlencoded::Serializer::new(String::new()).append_pair(&set.key, &set.value).finish());
    }
    let mark = if pairs.is_empty() { "" } else { "?" };
    Some(format!("{}{mark}{}", asked.path(), pairs.join("&")))
}

/// Sets or appends a header of the request (`HeaderValueOption`; without anything said an answer's header replaces).
fn change(pass: &mut Pass, asked: &Asked<'_>, option: &HeaderValueOption, name: HeaderName, value: HeaderValue) {
    let set = pass.set.iter().position(|(other, _)| *other == name);
    let there = set
        .and_then(|at| pass.set.get(at).map(|(_, value)| value.clone()))
        .or_else(|| asked.headers.get(&name).cloned());
    let value = match (option.action(), there) {
        (AppendAction::AddIfAbsent, Some(_)) | (AppendAction::OverwriteIfExists, None) => return,
        (AppendAction::AppendIfExistsOrAdd, Some(there)) => {
            let joined = [there.as_bytes(), b",", value.as_bytes()].concat();
            HeaderValue::from_bytes(&joined).unwrap_or(value)
        }
        _ => value,
    };
    if let Some(at) = set {
        pass.set.remove(at);
    }
    pass.set.push((name, value));
}

impl HeaderValueOption {
    /// Name and value; none if they are no header or one about the connection.
    fn read(&self) -> Option<(HeaderName, HeaderValue)> {
        let header = self.header.as_ref()?;
        let name = HeaderName::from_bytes(header.key.as_bytes()).ok().filter(|name| !HOP.contains(name))?;
        let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
        Some((name, HeaderValue::from_bytes(value).ok()?))
    }

    fn action(&self) -> AppendAction {
        if self.append == Some(true) {
            return AppendAction::AppendIfExistsOrAdd;
        }
        match AppendAction::try_from(self.append_action) {
            // Envoy's check of a request overwrites unless `append` says otherwise: 0 is also "nothing said".
            Ok(AppendAction::AppendIfExistsOrAdd) | Err(_) => AppendAction::OverwriteIfExistsOrAdd,
            Ok(action) => action,
        }
    }
}
