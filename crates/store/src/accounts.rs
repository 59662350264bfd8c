//! Users and their keys.

use async_trait::async_trait;
use longshore_protocol::{
    UtcTime,
    account::{ApiKey, User, UserName, UserOptions, UserRole},
};

use crate::Error;

/// The hash of a key: nothing else of it is kept.
pub type KeyHash = [u8; 32];

/// Users and their keys.
#[async_trait]
pub trait Accounts {
    /// Adds a user; false if the name is taken.
    ///
    /// # Errors
    /// [`Error`].
    async fn create_user(&self, user: User) -> Result<bool, Error>;

    /// The user of this name.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn user(&self, name: &UserName) -> Result<Option<User>, Error>;

    /// Up to `limit` users by name, from the one after `after` on.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn users(&self, after: Option<&UserName>, limit: usize) -> Result<Vec<User>, Error>;

    /// Changes a user and returns what came of it; none if there is no such user.
    ///
    /// # Errors
    /// [`Error`].
    async fn change_user(&self, name: &UserName, change: UserChange) -> Result<Option<User>, Error>;

    /// Adds a key; false if its user does not exist or its id is taken.
    ///
    /// # Errors
    /// [`Error`].
    async fn create_api_key(&self, key: ApiKey, hash: KeyHash) -> Result<bool, Error>;

    /// A key with its hash and its user, whether or not it still opens anything.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn api_key(&self, id: &str) -> Result<Option<StoredKey>, Error>;

    /// Up to `limit` keys of one user, or of all, the oldest first. `after` is the id of the last one of the page before.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn api_keys(&self, user: Option<&UserName>, after: Option<&str>, limit: usize) -> Result<Vec<ApiKey>, Error>;

    /// Revokes a key, of `user` if one is given, and returns it; none if there is no such key. One that was revoked before
    /// keeps its time.
    ///
    /// # Errors
    /// [`Error`].
    async fn revoke_api_key(&self, id: &str, user: Option<&UserName>, at: UtcTime) -> Result<Option<ApiKey>, Error>;

    /// Notes when keys were last used. An earlier time changes nothing.
    ///
    /// # Errors
    /// [`Error`].
    async fn note_api_key_uses(&self, uses: Vec<(String, UtcTime)>) -> Result<(), Error>;
}

/// Changes to a user that become durable together.
#[derive(Debug, Clone, PartialEq)]
pub struct UserChange {
    /// Now.
    pub at: UtcTime,
    /// The new role.
    pub role: Option<UserRole>,
    /// Whether the user is disabled from now on.
    pub is_disabled: Option<bool>,
    /// The new options, all of them.
    pub options: Option<UserOptions>,
}

impl UserChange {
    /// Nothing yet.
    pub fn new(at: UtcTime) -> Self {
        Self { at, role: None, is_disabled: None, options: None }
    }
}

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredKey {
    /// The key.
    pub key: ApiKey,
    /// Its hash.
    pub hash: KeyHash,
    /// Whose it is.
    pub user: User,
}
