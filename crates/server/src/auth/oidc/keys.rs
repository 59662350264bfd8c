//! The provider's keys as they are remembered, and when they are asked for again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jsonwebtoken::Algorithm;
use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use super::provider::{Key, Provider};

/// The least time between two requests for keys that tokens with unknown keys cause: whoever makes tokens up makes the
/// server ask no more than that.
const PAUSE: Duration = Duration::from_mins(1);

/// Keys of a provider, which are asked for once at the start, when they are no longer current, and when a token names one
/// that is not known. A key that is known is used while others are asked for, and also if the provider is down.
#[derive(Debug, Clone)]
pub(super) struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    provider: Provider,
    known: Mutex<Known>,
    is_asking: watch::Sender<bool>,
}

#[derive(Debug)]
struct Known {
    keys: Arc<[Key]>,
    current_until: Instant,
    /// When a token last made the server ask.
    asked: Option<Instant>,
    /// Whether the last answer was none.
    is_down: bool,
}

/// The provider cannot be asked whether it has a key.
#[derive(Debug)]
pub(super) struct Down;

impl Keys {
    /// Begins to ask for the keys. Needs a runtime.
    pub(super) fn start(provider: Provider) -> Self {
        let known = Known { keys: Arc::new([]), current_until: Instant::now(), asked: None, is_down: false };
        let keys = Self(Arc::new(Inner { provider, known: Mutex::new(known), is_asking: watch::Sender::new(true) }));
        keys.ask();
        keys
    }

    /// The provider's key of this id; without an id, its only key that fits. None if it has no such key.
    ///
    /// # Errors
    /// [`Down`] if it is not among the known ones, and the provider did not answer.
    pub(super) async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Option<Found>, Down> {
        let known = Arc::clone(&self.0.known.lock().keys);
        let found = Found::among(known, id, algorithm);
        if found.is_none() || Instant::now() >= self.0.known.lock().current_until {
            self.ask_again();
        }
        if found.is_some() {
            return Ok(found);
        }
        self.answered().await?;
        let (known, is_down) = {
            let known = self.0.known.lock();
            (Arc::clone(&known.keys), known.is_down)
        };
        match Found::among(known, id, algorithm) {
            None if is_down => Err(Down),
            found => Ok(found),
        }
    }

    /// Waits for the answer to what is being asked. The provider's time is limited, so the wait is as well.
    async fn answered(&self) -> Result<(), Down> {
        let mut is_asking = self.0.is_asking.subscribe();
        let answer = is_asking.wait_for(|is_asking| !is_asking);
        match timeout(self.0.provider.timeout * 3, answer).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Down),
        }
    }

    /// Asks, unless it is being done or was done not long ago.
    fn ask_again(&self) {
        {
            let mut known = self.0.known.lock();
            if *self.0.is_asking.borrow() || known.asked.is_some_and(|at| at.elapsed() < PAUSE) {
                return;
            }
            known.asked = Some(Instant::now());
            self.0.is_asking.send_replace(true);
        }
        self.ask();
    }

    /// Asks in a task of its own, so that a client that goes away breaks nothing off.
    fn ask(&self) {
        let keys = self.clone();
        tokio::spawn(async move {
            let _asking = Asking(&keys.0.is_asking);
            let answer = keys.0.provider.keys().await;
            let issuer = &keys.0.provider.issuer;
            let mut known = keys.0.known.lock();
            known.is_down = answer.is_err();
            match answer {
                Ok((fresh, lifetime)) => {
                    tracing::debug!(issuer, keys = fresh.len(), "the identity provider's keys were read");
                    known.keys = fresh.into();
                    known.current_until = Instant::now() + lifetime;
                }
                Err(error) => tracing::warn!(
                    issuer,
                    error = &error as &dyn std::error::Error,
                    known = known.keys.len(),
                    "the identity provider's keys cannot be read; tokens of keys that are known go on working"
                ),
            }
        });
    }
}

/// The keys are being asked for, until this is dropped, also if the task that asks is.
struct Asking<'a>(&'a watch::Sender<bool>);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

/// A key among those that were known when it was found.
#[derive(Debug)]
pub(super) struct Found {
    keys: Arc<[Key]>,
    index: usize,
}

impl Found {
    fn among(keys: Arc<[Key]>, id: Option<&str>, algorithm: Algorithm) -> Option<Self> {
        let mut fitting = keys.iter().enumerate().filter(|(_, key)| key.fits(algorithm));
        let index = if let Some(id) = id {
            fitting.find(|(_, key)| key.id.as_deref() == Some(id))?.0
        } else {
            let (index, _) = fitting.next()?;
            fitting.next().is_none().then_some(index)?
        };
        Some(Self { keys, index })
    }

    pub(super) fn key(&self) -> &Key {
        &self.keys[self.index]
    }
}
