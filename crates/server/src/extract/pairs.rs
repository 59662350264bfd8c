//! Reads types from pairs of names and texts: queries and path parameters.

use std::{fmt::Display, str::FromStr};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};
use serde_json::Value;

use super::Problem;

/// Names with their texts, in order. A text may be any bytes.
pub(super) struct Pairs(Vec<(String, Vec<Vec<u8>>)>);

impl Pairs {
    /// Puts the texts of one name together.
    pub(super) fn new(pairs: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let mut grouped: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
        for (name, text) in pairs {
            match grouped.iter_mut().find(|(known, _)| *known == name) {
                Some((_, texts)) => texts.push(text),
                None => grouped.push((name, vec![text])),
            }
        }
        Self(grouped)
    }

    /// The one parameter, if there is one only.
    pub(super) fn single(&self) -> Option<(String, Vec<Vec<u8>>)> {
        match &self.0[..] {
            [one] => Some(one.clone()),
            _ => None,
        }
    }

    fn only(mut self) -> Result<(String, Texts), PairError> {
        match self.0.pop() {
            Some((name, texts)) if self.0.is_empty() => Ok((name, Texts(texts))),
            _ => Err(PairError::custom("one value is expected")),
        }
    }
}

/// What is wrong with which parameter.
#[derive(Debug)]
pub(super) struct PairError {
    pub(super) problem: Box<Problem>,
    /// The parameter and its text, once known.
    pub(super) at: Option<Box<(String, Value)>>,
}

impl PairError {
    fn new(problem: Problem) -> Self {
        Self { problem: Box::new(problem), at: None }
    }

    pub(super) fn at(mut self, name: &str, texts: &[Vec<u8>]) -> Self {
        let texts: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
        let input = match &texts[..] {
            [one] => Value::from(one.as_ref()),
            many => many.iter().map(AsRef::as_ref).collect(),
        };
        self.at.get_or_insert(Box::new((name.to_owned(), input)));
        self
    }
}

impl Display for PairError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem.text)
    }
}

impl std::error::Error for PairError {}

impl de::Error for PairError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Problem::of_message(&message.to_string()))
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Problem::unknown(expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::missing(field))
    }
}

macro_rules! forward_to_only {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PairError> {
            let (name, texts) = self.only()?;
            let shown = texts.0.clone();
            texts.$method(visitor).map_err(|error| error.at(&name, &shown))
        }
    )*};
}

impl<'de> Deserializer<'de> for Pairs {
    type Error = PairError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PairError> {
        visitor.visit_map(Entries { pairs: self.0.into_iter(), current: None })
    }

    forward_to_only! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, PairError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, PairError> {
        visitor.visit_seq(Values(self.0.into_iter()))
    }

    forward_to_deserialize_any! {
        i128 u128 option unit unit_struct seq tuple_struct map struct enum identifier ignored_any
    }
}

struct Entries {
    pairs: std::vec::IntoIter<(String, Vec<Vec<u8>>)>,
    current: Option<(String, Vec<Vec<u8>>)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = PairError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, PairError> {
        self.current = self.pairs.next();
        let Some((name, _)) = &self.current else { return Ok(None) };
        let name: StrDeserializer<'_, PairError> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, PairError> {
        let (name, texts) = self.current.take().ok_or_else(|| PairError::custom("a value without a name"))?;
        seed.deserialize(Texts(texts.clone())).map_err(|error| error.at(&name, &texts))
    }
}

struct Values(std::vec::IntoIter<(String, Vec<Vec<u8>>)>);

impl<'de> SeqAccess<'de> for Values {
    type Error = PairError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, PairError> {
        let Some((name, texts)) = self.0.next() else { return Ok(None) };
        seed.deserialize(Texts(texts.clone())).map(Some).map_err(|error| error.at(&name, &texts))
    }
}

/// The texts of one name: the last one counts, unless a list is wanted.
struct Texts(Vec<Vec<u8>>);

impl Texts {
    fn last(mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn text(self) -> Result<String, PairError> {
        String::from_utf8(self.last())
            .map_err(|_| PairError::new(Problem::new("string_unicode", "Input should be a valid string, not UTF-8")))
    }

    fn parsed<T: FromStr>(self, kind: &'static str, expected: &str) -> Result<T, PairError> {
        let problem = || PairError::new(Problem::new(kind, format!("Input should be a valid {expected}")));
        self.text()?.trim().parse().map_err(|_| problem())
    }
}

macro_rules! parse_numbers {
    ($($method:ident $visit:ident $kind:literal $expected:literal,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PairError> {
            visitor.$visit(self.parsed($kind, $expected)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Texts {
    type Error = PairError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PairError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PairError> {
        visitor.visit_byte_buf(self.last())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PairError> {
        visitor.visit_byte_buf(self.last())
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PairError> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => visitor.visit_bool(true),
            "false" | "0" | "no" | "off" | "f" | "n" => visitor.visit_bool(false),
            _ => Err(PairError::new(Problem::new(
                "bool_parsing",
                "Input should be a valid boolean, unable to interpret input",
            ))),
        }
    }

    parse_numbers! {
        deserialize_i8 visit_i8 "int_parsing" "integer, unable to parse string as an integer",
        deserialize_i16 visit_i16 "int_parsing" "integer, unable to parse string as an integer",
        deserialize_i32 visit_i32 "int_parsing" "integer, unable to parse string as an integer",
        deserialize_i64 visit_i64 "int_parsing" "integer, unable to parse string as an integer",
        deserialize_u8 visit_u8 "int_parsing" "integer, unable to parse string as an integer",
        deserialize_u16 visit_u16 "int_parsing" "integer, unable to parse string as an integer",
        deserialize_u32 visit_u32 "int_parsing" "integer, unable to parse string as an integer",
        deserialize_u64 visit_u64 "int_parsing" "integer, unable to parse string as an integer",
        deserialize_f32 visit_f32 "float_parsing" "number, unable to parse string as a number",
        deserialize_f64 visit_f64 "float_parsing" "number, unable to parse string as a number",
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PairError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, PairError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PairError> {
        visitor.visit_seq(Items(self.0.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PairError> {
        visitor.visit_enum(self.text()?.into_deserializer())
    }

    forward_to_deserialize_any! {
        i128 u128 char str string unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items(std::vec::IntoIter<Vec<u8>>);

impl<'de> SeqAccess<'de> for Items {
    type Error = PairError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, PairError> {
        self.0.next().map(|text| seed.deserialize(Texts(vec![text]))).transpose()
    }
}
