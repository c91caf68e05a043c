//! The JSONPath of printer columns: `.spec.ports[0].name`, `.status.conditions[?(@.type=="Ready")].status`.
//!
//! Invariant: evaluation visits each value a bounded number of times and yields references; what is not there yields
//! nothing. It is the dialect of kubectl's `-o jsonpath` without its template language.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    /// All members or items.
    All,
    /// The value and everything below it.
    Descend,
    /// Items from, to, every so many.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    Union(Vec<Step>),
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
enum Filter {
    Exists(Operand),
    Compare(Operand, Comparison, Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    Differs,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Values that one evaluation may collect: recursive descent would collect a document many times over.
const MOST: usize = 10_000;

impl JsonPath {
    /// Reads `.a.b[0]`; none if it is not understood.
    pub fn parse(text: &str) -> Option<JsonPath> {
        let text = text.strip_prefix('$').unwrap_or(text);
        let mut parser = Parser { rest: text };
        let steps = parser.steps(0)?;
        parser.rest.is_empty().then_some(JsonPath { steps })
    }

    /// The values at the path.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        self.steps.iter().fold(vec![root], |values, step| {
            let mut found = Vec::new();
            for value in values {
                step.apply(value, &mut found);
                if found.len() >= MOST {
                    found.truncate(MOST);
                    break;
                }
            }
            found
        })
    }
}

impl Step {
    fn apply<'v>(&self, value: &'v Value, found: &mut Vec<&'v Value>) {
        match (self, value) {
            (Step::Member(name), Value::Object(members)) => found.extend(members.get(name)),
            // a field of a list is that of its items
            (Step::Member(_), Value::Array(_)) => {}
            (Step::All, Value::Object(members)) => found.extend(members.values()),
            (Step::All, Value::Array(items)) => found.extend(items),
            (Step::Descend, value) => descend(value, found),
            (Step::Index(index), Value::Array(items)) => found.extend(place(*index, items.len()).map(|at| &items[at])),
            (Step::Slice(from, to, by), Value::Array(items)) => slice(items, *from, *to, *by, found),
            (Step::Union(steps), value) => steps.iter().for_each(|step| step.apply(value, found)),
            (Step::Filter(filter), Value::Array(items)) => found.extend(items.iter().filter(|item| filter.holds(item))),
            _ => {}
        }
    }
}

fn descend<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    if found.len() >= MOST {
        return;
    }
    found.push(value);
    match value {
        Value::Object(members) => members.values().for_each(|value| descend(value, found)),
        Value::Array(items) => items.iter().for_each(|value| descend(value, found)),
        _ => {}
    }
}

/// The place of an index that may count from the end.
fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index.checked_add(length)? } else { index };
    (0..length).contains(&index).then(|| usize::try_from(index).ok()).flatten()
}

fn slice<'v>(items: &'v [Value], from: Option<i64>, to: Option<i64>, by: i64, found: &mut Vec<&'v Value>) {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let clamp = |index: i64| (if index < 0 { index.saturating_add(length) } else { index }).clamp(0, length);
    let (from, to) = (clamp(from.unwrap_or(0)), clamp(to.unwrap_or(length)));
    let (Ok(from), Ok(to), Ok(by)) = (usize::try_from(from), usize::try_from(to), usize::try_from(by.max(1))) else {
        return;
    };
    found.extend(items.get(from..to.max(from)).unwrap_or_default().iter().step_by(by));
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        match self {
            Filter::Exists(operand) => operand.value(item).is_some(),
            Filter::Compare(left, comparison, right) => match (left.value(item), right.value(item)) {
                (Some(left), Some(right)) => comparison.holds(left, right),
                _ => false,
            },
        }
    }
}

impl Operand {
    fn value<'v>(&'v self, item: &'v Value) -> Option<&'v Value> {
        match self {
            Operand::Path(path) => path.find(item).into_iter().next(),
            Operand::Literal(value) => Some(value),
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        use std::cmp::Ordering;
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (left, right) => (left == right).then_some(Ordering::Equal),
        };
        match self {
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::Differs => order != Some(Ordering::Equal),
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// Filters within filters; nobody needs two.
const DEEPEST: usize = 4;

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn steps(&mut self, depth: usize) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                steps.push(Step::Descend);
                if !self.rest.starts_with('[') {
                    steps.push(self.member()?);
                }
            } else if self.rest.starts_with(".[") || self.rest.starts_with('[') {
                self.eat(".");
                self.eat("[");
                steps.push(self.bracket(depth)?);
            } else if self.eat(".") {
                // a lone dot is the value itself
                if self.rest.is_empty() {
                    return Some(steps);
                }
                steps.push(self.member()?);
            } else {
                return Some(steps);
            }
        }
    }

    fn member(&mut self) -> Option<Step> {
        if self.eat("*") {
            return Some(Step::All);
        }
        let mut name = String::new();
        while let Some(next) = self.rest.chars().next() {
            if matches!(next, '.' | '[' | ' ' | ')' | '=' | '!' | '<' | '>' | ']' | '{' | '}') {
                break;
            }
            self.rest = &self.rest[next.len_utf8()..];
            if next != '\\' {
                name.push(next);
            } else if let Some(escaped) = self.rest.chars().next() {
                self.rest = &self.rest[escaped.len_utf8()..];
                name.push(escaped);
            }
        }
        (!name.is_empty()).then_some(Step::Member(name))
    }

    /// What follows an opening bracket, up to and with the closing one.
    fn bracket(&mut self, depth: usize) -> Option<Step> {
        self.spaces();
        if self.eat("?(") {
            let filter = self.filter(depth)?;
            return Some(Step::Filter(filter));
        }
        let mut steps = Vec::new();
        loop {
            self.spaces();
            steps.push(self.selector()?);
            self.spaces();
            if self.eat("]") {
                break;
            }
            if !self.eat(",") {
                return None;
            }
        }
        if steps.len() == 1 { steps.pop() } else { Some(Step::Union(steps)) }
    }

    fn selector(&mut self) -> Option<Step> {
        if self.eat("*") {
            return Some(Step::All);
        }
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(Step::Member);
        }
        let from = self.integer();
        if !self.eat(":") {
            return from.map(Step::Index);
        }
        let to = self.integer();
        let by = if self.eat(":") { self.integer().filter(|by| *by > 0)? } else { 1 };
        Some(Step::Slice(from, to, by))
    }

    fn integer(&mut self) -> Option<i64> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(self.rest.len());
        let number = self.rest[..end].parse().ok()?;
        self.rest = &self.rest[end..];
        Some(number)
    }

    fn quoted(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut escaped = false;
        for (place, next) in self.rest.char_indices().skip(1) {
            match next {
                _ if escaped => {
                    text.push(next);
                    escaped = false;
                }
                '\\' => escaped = true,
                _ if next == quote => {
                    self.rest = &self.rest[place + 1..];
                    return Some(text);
                }
                _ => text.push(next),
            }
        }
        None
    }

    /// `@.type=="Ready")]`
    fn filter(&mut self, depth: usize) -> Option<Filter> {
        if depth >= DEEPEST {
            return None;
        }
        let left = self.operand(depth)?;
        self.spaces();
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Differs),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let comparison = signs.into_iter().find(|(sign, _)| self.eat(sign));
        let filter = match comparison {
            None => Filter::Exists(left),
            Some((_, comparison)) => Filter::Compare(left, comparison, self.operand(depth)?),
        };
        self.spaces();
        self.eat(")]").then_some(filter)
    }

    fn operand(&mut self, depth: usize) -> Option<Operand> {
        self.spaces();
        if self.eat("@") {
            return Some(Operand::Path(JsonPath { steps: self.steps(depth + 1)? }));
        }
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(|text| Operand::Literal(text.into()));
        }
        let end = self.rest.find([')', ' ', '=', '!', '<', '>']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let literal = serde_json::from_str::<Value>(word).ok().filter(|value| value.is_number() || value.is_boolean());
        self.rest = rest;
        literal.map(Operand::Literal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(path: &str, expected: Value) {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "x"}},
            "spec": {"replicas": 3, "ports": [{"name": "http", "port": 80}, {"name": "tls", "port": 443}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": "False"}]},
        });
        let found: Vec<Value> = JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect();
        assert_eq!(Value::from(found), expected, "{path}");
    }

    #[test]
    fn paths_find_what_kubectl_finds() {
        check(".spec.replicas", json!([3]));
        check(".spec.nope.deeper", json!([]));
        check(".spec.ports[0].name", json!(["http"]));
        check(".spec.ports[-1].port", json!([443]));
        check(".spec.ports[*].name", json!(["http", "tls"]));
        check(".spec.ports[0:1].name", json!(["http"]));
        check(".spec.ports[5].name", json!([]));
        check(".spec.ports[0,1].port", json!([80, 443]));
        check(r".metadata.labels.a\.b/c", json!(["x"]));
        check(".metadata.labels['a.b/c']", json!(["x"]));
        check(r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"]));
        check(".status.conditions[?(@.type == 'Synced')].status", json!(["False"]));
        check(".spec.ports[?(@.port>100)].name", json!(["tls"]));
        check(".spec.ports[?(@.nope)].name", json!([]));
        check("..port", json!([80, 443]));
    }

    #[test]
    fn what_is_no_path_is_told_so() {
        for text in ["spec", ".a[", ".a[?(@.b]", ".a['b]", ".a[x]", ".{", ".a[?(@.b==)]"] {
            assert_eq!(JsonPath::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "[.\\[\\]?(@)a'\"*:,0-9=<>! \\\\-]{0,24}") {
            if let Some(path) = JsonPath::parse(&path) {
                path.find(&json!({"a": [{"a": 1}, [[]]]}));
            }
        }
    }
}
