//! What boxes and those who make them are called.

use std::{fmt, path::PathBuf, str::FromStr};

use uuid::Uuid;

/// The id of a box. Labels, folders and rows carry it as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxId(pub Uuid);

impl SandboxId {
    /// A new one.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

impl FromStr for SandboxId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse()?))
    }
}

/// A server with its data folder. Boxes carry its name, so that two servers on one machine leave each other's alone.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// A name that no other server has: lower-case letters and digits, the same after a restart.
    pub name: String,
    /// The folder for what boxes keep on this machine: absolute, private to the server.
    pub dir: PathBuf,
    /// The statically linked program that serves as `boxd` in every box: an absolute path.
    pub program: PathBuf,
}
