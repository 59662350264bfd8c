//! Secrets at rest: Fernet tokens, as the official server writes them (contract: server §2.6).

mod fernet;
mod file;

use std::{fmt, path::Path, rc::Rc, sync::Arc};

use longshore_protocol::{Secret, secret::Cipher};

use self::fernet::Fernet;
use crate::{AuditHash, Error};

/// The operator's secret keys: one that encrypts, and older ones that still decrypt. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Ring>);

struct Ring {
    current: Fernet,
    previous: Vec<Fernet>,
}

impl Keys {
    /// Encrypts with `current` and decrypts with any.
    pub fn new(current: &Secret, previous: &[Secret]) -> Self {
        Self(Arc::new(Ring { current: Fernet::new(current), previous: previous.iter().map(Fernet::new).collect() }))
    }

    /// The operator's keys or, if `configured` is absent or blank, the key in `directory/secret.key`, which is made if
    /// it is not there. A key in that file goes on decrypting when the operator gives another one later.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Full`] if the file cannot be read or made, [`Error::Damaged`] if it has no key.
    pub fn load_or_create(
        directory: &Path,
        configured: Option<Secret>,
        mut previous: Vec<Secret>,
    ) -> Result<Self, Error> {
        previous.retain(|key| !is_blank(key.expose()));
        match configured.filter(|key| !is_blank(key.expose())) {
            Some(current) => {
                previous.extend(file::load(directory)?);
                Ok(Self::new(&current, &previous))
            }
            None => Ok(Self::new(&file::load_or_create(directory)?, &previous)),
        }
    }

    /// The keys as [`longshore_protocol::secret::sealed`] takes them.
    pub fn cipher(&self) -> Rc<dyn Cipher> {
        Rc::new(self.clone())
    }

    /// The keys that are there already, as [`Keys::load_or_create`] has them; none if there is neither a configured one nor a
    /// file.
    ///
    /// # Errors
    /// As for [`Keys::load_or_create`].
    pub fn load(directory: &Path, configured: Option<Secret>, previous: Vec<Secret>) -> Result<Option<Self>, Error> {
        let is_there =
            configured.as_ref().is_some_and(|key| !is_blank(key.expose())) || file::load(directory)?.is_some();
        if is_there { Self::load_or_create(directory, configured, previous).map(Some) } else { Ok(None) }
    }

    /// A signature of `message` that holds for one purpose.
    pub(crate) fn sign(&self, purpose: &str, message: &[u8]) -> AuditHash {
        self.0.current.sign(purpose, message)
    }

    /// Whether `message` was signed for this purpose with any of the keys.
    pub(crate) fn is_signed(&self, purpose: &str, message: &[u8], signature: &AuditHash) -> bool {
        let mut keys = std::iter::once(&self.0.current).chain(&self.0.previous);
        keys.any(|key| key.is_signed(purpose, message, signature))
    }

    /// Whether `text` is a token under the key that encrypts.
    pub(crate) fn is_current(&self, text: &str) -> bool {
        fernet::decode(text).is_some_and(|token| self.0.current.open(&token).is_some())
    }
}

/// A blank text hides nothing and stays as it is. A text that is a token under the current key stays too, so that a
/// client can send back what it was given.
impl Cipher for Keys {
    fn seal(&self, text: &str) -> String {
        if is_blank(text) || self.is_current(text) { text.to_owned() } else { self.0.current.seal(text) }
    }

    fn open(&self, token: &str) -> Result<String, String> {
        if is_blank(token) {
            return Ok(token.to_owned());
        }
        let token = fernet::decode(token).ok_or("a secret is not an encrypted token")?;
        std::iter::once(&self.0.current)
            .chain(&self.0.previous)
            .find_map(|key| key.open(&token))
            .ok_or_else(|| "a secret is damaged or encrypted under a key that was not given".to_owned())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
