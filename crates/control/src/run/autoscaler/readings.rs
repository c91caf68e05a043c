//! Asking the metrics APIs.

use http::Request;
use k8s_openapi::api::autoscaling::v2::MetricSpec;
use kube::Client;
use serde_json::Value;

use super::target::Targets;
use crate::plan::autoscaler::question::{self, Question, Read};
use crate::run::write;

/// Reads one metric of the pods that `selector` selects.
pub(super) async fn read(
    client: &Client,
    targets: &Targets,
    namespace: &str,
    selector: &str,
    spec: &MetricSpec,
) -> Read {
    let Some(question) = question::question(spec) else { return Err("there is nothing to ask for".into()) };
    let resource = match question.object() {
        Some(object) => targets.resource_name(object).await.map_err(|why| question.failed(&why))?,
        None => String::new(),
    };
    let path = question.path(namespace, selector, &resource);
    let answer = ask(client, &question, &path).await.map_err(|why| question.failed(&why))?;
    question.read(&answer)
}

async fn ask(client: &Client, question: &Question, path: &str) -> Result<Value, String> {
    let mut versions = question.apis().iter().peekable();
    while let Some(api) = versions.next() {
        let request = Request::get(format!("{api}{path}")).body(Vec::new()).map_err(|error| error.to_string())?;
        match client.request::<Value>(request).await {
            Ok(answer) => return Ok(answer),
            Err(error) if write::is_not_found(&error) && versions.peek().is_some() => {}
            Err(error) => return Err(told(&error, question)),
        }
    }
    Err(format!("the server could not find the requested resource ({})", question.target()))
}

/// What went wrong; in a client's words where the server that answered does not know the API at all.
fn told(error: &kube::Error, question: &Question) -> String {
    let kube::Error::Api(status) = error else { return write::message(error) };
    let about_something = status.details.as_ref().is_some_and(|details| !details.kind.is_empty());
    let words = match status.code {
        404 if !about_something => "the server could not find the requested resource",
        503 if !about_something => "the server is currently unable to handle the request",
        _ => return status.message.clone(),
    };
    format!("{words} ({})", question.target())
}
