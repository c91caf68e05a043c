//! Filters of rules and of backends.

use std::sync::Arc;
use std::time::Duration;

use base::Key;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::gateways::backends::{Nowhere, Resolver};
use crate::gateways::kinds::{self, Header, HeaderEdits, PathModifier};
use crate::gateways::references::Refusal;

use crate::model::{AllowOrigin, Cors, Filter, HeaderEdit, Mirror, PathEdit, Protocol, Redirect, Rewrite};

/// How long a browser remembers when nothing is said, in seconds (GEP-1767).
const CORS_MAX_AGE: i32 = 5;

/// All of `filters`, in order.
pub(super) fn all(resolver: &mut Resolver<'_>, filters: &[kinds::Filter]) -> Result<Vec<Filter>, Refusal> {
    let has = |kind: &str| filters.iter().any(|filter| filter.type_ == kind);
    if has("RequestRedirect") && has("URLRewrite") {
        let message =
            "RequestRedirect and URLRewrite exclude each other: a request that is redirected reaches no backend";
        return Err(Refusal::new("IncompatibleFilters", message));
    }
    let mut made = Vec::new();
    for filter in filters {
        made.extend(one(resolver, filter)?);
    }
    Ok(made)
}

fn one(resolver: &mut Resolver<'_>, filter: &kinds::Filter) -> Result<Option<Filter>, Refusal> {
    let missing = || unsupported(format!("filter {} lacks the field of its type", filter.type_));
    Ok(Some(match filter.type_.as_str() {
        "RequestHeaderModifier" => Filter::Request(edit(filter.request_header_modifier.as_ref().ok_or_else(missing)?)?),
        "ResponseHeaderModifier" => {
            Filter::Response(edit(filter.response_header_modifier.as_ref().ok_or_else(missing)?)?)
        }
        "RequestRedirect" => Filter::Redirect(redirect(filter.request_redirect.as_ref().ok_or_else(missing)?)?),
        "URLRewrite" => Filter::Rewrite(rewrite(filter.url_rewrite.as_ref().ok_or_else(missing)?)?),
        "RequestMirror" => return mirror(resolver, filter.request_mirror.as_ref().ok_or_else(missing)?),
        "CORS" => Filter::Cors(Arc::new(cors(filter.cors.as_ref().ok_or_else(missing)?)?)),
        "ExternalAuth" => external(resolver, filter.external_auth.as_ref().ok_or_else(missing)?)?,
        "ExtensionRef" => {
            let named = filter.extension_ref.as_ref().ok_or_else(missing)?;
            let message = format!("filter {} {} of group {:?} is not known", named.kind, named.name, named.group);
            resolver.unresolved.get_or_insert_with(|| Refusal::new("InvalidKind", message.clone()));
            Filter::Answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{message}\n").into())
        }
        other => return Err(unsupported(format!("filters of type {other} are not supported"))),
    }))
}

fn unsupported(message: impl Into<String>) -> Refusal {
    Refusal::new("UnsupportedValue", message)
}

fn name(text: &str) -> Result<HeaderName, Refusal> {
    text.parse().map_err(|_| unsupported(format!("{text:?} is no name of a header")))
}

fn value(text: &str) -> Result<HeaderValue, Refusal> {
    text.parse().map_err(|_| unsupported(format!("{text:?} is no value of a header")))
}

fn edit(edits: &HeaderEdits) -> Result<HeaderEdit, Refusal> {
    let pairs = |headers: &[Header]| -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
        headers.iter().map(|header| Ok((name(&header.name)?, value(&header.value)?))).collect()
    };
    let remove = edits.remove.iter().map(|text| name(text)).collect::<Result<_, _>>()?;
    Ok(HeaderEdit { set: pairs(&edits.set)?, add: pairs(&edits.add)?, remove })
}

fn path(modifier: &PathModifier) -> Result<PathEdit, Refusal> {
    match modifier.type_.as_str() {
        "ReplaceFullPath" => Ok(PathEdit::Full(modifier.replace_full_path.clone().unwrap_or_default())),
        "ReplacePrefixMatch" => Ok(PathEdit::Prefix(modifier.replace_prefix_match.clone().unwrap_or_default())),
        other => Err(unsupported(format!("paths are not changed by {other}"))),
    }
}

fn redirect(asked: &kinds::Redirect) -> Result<Redirect, Refusal> {
    let scheme = match asked.scheme.as_deref() {
        None => None,
        Some("http") => Some("http"),
        Some("https") => Some("https"),
        Some(other) => return Err(unsupported(format!("redirects to scheme {other:?} are not supported"))),
    };
    let code = asked.status_code.unwrap_or(302);
    let status =
        StatusCode::from_u16(code).ok().filter(|status| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308));
    let port =
        asked.port.map(u16::try_from).transpose().map_err(|_| unsupported("the port of a redirect is no port"))?;
    Ok(Redirect {
        scheme,
        host: asked.hostname.clone().filter(|host| !host.is_empty()),
        port,
        path: asked.path.as_ref().map(path).transpose()?,
        keep_query: true,
        status: status.ok_or_else(|| unsupported(format!("{code} is no status of a redirect")))?,
    })
}

fn rewrite(asked: &kinds::Rewrite) -> Result<Rewrite, Refusal> {
    let host = asked.hostname.as_deref().filter(|host| !host.is_empty()).map(value).transpose()?;
    Ok(Rewrite { host, path: asked.path.as_ref().map(path).transpose()? })
}

/// A mirror that leads nowhere copies nothing; the route tells so (GEP-3171: `percent` or `fraction`, all when neither).
/// Who is asked about each request (GEP-1494). Whoever cannot be asked lets nobody in.
fn external(resolver: &mut Resolver<'_>, asked: &kinds::ExternalAuth) -> Result<Filter, Refusal> {
    let backend = match resolver.resolve(&asked.backend_ref) {
        Ok(backend) => backend,
        Err(nowhere) => {
            let message = match nowhere {
                Nowhere::Closed(message) => message,
                Nowhere::Reference(refusal) => resolver.unresolved.get_or_insert(refusal).message.clone(),
            };
            return Ok(Filter::Answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{message}\n").into()));
        }
    };
    let service = &backend.endpoints.service;
    let host = format!("{}.{}.svc:{}", service.name, service.namespace, backend.endpoints.port);
    let http = asked.http.clone().unwrap_or_default();
    let mut settings = identity::External {
        body: asked.forward_body.as_ref().map(|body| identity::Body { max_size: i32::from(body.max_size) }),
        timeout: "5s".to_owned(),
        ..identity::External::default()
    };
    match asked.protocol.as_str() {
        "HTTP" => {
            settings.url = format!("http://{host}{}", http.path);
            settings.append_path = Some(true);
            settings.request_headers = Some(http.allowed_headers).filter(|names| !names.is_empty());
            settings.response_headers = http.allowed_response_headers;
        }
        "GRPC" => {
            settings.protocol = identity::Protocol::Grpc;
            settings.url = format!("http://{host}");
            let allowed = asked.grpc.clone().unwrap_or_default().allowed_headers;
            settings.request_headers = Some(allowed).filter(|names| !names.is_empty());
        }
        other => return Err(unsupported(format!("the protocol {other} of an ExternalAuth filter is not supported"))),
    }
    // Guards are told apart by name; a route may have several filters.
    let told = serde_json::to_string(&settings).unwrap_or_default();
    let name = Key::new(resolver.namespace, format!("{} {host} {told}", resolver.kind.name()));
    let settings = identity::Settings { external: Some(settings), ..identity::Settings::default() };
    match (resolver.world.guard)(&name, &settings) {
        Ok(guard) => Ok(Filter::Guard(guard)),
        Err(why) => Err(unsupported(format!("an ExternalAuth filter cannot be obeyed: {why}"))),
    }
}

fn mirror(resolver: &mut Resolver<'_>, asked: &kinds::Mirror) -> Result<Option<Filter>, Refusal> {
    let number =
        |number: i32| u32::try_from(number).map_err(|_| unsupported("a share of mirrored requests is negative"));
    let (share, out_of) = match (&asked.fraction, asked.percent) {
        (Some(fraction), _) => (number(fraction.numerator)?, number(fraction.denominator.unwrap_or(100))?),
        (None, percent) => (number(percent.unwrap_or(100))?, 100),
    };
    if out_of == 0 {
        return Err(unsupported("the denominator of a mirrored share is zero"));
    }
    match resolver.resolve(&asked.backend_ref) {
        Ok(backend) if matches!(backend.protocol, Protocol::Https(_) | Protocol::H2(_)) => {
            Err(unsupported(format!("copies cannot be sent to {}, which speaks TLS", backend.name())))
        }
        Ok(backend) => {
            Ok(Some(Filter::Mirror(Mirror { backend: Arc::new(backend), share: share.min(out_of), out_of })))
        }
        Err(Nowhere::Closed(_)) => Ok(None),
        Err(Nowhere::Reference(refusal)) => {
            resolver.unresolved.get_or_insert(refusal);
            Ok(None)
        }
    }
}

fn cors(asked: &kinds::Cors) -> Result<Cors, Refusal> {
    let names = |all: &[String]| -> Result<Vec<HeaderName>, Refusal> {
        all.iter().filter(|text| *text != "*").map(|text| name(text)).collect()
    };
    let any = |all: &[String]| all.iter().any(|text| text == "*");
    let methods = asked
        .allow_methods
        .iter()
        .filter(|method| *method != "*")
        .map(|text| text.parse::<Method>().map_err(|_| unsupported(format!("{text:?} is no method"))));
    let seconds = u64::try_from(asked.max_age.unwrap_or(CORS_MAX_AGE)).unwrap_or_default();
    Ok(Cors {
        origins: asked.allow_origins.iter().map(|origin| AllowOrigin::parse(origin)).collect(),
        methods: methods.collect::<Result<_, _>>()?,
        any_method: any(&asked.allow_methods),
        headers: names(&asked.allow_headers)?,
        any_header: any(&asked.allow_headers),
        expose: names(&asked.expose_headers)?,
        expose_any: any(&asked.expose_headers),
        credentials: asked.allow_credentials.unwrap_or(false),
        max_age: Some(Duration::from_secs(seconds)),
    })
}
