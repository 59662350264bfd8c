//! Users and keys: the rules that the admin API, users' own keys and the command line share.

use std::sync::Arc;

use jiff::Timestamp;
use longshore_protocol::{
    UtcTime,
    account::{ApiKey, MAX_LABEL, NewApiKey, Scope, User, UserName, UserOptions, UserRole},
};
use longshore_store::{Owner, Store};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{auth::new_key, boxed::own_workspace_id};

/// Keys of one user that open something.
const MAX_KEYS: usize = 100;

/// A user to add.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserWish {
    /// The name, which stays.
    pub name: UserName,
    /// What the user may be.
    #[serde(default)]
    pub role: UserRole,
    /// What is decided for this user.
    #[serde(default)]
    pub options: UserOptions,
}

/// A key to make.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeyWish {
    /// What it is for, in words: 128 characters at most.
    pub label: String,
    /// What it is good for; without it, for `read` and `write`.
    pub scopes: Option<Vec<Scope>>,
    /// From when on it opens nothing; without it, it does not end by itself.
    pub expires_at: Option<UtcTime>,
    /// The one workspace that it opens; without it, all that the user has.
    pub workspace_id: Option<Uuid>,
}

/// Why there is no such user or key.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Somebody has the name.
    #[error("There is a user {0} already.")]
    NameTaken(UserName),
    /// Nobody has the name.
    #[error("There is no user {0}.")]
    NoSuchUser(UserName),
    /// No key has the id, or it is somebody else's.
    #[error("There is no key {0}.")]
    NoSuchKey(String),
    /// The wish makes no sense; the sentence says what to do.
    #[error("{0}")]
    Invalid(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] longshore_store::Error),
}

/// Users and keys in a store.
#[derive(Debug, Clone)]
pub struct Accounts(Arc<dyn Store>);

impl Accounts {
    /// Those in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`AccountError::NameTaken`].
    pub async fn add_user(&self, wish: UserWish) -> Result<User, AccountError> {
        let UserWish { name, role, options } = wish;
        let created_at = UtcTime(Timestamp::now());
        let user = User { name, role, created_at, disabled_at: None, options };
        if self.0.create_user(user.clone()).await? { Ok(user) } else { Err(AccountError::NameTaken(user.name)) }
    }

    /// The user of this name.
    ///
    /// # Errors
    /// [`AccountError::NoSuchUser`].
    pub async fn user(&self, name: &UserName) -> Result<User, AccountError> {
        self.0.user(name).await?.ok_or_else(|| AccountError::NoSuchUser(name.clone()))
    }

    /// Changes a user.
    ///
    /// # Errors
    /// [`AccountError::NoSuchUser`].
    pub async fn change_user(
        &self,
        name: &UserName,
        change: longshore_store::UserChange,
    ) -> Result<User, AccountError> {
        self.0.change_user(name, change).await?.ok_or_else(|| AccountError::NoSuchUser(name.clone()))
    }

    /// Makes a key for a user.
    ///
    /// # Errors
    /// [`AccountError::NoSuchUser`], [`AccountError::Invalid`].
    pub async fn create_key(&self, name: &UserName, wish: KeyWish) -> Result<NewApiKey, AccountError> {
        let user = self.user(name).await?;
        let now = UtcTime(Timestamp::now());
        let KeyWish { label, scopes, expires_at, workspace_id } = wish;
        let mut scopes = scopes.unwrap_or_else(|| vec![Scope::Read, Scope::Write]);
        scopes.sort_unstable();
        scopes.dedup();
        let refuse = |reason: String| Err(AccountError::Invalid(reason));
        if user.disabled_at.is_some() {
            return refuse(format!("The user {name} is disabled: enable the user first."));
        }
        if label.chars().count() > MAX_LABEL || label.chars().any(char::is_control) {
            return refuse(format!("label has {MAX_LABEL} printable characters at most."));
        }
        if scopes.is_empty() {
            return refuse("scopes must name one scope at least: read, write or admin.".to_owned());
        }
        if scopes.contains(&Scope::Admin) && (user.role != UserRole::Admin || workspace_id.is_some()) {
            return refuse(
                "The scope admin is for keys of users with the role admin that are not bound to a workspace."
                    .to_owned(),
            );
        }
        if expires_at.is_some_and(|end| end <= now) {
            return refuse("expires_at has passed: give a time to come.".to_owned());
        }
        if let Some(id) = workspace_id {
            let owner = Owner(name.as_str().into());
            if id != own_workspace_id(&owner) && self.0.workspace(&owner, id).await?.is_none() {
                return refuse(format!("There is no workspace {id} of {name}."));
            }
        }
        let keys = self.0.api_keys(Some(name), None, usize::MAX).await?;
        let is_good = |key: &&ApiKey| key.revoked_at.is_none() && key.expires_at.is_none_or(|end| end > now);
        if keys.iter().filter(is_good).count() >= MAX_KEYS {
            return refuse(format!("The user {name} has {MAX_KEYS} keys: revoke one first."));
        }
        let key = ApiKey {
            id: String::new(),
            user: name.clone(),
            label,
            scopes,
            workspace_id,
            created_at: now,
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        let (new, hash) = new_key(key);
        if self.0.create_api_key(new.api_key.clone(), hash).await? {
            Ok(new)
        } else {
            Err(AccountError::NoSuchUser(name.clone()))
        }
    }

    /// Revokes a key, of `user` if one is given.
    ///
    /// # Errors
    /// [`AccountError::NoSuchKey`].
    pub async fn revoke_key(&self, id: &str, user: Option<&UserName>) -> Result<ApiKey, AccountError> {
        let revoked = self.0.revoke_api_key(id, user, UtcTime(Timestamp::now())).await?;
        revoked.ok_or_else(|| AccountError::NoSuchKey(id.to_owned()))
    }

    /// Up to `limit` users after the one of the name `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn users(&self, after: Option<&UserName>, limit: usize) -> Result<Vec<User>, AccountError> {
        Ok(self.0.users(after, limit).await?)
    }

    /// Up to `limit` keys, of one user or all, after the one with the id `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn keys(
        &self,
        user: Option<&UserName>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ApiKey>, AccountError> {
        Ok(self.0.api_keys(user, after, limit).await?)
    }
}
