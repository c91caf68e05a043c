//! Traces: W3C Trace Context in and out, and a span per request to an OpenTelemetry collector.
//!
//! Spans go as OTLP over HTTP in its JSON form (opentelemetry-proto, `POST /v1/traces`). Invariants:
//! a request never waits for the collector; what it does not take in time is lost, and counted; a
//! trace that a client began is followed, and whether it is sampled is the client's choice then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Spans that wait to be sent.
const WAITING: usize = 4096;
/// Spans sent together.
const TOGETHER: usize = 512;
/// A span is sent at the latest after this.
const SOON: Duration = Duration::from_secs(2);
/// The collector has answered by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a request stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    trace: u128,
    /// The span of the request here.
    span: u64,
    /// The span it is below; none when the trace begins here.
    parent: Option<u64>,
    sampled: bool,
}

impl Context {
    /// The context of a request: below the one its header names, else a new one that is sampled with probability `sample`.
    #[must_use]
    pub fn of(headers: &HeaderMap, sample: f64) -> Self {
        let told = headers.get("traceparent").and_then(|value| parse(value.to_str().ok()?));
        let span = fastrand::u64(1..);
        match told {
            Some((trace, parent, sampled)) => Self { trace, span, parent: Some(parent), sampled },
            None => Self { trace: fastrand::u128(1..), span, parent: None, sampled: fastrand::f64() < sample },
        }
    }

    /// The `traceparent` that the backend gets.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        let text = format!("00-{:032x}-{:016x}-0{}", self.trace, self.span, u8::from(self.sampled));
        HeaderValue::from_str(&text).unwrap_or_else(|_| unreachable!("invariant: digits and dashes"))
    }

    /// The trace's name.
    #[must_use]
    pub fn trace(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Whether its spans are told.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }
}

/// Reads a `traceparent` (W3C Trace Context, 3.2.2): trace, parent, and whether it is sampled.
fn parse(text: &str) -> Option<(u128, u64, bool)> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let fits = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    if !fits || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
    Some((trace, parent, u8::from_str_radix(flags, 16).ok()? & 1 == 1))
}

/// One request, as a span.
#[derive(Debug)]
pub struct Span {
    /// Where it stands.
    pub context: Context,
    /// The method, as the name begins.
    pub method: String,
    /// The rule, as the name ends.
    pub route: String,
    /// How long it took.
    pub time: Duration,
    /// The status of the answer; 0 when the client was gone.
    pub status: u16,
    /// Further attributes, by the names of OpenTelemetry's semantic conventions.
    pub attributes: Vec<(&'static str, String)>,
}

impl Span {
    fn json(&self, ended: SystemTime) -> Value {
        let nanoseconds =
            |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
        let text = |(name, value): (&str, &str)| json!({ "key": name, "value": { "stringValue": value } });
        let mut attributes: Vec<Value> =
            self.attributes.iter().map(|(name, value)| text((name, value.as_str()))).collect();
        attributes.push(text(("http.request.method", &self.method)));
        attributes.push(text(("http.route", &self.route)));
        let code = json!({ "intValue": self.status.to_string() });
        attributes.push(json!({ "key": "http.response.status_code", "value": code }));
        let mut span = json!({
            "traceId": self.context.trace(), "spanId": format!("{:016x}", self.context.span),
            "name": format!("{} {}", self.method, self.route), "kind": 2, "attributes": attributes,
            "startTimeUnixNano": nanoseconds(ended.checked_sub(self.time).unwrap_or(ended)),
            "endTimeUnixNano": nanoseconds(ended),
            // of a server only its own faults are errors
            "status": if self.status >= 500 || self.status == 0 { json!({ "code": 2 }) } else { json!({}) },
        });
        if let Some(parent) = self.context.parent {
            span["parentSpanId"] = json!(format!("{parent:016x}"));
        }
        span
    }
}

/// Sends spans to a collector.
#[derive(Clone, Debug)]
pub struct Tracer {
    spans: mpsc::Sender<Value>,
    lost: Arc<AtomicU64>,
    /// The part of new traces that is sampled, 0 to 1.
    pub sample: f64,
}

impl Tracer {
    /// Sends to the collector at `endpoint` (`http://host:4318`) by a task of `ctx`.
    ///
    /// # Errors
    /// When `endpoint` is no URL that can be sent to.
    pub fn start(endpoint: &str, sample: f64, ctx: &tasks::Context) -> anyhow::Result<Self> {
        let whole = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let uri: Uri = whole.parse().with_context(|| format!("{endpoint:?} is no URL of a collector"))?;
        anyhow::ensure!(uri.scheme_str() == Some("http"), "spans are sent to http://HOST:PORT, not to {endpoint:?}");
        let (spans, waiting) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        ctx.children.spawn("traces", send(uri, waiting, Arc::clone(&lost)));
        Ok(Self { spans, lost, sample })
    }

    /// Tells of a request that has just ended, soon.
    pub fn tell(&self, span: &Span) {
        if self.spans.try_send(span.json(SystemTime::now())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

async fn send(uri: Uri, mut waiting: mpsc::Receiver<Value>, lost: Arc<AtomicU64>) {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    while let Some(first) = waiting.recv().await {
        let mut together = vec![first];
        let deadline = tokio::time::Instant::now() + SOON;
        while together.len() < TOGETHER {
            match tokio::time::timeout_at(deadline, waiting.recv()).await {
                Ok(Some(span)) => together.push(span),
                Ok(None) | Err(_) => break,
            }
        }
        let count = together.len() as u64;
        if let Err(error) = tokio::time::timeout(PATIENCE, post(&client, &uri, together))
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")))
        {
            lost.fetch_add(count, Ordering::Relaxed);
            tracing::warn!("{count} spans could not be sent to {uri}: {error:#}");
        }
    }
}

async fn post(client: &Client<HttpConnector, Full<Bytes>>, uri: &Uri, spans: Vec<Value>) -> anyhow::Result<()> {
    let service = json!({ "key": "service.name", "value": { "stringValue": "knarr-gateway" } });
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": [service] },
        "scopeSpans": [{ "scope": { "name": "knarr-gateway" }, "spans": spans }],
    }] });
    let request = Request::post(uri.clone()).header(header::CONTENT_TYPE, "application/json");
    let answer = client.request(request.body(Full::new(Bytes::from(serde_json::to_vec(&body)?)))?).await?;
    let status = answer.status();
    answer.into_body().collect().await?;
    anyhow::ensure!(status.is_success(), "the collector answered {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parent: &'static str) -> HeaderMap {
        [(header::HeaderName::from_static("traceparent"), HeaderValue::from_static(parent))].into_iter().collect()
    }

    #[test]
    fn a_trace_that_a_client_began_is_followed() {
        let context = Context::of(&headers(PARENT), 0.0);
        assert!(context.is_sampled());
        let passed = context.header().to_str().unwrap().to_owned();
        assert!(passed.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && passed.ends_with("-01"));
        assert!(!passed.contains("00f067aa0ba902b7"), "the backend is below our span");
        assert_eq!(context.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert!(!Context::of(&headers("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"), 1.0).is_sampled());
    }

    #[test]
    fn what_is_no_context_begins_a_new_trace() {
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let context = Context::of(&headers(wrong), 1.0);
            assert!(context.parent.is_none() && context.is_sampled(), "{wrong}");
        }
        assert!(parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some(), "a later version");
    }

    #[test]
    fn a_span_says_when_it_was_and_whether_it_failed() {
        let span = Span {
            context: Context::of(&headers(PARENT), 1.0),
            method: "GET".to_owned(),
            route: "HTTPRoute shop/web".to_owned(),
            time: Duration::from_millis(1500),
            status: 503,
            attributes: vec![("url.path", "/x".to_owned())],
        };
        let json = span.json(SystemTime::UNIX_EPOCH + Duration::from_secs(10));
        assert_eq!(json["startTimeUnixNano"], "8500000000");
        assert_eq!(json["endTimeUnixNano"], "10000000000");
        assert_eq!((&json["name"], &json["status"]["code"]), (&json!("GET HTTPRoute shop/web"), &json!(2)));
        assert_eq!(json["parentSpanId"], "00f067aa0ba902b7");
    }
}
