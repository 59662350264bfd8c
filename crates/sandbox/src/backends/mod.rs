//! The kinds of boxes: one file or folder each.

pub(crate) mod bubblewrap;
pub(crate) mod docker;
pub(crate) mod local;

use std::sync::Arc;

use longshore_workspace::LocalOptions;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Backend, Deployment, Error};

/// Every kind of boxes, in the order in which people read about them. A new kind is a module and a line here.
pub const KINDS: [Kind; 3] = [local::KIND, bubblewrap::KIND, docker::KIND];

/// A kind of boxes.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name on the wire and in configuration.
    pub name: &'static str,
    make: fn(Circumstances) -> Result<Arc<dyn Backend>, Error>,
}

/// What a backend is made from.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// Whose boxes.
    pub deployment: Deployment,
    /// The kind's part of the configuration: an object, or null for its own choices.
    pub options: Value,
    /// How processes are started where nothing isolates.
    pub local: LocalOptions,
    /// The image of boxes that ask for none, if the operator names one for all kinds.
    pub default_image: Option<String>,
    /// Whether boxes work on files of whoever runs this process, and so must be that user as far as they can.
    pub is_personal: bool,
    /// Whether boxes are for users who do not answer for this machine: what the operator did not name is not for them.
    pub has_users: bool,
}

impl Kind {
    /// The kind with this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none.
    pub fn named(name: &str) -> Result<Self, Error> {
        KINDS.into_iter().find(|kind| kind.name == name).ok_or_else(|| {
            let names = KINDS.map(|kind| kind.name).join(", ");
            Error::Invalid(format!("there is no kind of box '{name}'; there is: {names}"))
        })
    }

    /// A backend of this kind. Nothing is asked of the machine yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options that make no sense.
    pub fn backend(&self, circumstances: Circumstances) -> Result<Arc<dyn Backend>, Error> {
        (self.make)(circumstances)
    }
}

/// A kind's options from its part of the configuration.
fn options<T: DeserializeOwned + Default>(kind: &str, value: Value) -> Result<T, Error> {
    if value.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(value)
        .map_err(|error| Error::Invalid(format!("the options of the backend '{kind}': {error}")))
}

/// The kinds of boxes that a server makes. The first is the one that is meant where none is named.
#[derive(Debug, Clone)]
pub struct Backends(Vec<Arc<dyn Backend>>);

impl Backends {
    /// These kinds, in this order.
    pub fn new(backends: Vec<Arc<dyn Backend>>) -> Self {
        Self(backends)
    }

    /// The kind with this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none.
    pub fn find(&self, name: Option<&str>) -> Result<Arc<dyn Backend>, Error> {
        let found = self.0.iter().find(|backend| name.is_none_or(|name| backend.name() == name));
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|backend| backend.name()).collect();
            Error::Invalid(format!("there is no backend '{}' here; there is: {}", name.unwrap_or(""), names.join(", ")))
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Backend>> {
        self.0.iter()
    }
}
