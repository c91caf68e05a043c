//! Logs, exec, attach, port-forward and proxies: requests whose answer lives somewhere else.
//!
//! The API server finds the place, checks what only it can check, and then carries bytes. Exec, attach and port-forward
//! need the verb `create` even when they come as a WebSocket's GET (upstream since v1.36): otherwise "may read pods/exec"
//! would mean "may run commands".
//!
//! - [`locate`] turns names into addresses, [`options`] turns query parameters into the kubelet's.
//! - [`kubelet`] makes connections, [`relay`] carries one request there and back.

pub(crate) mod kubelet;
mod links;
mod locate;
mod options;
pub(crate) mod relay;

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use crate::{
    admission,
    authz::Decision,
    body::{Body, empty},
    core::Core,
    error::ApiError,
    identity::User,
    request::Info,
};
use kubelet::Target;
use relay::Error;

/// The largest page whose links are changed.
const PAGE: usize = 16 << 20;
/// As much of a kubelet's complaint as is passed on.
const COMPLAINT: usize = 50 * 1024;

/// Serves `pods/{log,exec,attach,portforward,proxy}`, `services/proxy` and `nodes/proxy` for a request that is authorized
/// for its own verb.
pub(crate) async fn connect(
    core: &Core,
    user: &Arc<User>,
    info: &Info,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    match (info.resource.as_str(), info.subresource.as_str()) {
        ("pods", "log") => log(core, info, request).await,
        ("pods", "exec" | "attach" | "portforward") => session(core, user, info, request).await,
        ("pods" | "services" | "nodes", "proxy") => proxy(core, user, info, request).await,
        _ => Err(ApiError::no_such_path()),
    }
}

fn object(core: &Core, plural: &str, namespace: &str, name: &str) -> Result<Arc<Value>, ApiError> {
    let kind = core.kind("", plural).ok_or_else(ApiError::no_such_path)?;
    core.get(kind, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))
}

/// The kubelet of a pod's node; none while the pod has no node.
fn kubelet_of(core: &Core, pod: &Value) -> Result<Option<Target>, ApiError> {
    match crate::core::text(pod, "/spec/nodeName") {
        "" => Ok(None),
        node => locate::kubelet(&*object(core, "nodes", "", node)?).map(Some),
    }
}

async fn log(core: &Core, info: &Info, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let options = options::log(request.uri().query().unwrap_or_default(), &info.name)?;
    let pod = object(core, "pods", &info.namespace, &info.name)?;
    let container = locate::container(&pod, &options.container)?;
    let Some(target) = kubelet_of(core, &pod)? else {
        return Ok(status(StatusCode::NO_CONTENT)); // not scheduled yet: nothing was written
    };
    let path = format!("/containerLogs/{}/{}/{container}{}", info.namespace, info.name, options.query);
    let (parts, _) = request.into_parts();
    let mut out = Request::new(empty());
    out.headers_mut().extend(parts.headers.get(header::USER_AGENT).map(|agent| (header::USER_AGENT, agent.clone())));
    let answer = relay::relay(&core.access.kubelets, &target, &path, out).await.map_err(|error| match error {
        Error::Dial(error) => ApiError::new(500, "", format!("Get \"https://{}{path}\": {error}", target.authority())),
        other => failed(&other),
    })?;
    let code = answer.status();
    if !code.is_success() {
        return Err(complaint(info, answer).await);
    }
    let (_, body) = answer.into_parts();
    let mut answer = Response::new(body);
    let plain = header::HeaderValue::from_static("text/plain");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(answer)
}

/// What a kubelet answers instead of a log, in upstream's translation.
async fn complaint(info: &Info, answer: Response<Body>) -> ApiError {
    let code = answer.status();
    let said = Limited::new(answer.into_body(), COMPLAINT).collect().await;
    let said = said.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned()).unwrap_or_default();
    match code {
        StatusCode::BAD_REQUEST => ApiError::bad_request(said),
        StatusCode::NOT_FOUND => {
            let message = format!("the server could not find the requested resource ( pods/log {})", info.name);
            ApiError::new(404, "NotFound", message).with_cause("UnexpectedServerResponse", said, "")
        }
        StatusCode::INTERNAL_SERVER_ERROR => ApiError::internal(said),
        code => {
            let message = format!(
                "the server responded with the status code {} but did not return more information",
                code.as_u16()
            );
            ApiError::new(code.as_u16(), "", message).with_cause("UnexpectedServerResponse", said, "")
        }
    }
}

async fn session(
    core: &Core,
    user: &Arc<User>,
    info: &Info,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let mut ask = info.attributes(user);
    if ask.verb != "create" {
        "create".clone_into(&mut ask.verb);
        match core.access.authorizer.authorize(&ask) {
            Decision::Allow => {}
            Decision::NoOpinion(why) => return Err(ApiError::forbidden(&ask, &why)),
        }
    }
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(ApiError::wrong_method());
    }
    let query = request.uri().query().unwrap_or_default();
    let asked = options::object(&info.resource, &info.subresource, "", query);
    admission::connection(core, user, info, request.headers(), asked).await?;
    let options = options::session(&info.subresource, query);
    let pod = object(core, "pods", &info.namespace, &info.name)?;
    let place = format!("{}/{}", info.namespace, info.name);
    let path = if info.subresource == "portforward" {
        format!("/portForward/{place}{}", options.query)
    } else {
        let container = locate::container(&pod, &options.container)?;
        format!("/{}/{place}/{container}{}", info.subresource, options.query)
    };
    let Some(target) = kubelet_of(core, &pod)? else {
        return Err(ApiError::bad_request(format!("pod {} does not have a host assigned", info.name)));
    };
    if !relay::is_upgrade(request.headers()) {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    relay::relay(&core.access.kubelets, &target, &path, request).await.map_err(|error| match error {
        Error::Dial(error) => ApiError::new(500, "", format!("error dialing backend: {error}")),
        other => failed(&other),
    })
}

async fn proxy(core: &Core, user: &Arc<User>, info: &Info, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let uri = request.uri().clone();
    let (base, rest) = options::split_proxy(uri.path());
    let asked = options::object(&info.resource, &info.subresource, rest, "");
    admission::connection(core, user, info, request.headers(), asked).await?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if rest.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
        // Relative links of what is behind would otherwise resolve one level too high.
        let mut answer = status(StatusCode::MOVED_PERMANENTLY);
        let place = format!("{base}/{query}").parse().map_err(ApiError::internal)?;
        answer.headers_mut().insert(header::LOCATION, place);
        return Ok(answer);
    }
    let what = info.resource.trim_end_matches('s');
    let asked = locate::spelled(what, &info.name)?;
    let target = match what {
        "pod" => locate::pod(&*object(core, "pods", &info.namespace, asked.name)?, &asked)?,
        "node" => locate::node(&*object(core, "nodes", "", asked.name)?, &asked)?,
        _ => endpoint(core, info, &asked)?,
    };
    let path = format!("{}{query}", if rest.is_empty() { "/" } else { rest });
    let mut request = request;
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    if what != "node"
        && let Ok(place) = uri.path().parse()
    {
        request.headers_mut().insert("x-forwarded-uri", place);
    }
    let answer = relay::relay(&core.access.kubelets, &target, &path, request).await.map_err(|error| match error {
        Error::Dial(error) => ApiError::unavailable(format!("error trying to reach service: {error}")),
        other => failed(&other),
    })?;
    if what == "node" {
        return Ok(answer);
    }
    let authority = target.authority();
    rewrite(answer, &links::Links { places: [&authority, &host], base }).await
}

/// Redirects and pages whose links lead to the same place lead through the proxy afterwards.
async fn rewrite(answer: Response<Body>, links: &links::Links<'_>) -> Result<Response<Body>, ApiError> {
    let (mut parts, body) = answer.into_parts();
    let text = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(place) = text(header::LOCATION) {
        if let Some(Ok(place)) = links.through(place).map(|place| place.parse()) {
            parts.headers.insert(header::LOCATION, place);
        }
        return Ok(Response::from_parts(parts, body));
    }
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let html = kind.split(';').next().unwrap_or_default().trim() == "text/html";
    let encoding = text(header::CONTENT_ENCODING).unwrap_or_default();
    let (packed, known) = (encoding == "gzip", matches!(encoding, "" | "gzip"));
    if !html || !known || parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Response::from_parts(parts, body));
    }
    let read = Limited::new(body, PAGE).collect().await;
    let page =
        read.map_err(|error| ApiError::unavailable(format!("error trying to reach service: {error}")))?.to_bytes();
    let page = if packed { unpack(&page)? } else { page.to_vec() };
    let page = match String::from_utf8(page) {
        Ok(page) => links.page(&page).into_bytes(),
        Err(other) => other.into_bytes(),
    };
    parts.headers.remove(header::CONTENT_ENCODING);
    if parts.headers.remove(header::CONTENT_LENGTH).is_some() && !page.is_empty() {
        parts.headers.insert(header::CONTENT_LENGTH, page.len().into());
    }
    Ok(Response::from_parts(parts, crate::body::full(page)))
}

fn unpack(page: &[u8]) -> Result<Vec<u8>, ApiError> {
    use std::io::Read;
    let mut plain = Vec::new();
    let limit = u64::try_from(PAGE).unwrap_or(u64::MAX);
    let read = flate2::read::GzDecoder::new(page).take(limit).read_to_end(&mut plain);
    read.map_err(|error| ApiError::unavailable(format!("error trying to reach service: {error}")))?;
    Ok(plain)
}

/// A random ready endpoint of a service: only one that really is a pod of this namespace, at the pod's own address.
fn endpoint(core: &Core, info: &Info, asked: &locate::Spelled<'_>) -> Result<Target, ApiError> {
    let service = object(core, "services", &info.namespace, asked.name)?;
    let known = object(core, "endpoints", &info.namespace, asked.name)?;
    let mut found = locate::endpoints(&service, &known, asked)?;
    let start = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % found.len();
    found.rotate_left(start);
    let real = found.into_iter().find(|(target, pod)| {
        let pod = object(core, "pods", &info.namespace, pod);
        pod.is_ok_and(|pod| {
            let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
            addresses.into_iter().any(|address| address["ip"] == target.host)
        })
    });
    let none = || ApiError::unavailable(format!("no endpoints available for service {:?}", info.name));
    real.map(|(target, _)| target).ok_or_else(none)
}

fn failed(error: &Error) -> ApiError {
    match error {
        Error::Api(error) => error.clone(),
        other => ApiError::new(500, "", base::error::chain(other)),
    }
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = code;
    response
}
