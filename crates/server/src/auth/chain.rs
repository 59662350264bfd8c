//! Several ways to tell who asks.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Authenticator, Denied, Principal};

/// Asks one after the other; the first that knows the key decides.
#[derive(Debug)]
pub struct Chain(pub Vec<Arc<dyn Authenticator>>);

#[async_trait]
impl Authenticator for Chain {
    /// The principal of everybody is that of all parts, if they agree that nobody has to show a key.
    fn anybody(&self) -> Option<Principal> {
        let mut all = self.0.iter().map(|part| part.anybody());
        let first = all.next()??;
        all.all(|other| other.is_some()).then_some(first)
    }

    async fn authenticate(&self, key: &str) -> Result<Principal, Denied> {
        for part in &self.0 {
            match part.authenticate(key).await {
                Err(Denied::Unknown) => {}
                decided => return decided,
            }
        }
        Err(Denied::Unknown)
    }

    async fn admits(&self, principal: &Principal) -> bool {
        for part in &self.0 {
            if !part.admits(principal).await {
                return false;
            }
        }
        true
    }

    async fn flush(&self) {
        for part in &self.0 {
            part.flush().await;
        }
    }

    fn forget(&self) {
        self.0.iter().for_each(|part| part.forget());
    }
}
