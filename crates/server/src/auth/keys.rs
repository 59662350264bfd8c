//! Keys that the operator configured.

use async_trait::async_trait;
use longshore_protocol::Secret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Authenticator, Denied, Principal, SINGLE_USER};

/// One user, who may show any of the configured keys; nobody has to if there are none.
#[derive(Debug, Clone)]
pub struct StaticKeys {
    /// Hashes, so that a comparison takes equal time for every length, and keys are not kept.
    hashes: Vec<[u8; 32]>,
    user: Principal,
}

impl StaticKeys {
    /// Accepts any of `keys`. Blank ones are no keys.
    pub fn new(keys: impl IntoIterator<Item = Secret>) -> Self {
        let hashes = keys.into_iter().filter(|key| !key.expose().trim().is_empty()).map(|key| hash(key.expose()));
        Self { hashes: hashes.collect(), user: Principal::new(SINGLE_USER).as_admin() }
    }
}

#[async_trait]
impl Authenticator for StaticKeys {
    fn anybody(&self) -> Option<Principal> {
        self.hashes.is_empty().then(|| self.user.clone())
    }

    async fn authenticate(&self, key: &str) -> Result<Principal, Denied> {
        let shown = hash(key);
        let known = self.hashes.iter().fold(Choice::from(0), |known, hash| known | hash.ct_eq(&shown));
        if bool::from(known) { Ok(self.user.clone()) } else { Err(Denied::Unknown) }
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
