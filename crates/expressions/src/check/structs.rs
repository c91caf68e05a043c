//! Objects that expressions make: `Object{spec: Object.spec{replicas: 3}}`.
//!
//! Invariant: of what is patched nothing is known, so an object has any fields, and each is of any type.

use super::Checker;
use crate::tree::{Expr, Init};
use crate::types::Type;

impl Checker<'_> {
    /// Only objects of policies that change something can be made.
    pub(super) fn structure(&mut self, expr: &Expr, name: &str, fields: &[Init]) -> Type {
        let Some((_, ty)) = self.named(name) else { return self.undeclared(expr, name) };
        let made = match &ty {
            Type::Type(inner) if matches!(**inner, Type::Made(_)) => (**inner).clone(),
            Type::Type(inner) => {
                self.fault(expr, format!("'{}' is not a message type", inner.name()));
                Type::Error
            }
            other => {
                self.fault(expr, format!("'{}' is not a type", other.name()));
                Type::Error
            }
        };
        for init in fields {
            self.init(name, &made, init);
        }
        made
    }

    fn init(&mut self, name: &str, made: &Type, init: &Init) {
        let at = init.at as usize;
        let value = self.check(&init.value);
        let expected = match made {
            Type::Made(name) => field(name, &init.field),
            _ if name == "map" => Type::Any,
            _ => {
                let message = if SCALARS.contains(&name) {
                    format!("undefined field '{}'", init.field)
                } else {
                    format!("unexpected failed resolution of '{name}'")
                };
                self.faults.tell(at, message);
                Type::Error
            }
        };
        let value = self.unwrapped(&init.value, value, init.optional);
        if !self.unifier.assignable(&expected, &value) {
            let (field, value) = (&init.field, self.unifier.substitute(&value, false));
            let message = format!("expected type of field '{field}' is '{expected}' but provided type is '{value}'");
            self.faults.tell(at, message);
        }
    }
}

/// Names of types that are known to have no fields.
const SCALARS: [&str; 10] =
    ["bool", "bytes", "double", "duration", "int", "list", "null_type", "string", "timestamp", "uint"];

/// The type of a field of an object that is made. Of what is patched nothing is known, so it has any fields.
pub(super) fn field(name: &str, field: &str) -> Type {
    match (name, field) {
        (Type::PATCH, "op" | "path" | "from") => Type::String,
        (Type::PATCH, "value") => Type::Dyn,
        (Type::PATCH, _) => Type::Unsaid,
        _ => Type::Dyn,
    }
}
