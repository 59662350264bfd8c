//! The kinds of boxes: one file or folder each.

pub(crate) mod bubblewrap;
pub(crate) mod docker;
pub(crate) mod local;

use std::sync::Arc;

use crate::{Backend, Error};

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
