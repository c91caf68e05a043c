//! What strategic merge patch asks of the schema: the shape of a field and how its patches apply.
//!
//! Invariant: a field that the schema does not know is an error only when the patch goes *into* it; unknown leaves pass
//! through and are reported by pruning, which knows how strict the client wants it.

use super::PatchError;
use super::strategic::misfit;
use crate::schema::{self, Type, TypeId};

/// A type, seen as the place where a patch is applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node(TypeId);

/// A field of a [`Node`].
#[derive(Debug)]
pub(super) struct Field {
    /// The field's type; for a list that of its items.
    pub(super) node: Node,
    /// The list merges instead of being replaced.
    pub(super) merges: bool,
    /// The map is replaced instead of being merged.
    pub(super) replaces: bool,
    /// The key that tells the items of a list apart.
    pub(super) key: Option<&'static str>,
}

impl Node {
    pub(super) fn of(ty: TypeId) -> Node {
        Node(ty)
    }

    /// What upstream calls this type in messages.
    pub(super) fn go_kind(self) -> &'static str {
        match schema::schema().ty(self.0) {
            Type::Object | Type::Time | Type::MicroTime | Type::Quantity | Type::IntOrString | Type::Raw => "struct",
            Type::FieldsV1 | Type::Json => "struct",
            Type::List(_) | Type::Bytes => "slice",
            Type::Map(_) => "map",
            Type::String => "string",
            Type::Integer32 => "int32",
            Type::Integer64 => "int64",
            Type::Number => "float64",
            Type::Boolean => "bool",
        }
    }

    /// The field `name`, for a patch that is an object.
    pub(super) fn field(self, name: &str) -> Result<Field, PatchError> {
        let schema = schema::schema();
        let definition = match schema.definition(self.0) {
            Some(definition) if self.go_kind() == "struct" => definition,
            _ => {
                return Err(misfit(format!(
                    "merging an object in json but data type is not struct, instead is: {}",
                    self.go_kind()
                )));
            }
        };
        let Some(field) = definition.field(name) else {
            let type_name = definition.name.rsplit('.').next().unwrap_or_default();
            return Err(misfit(format!("unable to find api field in struct {type_name} for the json field {name:?}")));
        };
        Ok(Field {
            node: Node(field.ty),
            merges: field.patch_strategy.merge,
            replaces: field.patch_strategy.replace,
            key: field.patch_key.as_deref(),
        })
    }

    /// The field `name`, for a patch that is a list.
    pub(super) fn list_field(self, name: &str) -> Result<Field, PatchError> {
        let field = self.field(name)?;
        match schema::schema().ty(field.node.0) {
            Type::List(item) if matches!(schema::schema().ty(item), Type::List(_)) => {
                Err(misfit("unexpected slice of slice"))
            }
            Type::List(item) => Ok(Field { node: Node(item), ..field }),
            _ => Err(misfit(format!("expected slice or array type, but got: {}", self.go_kind()))),
        }
    }
}
