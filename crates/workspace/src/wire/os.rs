//! Names, paths, arguments and variables, which are any bytes: text if they can be, so that it can be read.

use std::{
    ffi::OsString,
    fmt,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes that are text, or `{"base64": "…"}`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Os(pub(crate) OsString);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form<'a> {
    Text(std::borrow::Cow<'a, str>),
    Bytes { base64: String },
}

impl Serialize for Os {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match self.0.to_str() {
            Some(text) => Form::Text(text.into()),
            None => Form::Bytes { base64: BASE64_STANDARD.encode(self.0.as_bytes()) },
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Os {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_owned().into())),
            Form::Bytes { base64 } => {
                let bytes = BASE64_STANDARD.decode(base64).map_err(de::Error::custom)?;
                Ok(Self(OsString::from_vec(bytes)))
            }
        }
    }
}

impl Os {
    pub(crate) fn path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Debug for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<OsString> for Os {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

impl From<PathBuf> for Os {
    fn from(path: PathBuf) -> Self {
        Self(path.into())
    }
}

impl From<&Path> for Os {
    fn from(path: &Path) -> Self {
        Self(path.into())
    }
}

impl From<Os> for OsString {
    fn from(os: Os) -> Self {
        os.0
    }
}

impl From<Os> for PathBuf {
    fn from(os: Os) -> Self {
        os.0.into()
    }
}
