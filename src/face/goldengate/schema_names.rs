//! The names in `$schema`: each is a type whose only value it is, so that an answer cannot be sent under another's.

use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! schema_names {
    ($($name:ident = $text:literal;)*) => {$(
        #[doc = concat!("`", $text, "`.")]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(super) struct $name;

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some([$text])).into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

schema_names! {
    StandardResponse = "api:standardResponse";
    CommandResult = "er:commandResult";
    Collection = "ogg:collection";
    CollectionItem = "ogg:collectionItem";
    Credentials = "ogg:credentials";
    DataStreamCollection = "ogg:dataStreamCollection";
    DataStreamErrors = "ogg:dataStreamErrors";
    MessageName = "ogg:message";
    PartitionCollection = "trailcast:partitionCollection";
    Report = "ogg:report";
    ExtractCheck = "trailcast:extractCheck";
    ExtractCollection = "trailcast:extractCollection";
    ConsumerGroup = "trailcast:group";
    GroupCollection = "trailcast:groupCollection";
    Retention = "trailcast:retention";
    ServerName = "trailcast:server";
    Token = "trailcast:token";
    Trail = "trailcast:trail";
    TrailCollection = "trailcast:trailCollection";
    User = "trailcast:user";
    UserCollection = "trailcast:userCollection";
}
