//! A service that is asked about each request. It fails closed: what cannot be asked does not pass, unless the policy says
//! so (`failOpen`).

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::answer::{self, Outcome};
use crate::asked::{Asked, Pass, plain_name};
use crate::bearer::client;
use crate::claims;
use crate::fault::Faults;
use crate::guard::Sources;
use crate::means::Means;
use crate::memory::Memory;
use crate::outgoing::{OutgoingError, Speech};
use crate::settings::{self, Protocol};
use crate::variables::Template;

mod grpc;
mod http1;

const TIMEOUT: Duration = Duration::from_secs(5);
const MOST_TIMEOUT: Duration = Duration::from_secs(60);
const MOST_REMEMBER: Duration = Duration::from_secs(3600);
const REMEMBERED: usize = 4096;
/// A larger answer is none.
const ANSWER: usize = 256 * 1024;
const MOST_BODY: i32 = 64 * 1024;

/// Headers about the connection they come by (RFC 9110 7.6.1), which go no further.
const HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Headers that ask for an answer only if, or only for a part (RFC 9110 13, 14), or wait for a word before a body.
const CONDITIONS: [HeaderName; 7] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
    header::EXPECT,
];

/// A service and how it is asked.
pub(crate) struct External {
    way: Way,
    timeout: Duration,
    fail_open: bool,
    /// Which headers of a request it sees; all if there is no list.
    request_headers: Option<Vec<HeaderName>>,
    response_headers: Vec<HeaderName>,
    body_limit: Option<usize>,
    cache: Option<Cache>,
    means: Means,
}

enum Way {
    Http(http1::Question),
    Grpc(grpc::Question),
}

struct Cache {
    key: Template,
    seconds: i64,
    memory: Memory<String, Answer>,
}

/// What a service says.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Pass(Pass),
    Refuse(Response<Bytes>),
}

/// Why a service's answer is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExternalError {
    #[error("the service cannot be asked")]
    Ask(#[from] OutgoingError),
    #[error("the question cannot be written")]
    Question(#[from] http::Error),
    #[error("the service answered with status {0}")]
    Status(StatusCode),
    #[error("the service failed with gRPC status {0}")]
    Grpc(String),
    #[error("the service's answer cannot be read")]
    Malformed,
}

impl External {
    pub(crate) fn new(
        written: &settings::External,
        sources: &dyn Sources,
        means: &Means,
        faults: &mut Faults,
    ) -> Option<Self> {
        let timeout = faults.duration("spec.external.timeout", &written.timeout, TIMEOUT, MOST_TIMEOUT);
        let speech = match written.protocol {
            Protocol::Http => Speech::Http1,
            Protocol::Grpc => Speech::Http2,
        };
        let outgoing =
            client(written.authorities.as_ref(), "spec.external.authorities", speech, sources, means, faults);
        let outgoing = outgoing.map(|(outgoing, _)| outgoing);
        let names = |field: &str, list: &[String], faults: &mut Faults| -> Vec<HeaderName> {
            let name = |(index, name): (usize, &String)| {
                faults.take(&format!("spec.external.{field}[{index}]"), claims::header(name))
            };
            list.iter().enumerate().filter_map(name).collect()
        };
        let request_headers = written.request_headers.as_ref().map(|list| names("requestHeaders", list, faults));
        let response_headers = names("responseHeaders", &written.response_headers, faults);
        let body_limit = written.body.as_ref().map(|body| body.max_size).filter(|size| *size > 0);
        if body_limit.is_some_and(|limit| limit > MOST_BODY) {
            faults.add("spec.external.body.maxSize", format_args!("is more than {MOST_BODY} bytes"));
        }
        let cache = written.cache.as_ref().and_then(|cache| Cache::new(cache, faults));
        let way = match written.protocol {
            Protocol::Http => Way::Http(http1::Question::new(written, outgoing, faults)?),
            Protocol::Grpc => Way::Grpc(grpc::Question::new(written, outgoing, faults)?),
        };
        let body_limit = body_limit.and_then(|limit| usize::try_from(limit).ok());
        let means = means.clone();
        Some(Self {
            way,
            timeout,
            fail_open: written.fail_open,
            request_headers,
            response_headers,
            body_limit,
            cache,
            means,
        })
    }

    pub(crate) fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        self.response_headers.iter()
    }

    pub(crate) fn body_limit(&self) -> Option<usize> {
        self.body_limit
    }

    /// Asks about a request that other parts of the policy have passed already.
    pub(crate) async fn ask(&self, asked: &Asked<'_>, before: &Pass) -> Outcome {
        let key = self.cache.as_ref().and_then(|cache| cache.key.key(asked));
        let now = self.means.now();
        let remembered = self.cache.as_ref().zip(key.as_ref()).and_then(|(cache, key)| cache.memory.get(key, now));
        if let Some(answer) = remembered {
            return answer.into();
        }
        let headers = self.visible(&before.applied(asked.headers));
        let body = asked.body.filter(|_| self.body_limit.is_some());
        if self.body_limit.is_some_and(|limit| body.is_some_and(|body| body.len() > limit)) {
            return Outcome::Refuse(answer::text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request's body is too large to be checked",
            ));
        }
        let answered = match &self.way {
            Way::Http(question) => question.ask(self, asked, headers, body).await,
            Way::Grpc(question) => question.ask(self, asked, headers, body).await,
        };
        match answered {
            Ok(answer) => {
                if let Some((cache, key)) = self.cache.as_ref().zip(key) {
                    cache.memory.put(key, answer.clone(), now + cache.seconds);
                }
                answer.into()
            }
            Err(error) if self.fail_open => {
                tracing::warn!("a request passes unasked: {}", base::error::chain(&error));
                Outcome::Pass(Pass::default())
            }
            Err(error) => {
                tracing::warn!("a request cannot be asked about: {}", base::error::chain(&error));
                Outcome::Refuse(answer::unavailable("the service that decides about this request does not answer"))
            }
        }
    }

    /// The headers that the service sees: none about the connection, none that make an answer depend on what a client has
    /// already, none that only a proxy may set.
    fn visible(&self, headers: &HeaderMap) -> HeaderMap {
        let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let named: Vec<String> =
            named.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
        let may = |name: &HeaderName| {
            let listed =
                self.request_headers.as_ref().is_none_or(|list| list.contains(name) || *name == header::AUTHORIZATION);
            let kept = !HOP.contains(name) && !CONDITIONS.contains(name) && !is_claim(name);
            listed && kept && !named.iter().any(|other| other == name.as_str())
        };
        headers.iter().filter(|(name, _)| may(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// Whether a header is one about where a request came from, which only a proxy may set.
fn is_claim(name: &HeaderName) -> bool {
    let name = plain_name(name.as_str());
    name.starts_with("x-forwarded-")
        || name.starts_with("x-original-")
        || matches!(name.as_str(), "forwarded" | "x-real-ip")
}

/// Where a request came from, as proxies tell it.
fn origin(asked: &Asked<'_>) -> [(&'static str, String); 4] {
    let client = asked.client.to_canonical().to_string();
    [
        ("x-forwarded-proto", asked.scheme.to_owned()),
        ("x-forwarded-host", asked.host.to_owned()),
        ("x-forwarded-for", client.clone()),
        ("x-real-ip", client),
    ]
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Pass(pass) => Self::Pass(pass),
            Answer::Refuse(answer) => Self::Refuse(answer),
        }
    }
}

impl Cache {
    fn new(written: &settings::Cache, faults: &mut Faults) -> Option<Self> {
        let key = faults.take("spec.external.cache.key", Template::parse(&written.key))?;
        if key.is_fixed() {
            faults
                .add("spec.external.cache.key", "has no variable, so that everybody would get the first one's answer");
        }
        let time =
            faults.duration("spec.external.cache.duration", &written.duration, Duration::from_secs(60), MOST_REMEMBER);
        Some(Self { key, seconds: i64::try_from(time.as_secs()).unwrap_or(60), memory: Memory::new(REMEMBERED) })
    }
}

/// The headers of a refusal that reach the client: all but those about the connection and the length.
fn refusal(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if !HOP.contains(name) && *name != header::CONTENT_LENGTH {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
