//! What expressions of policies and match conditions may say.
//!
//! Invariant: a variable of a policy is known to what is compiled after it, by the type that its expression has; of objects
//! nothing is known. One that is refused is known, too, so that it is told once.

use expressions::admission::Names;
use expressions::{Env, Type};

use super::super::expression::{Refusal, compile};
use super::Faults;
use crate::path::Path;

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Condition,
    Variable,
    Validation,
    Message,
    Annotation,
    ApplyConfiguration,
    Patch,
}

impl Place {
    /// The types it may have there; any, if none is named.
    fn types(self) -> Vec<Type> {
        match self {
            Self::Variable => Vec::new(),
            Self::Condition | Self::Validation => vec![Type::Bool],
            Self::Message => vec![Type::String],
            Self::Annotation => vec![Type::String, Type::Null],
            Self::ApplyConfiguration => vec![Type::Made(Type::OBJECT.into())],
            Self::Patch => vec![Type::list(Type::Made(Type::PATCH.into()))],
        }
    }

    fn judge(self, found: &Type) -> Result<(), String> {
        let types = self.types();
        if types.is_empty() || types.iter().any(|ty| ty.is(found)) {
            return Ok(());
        }
        let names: Vec<String> = types.iter().map(Type::full_name).collect();
        let wanted = if names.len() == 1 { names.concat() } else { format!("one of [{}]", names.join(" ")) };
        Err(format!("must evaluate to {wanted} but got {}", found.full_name()))
    }
}

/// What the expressions of one object may use.
#[derive(Debug)]
pub(crate) struct Expressions {
    names: Names,
}

impl Expressions {
    pub(crate) fn new(params: bool, composed: bool) -> Self {
        Self { names: Names::untyped(params, composed) }
    }

    fn env(&self, place: Place) -> Env {
        let env = self.names.env(place != Place::Message, place != Place::Condition);
        if matches!(place, Place::ApplyConfiguration | Place::Patch) { env.with_patches() } else { env }
    }

    /// The type of an expression.
    pub(crate) fn ty(&self, text: &str, place: Place) -> Result<Type, Refusal> {
        let program = compile(text, &self.env(place), |ty| place.judge(ty))?;
        Ok(program.result_type().clone())
    }

    /// Tells why an expression cannot stand where it does. What is shown may have blanks around it.
    pub(crate) fn check(&self, text: &str, shown: &str, place: Place, path: &Path<'_>, faults: &mut Faults) {
        if let Err(refusal) = self.ty(text, place) {
            refusal.tell(shown, path, faults);
        }
    }

    /// As `check`; what is compiled later knows the variable.
    pub(crate) fn declare(&mut self, name: &str, text: &str, path: &Path<'_>, faults: &mut Faults) {
        let ty = self.ty(text, Place::Variable).unwrap_or_else(|refusal| {
            refusal.tell(text, path, faults);
            Type::Dyn
        });
        self.names.know(name, &ty);
    }
}
