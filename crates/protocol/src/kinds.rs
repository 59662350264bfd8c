//! Unions that carry the name of their variant in a `kind` field.

/// Declares a union of structs that is tagged by `kind` on the wire.
///
/// Each variant is named like the struct it holds, and that name is the `kind`. A `kind` that is not in the table is
/// kept as the JSON object it came as, so that reading and writing again loses nothing.
macro_rules! kinds {
    ($(#[$meta:meta])* pub enum $name:ident { $($variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $(
                #[doc = concat!("`kind: \"", stringify!($variant), "\"`.")]
                $variant($variant),
            )*
            /// A kind this version does not know, as it was received.
            Unknown(serde_json::Map<String, serde_json::Value>),
        }

        impl $name {
            /// Every kind in the table, in order.
            pub const KINDS: &'static [&'static str] = &[$(stringify!($variant)),*];

            /// The name on the wire; empty for an unknown object without one.
            pub fn kind(&self) -> &str {
                match self {
                    $(Self::$variant(_) => stringify!($variant),)*
                    Self::Unknown(object) => object.get("kind").and_then(serde_json::Value::as_str).unwrap_or(""),
                }
            }

            /// Reads an object as the kind it names, or as the only one that the table has.
            ///
            /// # Errors
            /// The error of the struct that the kind names.
            pub fn from_object(
                object: serde_json::Map<String, serde_json::Value>,
            ) -> Result<Self, serde_json::Error> {
                match object.get("kind").and_then(serde_json::Value::as_str) {
                    $(Some(stringify!($variant)) => {
                        serde::Deserialize::deserialize(serde_json::Value::Object(object)).map(Self::$variant)
                    })*
                    _ => Ok(Self::Unknown(object)),
                }
            }
        }

        $(impl From<$variant> for $name {
            fn from(value: $variant) -> Self {
                Self::$variant(value)
            }
        })*

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                #[derive(serde::Serialize)]
                #[serde(tag = "kind")]
                enum Tagged<'a> {
                    $($variant(&'a $variant),)*
                }
                match self {
                    $(Self::$variant(value) => Tagged::$variant(value).serialize(serializer),)*
                    Self::Unknown(object) => object.serialize(serializer),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let object = serde_json::Map::deserialize(deserializer)?;
                Self::from_object(object).map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let mut one_of = utoipa::openapi::schema::OneOfBuilder::new();
                $(one_of = one_of.item(
                    utoipa::openapi::schema::AllOfBuilder::new()
                        .item(utoipa::openapi::Ref::from_schema_name(stringify!($variant)))
                        .item($crate::kinds::kind_schema(stringify!($variant))),
                );)*
                one_of.into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn schemas(
                schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>,
            ) {
                $(
                    schemas.push((stringify!($variant).to_owned(), <$variant as utoipa::PartialSchema>::schema()));
                    <$variant as utoipa::ToSchema>::schemas(schemas);
                )*
            }
        }
    };
}
pub(crate) use kinds;

/// The OpenAPI schema of an object whose `kind` is `name`.
pub(crate) fn kind_schema(name: &str) -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    ObjectBuilder::new()
        .property("kind", ObjectBuilder::new().schema_type(Type::String).enum_values(Some([name])))
        .required("kind")
        .build()
}
