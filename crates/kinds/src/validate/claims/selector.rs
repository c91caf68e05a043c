//! Expressions that choose devices.
//!
//! Invariant: what they may say of a device is what `expressions::device` declares, the same to the scheduler.

use expressions::{Program, Type, device};
use serde_json::Value;

use super::super::Faults;
use super::super::expression::{Refusal, compile};
use super::{MOST, items};
use crate::json::{at, text};
use crate::path::Path;

const LONGEST: usize = 10 * 1024;
/// The greatest estimate.
const MOST_COSTLY: u64 = 1_000_000;

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
    compile(expression, if age == Age::New { device::env() } else { device::stored() }, |ty| match ty {
        Type::Bool | Type::Any => Ok(()),
        other => Err(format!("must evaluate to bool or the unknown type, not {}", other.full_name())),
    })
}
