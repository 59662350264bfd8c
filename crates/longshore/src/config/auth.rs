//! `[auth]`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use longshore_server::{ClaimValue, OidcOptions};
use schemars::JsonSchema;
use serde::Deserialize;

/// Who is let in besides those who have a key.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Auth {
    /// Tokens of an identity provider that speaks OpenID Connect. With it, everybody needs a key or a token;
    /// `docs/oidc.md` says more.
    oidc: Option<Oidc>,
}

/// Tokens of an identity provider.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Oidc {
    /// The provider's address, exactly as in `iss` of its tokens; https, or http on this machine.
    issuer: String,
    /// What tokens must be for, one or a list: the id of a client or of an API. One of them must be in `aud`.
    audience: OneOrMore,
    /// The claim with the user's name. `email` counts only with `email_verified`. Without it: `sub`.
    user_claim: Option<String>,
    /// Stands before the name from the claim.
    #[serde(default)]
    user_prefix: String,
    /// What an admin's tokens hold: a claim that is this value, or a list with it.
    admin_claim: Option<Claim>,
    /// The claim with scopes: the words `read`, `write` and `admin`, others mean nothing. Without it: all that the user's role
    /// allows.
    scope_claim: Option<String>,
    /// What all tokens must hold: names of claims with their values.
    #[serde(default)]
    required_claims: BTreeMap<String, String>,
    /// Whether a user is added when a token first names one: false by default.
    #[serde(default)]
    create_users: bool,
    /// Whether users whom the operator added, and bound to no identity, are whoever the provider calls so: false by default.
    /// Only for a provider where nobody chooses or inherits a name.
    #[serde(default)]
    link_users: bool,
    /// Algorithms of signatures: `RS256`, `ES256`, `EdDSA` and so on. Without them: all that sign with a private key.
    #[serde(default)]
    algorithms: Vec<String>,
    /// Seconds by which clocks may differ, at most 300. Without it: 60.
    leeway: Option<u64>,
}

/// A claim with a value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Claim {
    /// The name; dots lead into tables, as in `realm_access.roles`.
    name: String,
    /// The value.
    value: String,
}

/// One or a list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Auth {
    /// Which tokens are accepted, if any are.
    pub(crate) fn oidc(&self) -> Result<Option<OidcOptions>> {
        self.oidc.as_ref().map(Oidc::options).transpose().context("[auth.oidc] in the configuration file")
    }
}

impl Oidc {
    fn options(&self) -> Result<OidcOptions> {
        let default = OidcOptions::new(self.issuer.as_str(), "");
        let options = OidcOptions {
            audience: match &self.audience {
                OneOrMore::One(audience) => vec![audience.clone()],
                OneOrMore::More(all) => all.clone(),
            },
            user_claim: self.user_claim.clone().unwrap_or(default.user_claim),
            user_prefix: self.user_prefix.clone(),
            admin_claim: self.admin_claim.clone().map(|Claim { name, value }| ClaimValue { name, value }),
            scope_claim: self.scope_claim.clone(),
            required_claims: self.required_claims.clone(),
            create_users: self.create_users,
            link_users: self.link_users,
            algorithms: OidcOptions::algorithms_from(self.algorithms.iter().map(String::as_str))?,
            leeway: self.leeway.map_or(default.leeway, Duration::from_secs),
            ..default
        };
        options.check()?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<OidcOptions>> {
        toml::from_str::<Auth>(text)?.oidc()
    }

    #[test]
    fn a_provider_is_described_and_what_makes_no_sense_refused() {
        assert!(read("").unwrap().is_none());
        let rest = "audience = ['a', 'b']\nadmin_claim = { name = 'groups', value = 'ops' }\nalgorithms = ['ES256']";
        let options = read(&format!("[oidc]\nissuer = 'https://id.example/realms/a'\n{rest}")).unwrap().unwrap();
        assert_eq!((options.audience.len(), options.user_claim.as_str(), options.create_users), (2, "sub", false));
        let issuer = "issuer = 'https://id.example'\n";
        for (wrong, says) in [
            ("issuer = 'http://id.example'\naudience = 'a'".to_owned(), "https"),
            ("issuer = 'id.example'\naudience = 'a'".to_owned(), "https"),
            (format!("{issuer}audience = []"), "audience"),
            (format!("{issuer}audience = ' '"), "audience"),
            (format!("{issuer}audience = 'a'\nalgorithms = ['HS256']"), "there are RS256"),
            (format!("{issuer}audience = 'a'\nalgorithms = ['none']"), "there are RS256"),
            (format!("{issuer}audience = 'a'\nleeway = 301"), "300"),
            (format!("{issuer}audience = 'a'\nuser_prefix = '-'"), "user_prefix"),
            (format!("{issuer}audience = 'a'\nuser_claim = ''"), "claims"),
            (issuer.to_owned(), "audience"),
            (format!("{issuer}audience = 'a'\nusers = true"), "users"),
        ] {
            let error = format!("{:#}", read(&format!("[oidc]\n{wrong}")).expect_err(&wrong));
            assert!(error.contains(says), "{wrong}: {error}");
        }
        read("[oidc]\nissuer = 'http://127.0.0.1:8080'\naudience = 'a'").unwrap();
    }
}
