//! Random objects of any kind, for property tests: of the right shape, or with wrong shapes mixed in.

use serde_json::{Map, Value, json};

use crate::schema::{Schema, Type, TypeId, schema};

/// How deep objects go: enough for a field of a container of a template.
const DEPTH: usize = 9;

/// A small reproducible source of numbers.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides.max(1)
    }

    fn pick(&mut self, texts: &[&str]) -> Value {
        let index = self.roll(texts.len());
        Value::from(texts[index])
    }
}

/// A value of a type; one in `wild` values has a wrong shape (0: none).
pub(crate) fn sample(id: TypeId, dice: &mut Dice, wild: usize) -> Value {
    value(schema(), id, dice, wild, DEPTH)
}

fn value(schema: &Schema, id: TypeId, dice: &mut Dice, wild: usize, depth: usize) -> Value {
    if wild > 0 && dice.roll(wild) == 0 {
        let odd = [
            json!(null),
            json!(-1),
            json!(1.5),
            json!(""),
            json!("é\u{0}"),
            json!([]),
            json!({"": [null]}),
            json!(true),
        ];
        return odd[dice.roll(odd.len())].clone();
    }
    match schema.ty(id) {
        Type::Object => {
            let mut members = Map::new();
            for field in &schema.object(id).fields {
                // Most of what is interesting stands below `spec`.
                let chance = if field.required || depth == DEPTH { 9 } else { 3 };
                if depth > 0 && dice.roll(10) < chance {
                    let inner = match &field.values {
                        Some(values) if schema.ty(field.ty) == Type::String && dice.roll(8) > 0 => {
                            Value::from(&*values[dice.roll(values.len())])
                        }
                        _ => value(schema, field.ty, dice, wild, depth - 1),
                    };
                    members.insert(field.name.to_string(), inner);
                }
            }
            Value::Object(members)
        }
        Type::List(item) => {
            (0..dice.roll(3)).map(|_| value(schema, item, dice, wild, depth.saturating_sub(1))).collect()
        }
        Type::Map(item) => {
            let names = ["cpu", "memory", "a.b/c", "app", "x y", ""];
            let count = dice.roll(3);
            (0..count)
                .map(|_| {
                    let name = names[dice.roll(names.len())].to_owned();
                    (name, value(schema, item, dice, wild, depth.saturating_sub(1)))
                })
                .collect::<Map<_, _>>()
                .into()
        }
        Type::String => {
            dice.pick(&["", "web", "a/b", "Web_1", "..", "1.2.3.4", "nginx:latest", "Exists", "*/5 * * * *"])
        }
        Type::Integer32 | Type::Integer64 => json!([0, 1, -1, 80, 65536][dice.roll(5)]),
        Type::Number => json!(0.5),
        Type::Boolean => json!(dice.roll(2) == 0),
        Type::Bytes => dice.pick(&["", "aGVsbG8="]),
        Type::Time => dice.pick(&["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5+01:00"]),
        Type::MicroTime => dice.pick(&["2026-01-02T03:04:05.000001Z", "2026-01-02T03:04:05Z"]),
        Type::Quantity => [json!("100m"), json!("1.5Gi"), json!(2), json!("0"), json!("-1n")][dice.roll(5)].clone(),
        Type::IntOrString => [json!(0), json!(80), json!("25%"), json!("http"), json!("")][dice.roll(5)].clone(),
        Type::Raw | Type::FieldsV1 => json!({"f:a": {"any": [1]}}),
        // what must be a schema is one that says little
        Type::Json if schema.opened(id).is_some() => json!({"type": "string", "description": "any"}),
        Type::Json => json!({"any": null}),
    }
}
