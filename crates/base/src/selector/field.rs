//! Field selectors: `status.phase=Running,spec.nodeName!=a`.
//!
//! Invariant: names and order of the requirements are kept as written; which names exist is the kind's business.

use std::fmt;

use super::SelectorError;

/// One comparison of a field with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: String,
    pub value: String,
    /// `=` or `==`; otherwise `!=`.
    pub equal: bool,
}

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Reads `a=b,c!=d`; in values `\`, `,` and `=` are escaped with a backslash.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let refuse = || SelectorError::Field { selector: text.to_owned(), part: part.to_owned() };
            let (field, equal, value) = split_term(part).ok_or_else(refuse)?;
            let value = unescape(value).ok_or_else(refuse)?;
            requirements.push(FieldRequirement { field: field.to_owned(), value, equal });
        }
        Ok(Self { requirements })
    }

    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// The one requirement that `field` has this value.
    pub fn equal(field: &str, value: &str) -> Self {
        let (field, value) = (field.to_owned(), value.to_owned());
        Self { requirements: vec![FieldRequirement { field, value, equal: true }] }
    }

    /// Renames fields, or refuses the first that `rename` does not know.
    pub fn renamed<E>(mut self, rename: impl Fn(&str) -> Result<String, E>) -> Result<Self, E> {
        for requirement in &mut self.requirements {
            requirement.field = rename(&requirement.field)?;
        }
        Ok(self)
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value that `field` must have, if the selector demands exactly one.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.equal && r.field == field).map(|r| r.value.as_str())
    }

    /// `value_of` answers none for a field that is absent, which counts as empty.
    pub fn matches<'v>(&self, value_of: impl Fn(&str) -> Option<&'v str>) -> bool {
        self.requirements.iter().all(|r| (value_of(&r.field).unwrap_or("") == r.value) == r.equal)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if requirement.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}", requirement.field)?;
            for character in requirement.value.chars() {
                if matches!(character, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    term.char_indices().find_map(|(index, _)| {
        let rest = &term[index..];
        [("!=", false), ("==", true), ("=", true)]
            .into_iter()
            .find_map(|(sign, equal)| rest.strip_prefix(sign).map(|value| (&term[..index], equal, value)))
    })
}

fn unescape(value: &str) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            _ => text.push(character),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terms_are_read_in_order() {
        let selector = FieldSelector::parse("status.phase!=Running,spec.nodeName==a\\,b,x=").unwrap();
        let read: Vec<_> =
            selector.requirements().iter().map(|r| (r.field.as_str(), r.equal, r.value.as_str())).collect();
        assert_eq!(read, [("status.phase", false, "Running"), ("spec.nodeName", true, "a,b"), ("x", true, "")]);
        assert_eq!(selector.required("spec.nodeName"), Some("a,b"));
        assert!(selector.matches(|field| (field == "spec.nodeName").then_some("a,b")));
        assert!(!selector.matches(|_| Some("Running")));
    }

    #[test]
    fn malformed_terms_are_refused() {
        for text in ["a", "a=b=c", "a=\\x", "a=b,c"] {
            assert!(FieldSelector::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            FieldSelector::parse("a=b,c").unwrap_err().to_string(),
            "invalid selector: 'a=b,c'; can't understand 'c'"
        );
    }

    proptest! {
        #[test]
        fn a_printed_selector_reads_back(text in "[a-c=!,\\\\]{0,20}") {
            if let Ok(selector) = FieldSelector::parse(&text) {
                prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
