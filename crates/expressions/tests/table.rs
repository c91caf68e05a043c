//! Every expression of the tables: its value or failure, its estimated and actual cost, its type, or why it is refused.
//!
//! Invariant: the answers are facts about upstream v1.36, not about this implementation; what differs on purpose is
//! listed here with its reason.

use std::sync::Arc;

use knarr_expressions::{
    Budget, Declaration, Env, Format, Meaning, Property, Shape, Type, Value, Vars, compile, listing,
};
use serde_json::{Value as Json, json};

const TABLE: &str = include_str!("table/expressions.tsv");
/// With what policies and selectors of devices have besides.
const MADE: &str = include_str!("table/made.tsv");

/// A shape of a schema, as far as the table needs it.
fn shape(schema: &Json, name: &str) -> Option<Shape> {
    let number = |key: &str| schema[key].as_i64();
    let inner = |schema: &Json, name: String| shape(schema, &name).map(Arc::new);
    if schema["x-kubernetes-int-or-string"] == true {
        return Some(Shape::int_or_string(number("maxLength")));
    }
    let shape = match schema["type"].as_str()? {
        "boolean" => Shape::boolean(),
        "integer" => Shape::integer(),
        "number" => Shape::number(),
        "string" => match schema["format"].as_str() {
            Some("byte") => Shape::formatted(Format::Byte, None),
            Some("date") => Shape::formatted(Format::Date, None),
            Some("date-time") => Shape::formatted(Format::DateTime, None),
            Some("duration") => Shape::formatted(Format::Duration, None),
            _ => {
                let longest = schema["enum"]
                    .as_array()
                    .map(|values| values.iter().filter_map(Json::as_str).map(str::len).max().unwrap_or_default());
                Shape::string(number("maxLength"), longest)
            }
        },
        "array" => {
            let meaning = match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => Meaning::Set,
                Some("map") => Meaning::Map(
                    schema["x-kubernetes-list-map-keys"]
                        .as_array()?
                        .iter()
                        .filter_map(|key| key.as_str().map(str::to_owned))
                        .collect(),
                ),
                _ => Meaning::Atomic,
            };
            Shape::list(inner(&schema["items"], format!("{name}.@idx"))?, number("maxItems"), meaning)
        }
        _ if schema["additionalProperties"].is_object() => {
            Shape::map(inner(&schema["additionalProperties"], format!("{name}.@elem"))?, number("maxProperties"))
        }
        _ => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let none = serde_json::Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&none);
            let properties = properties.iter().filter_map(|(field, schema)| {
                let required = required.iter().any(|name| name == field.as_str());
                Some(Property { name: field, shape: inner(schema, format!("{name}.{field}"))?, required })
            });
            Shape::object(name.to_owned(), properties.collect::<Vec<_>>())
        }
    };
    Some(shape.nullable(schema["nullable"] == true))
}

fn answer(expression: &str, env: &Env, values: &[(&str, Value<'static>)]) -> String {
    let program = match compile(expression, env) {
        Ok(program) => program,
        Err(faults) => return format!("refused\t{}", listing(&faults).replace('\n', "\\N")),
    };
    if let Some(why) = program.broken() {
        return format!("refused\t{}", why.replace('\n', "\\N"));
    }
    let mut budget = Budget::default();
    let before = budget.remaining();
    let outcome = program.evaluate(&Values(values), &mut budget).and_then(|value| value.shown());
    let cost = program.cost();
    let facts = format!("{}..{}\t{}\t{}", cost.min, cost.max, before - budget.remaining(), program.result_type());
    match outcome {
        Ok(value) => format!("value\t{facts}\t{value}"),
        Err(failure) => format!("failed\t{facts}\t{}", failure.to_string().replace('\n', "\\N")),
    }
}

struct Values<'v>(&'v [(&'v str, Value<'static>)]);

impl<'a> Vars<'a> for Values<'_> {
    fn value(&self, name: &str) -> Option<Value<'a>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }
}

/// What an evaluation cost that failed is not compared: how far upstream got depends on how it is built.
fn comparable(answer: &str) -> String {
    let columns: Vec<&str> = answer.split('\t').collect();
    match columns[..] {
        ["failed", estimate, _, ty, message] => [estimate, ty, message].join("\t"),
        _ => answer.to_owned(),
    }
}

fn compare(table: &str, env: &Env, values: &[(&str, Value<'static>)]) {
    let mut wrong = String::new();
    let mut count = 0;
    for line in table.lines() {
        let (expression, expected) = line.split_once('\t').expect("a row has columns");
        let found = answer(&expression.replace("\\N", "\n"), env, values);
        if comparable(&found) != comparable(expected) {
            count += 1;
            wrong.push_str(&format!("{expression}\n  expected {expected}\n  found    {found}\n"));
        }
    }
    assert!(wrong.is_empty(), "{count} differ:\n{wrong}");
}

/// Data that lives as long as the test.
fn lasting<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

#[test]
fn every_expression_of_the_table_has_the_known_answer() {
    let schema: Json = serde_json::from_str(include_str!("table/schema.json")).unwrap();
    let object: &Json = lasting(serde_json::from_str(include_str!("table/object.json")).unwrap());
    let root = lasting(Arc::new(shape(&schema, "selfType").unwrap()));
    let env =
        Env::new().with("self", Declaration::Data(root.clone())).with("oldSelf", Declaration::Optional(root.clone()));
    let value = Value::of(object, root).expect("the object fits its schema");
    compare(TABLE, &env, &[("self", value), ("oldSelf", Value::NONE)]);
}

#[test]
fn every_expression_that_makes_or_binds_has_the_known_answer() {
    let object: &Json = lasting(json!({"a": 1, "s": "x", "l": ["p", "q"]}));
    let env = Env::new().with("object", Declaration::Plain(Type::Dyn)).with_patches().with_bindings();
    compare(MADE, &env, &[("object", Value::untyped(object))]);
}
