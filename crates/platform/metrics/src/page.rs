//! What a kubelet tells at `/metrics/resource`.
//!
//! Invariant: a line that is not understood is skipped; what is told of a container without its CPU or its memory is left
//! out, because half a figure would count as a whole one.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// What one thing had used at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) at: Timestamp,
    /// When it began to count; none for what counts since the machine started.
    pub(crate) started: Option<Timestamp>,
    /// CPU time since then, in nanoseconds.
    pub(crate) cpu: u64,
    /// The working set, in bytes.
    pub(crate) memory: u64,
}

/// Namespace and name of a pod.
pub(crate) type Pod = (String, String);

/// Everything that one node tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) node: Option<Point>,
    /// Containers by name, by pod.
    pub(crate) pods: BTreeMap<Pod, BTreeMap<String, Point>>,
}

#[derive(Default)]
struct Half {
    cpu: Option<(f64, Timestamp)>,
    memory: Option<f64>,
    started: Option<f64>,
}

impl Half {
    fn whole(&self) -> Option<Point> {
        let ((cpu, at), memory) = (self.cpu?, self.memory?);
        let started = self.started.and_then(|seconds| Timestamp::from_nanosecond((seconds * 1e9) as i128).ok());
        Some(Point { at, started, cpu: (cpu * 1e9).round() as u64, memory: memory as u64 })
    }
}

/// Reads a page that was received at `now`, which is the time of figures that do not tell theirs.
pub(crate) fn read(text: &str, now: Timestamp) -> Page {
    let mut node = Half::default();
    let mut containers: BTreeMap<(Pod, String), Half> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(Line { name, labels, value, at }) = Line::read(line) else { continue };
        let at = at.unwrap_or(now);
        let half = match name {
            "node_cpu_usage_seconds_total" | "node_memory_working_set_bytes" => &mut node,
            "container_cpu_usage_seconds_total"
            | "container_memory_working_set_bytes"
            | "container_start_time_seconds" => {
                let label = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
                let (Some(namespace), Some(pod), Some(container)) =
                    (label("namespace"), label("pod"), label("container"))
                else {
                    continue;
                };
                containers.entry(((namespace, pod), container)).or_default()
            }
            _ => continue,
        };
        match name {
            "node_cpu_usage_seconds_total" | "container_cpu_usage_seconds_total" => half.cpu = Some((value, at)),
            "container_start_time_seconds" => half.started = Some(value),
            _ => half.memory = Some(value),
        }
    }
    let mut page = Page { node: node.whole(), pods: BTreeMap::new() };
    for ((pod, container), half) in containers {
        if let Some(point) = half.whole() {
            page.pods.entry(pod).or_default().insert(container, point);
        }
    }
    page
}

/// `name{label="value",...} number [milliseconds]`
struct Line<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
    at: Option<Timestamp>,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                rest = rest.trim_start_matches([',', ' ']);
                if let Some(after) = rest.strip_prefix('}') {
                    rest = after;
                    break;
                }
                let (key, after) = rest.split_once("=\"")?;
                let (value, after) = quoted(after)?;
                labels.push((key, value));
                rest = after;
            }
        }
        let mut numbers = rest.split_whitespace();
        let value = numbers.next()?.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)?;
        let at = match numbers.next() {
            Some(millis) => Some(Timestamp::from_millisecond(millis.parse().ok()?).ok()?),
            None => None,
        };
        Some(Self { name, labels, value, at })
    }
}

/// The text up to the closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Timestamp = Timestamp::constant(1_700_000_000, 0);

    #[test]
    fn a_page_of_a_kubelet_is_understood() {
        let text = r#"# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="c",namespace="shop",pod="web"} 4.710169 1700000001500
container_memory_working_set_bytes{container="c",namespace="shop",pod="web"} 1.253376e+06 1700000001500
container_start_time_seconds{container="c",namespace="shop",pod="web"} 1.6999999995e+09
container_cpu_usage_seconds_total{container="half",namespace="shop",pod="web"} 1 1700000001500
container_memory_working_set_bytes{container="odd \"name\"",namespace="shop",pod="web"} 1
node_cpu_usage_seconds_total 357.5
node_memory_working_set_bytes 1.6e+09
pod_cpu_usage_seconds_total{namespace="shop",pod="web"} 9 1700000001500
not a line
resource_scrape_error 0
"#;
        let page = read(text, AT);
        let node = Point { at: AT, started: None, cpu: 357_500_000_000, memory: 1_600_000_000 };
        assert_eq!(page.node, Some(node));
        let container = Point {
            at: Timestamp::from_millisecond(1_700_000_001_500).unwrap(),
            started: Some(Timestamp::from_millisecond(1_699_999_999_500).unwrap()),
            cpu: 4_710_169_000,
            memory: 1_253_376,
        };
        let containers = BTreeMap::from([("c".to_owned(), container)]);
        assert_eq!(page.pods, BTreeMap::from([(("shop".to_owned(), "web".to_owned()), containers)]));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z_]{0,30}(\\{[ -~]{0,40}\\}?)? ?[-0-9.e+NaInf]{0,20} ?[0-9-]{0,30}\n){0,4}") {
            read(&text, AT);
        }
    }
}
