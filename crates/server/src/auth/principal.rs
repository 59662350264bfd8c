//! Somebody who may use the server.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};
use longshore_protocol::account::{Scope, UserRole};
use longshore_store::Owner;
use uuid::Uuid;

use crate::ApiError;

/// Somebody who may use the server. Only authenticators make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    user: Owner,
    role: UserRole,
    scopes: Vec<Scope>,
    workspace: Option<Uuid>,
    key: Option<Arc<str>>,
}

impl Principal {
    /// The user of this name, who may see and change what is the user's own.
    pub fn new(user: impl Into<Arc<str>>) -> Self {
        let scopes = vec![Scope::Read, Scope::Write];
        Self { user: Owner(user.into()), role: UserRole::User, scopes, workspace: None, key: None }
    }

    /// As an admin, who may do everything.
    #[must_use]
    pub fn as_admin(self) -> Self {
        Self { role: UserRole::Admin, scopes: Scope::ALL.to_vec(), ..self }
    }

    /// With this role and these scopes and no others.
    #[must_use]
    pub fn with(self, role: UserRole, scopes: Vec<Scope>) -> Self {
        Self { role, scopes, ..self }
    }

    /// Bound to one workspace of the user: nothing else can be reached.
    #[must_use]
    pub fn bound_to(self, workspace: Uuid) -> Self {
        Self { workspace: Some(workspace), ..self }
    }

    /// By a key with this id, for logs.
    #[must_use]
    pub fn by_key(self, id: impl Into<Arc<str>>) -> Self {
        Self { key: Some(id.into()), ..self }
    }

    /// Whose rows this principal may reach.
    pub fn user(&self) -> &Owner {
        &self.user
    }

    /// What the user is on the server.
    pub fn role(&self) -> UserRole {
        self.role
    }

    /// The one workspace that this principal may reach; without one, all of the user's.
    pub fn workspace(&self) -> Option<Uuid> {
        self.workspace
    }

    /// The id of the key that was shown, if it has one.
    pub fn key_id(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether the key is good for this.
    pub fn has(&self, scope: Scope) -> bool {
        match scope {
            Scope::Admin => self.is_admin(),
            scope => self.scopes.contains(&scope),
        }
    }

    /// Whether users may be managed: by an admin whose key has the scope, and is not bound to a workspace.
    pub fn is_admin(&self) -> bool {
        self.role == UserRole::Admin && self.scopes.contains(&Scope::Admin) && self.workspace.is_none()
    }

    /// Nothing if the key is good for this.
    ///
    /// # Errors
    /// 403 with what to do.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.has(scope) {
            return Ok(());
        }
        Err(match scope {
            Scope::Admin => ApiError::forbidden("This is for admins: use an admin's key with the scope admin."),
            scope => ApiError::forbidden(format!("This needs the scope {0}: use a key that has it.", scope.as_str())),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get().cloned().ok_or_else(ApiError::unauthorized)
    }
}
