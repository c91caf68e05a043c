//! Label selectors: `app=web,tier in (a,b),!canary`, and the structured form of metav1.LabelSelector.
//!
//! Invariant: requirements are kept sorted by key (upstream's order), so equal selectors print alike.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::SelectorError;
use crate::name;

/// How a requirement compares a label with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Equals,
    NotEquals,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

impl Requirement {
    /// Checks the key, the values and their number.
    pub fn new(key: String, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        let refuse = |reason: String| Err(SelectorError::Requirement(reason));
        if let Err(reason) = name::qualified_name(&key) {
            return refuse(format!("key: Invalid value: {key:?}: {reason}"));
        }
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return refuse(
                    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into(),
                );
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return refuse("values: Invalid value: values set must be empty for exists and does not exist".into());
            }
            Operator::Equals | Operator::NotEquals if values.len() != 1 => {
                return refuse("values: Invalid value: exact-match compatibility requires one single value".into());
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                return refuse("values: Invalid value: for 'Gt', 'Lt' operators, exactly one value is required".into());
            }
            Operator::GreaterThan | Operator::LessThan if values[0].parse::<i64>().is_err() => {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                return refuse(format!("values[0]: Invalid value: {:?}: {why}", values[0]));
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            if let Err(reason) = name::label_value(value) {
                return refuse(format!("values[{index}][{key}]: Invalid value: {value:?}: {reason}"));
            }
        }
        Ok(Self { key, operator, values })
    }

    /// Whether a label with this value (or absent) satisfies the requirement.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        let number = |text: &str| text.parse::<i64>().ok();
        let compared = |value: &str, test: fn(i64, i64) -> bool| {
            number(value).zip(self.values.first().and_then(|v| number(v))).is_some_and(|(a, b)| test(a, b))
        };
        match self.operator {
            Operator::In | Operator::Equals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => value.is_some_and(|v| compared(v, |a, b| a > b)),
            Operator::LessThan => value.is_some_and(|v| compared(v, |a, b| a < b)),
        }
    }
}

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Picks everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Picks nothing.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// All these labels with these values.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let requirements = labels
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::Equals,
                values: vec![value.clone()],
            })
            .collect();
        Self::sorted(requirements)
    }

    fn sorted(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// Reads the text form of a query parameter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { tokens: tokens(text), next: 0 };
        let mut requirements = Vec::new();
        match parser.peek() {
            Token::End => return Ok(Self::everything()),
            Token::Word(_) | Token::Not => {}
            other => return Err(syntax(other, "!, identifier, or 'end of string'")),
        }
        loop {
            requirements.push(parser.requirement()?);
            match parser.take() {
                Token::End => return Ok(Self::sorted(requirements)),
                Token::Comma if matches!(parser.peek(), Token::Word(_) | Token::Not) => {}
                Token::Comma => return Err(syntax(parser.peek(), "identifier after ','")),
                other => return Err(syntax(&other, "',' or 'end of string'")),
            }
        }
    }

    /// Reads a metav1.LabelSelector; null (absent) picks nothing, `{}` everything.
    pub fn from_json(selector: &Value) -> Result<Self, SelectorError> {
        let refuse = |reason: String| SelectorError::Structure(reason);
        let members = match selector {
            Value::Null => return Ok(Self::nothing()),
            Value::Object(members) => members,
            _ => return Err(refuse("must be an object with matchLabels and matchExpressions".into())),
        };
        let mut requirements = Vec::new();
        match members.get("matchLabels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(labels)) => {
                for (key, value) in labels {
                    let value = value.as_str().ok_or_else(|| refuse(format!("matchLabels[{key}] must be a string")))?;
                    requirements.push(Requirement::new(key.clone(), Operator::Equals, vec![value.to_owned()])?);
                }
            }
            Some(_) => return Err(refuse("matchLabels must be an object".into())),
        }
        match members.get("matchExpressions") {
            None | Some(Value::Null) => {}
            Some(Value::Array(expressions)) => {
                for expression in expressions {
                    requirements.push(Self::expression(expression)?);
                }
            }
            Some(_) => return Err(refuse("matchExpressions must be a list".into())),
        }
        Ok(Self::sorted(requirements))
    }

    fn expression(expression: &Value) -> Result<Requirement, SelectorError> {
        let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
        let operator = match text("operator") {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            other => return Err(SelectorError::Structure(format!("{other:?} is not a valid label selector operator"))),
        };
        let mut values = Vec::new();
        for value in expression.get("values").and_then(Value::as_array).into_iter().flatten() {
            let value = value.as_str().ok_or_else(|| SelectorError::Structure("values must be strings".into()))?;
            values.push(value.to_owned());
        }
        Requirement::new(text("key").to_owned(), operator, values)
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// True if every object matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// `label` answers the value of a label.
    pub fn matches<'v>(&self, label: impl Fn(&str) -> Option<&'v str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.accepts(label(&r.key)))
    }

    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches(|key| labels.get(key).map(String::as_str))
    }

    /// Matches the `metadata.labels` of a JSON object.
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = object.get("metadata").and_then(|m| m.get("labels"));
        self.matches(|key| labels?.get(key)?.as_str())
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let (key, values) = (&requirement.key, requirement.values.join(","));
            match requirement.operator {
                Operator::In => write!(f, "{key} in ({values})")?,
                Operator::NotIn => write!(f, "{key} notin ({values})")?,
                Operator::Exists => write!(f, "{key}")?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::Equals => write!(f, "{key}={values}")?,
                Operator::NotEquals => write!(f, "{key}!={values}")?,
                Operator::GreaterThan => write!(f, "{key}>{values}")?,
                Operator::LessThan => write!(f, "{key}<{values}")?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Comma,
    Open,
    Close,
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Token::Word(word) => word,
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::Not => "!",
            Token::Equal => "=",
            Token::NotEqual => "!=",
            Token::Greater => ">",
            Token::Less => "<",
            Token::End => "",
        })
    }
}

/// A fault between requirements, which has no requirement to blame.
fn syntax(found: &Token, expected: &str) -> SelectorError {
    SelectorError::Syntax(format!("found '{found}', expected: {expected}"))
}

fn unexpected(found: &str, expected: &str) -> SelectorError {
    SelectorError::Requirement(format!("found '{found}', expected: {expected}"))
}

fn tokens(text: &str) -> Vec<Token> {
    const SIGNS: &[(&str, Token)] = &[
        ("!=", Token::NotEqual),
        ("==", Token::Equal),
        ("=", Token::Equal),
        ("!", Token::Not),
        (">", Token::Greater),
        ("<", Token::Less),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
    ];
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            found.push(token.clone());
            rest = &rest[sign.len()..];
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "!=><(),".contains(c)).unwrap_or(rest.len());
            found.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    found.push(Token::End);
    found
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).unwrap_or(&Token::End)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.peek() == &Token::Not {
            self.take();
            let key = self.key()?;
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        let key = self.key()?;
        let operator = match self.peek().clone() {
            Token::Comma | Token::End => return Requirement::new(key, Operator::Exists, Vec::new()),
            Token::Word(word) if word == "in" => Operator::In,
            Token::Word(word) if word == "notin" => Operator::NotIn,
            Token::Equal => Operator::Equals,
            Token::NotEqual => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            other => return Err(unexpected(&other.to_string(), "in, notin, =, ==, !=, gt, lt")),
        };
        self.take();
        let values = match operator {
            Operator::In | Operator::NotIn => self.list()?,
            _ => vec![self.value()?],
        };
        Requirement::new(key, operator, values)
    }

    /// Upstream judges a key before it knows the path to it, and prints the missing path as Go does.
    fn key(&mut self) -> Result<String, SelectorError> {
        let key = self.word("identifier")?;
        match name::qualified_name(&key) {
            Ok(()) => Ok(key),
            Err(reason) => Err(SelectorError::Requirement(format!("<nil>: Invalid value: {key:?}: {reason}"))),
        }
    }

    fn word(&mut self, expected: &str) -> Result<String, SelectorError> {
        match self.take() {
            Token::Word(word) => Ok(word),
            other => Err(unexpected(&other.to_string(), expected)),
        }
    }

    /// A value may be empty: `a=` and `a=,b`.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            Token::Comma | Token::End => Ok(String::new()),
            _ => self.word("identifier"),
        }
    }

    fn list(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.take() {
            Token::Open => {}
            other => return Err(unexpected(&other.to_string(), "'('")),
        }
        let mut values = Vec::new();
        loop {
            match self.peek() {
                Token::Comma | Token::Close => values.push(String::new()),
                _ => values.push(self.word("',', ')' or identifier")?),
            }
            match self.take() {
                Token::Comma => {}
                Token::Close => break,
                other => return Err(unexpected(&other.to_string(), "',' or ')'")),
            }
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(selector: &str, labels: &[(&str, &str)], expected: bool) {
        let parsed = LabelSelector::parse(selector).unwrap();
        let found = parsed.matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v));
        assert_eq!(found, expected, "{selector} {labels:?}");
    }

    #[test]
    fn each_operator_matches_as_upstream() {
        let labels = [("app", "web"), ("n", "5")];
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web, api)", true),
            ("app notin (web,api)", false),
            ("other notin (x)", true),
            ("app", true),
            ("!app", false),
            ("! other", true),
            ("n>4,n<6", true),
            ("app>4", false),
            ("app=web,n=6", false),
            ("app=", false),
            ("app in (,web)", true),
        ] {
            check(selector, &labels, expected);
        }
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for text in ["a=b=c", "a,", ",a", "a in", "a in x", "a in (x", "a b", "=x", "a>b", "a=_", "!", "a/b/c", "()"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            LabelSelector::parse("a b").unwrap_err().to_string(),
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
        );
        let told = |text| LabelSelector::parse(text).unwrap_err().to_string();
        assert_eq!(told("a=b,"), "found '', expected: identifier after ','");
        assert_eq!(told("a=b=c"), "found '=', expected: ',' or 'end of string'");
        assert_eq!(told(",a"), "found ',', expected: !, identifier, or 'end of string'");
        assert!(told("-a=b").starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must"));
        assert!(told("a=-b").starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid"));
    }

    #[test]
    fn the_structured_form_is_read() {
        let selector = LabelSelector::from_json(&json!({
            "matchLabels": {"b": "1"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "c", "operator": "Exists"}],
        }))
        .unwrap();
        assert_eq!(selector.to_string(), "a in (x,y),b=1,c");
        assert!(LabelSelector::from_json(&Value::Null).unwrap() == LabelSelector::nothing());
        assert!(LabelSelector::from_json(&json!({})).unwrap().is_everything());
        assert!(!LabelSelector::nothing().matches(|_| None));
        for wrong in [json!(1), json!({"matchLabels": {"a": 1}}), json!({"matchExpressions": [{"key": "a"}]})] {
            assert!(LabelSelector::from_json(&wrong).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_printed_selector_reads_back(text in "[ab=!<>(),/ 1-]{0,24}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
