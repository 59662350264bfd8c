//! Keys of users, of which only hashes are stored.
//!
//! A key is `lsk_`, its id, and 256 random bits: the id finds the row, the hash of the rest is compared in constant time. What
//! was looked up is remembered for a second, so that a key that another process revokes opens nothing soon after; what
//! this server changes counts at once.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::future::OptionFuture;
use longshore_protocol::{
    UtcTime,
    account::{ApiKey, NewApiKey},
};
use longshore_store::{KeyHash, Store, StoredKey};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Authenticator, Denied, Principal};

/// What every key begins with, so that a key in a wrong place is seen for what it is.
const PREFIX: &str = "lsk_";

/// How long a key that was looked up is taken to be as it was.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Keys that are remembered; when there are more, all are looked up again.
const MAX_REMEMBERED: usize = 10_000;

/// Uses of keys that are noted before they are stored, at least once a minute.
const FLUSH: Duration = Duration::from_secs(30);

/// Keys of users in a store.
#[derive(Debug)]
pub struct StoredKeys {
    store: Arc<dyn Store>,
    remembered: Mutex<HashMap<String, (Instant, Arc<StoredKey>)>>,
    uses: Mutex<Uses>,
    /// Whether somebody who shows no key is let in by others.
    is_optional: bool,
}

#[derive(Debug)]
struct Uses {
    since: Instant,
    by_key: HashMap<String, UtcTime>,
}

impl StoredKeys {
    /// The keys of the users in `store`. If there is no user yet, nobody needs one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, longshore_store::Error> {
        let is_optional = store.users(None, 1).await?.is_empty();
        let uses = Uses { since: Instant::now(), by_key: HashMap::new() };
        Ok(Self { store, remembered: Mutex::default(), uses: Mutex::new(uses), is_optional })
    }

    async fn look_up(&self, id: &str) -> Result<Option<Arc<StoredKey>>, Denied> {
        if let Some((at, known)) = self.remembered.lock().get(id)
            && at.elapsed() < REMEMBERED
        {
            return Ok(Some(Arc::clone(known)));
        }
        let found = self.store.api_key(id).await.map_err(|error| Denied::Unavailable(error.to_string()))?;
        let Some(found) = found.map(Arc::new) else { return Ok(None) };
        let mut remembered = self.remembered.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(id.to_owned(), (Instant::now(), Arc::clone(&found)));
        Ok(Some(found))
    }

    fn note(&self, id: &str, now: UtcTime) {
        let mut uses = self.uses.lock();
        uses.by_key.insert(id.to_owned(), now);
        if uses.since.elapsed() < FLUSH {
            return;
        }
        uses.since = Instant::now();
        let by_key = std::mem::take(&mut uses.by_key);
        drop(uses);
        let store = Arc::clone(&self.store);
        tokio::spawn(async move { write_down(&*store, by_key).await });
    }
}

#[async_trait]
impl Authenticator for StoredKeys {
    fn anybody(&self) -> Option<Principal> {
        self.is_optional.then(|| Principal::new(super::SINGLE_USER).as_admin())
    }

    async fn authenticate(&self, key: &str) -> Result<Principal, Denied> {
        let (id, random) = parts(key).ok_or(Denied::Unknown)?;
        let stored = self.look_up(id).await?.ok_or(Denied::Unknown)?;
        if !bool::from(stored.hash.ct_eq(&hash(random))) {
            return Err(Denied::Unknown);
        }
        let now = UtcTime(jiff::Timestamp::now());
        judge(&stored, now)?;
        self.note(id, now);
        let StoredKey { key, user, .. } = &*stored;
        let principal = Principal::new(user.name.as_str()).with(user.role, key.scopes.clone()).by_key(key.id.as_str());
        Ok(match key.workspace_id {
            Some(workspace) => principal.bound_to(workspace),
            None => principal,
        })
    }

    /// What cannot be looked up now is as it was.
    async fn admits(&self, principal: &Principal) -> bool {
        if let Some(Ok(Some(stored))) = OptionFuture::from(principal.key_id().map(|id| self.look_up(id))).await {
            return judge(&stored, UtcTime(jiff::Timestamp::now())).is_ok();
        }
        let Ok(name) = principal.user().0.parse() else { return true };
        let user = self.store.user(&name).await;
        user.map_or(true, |user| user.is_none_or(|user| user.disabled_at.is_none()))
    }

    async fn flush(&self) {
        let by_key = std::mem::take(&mut self.uses.lock().by_key);
        write_down(&*self.store, by_key).await;
    }

    fn forget(&self) {
        self.remembered.lock().clear();
    }
}

/// Whether a key opens anything.
fn judge(StoredKey { key, user, .. }: &StoredKey, now: UtcTime) -> Result<(), Denied> {
    if key.revoked_at.is_some() {
        return Err(Denied::Ended("This key was revoked: ask for another."));
    }
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Denied::Ended("This key has expired: ask for another."));
    }
    if user.disabled_at.is_some() {
        return Err(Denied::Ended("This user is disabled: ask an admin."));
    }
    Ok(())
}

async fn write_down(store: &dyn Store, uses: HashMap<String, UtcTime>) {
    if uses.is_empty() {
        return;
    }
    if let Err(error) = store.note_api_key_uses(uses.into_iter().collect()).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "when keys were last used could not be stored");
    }
}

/// Makes a key: what is stored of it, and the key itself. `wish` is complete but for the id.
pub fn new_key(wish: ApiKey) -> (NewApiKey, KeyHash) {
    let mut bytes = [0; 40];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    let text = hex(&bytes);
    let (id, random) = text.split_at(16);
    let key = format!("{PREFIX}{id}_{random}");
    (NewApiKey { api_key: ApiKey { id: id.to_owned(), ..wish }, key }, hash(random))
}

/// The id and the random part.
fn parts(key: &str) -> Option<(&str, &str)> {
    let (id, random) = key.strip_prefix(PREFIX)?.split_once('_')?;
    (id.len() == 16 && random.len() == 64).then_some((id, random))
}

fn hash(random: &str) -> KeyHash {
    Sha256::digest(random.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
