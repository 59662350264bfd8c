//! Tokens of an identity provider that speaks OpenID Connect.
//!
//! ```text
//! token ─► remembered? ─► header ─► key of the provider ─► signature, then claims ─► name ─► user who is bound to the
//!                                                                                         identity, and not disabled
//! ```
//!
//! Invariants:
//!
//! * Nothing of a token is believed before its signature is verified, but for which key and algorithm it asks for; both
//!   must be among the provider's.
//! * A person is an issuer and a subject. A name alone opens nothing, unless the operator said so.
//! * The provider is asked at most once a minute because of tokens, and nobody whose key is known waits for it.

mod keys;
mod options;
mod person;
mod provider;
mod token;
mod users;

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use longshore_outbound::Client;
use longshore_protocol::account::{Scope, UserRole};
use longshore_store::Store;
use lru::LruCache;
pub use options::{ClaimValue, OidcError, OidcOptions};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use self::{keys::Keys, person::Person, provider::Provider, token::Rules, users::Users};
use super::{Authenticator, Denied, Principal};

/// How long a token that was verified is taken to be good, if it does not end before.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Tokens that are remembered; of more, those that were not seen for longest are verified again.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// What stands for the key in logs.
const KEY_ID: &str = "oidc";

/// The SHA-256 of a token.
type Hash = [u8; 32];

/// Lets in whom an identity provider vouches for. With it, everybody needs a key or a token.
#[derive(Debug)]
pub struct Oidc {
    options: OidcOptions,
    rules: Rules,
    keys: Keys,
    users: Users,
    /// By hash, until when they are good.
    remembered: Mutex<LruCache<Hash, (Instant, Arc<Person>)>>,
}

impl Oidc {
    /// Begins to ask the provider for its keys, with `http`, and does not wait for them: if it is down, that is logged.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// The options make no sense.
    pub fn start(options: OidcOptions, http: Client, store: Arc<dyn Store>) -> Result<Self, OidcError> {
        options.check()?;
        let provider = Provider { issuer: options.issuer.clone(), http, timeout: options.timeout };
        Ok(Self {
            rules: Rules::new(&options),
            keys: Keys::start(provider),
            users: Users::new(store, options.create_users, options.link_users),
            remembered: Mutex::new(LruCache::new(MAX_REMEMBERED)),
            options,
        })
    }

    async fn person(&self, token: &str) -> Result<Arc<Person>, Denied> {
        let hash: Hash = Sha256::digest(token.as_bytes()).into();
        let remembered = self.remembered.lock().get(&hash).cloned();
        if let Some((until, person)) = remembered
            && Instant::now() < until
        {
            return Ok(person);
        }
        let (claims, rest) = self.rules.verify(token, &self.keys).await?;
        let person = Arc::new(Person::of(&claims, &self.options)?);
        let until = Instant::now() + rest.min(REMEMBERED);
        self.remembered.lock().put(hash, (until, Arc::clone(&person)));
        Ok(person)
    }
}

#[async_trait]
impl Authenticator for Oidc {
    async fn authenticate(&self, key: &str) -> Result<Principal, Denied> {
        let person = self.person(key).await?;
        let user = self.users.of(&person).await?;
        let role = if person.is_admin { UserRole::Admin } else { user.role };
        let mut scopes = person.scopes.clone().unwrap_or_else(|| Scope::ALL.to_vec());
        scopes.retain(|scope| *scope != Scope::Admin || role == UserRole::Admin);
        Ok(Principal::new(user.name.as_str()).with(role, scopes).by_key(KEY_ID))
    }

    fn forget(&self) {
        self.users.forget();
    }
}
