//! Devices, as the expressions that choose them see them: one variable, `device`.
//!
//! Invariant: what is known of a device beforehand is what upstream's own limits of devices say: how long names are, how
//! many attributes there can be. Of an attribute nothing is known but its size, so an expression that ends in one is no
//! mistake. A domain that a device has nothing under is empty, not absent, when it is looked up (upstream's
//! `dynamic-resource-allocation/cel`); only `in` tells the difference.

use std::sync::{Arc, LazyLock};

use base::Quantity;

use crate::eval::Vars;
use crate::shape::Shape;
use crate::types::{Declaration, Env, Opaque, Type};
use crate::value::{Entries, Failure, Key, Special, Value};

const LONGEST_DRIVER: u64 = 63;
const LONGEST_DOMAIN: u64 = 63;
const LONGEST_ID: u64 = 32;
const LONGEST_VALUE: u64 = 64;
const MOST_ATTRIBUTES: u64 = 32;

static ENV: LazyLock<Env> = LazyLock::new(|| {
    let name = |most| Arc::new(Shape::string(None, None).at_most(most));
    let value = |ty, most| Arc::new(Shape::typed(ty).at_most(most));
    let by_domain = |values, named| {
        let inner = Arc::new(Shape::keyed_map(name(LONGEST_ID), values, MOST_ATTRIBUTES, named));
        Arc::new(Shape::keyed_map(name(LONGEST_DOMAIN), inner, MOST_ATTRIBUTES, false))
    };
    let fields = [
        ("driver", name(LONGEST_DRIVER)),
        ("allowMultipleAllocations", Arc::new(Shape::boolean().at_most(1))),
        ("attributes", by_domain(value(Type::Any, LONGEST_VALUE), true)),
        ("capacity", by_domain(value(Type::Opaque(Opaque::Quantity), 0), false)),
    ];
    let device = Arc::new(Shape::declared("kubernetes.DRADevice", fields));
    Env::new().with("device", Declaration::Data(device)).with_bindings().with_sizes_by_name()
});

static STORED: LazyLock<Env> = LazyLock::new(|| ENV.clone().with_includes());

/// What new expressions may use.
pub fn env() -> &'static Env {
    &ENV
}

/// What stored expressions may use: also what alpha features of upstream add.
pub fn stored() -> &'static Env {
    &STORED
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    Int(i64),
    Bool(bool),
    Text(String),
    /// A semantic version.
    Version(String),
}

/// A device that expressions can be asked about.
#[derive(Clone, Debug)]
pub struct Device(Value<'static>);

impl Device {
    /// Attributes and capacities have qualified names; those without a domain are of the driver's.
    ///
    /// # Errors
    /// When an attribute has no value, or one that is no version though it says so. No expression can be asked then.
    pub fn new<'n>(
        driver: &str,
        multiple: bool,
        attributes: impl IntoIterator<Item = (&'n str, Option<&'n Attribute>)>,
        capacity: impl IntoIterator<Item = (&'n str, &'n Quantity)>,
    ) -> Result<Self, Failure> {
        let mut values = Domains::default();
        for (name, attribute) in attributes {
            let of = |why: String| Failure::new(format!("attribute {name}: {why}"));
            let attribute = attribute.ok_or_else(|| of("unsupported attribute value".to_owned()))?;
            values.put(driver, name, read(attribute).map_err(of)?);
        }
        let mut amounts = Domains::default();
        for (name, amount) in capacity {
            amounts.put(driver, name, Value::special(Special::Quantity(*amount)));
        }
        let mut device = Entries::new();
        for (field, value) in [
            ("driver", Value::text(driver)),
            ("allowMultipleAllocations", Value::Bool(multiple)),
            ("attributes", values.done()),
            ("capacity", amounts.done()),
        ] {
            put(&mut device, field, value);
        }
        Ok(Self(Value::Map(Arc::new(device))))
    }
}

impl<'a> Vars<'a> for Device {
    fn value(&self, name: &str) -> Option<Value<'a>> {
        (name == "device").then(|| self.0.clone())
    }
}

fn read(attribute: &Attribute) -> Result<Value<'static>, String> {
    Ok(match attribute {
        Attribute::Int(value) => Value::Int(*value),
        Attribute::Bool(value) => Value::Bool(*value),
        Attribute::Text(text) => Value::text(text.as_str()),
        Attribute::Version(text) => {
            let version = semver::Version::parse(text).map_err(|error| format!("parse semantic version: {error}"))?;
            Value::special(Special::Semver(version))
        }
    })
}

fn put(entries: &mut Entries<'static>, name: &str, value: Value<'static>) {
    let key: Arc<str> = name.into();
    entries.insert(Key::Text(key.clone()), (Value::Text(key), value));
}

/// Values by domain and name.
#[derive(Default)]
struct Domains(std::collections::BTreeMap<String, Entries<'static>>);

impl Domains {
    fn put(&mut self, driver: &str, name: &str, value: Value<'static>) {
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        put(self.0.entry(domain.to_owned()).or_default(), id, value);
    }

    fn done(self) -> Value<'static> {
        let mut all = Entries::new();
        for (domain, entries) in self.0 {
            put(&mut all, &domain, Value::Map(Arc::new(entries)));
        }
        Value::Domains(Arc::new(all))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::eval::meter::{Budget, PER_CALL, PER_OBJECT};
    use crate::program::compile;

    fn check(expression: &str, expected: Expect) {
        let attributes = [
            ("model", Attribute::Text("A100".into())),
            ("cores", Attribute::Int(8)),
            ("other.example.com/fast", Attribute::Bool(true)),
            ("driverVersion", Attribute::Version("1.2.3".into())),
        ];
        let memory: Quantity = "40Gi".parse().expect("a quantity");
        let attributes = attributes.iter().map(|(name, value)| (*name, Some(value)));
        let device = Device::new("gpu.example.com", false, attributes, [("memory", &memory)]).expect("a device");
        let program = compile(expression, stored()).expect("an expression");
        let mut budget = Budget::new(PER_CALL, PER_OBJECT);
        let outcome = program.evaluate(&device, &mut budget);
        expected.assert_eq(&match outcome {
            Ok(value) => value.shown().expect("a value"),
            Err(failure) => format!("error: {failure}"),
        });
    }

    #[test]
    fn attributes_are_reached_by_domain_and_name() {
        check(r#"device.driver == "gpu.example.com" && !device.allowMultipleAllocations"#, expect!["true"]);
        check(r#"device.attributes["gpu.example.com"].model == "A100""#, expect!["true"]);
        check(r#"device.attributes["other.example.com"].fast"#, expect!["true"]);
        check(r#"device.attributes["gpu.example.com"].driverVersion.isGreaterThan(semver("1.0.0"))"#, expect!["true"]);
        check(r#"device.capacity["gpu.example.com"].memory.compareTo(quantity("40Gi")) >= 0"#, expect!["true"]);
        check(
            r#"cel.bind(dra, device.attributes["gpu.example.com"], dra.cores > 4 && has(dra.model))"#,
            expect!["true"],
        );
        check(r#"device.attributes["gpu.example.com"].cores.includes(8)"#, expect!["true"]);
    }

    #[test]
    fn a_domain_without_attributes_is_empty_not_absent() {
        check(r#"device.attributes["nowhere"].model == "A100""#, expect!["error: no such key: model"]);
        check(r#"has(device.attributes["nowhere"].model)"#, expect!["false"]);
        check(r#""nowhere" in device.attributes || "nowhere" in device.capacity"#, expect!["false"]);
        check(r#""gpu.example.com" in device.attributes"#, expect!["true"]);
    }

    #[test]
    fn an_attribute_that_has_no_value_is_told() {
        let told = |attribute: Option<&Attribute>| {
            Device::new("d", false, [("a", attribute)], []).expect_err("no device").to_string()
        };
        assert_eq!(told(None), "attribute a: unsupported attribute value");
        let version = Attribute::Version("one".into());
        assert!(told(Some(&version)).starts_with("attribute a: parse semantic version: "));
    }
}
