//! Expressions that choose devices.
//!
//! Invariant: what is known of a device is what upstream's own limits of devices say: how long names are, how many attributes
//! there can be. Of an attribute nothing is known but its size, so an expression that ends in one is no mistake.

use std::sync::{Arc, LazyLock};

use expressions::{Declaration, Env, Opaque, Program, Shape, Type};
use serde_json::Value;

use super::super::Faults;
use super::super::expression::{Refusal, compile};
use super::{MOST, items};
use crate::json::{at, text};
use crate::path::Path;

const LONGEST: usize = 10 * 1024;
/// The greatest estimate.
const MOST_COSTLY: u64 = 1_000_000;

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

/// With what alpha features of upstream add.
static STORED: LazyLock<Env> = LazyLock::new(|| ENV.clone().with_includes());

/// Whether expressions were there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    New,
    /// They are what they were; another version may have let them in.
    Stored,
    /// They cannot change, so that they need not be looked at.
    Known,
}

pub(super) fn list(of: &Value, age: Age, path: &Path<'_>, faults: &mut Faults) {
    items(crate::json::list(of, "selectors"), MOST, &path.field("selectors"), faults, |value, path, faults| {
        let (cel, path) = (at(value, "cel"), path.field("cel"));
        if cel.is_null() {
            faults.required(&path, "");
            return;
        }
        let (expression, path) = (text(cel, "expression"), path.field("expression"));
        if expression.len() > LONGEST {
            faults.too_long(&path, LONGEST);
            return;
        }
        if age == Age::Known {
            return;
        }
        match compiled(expression, age) {
            Err(refusal) => refusal.tell(expression, &path, faults),
            Ok(program) if program.cost().max > MOST_COSTLY => {
                faults.forbidden(&path, "too complex, exceeds cost limit");
            }
            Ok(_) => {}
        }
    });
}

/// What a selector says.
pub(crate) fn compiled(expression: &str, age: Age) -> Result<Program, Refusal> {
    compile(expression, if age == Age::New { &ENV } else { &STORED }, |ty| match ty {
        Type::Bool | Type::Any => Ok(()),
        other => Err(format!("must evaluate to bool or the unknown type, not {}", other.full_name())),
    })
}
