//! Who somebody is here, by what the provider says.

use longshore_protocol::account::{Identity, Scope, UserName};
use serde_json::Value;

use super::{OidcOptions, token::Claims};
use crate::auth::Denied;

/// Characters of a subject: the standard's bound.
const MAX_SUBJECT: usize = 255;

/// Somebody whom the provider vouches for.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) name: UserName,
    pub(super) identity: Identity,
    pub(super) is_admin: bool,
    /// What the token is good for, if it says so.
    pub(super) scopes: Option<Vec<Scope>>,
}

impl Person {
    /// Who the claims are about.
    ///
    /// # Errors
    /// [`Denied::Ended`] if it is nobody who may be a user; the log says why.
    pub(super) fn of(claims: &Claims, options: &OidcOptions) -> Result<Self, Denied> {
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if subject.is_empty() || subject.len() > MAX_SUBJECT {
            return Err(Denied::Ended("The subject of this token is empty or longer than 255 characters."));
        }
        let identity = Identity { issuer: options.issuer.clone(), subject: subject.to_owned() };
        for (name, value) in &options.required_claims {
            if !has(claims, name, value) {
                tracing::info!(subject, claim = name, "a token was refused: it lacks a claim that is required");
                return Err(Denied::Ended("This token lacks what this server requires: ask an admin."));
            }
        }
        let name = name(claims, options).inspect_err(|_| {
            let claim = &options.user_claim;
            tracing::warn!(subject, claim, "a token was refused: its claim is no name that a user can have");
        })?;
        let is_admin = options.admin_claim.as_ref().is_some_and(|claim| has(claims, &claim.name, &claim.value));
        let scopes = options.scope_claim.as_ref().map(|name| scopes(claims, name));
        Ok(Self { name, identity, is_admin, scopes })
    }
}

/// The name, never changed to make it fit: what is made to fit may be somebody else's.
fn name(claims: &Claims, options: &OidcOptions) -> Result<UserName, Denied> {
    let is_verified = || matches!(claims.get("email_verified"), Some(Value::Bool(true)));
    if options.user_claim == "email" && !is_verified() {
        return Err(Denied::Ended("The identity provider has not verified your address of mail: do that first."));
    }
    let text = find(claims, &options.user_claim).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = text.and_then(|text| format!("{}{text}", options.user_prefix).parse().ok());
    name.ok_or(Denied::Ended("This token names nobody who can be a user here: ask an admin."))
}

/// The scopes that a claim names; other words in it are for others.
fn scopes(claims: &Claims, name: &str) -> Vec<Scope> {
    Scope::ALL.into_iter().filter(|scope| has(claims, name, scope.as_str())).collect()
}

/// Whether a claim is a value, or has it among its words or in its list.
fn has(claims: &Claims, name: &str, value: &str) -> bool {
    match find(claims, name) {
        Some(Value::String(text)) => text == value || text.split(' ').any(|word| word == value),
        Some(Value::Array(items)) => items.iter().any(|item| item.as_str() == Some(value)),
        _ => false,
    }
}

/// The claim of this name. If there is none, dots lead into tables, as in `realm_access.roles`.
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find(claims.get(first)?.as_object()?, rest)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_found_by_their_name_else_by_the_way_to_them() {
        let claims = json!({
            "https://a.example/roles": ["x"], "realm_access": {"roles": ["admin", 1]}, "scope": "openid read", "n": 1
        });
        let claims = claims.as_object().unwrap();
        for (name, value, expected) in [
            ("https://a.example/roles", "x", true),
            ("realm_access.roles", "admin", true),
            ("realm_access.roles", "adm", false),
            ("realm_access", "admin", false),
            ("realm_access.other", "admin", false),
            ("scope", "read", true),
            ("scope", "rea", false),
            ("n", "1", false),
        ] {
            assert_eq!(has(claims, name, value), expected, "{name} {value}");
        }
        assert_eq!(scopes(claims, "scope"), [Scope::Read]);
    }
}
