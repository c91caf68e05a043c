//! Values as JSON, for what expressions make to be applied.

use std::sync::Arc;

use base64::Engine;
use serde_json::{Map as Object, Value as Json};

use super::{Failure, Value};
use crate::shape;
use crate::types::Type;

impl Value<'_> {
    /// The value as JSON.
    ///
    /// # Errors
    /// When it is none that JSON has, or an object under a name that does not say where it stands (`Object.spec` is what
    /// stands at `spec`): then its author meant another place.
    pub fn to_json(&self) -> Result<Json, Failure> {
        let root: &str = if let Self::Made(made) = self { made.name() } else { "Object" };
        self.json_at(root)
    }

    fn json_at(&self, place: &str) -> Result<Json, Failure> {
        if let Self::Data(data) = self {
            return Ok(data.json.clone());
        }
        if let Some(list) = self.as_list() {
            return list.values().map(|value| value?.json_at(place)).collect::<Result<Vec<_>, _>>().map(Json::Array);
        }
        if let Some(map) = self.as_map() {
            let mut members = Object::new();
            for (key, value) in map.entries() {
                let key = key.as_str().ok_or_else(|| Failure::new("a key of a map is no string"))?.to_owned();
                members.insert(key, value?.json_at(place)?);
            }
            return Ok(Json::Object(members));
        }
        Ok(match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => (*value).into(),
            Self::Str(text) => (*text).into(),
            Self::Text(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            Self::Timestamp(_) | Self::Duration(_) => self.to_string().into(),
            Self::Optional(Some(inner)) => inner.json_at(place)?,
            // the steps of a patch each have a place of their own
            Self::Made(made) if &**made.name() == Type::PATCH => {
                let field = |(name, value): (&Arc<str>, &Self)| Ok((name.to_string(), value.to_json()?));
                Json::Object(made.fields().map(field).collect::<Result<_, Failure>>()?)
            }
            Self::Made(made) => {
                if **made.name() != *place {
                    let name = made.name();
                    return Err(Failure::new(format!(
                        "type mismatch: unexpected type name {name:?}, expected {place:?}, which matches field name path from root Object type"
                    )));
                }
                let field = |(name, value): (&Arc<str>, &Self)| {
                    let json = value.json_at(&format!("{place}.{name}"))?;
                    Ok((shape::unescape(name).into_owned(), json))
                };
                Json::Object(made.fields().map(field).collect::<Result<_, Failure>>()?)
            }
            other => return Err(Failure::new(format!("{} is nothing that JSON has", other.type_name()))),
        })
    }
}
