//! An object that came out of a patch: upstream blames the patch for what is wrong with it, in words that depend on how the
//! patch was applied. A strategic patch becomes an object without being text in between, so its faults read otherwise.

use kinds::{Kind, TypeId, Unknown};
use serde_json::Value;

use crate::{call::Call, error::ApiError};

/// What to say of a patch whose result is no object of its kind.
pub(crate) struct Blame<'a> {
    /// The patch, or what it made, as the message shows it.
    pub(crate) shown: String,
    /// What strict reading had to say of the patch itself.
    pub(crate) complaints: &'a [String],
    pub(crate) strategic: bool,
}

impl Blame<'_> {
    /// Checks types and removes unknown fields.
    pub(crate) fn check(self, call: &Call, kind: &Kind, value: &mut Value) -> Result<(), ApiError> {
        let coerced = kinds::coerce(kind, value).map_err(|error| {
            let (name, version) = (&kind.kind, &kind.version);
            let told = error.to_string();
            let place = format!("{name} in version \"{version}\" cannot be handled as a {name}: ");
            told.strip_prefix(&place).map(str::to_owned).unwrap_or(told)
        });
        self.judge(call, coerced, || kinds::prune(kind, value))
    }

    /// The same for a type that is no kind of its own.
    pub(crate) fn check_type(self, call: &Call, ty: TypeId, value: &mut Value) -> Result<(), ApiError> {
        let coerced = kinds::coerce_type(ty, value).map_err(|error| error.to_string());
        self.judge(call, coerced, || kinds::prune_type(ty, value))
    }

    fn judge(
        self,
        call: &Call,
        coerced: Result<(), String>,
        prune: impl FnOnce() -> Vec<Unknown>,
    ) -> Result<(), ApiError> {
        if let Err(why) = coerced {
            let why = if self.strategic { converter_words(&why).unwrap_or(why) } else { why };
            return Err(self.refuse(why));
        }
        let unknown = prune().into_iter().map(|unknown| unknown.to_string());
        let faults = self.complaints.iter().cloned().chain(unknown).collect();
        super::complain(call, faults).map_err(|why| self.refuse(why))
    }

    fn refuse(self, why: String) -> ApiError {
        let fault = kinds::FieldError::invalid("patch", self.shown, why);
        ApiError::invalid_kind("", "", "", &[fault])
    }
}

/// What Go's converter of maps says where its JSON decoder says `json: cannot unmarshal string into … of type int32`.
fn converter_words(told: &str) -> Option<String> {
    let (found, wanted) = told.strip_prefix("json: cannot unmarshal ")?.split_once(" into ")?;
    let (_, wanted) = wanted.rsplit_once(" of type ")?;
    let found = match found.split(' ').next()? {
        "object" => "map",
        "array" => "slice",
        "number" if found.contains('.') => "float64",
        "number" => "int64",
        other => other,
    };
    Some(if wanted.starts_with("[]") {
        format!("cannot restore slice from {found}")
    } else if wanted.starts_with("map[") {
        format!("cannot restore map from {found}")
    } else if wanted.contains('.') {
        format!("cannot restore struct from: {found}")
    } else {
        format!("unrecognized type: {wanted}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_converter_has_words_of_its_own() {
        let told = |wanted: &str| {
            converter_words(&format!("json: cannot unmarshal string into Go struct field A.spec.b of type {wanted}"))
        };
        for (wanted, words) in [
            ("int32", "unrecognized type: int32"),
            ("[]v1.Container", "cannot restore slice from string"),
            ("map[string]string", "cannot restore map from string"),
            ("v1.PodSpec", "cannot restore struct from: string"),
        ] {
            assert_eq!(told(wanted).as_deref(), Some(words));
        }
        assert_eq!(converter_words("quantities must match"), None);
    }
}
