//! What a type wants of JSON.
//!
//! serde reads a list as a struct whose fields stand in order. No client means that, and a message with a default for
//! every field would come out of `[]`.

use serde::{
    de::{self, DeserializeOwned, Deserializer, Visitor},
    forward_to_deserialize_any,
};

/// Whether `T` is a struct, which must not be read from a list.
pub(super) fn is_struct<T: DeserializeOwned>() -> bool {
    let mut is_struct = false;
    let _ = T::deserialize(Probe(&mut is_struct));
    is_struct
}

/// Notes what a type asks for, and gives it nothing.
struct Probe<'a>(&'a mut bool);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("nothing is here"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = true;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use longshore_protocol::{bash::ExecuteBash, conversation::SendMessage};

    use super::is_struct;

    #[test]
    fn structs_are_told_from_lists() {
        assert!(is_struct::<ExecuteBash>() && is_struct::<SendMessage>());
        assert!(!is_struct::<Vec<String>>() && !is_struct::<serde_json::Value>());
    }
}
