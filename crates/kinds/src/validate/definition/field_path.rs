//! Paths that lead through a schema: `.spec.replicas`, `.spec.labels['a']`.

use serde_json::Value;

use crate::json::at;

static NOTHING: Value = Value::Null;

/// The names on the path and the schema at its end. `brackets` says whether `['name']` is allowed.
pub(crate) fn find<'s>(path: &str, schema: &'s Value, brackets: bool) -> Result<(Vec<String>, &'s Value), String> {
    let mut schema = schema;
    let names = walk(path, brackets, |name| {
        schema = step(schema, name)?;
        Ok(())
    })?;
    Ok((names, schema))
}

/// The names on a path, wherever it leads.
pub(crate) fn names(path: &str) -> Result<Vec<String>, String> {
    walk(path, true, |_| Ok(()))
}

fn walk(path: &str, brackets: bool, mut visit: impl FnMut(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
    let (mut rest, mut names) = (path, Vec::new());
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        let name = match next {
            '[' if !brackets => return Err("array notation is not allowed".to_owned()),
            '[' => bracketed(&mut rest)?,
            '.' => {
                let end = rest
                    .find(['.', '[', ']'])
                    .unwrap_or(rest.len())
                    .max(usize::from(rest.starts_with(['.', '[', ']'])));
                let (name, after) = rest.split_at(end);
                rest = after;
                if name.is_empty() {
                    return Err("unexpected end of JSON path".to_owned());
                }
                name.to_owned()
            }
            other => {
                let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
                return Err(format!("expected [ or . but got: {other}{}", &rest[..end]));
            }
        };
        visit(&name)?;
        names.push(name);
    }
    Ok(names)
}

fn bracketed(rest: &mut &str) -> Result<String, String> {
    if rest.is_empty() {
        return Err("unexpected end of JSON path".to_owned());
    }
    let Some(quoted) = rest.strip_prefix('\'') else {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        return Err(format!("expected single quoted string but got {}", &rest[..end.max(1).min(rest.len())]));
    };
    let (mut name, mut escaped, mut end) = (String::new(), false, None);
    for (place, next) in quoted.char_indices() {
        match next {
            '\'' | '\\' if escaped => name.push(next),
            other if escaped => return Err(format!("invalid string literal: invalid escape char \\{other}")),
            '\\' => {}
            '\'' => {
                end = Some(place + 1);
                break;
            }
            other => name.push(other),
        }
        escaped = next == '\\' && !escaped;
    }
    let Some(end) = end else { return Err(format!("expected single quoted string but got '{quoted}")) };
    let after = &quoted[end..];
    *rest = match after.strip_prefix(']') {
        Some(after) => after,
        None if after.is_empty() => return Err("unexpected end of JSON path".to_owned()),
        None => return Err(format!("expected ] but got {after}")),
    };
    Ok(name)
}

fn step<'s>(schema: &'s Value, name: &str) -> Result<&'s Value, String> {
    let missing = || "does not refer to a valid field".to_owned();
    match (at(schema, "properties"), at(schema, "additionalProperties")) {
        (Value::Object(properties), _) if !properties.is_empty() => properties.get(name).ok_or_else(missing),
        (_, Value::Object(_)) => Ok(at(schema, "additionalProperties")),
        (_, Value::Bool(_)) => Ok(&NOTHING),
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_path_leads_through_properties_and_maps() {
        let schema = json!({"properties": {
            "spec": {"properties": {"a'b": {"type": "string"}, "m": {"additionalProperties": {"type": "integer"}}}},
        }});
        let found =
            |path: &str| find(path, &schema, true).map(|(names, found)| (names.join("/"), found["type"].clone()));
        assert_eq!(found(".spec.m.x"), Ok(("spec/m/x".to_owned(), json!("integer"))));
        assert_eq!(found(r".spec['a\'b']"), Ok(("spec/a'b".to_owned(), json!("string"))));
        for (path, why) in [
            ("spec", "expected [ or . but got: spec"),
            (".", "unexpected end of JSON path"),
            (".nope", "does not refer to a valid field"),
            (".spec[0]", "expected single quoted string but got 0"),
            (".spec['m'", "unexpected end of JSON path"),
        ] {
            assert_eq!(found(path), Err(why.to_owned()), "{path}");
        }
        assert_eq!(find(".spec['m']", &schema, false).unwrap_err(), "array notation is not allowed");
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "[.\\[\\]'\\\\a]{0,16}") {
            drop(find(&path, &json!({"additionalProperties": true}), true));
        }
    }
}
