//! Which user a person of the provider is.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use longshore_protocol::{
    UtcTime,
    account::{User, UserName, UserOptions, UserRole},
};
use longshore_store::Store;
use lru::LruCache;
use parking_lot::Mutex;

use super::person::Person;
use crate::auth::{Denied, SINGLE_USER};

/// How long a user who was looked up is taken to be as before.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Users who are remembered; of more, those who were not seen for longest are looked up again.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Finds users, and adds them.
#[derive(Debug)]
pub(super) struct Users {
    store: Arc<dyn Store>,
    creates: bool,
    links: bool,
    remembered: Mutex<LruCache<UserName, (Instant, Arc<User>)>>,
}

impl Users {
    pub(super) fn new(store: Arc<dyn Store>, creates: bool, links: bool) -> Self {
        Self { store, creates, links, remembered: Mutex::new(LruCache::new(MAX_REMEMBERED)) }
    }

    /// The user who this person is.
    ///
    /// # Errors
    /// [`Denied::Ended`] if there is none, or it is somebody else, or disabled; [`Denied::Unavailable`] if the store fails.
    pub(super) async fn of(&self, person: &Person) -> Result<Arc<User>, Denied> {
        let user = self.user(person).await?;
        if !self.is(person, &user) {
            tracing::warn!(
                user = %person.name,
                issuer = person.identity.issuer,
                subject = ?person.identity.subject,
                "a token was refused: the user of this name is not bound to the identity; an admin can bind it"
            );
            return Err(Denied::Ended("The user of your name is somebody else: ask an admin."));
        }
        if user.disabled_at.is_some() {
            return Err(Denied::Ended("This user is disabled: ask an admin."));
        }
        Ok(user)
    }

    /// Forgets what was looked up.
    pub(super) fn forget(&self) {
        self.remembered.lock().clear();
    }

    fn is(&self, person: &Person, user: &User) -> bool {
        match &user.options.identity {
            Some(identity) => *identity == person.identity,
            None => self.links && user.name.as_str() != SINGLE_USER,
        }
    }

    async fn user(&self, person: &Person) -> Result<Arc<User>, Denied> {
        let remembered = self.remembered.lock().get(&person.name).cloned();
        if let Some((at, user)) = remembered
            && at.elapsed() < REMEMBERED
        {
            return Ok(user);
        }
        let at = Instant::now();
        let user = match self.find(&person.name).await? {
            Some(user) => user,
            None => self.create(person).await?,
        };
        let user = Arc::new(user);
        self.remembered.lock().put(person.name.clone(), (at, Arc::clone(&user)));
        Ok(user)
    }

    async fn create(&self, person: &Person) -> Result<User, Denied> {
        // What there is of the single user needs no row of a user to be found.
        if !self.creates || person.name.as_str() == SINGLE_USER {
            tracing::info!(user = %person.name, "a token was refused: there is no such user");
            return Err(Denied::Ended("There is no user of your name here: ask an admin."));
        }
        let user = User {
            name: person.name.clone(),
            role: UserRole::User,
            created_at: UtcTime(Timestamp::now()),
            disabled_at: None,
            options: UserOptions { identity: Some(person.identity.clone()), ..UserOptions::default() },
        };
        if self.store.create_user(user.clone()).await.map_err(unavailable)? {
            tracing::info!(user = %user.name, issuer = person.identity.issuer, "a user was added on first sight of a token");
            return Ok(user);
        }
        // Somebody was faster.
        let found = self.find(&person.name).await?;
        found.ok_or_else(|| Denied::Unavailable("the user was added and is not there".to_owned()))
    }

    async fn find(&self, name: &UserName) -> Result<Option<User>, Denied> {
        self.store.user(name).await.map_err(unavailable)
    }
}

fn unavailable(error: longshore_store::Error) -> Denied {
    Denied::Unavailable(error.to_string())
}
