//! The way of every request: authenticate, authorize, read, dispatch by row, answer.
//!
//! There is one way. In-process callers skip only authentication, because the code that made their client vouches for
//! them; everything after that, authorization included, is the same for them as for a stranger on the network.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kinds::Kind;

use crate::{
    admission, aggregate,
    api::Inner,
    authn::impersonation,
    authz::Decision,
    body::{self, Body, BoxError},
    call::{Answer, Call},
    core::Core,
    error::ApiError,
    identity::User,
    metrics::Sample,
    negotiate::{self, Endpoint, Format},
    options::Options,
    request::{Hints, Info},
    respond, review, streaming, tokens,
    verbs::{binding, create, delete, eviction, list, patch, read, scale, subresource, update, watch, write::Rules},
    wellknown,
};

/// Upstream's `MaxRequestBodyBytes`.
pub(crate) const BODY_LIMIT: usize = 3 * 1024 * 1024;
const DEADLINE: Duration = Duration::from_secs(60);

/// In http Extensions: who an in-process caller is. The type is private, so nothing on the network can send it.
#[derive(Clone)]
pub(crate) struct Vouched(pub(crate) Arc<User>);

/// In http Extensions: the certificate the peer proved to own.
#[derive(Clone)]
pub(crate) struct PeerCertificate(pub(crate) Bytes);

/// The most that is read of a request that is refused by its head, and for how long.
const DRAINED: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) async fn handle<B>(inner: &Arc<Inner>, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let mut sample = Sample::start(&inner.metrics);
    let options = Options::parse(parts.uri.query().unwrap_or_default());
    let hints = Hints { watch: options.watch, field_selector: &options.field_selector };
    let info = Info::parse(&parts.method, parts.uri.path(), hints);
    sample.describe(&info, parts.method.as_str());
    let response = match admit_sender(&inner.core, &parts, &info) {
        Ok(user) => serve(inner, parts, body, Prepared { user, info, options }).await,
        Err(error) => {
            drain(&parts.headers, body).await;
            respond::failure(&error, negotiate::for_errors(&parts.headers))
        }
    };
    sample.finish(response.status().as_u16());
    response
}

/// A request whose sender may make it. Options are judged later, by the verb, so that strangers learn nothing from them.
struct Prepared {
    user: Arc<User>,
    info: Info,
    options: Options,
}

fn admit_sender(core: &Core, parts: &Parts, info: &Info) -> Result<Arc<User>, ApiError> {
    let user = authenticate(core, parts)?;
    let attributes = info.attributes(&user);
    match core.access.authorizer.authorize(&attributes) {
        Decision::Allow => Ok(user),
        Decision::NoOpinion(why) => Err(ApiError::forbidden(&attributes, &why)),
    }
}

fn authenticate(core: &Core, parts: &Parts) -> Result<Arc<User>, ApiError> {
    let user = match parts.extensions.get::<Vouched>() {
        Some(Vouched(user)) => user.clone(),
        None => {
            let certificate = parts.extensions.get::<PeerCertificate>();
            core.access.authenticator.authenticate(parts, certificate.map(|PeerCertificate(der)| der.as_ref()))?
        }
    };
    let borrowed = impersonation::impersonate(core.access.authorizer.as_ref(), &user, &parts.headers)?;
    Ok(borrowed.map_or(user, Arc::new))
}

async fn serve<B>(inner: &Arc<Inner>, parts: Parts, body: B, prepared: Prepared) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let long = prepared.info.is_long_running();
    let head = parts.method == http::Method::HEAD;
    let in_errors = negotiate::for_errors(&parts.headers);
    let work = async {
        match read_and_dispatch(inner, parts, body, prepared).await {
            Ok(response) => response,
            Err(error) => respond::failure(&error, in_errors),
        }
    };
    let response = if long {
        work.await
    } else {
        match tokio::time::timeout(DEADLINE, work).await {
            Ok(response) => response,
            Err(_) => {
                let message = "request did not complete within the allotted timeout";
                respond::failure(&ApiError::timeout(message), in_errors)
            }
        }
    };
    if head { response.map(|_| body::empty()) } else { response }
}

async fn read_and_dispatch<B>(
    inner: &Arc<Inner>,
    parts: Parts,
    body: B,
    prepared: Prepared,
) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Prepared { user, info, options } = prepared;
    let core = &inner.core;
    if let Some(server) = aggregate::server_of(core, &info) {
        let body = body.map_err(Into::into).boxed_unsync();
        return aggregate::forward::forward(core, &server, &user, Request::from_parts(parts, body)).await;
    }
    if !info.is_resource {
        return wellknown::answer(inner, &parts, &info);
    }
    let kind = core
        .catalog()
        .resource(&info.group, &info.version, &info.resource)
        .filter(|kind| core.serves(kind) && is_in_scope(kind, &info))
        .cloned()
        .ok_or_else(ApiError::no_such_path)?;
    if is_connection(&info) {
        if !kind.has_subresource(&info.subresource) {
            return Err(ApiError::no_such_path());
        }
        let body = body.map_err(Into::into).boxed_unsync();
        return streaming::connect(core, &user, &info, Request::from_parts(parts, body)).await;
    }
    let body = match parts.method {
        http::Method::GET | http::Method::HEAD => Bytes::new(),
        _ => collect(&parts.headers, body).await?,
    };
    let accepts = negotiate::accepts(&parts.headers, endpoint(&kind, &info))?;
    let pretty = accepts.pretty || options.pretty.unwrap_or_else(|| negotiate::is_person(&parts.headers));
    let pretty = pretty && accepts.format == Format::Json;
    let call = Call::new(user, info, options, negotiate::Accepts { pretty, ..accepts }, &parts.headers, body);
    if let Some(warning) = kinds::deprecation(&kind) {
        call.warn(warning);
    }
    if let Some(warning) = kind.custom.as_ref().and_then(|custom| custom.warning.as_ref()) {
        call.warn(warning);
    }
    // boxed: the compiler cannot see through all verbs at once that their futures may change threads
    let dispatched: BoxFuture<'_, _> = Box::pin(dispatch(core, &call, &kind));
    let answer = current(core, dispatched.await?).await?;
    respond::answer(core, &call, answer)
}

/// What can be served at a path; a Scale is a Scale also below a custom resource.
fn endpoint(kind: &Kind, info: &Info) -> Endpoint {
    let asked = !kind.persisted && info.verb == "create";
    match info.subresource.as_str() {
        "token" | "eviction" | "binding" => Endpoint::Question,
        _ if asked => Endpoint::Question,
        subresource if kind.custom.is_some() && subresource != "scale" => Endpoint::Custom,
        _ => Endpoint::Kind,
    }
}

/// An answer in the version that was asked for.
async fn current(core: &Core, answer: Answer) -> Result<Answer, ApiError> {
    Ok(match answer {
        Answer::Record { code, kind, record } => {
            let record = core.read(&kind, record).await?;
            Answer::Record { code, kind, record }
        }
        other => other,
    })
}

/// Whether the path has the form of its kind. Permission was given for the namespace in the path, so a kind without
/// namespaces must not be reached through one; and what is decoded to a slash must not become another key.
fn is_in_scope(kind: &Kind, info: &Info) -> bool {
    let own = kind.is("", "Namespace") && info.namespace == info.name;
    let placed = kind.namespaced || info.namespace.is_empty() || own;
    let whole =
        !kind.namespaced || !info.namespace.is_empty() || matches!(info.verb.as_str(), "list" | "watch" | "create");
    placed
        && whole
        && ![&info.namespace, &info.name].iter().any(|part| part.contains('/') || *part == "." || *part == "..")
}

/// Subresources that are a conversation with a node rather than an object.
fn is_connection(info: &Info) -> bool {
    matches!(info.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy")
}

async fn dispatch(core: &Arc<Core>, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let info = &call.info;
    match info.verb.as_str() {
        "create" => call.options.check_write("CreateOptions")?,
        "update" => call.options.check_write("UpdateOptions")?,
        "patch" => call.options.check_patch(negotiate::is_apply(&call.content_type))?,
        _ => {}
    }
    if !info.subresource.is_empty() {
        return below(core, call, kind).await;
    }
    if !kind.allows(&info.verb) {
        return Err(ApiError::method_not_allowed(kind, &info.verb));
    }
    if !kind.persisted {
        return unpersisted(core, call, kind).await;
    }
    let named = !info.name.is_empty();
    match info.verb.as_str() {
        "list" => list::list(core, call, kind).await,
        "watch" => watch::watch(core, call, kind).await,
        "get" => read::get(core, call, kind).await,
        "create" if !named => create::create(core, call, kind).await,
        "update" if named => update::update(core, call, kind, Rules::OBJECT).await,
        "patch" if named => patch::patch(core, call, kind, Rules::OBJECT).await,
        "delete" if named => delete::delete(core, call, kind).await,
        "deletecollection" => delete::collection(core, call, kind).await,
        _ => Err(ApiError::wrong_method()),
    }
}

/// Kinds that exist only as a request.
async fn unpersisted(core: &Arc<Core>, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    match (call.info.verb.as_str(), kind.kind.as_str()) {
        ("create", "Binding") => {
            let pods = core.kind("", "pods").ok_or_else(ApiError::no_such_path)?;
            binding::bind(core, call, pods).await
        }
        ("create", _) => {
            let body = crate::decode::object(call, kind)?;
            let value = review::create(core, &call.user, kind, &call.info.namespace, body)?;
            Ok(Answer::Unstored { code: 201, kind: kind.clone(), value })
        }
        // component statuses: nothing is probed any more, the list is empty
        ("list", _) => list::list(core, call, kind).await,
        ("get", _) => read::get(core, call, kind).await,
        _ => Err(ApiError::wrong_method()),
    }
}

async fn below(core: &Arc<Core>, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let info = &call.info;
    let part = kind.subresource(&info.subresource).ok_or_else(ApiError::no_such_path)?;
    if !part.verbs.contains(&info.verb) {
        return Err(ApiError::method_not_allowed(kind, &info.verb));
    }
    match (kind.plural.as_str(), info.subresource.as_str(), info.verb.as_str()) {
        ("pods", "binding", "create") => binding::bind(core, call, kind).await,
        ("pods", "eviction", "create") => eviction::evict(core, call, kind).await,
        ("serviceaccounts", "token", "create") => {
            let mut body = crate::decode::typed(call, "authentication.k8s.io/v1", "TokenRequest")?;
            admission::sent(core, call, &mut body).await?;
            let value = tokens::create(core, &call.user, &info.namespace, &info.name, body)?;
            Ok(Answer::Unstored { code: 201, kind: kind.clone(), value })
        }
        (_, "scale", _) => scale::scale(core, call, kind).await,
        (_, part, _) => match subresource::rules(kind, part) {
            Some(rules) => subresource::part(core, call, kind, rules).await,
            None => Err(ApiError::wrong_method()),
        },
    }
}

/// Takes in a body nobody reads. Over HTTP/2 an answer that overtakes its request ends the stream with a reset, on which
/// some clients (curl 7) drop the answer. Only what is small and announced: a stranger must not keep us reading.
async fn drain<B>(headers: &HeaderMap, body: B)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| (1..=DRAINED).contains(&length)) {
        let read = Limited::new(body.map_err(Into::into), DRAINED).collect();
        if !matches!(tokio::time::timeout(PATIENCE, read).await, Ok(Ok(_))) {
            tracing::debug!("a refused request did not send the body it announced");
        }
    }
}

async fn collect<B>(headers: &HeaderMap, body: B) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_LIMIT) {
        return Err(ApiError::too_large(BODY_LIMIT));
    }
    match Limited::new(body.map_err(Into::into), BODY_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(BODY_LIMIT)),
        Err(error) => Err(ApiError::bad_request(format!("cannot read the body of the request: {error}"))),
    }
}
