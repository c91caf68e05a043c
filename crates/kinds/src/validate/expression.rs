//! Expressions in built-in kinds: whether they compile, and to what.
//!
//! Invariant: an expression is compiled before it is stored, whether it is new or was there before: all that expressions may
//! say in this version they could say in the one before, so that both are judged alike.

use expressions::{Env, Program, Type, listing};

use super::Faults;
use crate::error::{Cause, FieldError};
use crate::path::Path;

/// Why an expression is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    cause: Cause,
    detail: String,
}

impl Refusal {
    /// Tells of an expression, as it is shown.
    pub(crate) fn tell(self, shown: &str, path: &Path<'_>, faults: &mut Faults) {
        let shown = (self.cause == Cause::Invalid).then(|| shown.into());
        faults.push(FieldError::new(self.cause, path, self.detail, shown));
    }
}

/// Compiles an expression that must be of one of several types; `judge` says why it is not.
pub(crate) fn compile(
    text: &str,
    env: &Env,
    judge: impl FnOnce(&Type) -> Result<(), String>,
) -> Result<Program, Refusal> {
    let invalid = |detail| Refusal { cause: Cause::Invalid, detail };
    let program = expressions::compile(text, env)
        .map_err(|faults| invalid(format!("compilation failed: {}", listing(&faults))))?;
    judge(program.result_type()).map_err(invalid)?;
    match program.broken() {
        Some(why) => Err(Refusal { cause: Cause::Internal, detail: format!("program instantiation failed: {why}") }),
        None => Ok(program),
    }
}
