//! What has to be asked for a metric, where, and what the answer says.
//!
//! Invariant: nothing is asked here; a question is data, and an answer that is not understood is told as one that is missing.

use jiff::SignedDuration;
use k8s_openapi::api::autoscaling::v2::{CrossVersionObjectReference, MetricIdentifier, MetricSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::replicas::{Sample, Samples, milli};

/// The window of custom metrics that do not tell theirs.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// One thing to ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// What the pods use, or one container of each.
    Resource {
        resource: String,
        container: Option<String>,
    },
    Pods(MetricIdentifier),
    Object {
        metric: MetricIdentifier,
        of: CrossVersionObjectReference,
    },
    External(MetricIdentifier),
}

/// What was answered; all values are thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    Pods(Samples),
    Value(i64),
    Values(Vec<i64>),
}

/// A reading, or why there is none.
pub type Read = Result<Reading, String>;

/// What the metric is about; none if its specification does not say.
pub fn question(spec: &MetricSpec) -> Option<Question> {
    match spec.type_.as_str() {
        "Resource" => {
            let source = spec.resource.as_ref()?;
            Some(Question::Resource { resource: source.name.clone(), container: None })
        }
        "ContainerResource" => {
            let source = spec.container_resource.as_ref()?;
            Some(Question::Resource { resource: source.name.clone(), container: Some(source.container.clone()) })
        }
        "Pods" => Some(Question::Pods(spec.pods.as_ref()?.metric.clone())),
        "Object" => {
            let source = spec.object.as_ref()?;
            Some(Question::Object { metric: source.metric.clone(), of: source.described_object.clone() })
        }
        "External" => Some(Question::External(spec.external.as_ref()?.metric.clone())),
        _ => None,
    }
}

impl Question {
    /// The API to ask, in the versions that will do, the best first.
    pub fn apis(&self) -> &'static [&'static str] {
        match self {
            Self::Resource { .. } => &["/apis/metrics.k8s.io/v1beta1"],
            Self::Pods(_) | Self::Object { .. } => {
                &["/apis/custom.metrics.k8s.io/v1beta2", "/apis/custom.metrics.k8s.io/v1beta1"]
            }
            Self::External(_) => &["/apis/external.metrics.k8s.io/v1beta1"],
        }
    }

    /// The rest of the path, with the query. `selector` selects the pods; `resource` is the resource of the object that
    /// the question is about, as `ingresses.networking.k8s.io`.
    pub fn path(&self, namespace: &str, selector: &str, resource: &str) -> String {
        let (below, query) = match self {
            Self::Resource { .. } => ("pods".to_owned(), vec![("labelSelector", selector.to_owned())]),
            Self::Pods(metric) => {
                let query = vec![("labelSelector", selector.to_owned()), ("metricLabelSelector", labels(metric))];
                (format!("pods/*/{}", escape(&metric.name)), query)
            }
            Self::Object { metric, of } => {
                let name = escape(&metric.name);
                let query = vec![("metricLabelSelector", labels(metric))];
                if is_namespace(of) {
                    // of the namespace itself, whatever the reference calls it
                    (format!("metrics/{name}"), query)
                } else {
                    (format!("{resource}/{}/{name}", escape(&of.name)), query)
                }
            }
            Self::External(metric) => (escape(&metric.name), vec![("labelSelector", labels(metric))]),
        };
        let query = query.into_iter().filter(|(_, value)| !value.is_empty());
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/namespaces/{namespace}/{below}{mark}{query}")
    }

    /// The object whose resource must be known to ask.
    pub fn object(&self) -> Option<&CrossVersionObjectReference> {
        match self {
            Self::Object { of, .. } if !is_namespace(of) => Some(of),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Resource { .. } => "resource",
            Self::Pods(_) | Self::Object { .. } => "custom",
            Self::External(_) => "external",
        }
    }

    /// Why there is no reading, when the API has said `why`.
    pub fn failed(&self, why: &str) -> String {
        format!("unable to fetch metrics from {} metrics API: {why}", self.name())
    }

    /// What the API is called in the words of a client.
    pub fn target(&self) -> &'static str {
        match self {
            Self::Resource { .. } => "get pods.metrics.k8s.io",
            Self::Pods(_) | Self::Object { .. } => "get *.custom.metrics.k8s.io",
            Self::External(_) => "get *.external.metrics.k8s.io",
        }
    }

    /// What an answer says.
    pub fn read(&self, answer: &Value) -> Read {
        let none = || Err(format!("no metrics returned from {} metrics API", self.name()));
        let Some(items) = answer["items"].as_array().filter(|items| !items.is_empty()) else { return none() };
        match self {
            Self::Resource { resource, container } => {
                let samples = items.iter().filter_map(|item| of_pod(item, resource, container.as_deref()));
                Ok(Reading::Pods(samples.collect()))
            }
            Self::Pods(_) => Ok(Reading::Pods(items.iter().filter_map(of_object).collect())),
            Self::Object { .. } if items.len() > 1 => Err(self.failed(&format!(
                "the custom metrics API server returned {} results when we asked for exactly one",
                items.len()
            ))),
            Self::Object { .. } => Ok(Reading::Value(value(&items[0]["value"]))),
            Self::External(_) => Ok(Reading::Values(items.iter().map(|item| value(&item["value"])).collect())),
        }
    }
}

fn is_namespace(of: &CrossVersionObjectReference) -> bool {
    of.kind == "Namespace" && of.api_version.as_deref().is_none_or(|version| !version.contains('/'))
}

fn labels(metric: &MetricIdentifier) -> String {
    metric.selector.as_ref().map_or_else(String::new, print)
}

/// A selector as text; one that cannot be read selects nothing, for the server refuses it.
fn print(selector: &LabelSelector) -> String {
    base::selector::LabelSelector::from_json(&json!(selector)).map_or_else(|_| "!".into(), |parsed| parsed.to_string())
}

fn escape(segment: &str) -> String {
    // of what a metric may be called, only a slash and what ends a path would be misread
    segment.replace('%', "%25").replace('/', "%2F").replace('?', "%3F").replace('#', "%23").replace(' ', "%20")
}

fn value(value: &Value) -> i64 {
    value.as_str().map_or(0, milli)
}

fn time(item: &Value) -> Option<jiff::Timestamp> {
    base::time::parse(item["timestamp"].as_str()?).ok()
}

/// What a pod uses, if every container that counts has a figure.
fn of_pod(item: &Value, resource: &str, container: Option<&str>) -> Option<(String, Sample)> {
    let all = item["containers"].as_array().filter(|all| !all.is_empty())?;
    let used = |one: &Value| one["usage"][resource].as_str().map(milli);
    let value = match container {
        Some(name) => used(all.iter().find(|one| one["name"] == *name)?)?,
        None => all.iter().map(used).try_fold(0_i64, |sum, used| Some(sum.saturating_add(used?)))?,
    };
    let window = base::time::duration(item["window"].as_str().unwrap_or("0s")).unwrap_or(SignedDuration::ZERO);
    Some((item["metadata"]["name"].as_str()?.to_owned(), Sample { at: time(item)?, window, value }))
}

fn of_object(item: &Value) -> Option<(String, Sample)> {
    // `window` in the first version of the API, `windowSeconds` in the second
    let seconds = item["windowSeconds"].as_i64().or_else(|| item["window"].as_i64());
    let window = seconds.map_or(WINDOW, SignedDuration::from_secs);
    let name = item["describedObject"]["name"].as_str()?.to_owned();
    Some((name, Sample { at: time(item)?, window, value: value(&item["value"]) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, labels: &[(&str, &str)]) -> MetricIdentifier {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let selector = LabelSelector { match_labels: Some(labels), match_expressions: None };
        MetricIdentifier { name: name.into(), selector: Some(selector) }
    }

    fn object(version: &str, kind: &str, name: &str) -> CrossVersionObjectReference {
        CrossVersionObjectReference { api_version: Some(version.into()), kind: kind.into(), name: name.into() }
    }

    #[test]
    fn every_question_has_its_place() {
        let resource = Question::Resource { resource: "cpu".into(), container: None };
        assert_eq!(
            resource.path("ns", "app=web,tier in (a,b)", ""),
            "/namespaces/ns/pods?labelSelector=app%3Dweb%2Ctier+in+%28a%2Cb%29"
        );
        let pods = Question::Pods(metric("rate", &[("verb", "GET")]));
        assert_eq!(
            pods.path("ns", "app=web", ""),
            "/namespaces/ns/pods/*/rate?labelSelector=app%3Dweb&metricLabelSelector=verb%3DGET"
        );
        let of = object("networking.k8s.io/v1", "Ingress", "main");
        let ingress = Question::Object { metric: metric("hits", &[]), of };
        assert_eq!(
            ingress.path("ns", "app=web", "ingresses.networking.k8s.io"),
            "/namespaces/ns/ingresses.networking.k8s.io/main/hits"
        );
        let namespace = Question::Object { metric: metric("hits", &[]), of: object("v1", "Namespace", "x") };
        assert_eq!((namespace.path("ns", "", "").as_str(), namespace.object()), ("/namespaces/ns/metrics/hits", None));
        let external = Question::External(metric("queue/len", &[("queue", "q")]));
        assert_eq!(external.path("ns", "app=web", ""), "/namespaces/ns/queue%2Flen?labelSelector=queue%3Dq");
    }

    #[test]
    fn a_pod_counts_only_when_all_its_containers_have_a_figure() {
        let pod = |name: &str, containers: Value| json!({"metadata": {"name": name}, "timestamp": "2026-01-01T00:00:00Z", "window": "15.5s", "containers": containers});
        let answer = json!({"items": [
            pod("a", json!([{"name": "c", "usage": {"cpu": "1500m", "memory": "1Ki"}}, {"name": "d", "usage": {"cpu": "1n"}}])),
            pod("b", json!([{"name": "c", "usage": {"cpu": "1"}}, {"name": "d", "usage": {}}])),
            pod("e", json!([])),
        ]});
        let read = |resource: &str, container: Option<&str>| {
            let question = Question::Resource { resource: resource.into(), container: container.map(str::to_owned) };
            match question.read(&answer).unwrap() {
                Reading::Pods(samples) => samples.into_iter().map(|(name, one)| (name, one.value)).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read("cpu", None), [("a".to_owned(), 1501)]);
        assert_eq!(read("cpu", Some("c")), [("a".to_owned(), 1500), ("b".to_owned(), 1000)]);
        assert_eq!(read("memory", Some("c")), [("a".to_owned(), 1_024_000)]);
    }

    #[test]
    fn an_empty_answer_is_a_missing_one() {
        let question = Question::External(metric("q", &[]));
        let none = "no metrics returned from external metrics API";
        assert_eq!(question.read(&json!({"items": []})), Err(none.into()));
        let answer = json!({"items": [{"value": "3"}, {"value": "500m"}]});
        assert_eq!(question.read(&answer), Ok(Reading::Values(vec![3000, 500])));
    }
}
