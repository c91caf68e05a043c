//! From method and path to what is asked: group, version, resource, namespace, name, subresource and verb.
//!
//! Upstream's rules (apiserver `RequestInfoFactory`), because authorization hangs on them: what this module calls a
//! request is what RBAC judges and what the dispatcher later serves; nothing parses the path a second time.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::{attributes::Attributes, identity::User};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) is_resource: bool,
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// What follows the subresource: the path behind `proxy`.
    pub(crate) tail: String,
    pub(crate) path: String,
    pub(crate) field_selector: String,
}

/// What of the query decides the verb; the rest is read later.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hints<'a> {
    pub(crate) watch: bool,
    pub(crate) field_selector: &'a str,
}

impl Info {
    pub(crate) fn parse(method: &Method, path: &str, hints: Hints<'_>) -> Self {
        let mut info = Self { path: path.to_owned(), verb: method.as_str().to_ascii_lowercase(), ..Self::default() };
        hints.field_selector.clone_into(&mut info.field_selector);
        let segments: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let mut rest = match segments.split_first() {
            Some((root, rest)) if root == "api" && rest.len() > 1 => {
                info.version.clone_from(&rest[0]);
                &rest[1..]
            }
            Some((root, rest)) if root == "apis" && rest.len() > 2 => {
                info.group.clone_from(&rest[0]);
                info.version.clone_from(&rest[1]);
                &rest[2..]
            }
            _ => return info,
        };
        info.is_resource = true;
        info.verb = verb(method).to_owned();
        if rest[0] == "watch" && rest.len() > 1 {
            info.verb = "watch".to_owned();
            rest = &rest[1..];
        }
        if rest[0] == "namespaces" && rest.len() > 1 {
            info.namespace.clone_from(&rest[1]);
            // a namespace's own subresources; anything else is a resource inside it
            if rest.len() > 2 && !matches!(rest[2].as_str(), "status" | "finalize") {
                rest = &rest[2..];
            }
        }
        info.resource.clone_from(&rest[0]);
        info.name = rest.get(1).cloned().unwrap_or_default();
        info.subresource = rest.get(2).cloned().unwrap_or_default();
        if rest.len() > 3 {
            info.tail = rest[3..].join("/");
        }
        info.collection_verb(hints);
        info
    }

    fn collection_verb(&mut self, hints: Hints<'_>) {
        if self.name.is_empty() && self.verb == "get" {
            self.verb = if hints.watch { "watch" } else { "list" }.to_owned();
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection".to_owned();
        }
        // a list of one named object may be permitted by name
        if self.name.is_empty()
            && matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
            && let Some(name) = hints.field_selector.strip_prefix("metadata.name=")
            && !name.contains([',', '='])
        {
            name.clone_into(&mut self.name);
        }
    }

    pub(crate) fn attributes(&self, user: &Arc<User>) -> Attributes {
        Attributes {
            user: user.clone(),
            verb: self.verb.clone(),
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            subresource: self.subresource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            path: self.path.clone(),
            is_resource: self.is_resource,
            field_selector: self.field_selector.clone(),
        }
    }

    /// Requests that last as long as the client likes: no deadline, no place in the request counters.
    pub(crate) fn is_long_running(&self) -> bool {
        self.is_resource
            && (self.verb == "watch"
                || matches!(self.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy"))
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expected: &str) {
        let (method, target) = request.split_once(' ').expect("METHOD path");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let hints = Hints {
            watch: query.contains("watch=true"),
            field_selector: query.strip_prefix("fieldSelector=").unwrap_or_default(),
        };
        let info = Info::parse(&method.parse().expect("method"), path, hints);
        let seen = if info.is_resource {
            let Info { verb, group, version, namespace, resource, name, subresource, tail, .. } = &info;
            format!("{verb} [{group}] {version} ns={namespace} {resource} name={name} sub={subresource} tail={tail}")
        } else {
            format!("{} {}", info.verb, info.path)
        };
        assert_eq!(seen, expected, "{request}");
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        check("GET /api/v1/pods", "list [] v1 ns= pods name= sub= tail=");
        check("GET /api/v1/pods?watch=true", "watch [] v1 ns= pods name= sub= tail=");
        check("GET /api/v1/namespaces/a/pods/b", "get [] v1 ns=a pods name=b sub= tail=");
        check(
            "PUT /apis/apps/v1/namespaces/a/deployments/b/status",
            "update [apps] v1 ns=a deployments name=b sub=status tail=",
        );
        check("GET /api/v1/namespaces/a", "get [] v1 ns=a namespaces name=a sub= tail=");
        check("PUT /api/v1/namespaces/a/finalize", "update [] v1 ns=a namespaces name=a sub=finalize tail=");
        check("DELETE /api/v1/namespaces/a/pods", "deletecollection [] v1 ns=a pods name= sub= tail=");
        check("GET /api/v1/watch/namespaces/a/pods/b", "watch [] v1 ns=a pods name=b sub= tail=");
        check("GET /api/v1/namespaces/a/pods/b/proxy/x/y", "get [] v1 ns=a pods name=b sub=proxy tail=x/y");
        check("GET /api/v1/namespaces/a/pods?fieldSelector=metadata.name=b", "list [] v1 ns=a pods name=b sub= tail=");
        check(
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            "get [rbac.authorization.k8s.io] v1 ns= clusterroles name=system:node sub= tail=",
        );
    }

    #[test]
    fn discovery_and_health_are_not_resources() {
        for path in ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/livez/ping", "/openapi/v3"] {
            check(&format!("GET {path}"), &format!("get {path}"));
        }
    }
}
