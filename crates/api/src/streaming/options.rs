//! Query parameters of streaming requests, checked and put into the kubelet's own spelling.

use form_urlencoded::{Serializer, parse};
use kinds::FieldError;
use serde_json::{Value, json};

use crate::error::ApiError;

/// What a streaming request asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) container: String,
    /// The kubelet's query with its question mark, or nothing.
    pub(crate) query: String,
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn with_mark(query: String) -> String {
    if query.is_empty() { query } else { format!("?{query}") }
}

/// Options of exec, attach and port-forward.
pub(crate) fn session(subresource: &str, query: &str) -> Options {
    let mut options = Options::default();
    let mut out = Serializer::new(String::new());
    for (name, value) in parse(query.as_bytes()) {
        let spelled = match (subresource, &*name) {
            ("portforward", "ports" | "port") => "port",
            ("portforward", _) => continue,
            (_, "container") => {
                options.container = value.into_owned();
                continue;
            }
            ("exec", "command") => "command",
            (_, "stdin") if is_true(&value) => "input",
            (_, "stdout") if is_true(&value) => "output",
            (_, "stderr") if is_true(&value) => "error",
            (_, "tty") if is_true(&value) => "tty",
            _ => continue,
        };
        let flag = !matches!(spelled, "command" | "port");
        out.append_pair(spelled, if flag { "1" } else { &value });
    }
    options.query = with_mark(out.finish());
    options
}

/// The options of a connection as an object, for those who are asked about it.
pub(crate) fn object(resource: &str, subresource: &str, path: &str, query: &str) -> Value {
    let kind = match (resource, subresource) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", _) => "PodProxyOptions",
        ("services", _) => "ServiceProxyOptions",
        _ => "NodeProxyOptions",
    };
    let mut object = json!({ "kind": kind, "apiVersion": "v1" });
    match subresource {
        "proxy" => object["path"] = json!(path),
        "portforward" => {
            let ports = parse(query.as_bytes()).filter(|(name, _)| matches!(&**name, "ports" | "port"));
            let ports: Vec<u16> = ports.filter_map(|(_, value)| value.parse().ok()).collect();
            if !ports.is_empty() {
                object["ports"] = json!(ports);
            }
        }
        _ => {
            let mut command = Vec::new();
            for (name, value) in parse(query.as_bytes()) {
                match &*name {
                    "stdin" | "stdout" | "stderr" | "tty" if is_true(&value) => object[&*name] = json!(true),
                    "container" => object["container"] = json!(value),
                    "command" if subresource == "exec" => command.push(value.into_owned()),
                    _ => {}
                }
            }
            if subresource == "exec" {
                object["command"] = json!(command);
            }
        }
    }
    object
}

/// Options of a log request; refused as upstream refuses them.
pub(crate) fn log(query: &str, pod: &str) -> Result<Options, ApiError> {
    let mut options = Options::default();
    let mut faults = Vec::new();
    let mut out = Serializer::new(String::new());
    let (mut seconds, mut time, mut stream, mut tail) = (false, false, String::new(), false);
    for (name, value) in parse(query.as_bytes()) {
        match &*name {
            "container" => options.container = value.into_owned(),
            "follow" | "previous" | "timestamps" if is_true(&value) => drop(out.append_pair(&name, "true")),
            "sinceSeconds" | "tailLines" | "limitBytes" => {
                let Ok(number) = value.parse::<i64>() else {
                    let message = format!("strconv.ParseInt: parsing {value:?}: invalid syntax");
                    return Err(ApiError::bad_request(message));
                };
                let least = i64::from(name != "tailLines");
                if number < least {
                    let detail =
                        if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
                    faults.push(FieldError::invalid(&*name, number, detail));
                }
                seconds |= name == "sinceSeconds";
                tail |= name == "tailLines";
                out.append_pair(&name, &value);
            }
            "sinceTime" => {
                if base::time::parse(&value).is_err() {
                    return Err(ApiError::bad_request(format!("parsing time {value:?} as RFC 3339 failed")));
                }
                time = true;
                out.append_pair("sinceTime", &value);
            }
            "stream" => stream = value.into_owned(),
            _ => {}
        }
    }
    if seconds && time {
        let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        faults.push(FieldError::forbidden("", detail));
    }
    match stream.as_str() {
        "" | "All" => {}
        "Stdout" | "Stderr" if tail => {
            let detail = "`tailLines` and specific `stream` are mutually exclusive for now";
            faults.push(FieldError::forbidden("", detail));
        }
        "Stdout" | "Stderr" => drop(out.append_pair("stream", &stream)),
        other => faults.push(FieldError::invalid("stream", other, "must be one of All, Stderr, Stdout")),
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid_kind("", "PodLogOptions", pod, &faults));
    }
    options.query = with_mark(out.finish());
    Ok(options)
}

/// `/api/v1/namespaces/a/pods/b/proxy/x/` into what leads to the proxy and what lies behind it, both as they were sent.
pub(crate) fn split_proxy(path: &str) -> (&str, &str) {
    // The resource's own name may be "proxy" too: the subresource is the first one after it.
    let depth = if path.starts_with("/api/v1/namespaces/") { 7 } else { 5 };
    let end = path.match_indices('/').nth(depth).map_or(path.len(), |(at, _)| at);
    path.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_is_spelled_as_kubelets_read_it() {
        let seen = session(
            "exec",
            "container=a&stdin=true&stdout=1&stderr=false&tty=true&command=sh&command=-c&command=a%20b",
        );
        assert_eq!(seen.container, "a");
        assert_eq!(seen.query, "?input=1&output=1&tty=1&command=sh&command=-c&command=a+b");
        assert_eq!(session("portforward", "ports=80&ports=81&stdin=true").query, "?port=80&port=81");
        assert_eq!(session("attach", "").query, "");
    }

    #[test]
    fn log_options_are_checked() {
        let seen = log("container=a&follow=true&tailLines=0&previous=false", "p").unwrap();
        assert_eq!((seen.container.as_str(), seen.query.as_str()), ("a", "?follow=true&tailLines=0"));
        let told = |query| log(query, "p").unwrap_err().message;
        let prefix = "PodLogOptions \"p\" is invalid: ";
        assert_eq!(told("limitBytes=0"), format!("{prefix}limitBytes: Invalid value: 0: must be greater than 0"));
        assert!(told("sinceSeconds=5&sinceTime=2026-01-02T03:04:05Z").contains("at most one of"));
        assert!(told("tailLines=x").contains("invalid syntax"));
    }

    #[test]
    fn the_path_behind_a_proxy_is_kept_as_sent() {
        let table = [
            ("/api/v1/namespaces/a/pods/b/proxy/x//y%2Fz/", "/x//y%2Fz/"),
            ("/api/v1/namespaces/a/pods/b/proxy", ""),
            ("/api/v1/namespaces/a/services/proxy/proxy/", "/"),
            ("/api/v1/nodes/n/proxy/pods", "/pods"),
        ];
        for (path, rest) in table {
            assert_eq!(split_proxy(path).1, rest, "{path}");
        }
    }
}
