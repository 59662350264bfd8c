//! What the operator decides about tokens of an identity provider.

use std::{collections::BTreeMap, time::Duration};

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use longshore_outbound::Url;
use longshore_protocol::account::UserName;

use crate::options::is_loopback;

/// The most by which clocks may differ.
const MAX_LEEWAY: Duration = Duration::from_mins(5);

/// Audiences, algorithms and required claims, each.
const MAX_ENTRIES: usize = 32;

/// Algorithms that sign with a private key, which the provider alone has.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Which tokens are accepted, and whose they are.
#[derive(Debug, Clone)]
pub struct OidcOptions {
    /// The provider's address, exactly as in its tokens' `iss`: https, or http on this machine.
    pub issuer: String,
    /// What tokens must be for: one of these must be in `aud`. At least one.
    pub audience: Vec<String>,
    /// The claim with the user's name. `email` counts only if `email_verified` is true.
    pub user_claim: String,
    /// Stands before the name from the claim.
    pub user_prefix: String,
    /// What an admin's tokens hold.
    pub admin_claim: Option<ClaimValue>,
    /// The claim with scopes: words in a text, or a list. Without it: all scopes that the user's role allows.
    pub scope_claim: Option<String>,
    /// What all tokens must hold besides.
    pub required_claims: BTreeMap<String, String>,
    /// Whether a user is added when a token first names one.
    pub create_users: bool,
    /// Whether users who are bound to no identity are whoever the provider calls so.
    pub link_users: bool,
    /// Algorithms of signatures. Without any: all that sign with a private key.
    pub algorithms: Vec<Algorithm>,
    /// By how much clocks may differ: five minutes at most.
    pub leeway: Duration,
    /// How long one request to the provider may take.
    pub timeout: Duration,
}

/// A claim that has a value, or a list in which it is.
#[derive(Debug, Clone)]
pub struct ClaimValue {
    /// The claim's name; dots lead into tables if there is no claim of the whole name.
    pub name: String,
    /// The value, a text.
    pub value: String,
}

/// What makes no sense about the options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OidcError(pub(super) String);

impl OidcOptions {
    /// The usual: `sub` is the name, users are not added, one minute of leeway.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: vec![audience.into()],
            user_claim: "sub".to_owned(),
            user_prefix: String::new(),
            admin_claim: None,
            scope_claim: None,
            required_claims: BTreeMap::new(),
            create_users: false,
            link_users: false,
            algorithms: Vec::new(),
            leeway: Duration::from_mins(1),
            timeout: Duration::from_secs(5),
        }
    }

    /// Nothing if the options make sense.
    ///
    /// # Errors
    /// [`OidcError`] with what to write instead.
    pub fn check(&self) -> Result<(), OidcError> {
        let refuse = |reason: String| Err(OidcError(reason));
        match self.issuer.parse::<Url>() {
            Ok(url) if is_safe(&url) && url.query().is_none() && url.fragment().is_none() => {}
            _ => {
                return refuse(
                    "issuer is an address of https, without a query; http is for this machine only".to_owned(),
                );
            }
        }
        let is_blank = |text: &String| text.trim().is_empty();
        if self.audience.is_empty() || self.audience.iter().any(is_blank) {
            return refuse("audience names what tokens are for: the id of a client or of an API".to_owned());
        }
        if self.audience.len().max(self.algorithms.len()).max(self.required_claims.len()) > MAX_ENTRIES {
            return refuse(format!("there are {MAX_ENTRIES} audiences, algorithms and required claims at most"));
        }
        let admin = self.admin_claim.iter().flat_map(|claim| [&claim.name, &claim.value]);
        let claims = self.scope_claim.iter().chain(self.required_claims.iter().flat_map(|(name, value)| [name, value]));
        if is_blank(&self.user_claim) || admin.chain(claims).any(is_blank) {
            return refuse("the names and values of claims are not empty".to_owned());
        }
        if format!("{}x", self.user_prefix).parse::<UserName>().is_err() {
            return refuse(
                "user_prefix has letters, digits and . _ @ + -, and begins with a letter or a digit".to_owned(),
            );
        }
        if let Some(wrong) = self.algorithms.iter().find(|algorithm| algorithm.family() == AlgorithmFamily::Hmac) {
            return refuse(format!("algorithms: {wrong:?} signs with a shared secret: choose among {}", names()));
        }
        if self.leeway > MAX_LEEWAY {
            return refuse(format!("leeway is {} seconds at most", MAX_LEEWAY.as_secs()));
        }
        Ok(())
    }

    /// Algorithms of signatures by their names.
    ///
    /// # Errors
    /// [`OidcError`] with the names that there are.
    pub fn algorithms_from<'a>(names_: impl IntoIterator<Item = &'a str>) -> Result<Vec<Algorithm>, OidcError> {
        let find = |name: &str| ALGORITHMS.into_iter().find(|known| format!("{known:?}") == name);
        let each = |name| find(name).ok_or_else(|| OidcError(format!("algorithms: there are {}", names())));
        names_.into_iter().map(each).collect()
    }

    /// The algorithms that are accepted.
    pub(super) fn accepted(&self) -> Vec<Algorithm> {
        if self.algorithms.is_empty() { ALGORITHMS.to_vec() } else { self.algorithms.clone() }
    }
}

/// Whether what comes from an address is the provider's word: nobody between can change it.
pub(super) fn is_safe(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    url.scheme() == "https" || url.scheme() == "http" && is_loopback(host)
}

fn names() -> String {
    ALGORITHMS.map(|algorithm| format!("{algorithm:?}")).join(", ")
}
