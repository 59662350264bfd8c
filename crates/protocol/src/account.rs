//! Users and their keys: who may ask, and for what. These shapes are our own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{sandbox::SandboxOptions, time::UtcTime};

/// Characters that the name of a user may have.
pub const MAX_USER_NAME: usize = 128;

/// Characters that the label of a key may have.
pub const MAX_LABEL: usize = 128;

/// The name of a user, which is also what the user's rows are found by: letters, digits and `._@+-`, beginning with a letter
/// or a digit, 128 at most.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
pub struct UserName(String);

impl UserName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UserName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for UserName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "._@+-".contains(character);
        let is_name = text.len() <= MAX_USER_NAME
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(is_plain);
        if is_name {
            return Ok(Self(text));
        }
        Err(format!(
            "a user's name has letters, digits and . _ @ + -, begins with a letter or a digit and has {MAX_USER_NAME} \
             characters at most"
        ))
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

/// What a user is on the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Works with what is the user's own.
    #[default]
    User,
    /// May also manage users, with a key that has the scope `admin`.
    Admin,
}

impl UserRole {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for UserRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::User, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("'{text}' is no role: there are user and admin"))
    }
}

/// What a key is good for. No scope includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To see: requests that change nothing, and sockets.
    Read,
    /// To change what is the user's own.
    Write,
    /// To manage users and keys, and to see what concerns the whole server. Only admins have such keys.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| format!("'{text}' is no scope: there are read, write and admin"))
    }
}

/// What the operator decided for one user; what is left out is as for everybody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UserOptions {
    /// What the user's workspaces are made from where the user says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxOptions>,
    /// Workspaces that the user may have besides the own one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_workspaces: Option<u32>,
    /// What the user may spend on models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<UserBudget>,
    /// Whose tokens of an identity provider open what the user has, besides the user's keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// What a user may spend on models; what is left out is as for everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UserBudget {
    /// In each conversation.
    pub conversation: BudgetAmounts,
    /// On each day in UTC.
    pub day: BudgetAmounts,
    /// In all.
    pub user: BudgetAmounts,
}

/// The most of each; what is left out is as for everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetAmounts {
    /// US dollars, not below zero.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "dollars")]
    #[schema(minimum = 0)]
    pub cost_usd: Option<f64>,
    /// Tokens read and written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

fn dollars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let amount = Option::<f64>::deserialize(deserializer)?;
    if amount.is_none_or(|amount| amount.is_finite() && amount >= 0.0) {
        return Ok(amount);
    }
    Err(de::Error::custom("expected an amount of US dollars that is not below zero"))
}

/// Somebody as an identity provider knows them. Only both together mean one person for ever: names and addresses of mail
/// pass from one to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The provider: `iss` in its tokens.
    pub issuer: String,
    /// The person: `sub` in the provider's tokens.
    pub subject: String,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The name, which is also the id.
    pub name: UserName,
    /// What the user may be.
    pub role: UserRole,
    /// When the user was added.
    pub created_at: UtcTime,
    /// Since when the user's keys open nothing.
    #[serde(default)]
    pub disabled_at: Option<UtcTime>,
    /// What the operator decided for this user.
    #[serde(default)]
    pub options: UserOptions,
}

/// A key, without what makes it one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Its id: 16 hexadecimal digits, which stand in the key as well.
    pub id: String,
    /// Whose it is.
    pub user: UserName,
    /// What it is for, in words.
    #[serde(default)]
    pub label: String,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// The one workspace that it opens; without one, all that the user has.
    #[serde(default)]
    pub workspace_id: Option<Uuid>,
    /// When it was made.
    pub created_at: UtcTime,
    /// From when on it opens nothing.
    #[serde(default)]
    pub expires_at: Option<UtcTime>,
    /// When it was last shown, to within a minute.
    #[serde(default)]
    pub last_used_at: Option<UtcTime>,
    /// Since when it opens nothing.
    #[serde(default)]
    pub revoked_at: Option<UtcTime>,
}

/// A key that was just made, the only time that it can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewApiKey {
    /// What is kept of it.
    #[serde(flatten)]
    pub api_key: ApiKey,
    /// The key itself.
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "ann", "ann@example.com", "0.x_y+z-1", &"a".repeat(128)] {
            assert_eq!(good.parse::<UserName>().unwrap().as_str(), good);
        }
        for bad in ["", ".a", "-a", "a b", "a/b", "é", "a\n", &"a".repeat(129)] {
            bad.parse::<UserName>().unwrap_err();
        }
        assert!(serde_json::from_str::<UserName>("\"a b\"").is_err());
    }
}
