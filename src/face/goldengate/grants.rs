//! Grants in bodies and answers: users and tokens have them.
//!
//! What they may be is the catalog's to say; their schema stands in `written_schemas.json`.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};

use super::error_answer::ErrorAnswer;
use crate::catalog::grant::Grants;

/// A member that is there, be it `null`.
pub(super) fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

/// The grants of a body, if it has the member; `null` is none.
pub(super) fn changed(given: Option<&Value>) -> Result<Option<Option<Grants>>, ErrorAnswer> {
    match given {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(value) => Ok(Some(Some(Grants::from_value("grants", value)?))),
    }
}

/// As a body may have them.
pub(super) fn given_schema() -> RefOr<Schema> {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new().item(Ref::from_schema_name("Grants")).item(null).into()
}

/// As answers have them.
pub(super) fn shown_schema() -> RefOr<Schema> {
    ArrayBuilder::new().items(Ref::from_schema_name("Grant")).into()
}
