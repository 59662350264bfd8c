//! What handlers share.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::body::Bytes;
use longshore_engine::{Engine, bash::BashService};
use longshore_protocol::Llm;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Accounts, Activity, Authenticator, Metrics, Options, Workspaces,
    audit::Recorder,
    health::Health,
    metrics::{Exposition, Gatherer},
    protect::{Client, Protection},
};

/// What handlers share: handles only, so that a clone is cheap.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Inner>);

struct Inner {
    options: Options,
    authenticator: Arc<dyn Authenticator>,
    accounts: Accounts,
    workspaces: Arc<dyn Workspaces>,
    engine: Engine,
    bash: BashService,
    activity: Activity,
    metrics: Metrics,
    exposition: Exposition,
    health: Health,
    protection: Protection,
    audit: Recorder,
    bound: OnceLock<SocketAddr>,
    openapi: OnceLock<Bytes>,
    closing: CancellationToken,
    changed: watch::Sender<()>,
    sockets: TaskTracker,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").finish_non_exhaustive()
    }
}

impl AppState {
    pub(crate) fn new(
        options: Options,
        authenticator: Arc<dyn Authenticator>,
        workspaces: Arc<dyn Workspaces>,
        engine: Engine,
        bash: BashService,
    ) -> Self {
        let audit = Recorder::new(options.audit.clone(), engine.store());
        engine.log_actions(Arc::new(audit.clone()));
        let (sockets, sandboxes) = (TaskTracker::new(), workspaces.sandboxes());
        let metrics = Metrics::new(options.tracer.clone());
        engine.observe(Arc::new(metrics.clone()));
        let gatherer = Gatherer {
            engine: engine.clone(),
            bash: bash.clone(),
            sandboxes: sandboxes.clone(),
            sockets: sockets.clone(),
            commit: options.build_sha.clone(),
        };
        Self(Arc::new(Inner {
            audit,
            exposition: Exposition::new(&metrics, gatherer),
            protection: Protection::new(&options.limits, metrics.clone()),
            metrics,
            health: Health::new(engine.clone(), sandboxes),
            options,
            authenticator,
            accounts: Accounts::new(engine.store()),
            workspaces,
            engine,
            bash,
            activity: Activity::start(),
            bound: OnceLock::new(),
            openapi: OnceLock::new(),
            closing: CancellationToken::new(),
            changed: watch::Sender::new(()),
            sockets,
        }))
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn authenticator(&self) -> &dyn Authenticator {
        &*self.0.authenticator
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    pub(crate) fn workspaces(&self) -> &dyn Workspaces {
        &*self.0.workspaces
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn bash(&self) -> &BashService {
        &self.0.bash
    }

    /// Who may ask how much.
    pub(crate) fn protection(&self) -> &Protection {
        &self.0.protection
    }

    /// Whether a client is on the machine of a server without keys, and therefore is not counted.
    pub(crate) fn trusts(&self, client: Option<Client>) -> bool {
        self.authenticator().anybody().is_some() && client.is_none_or(|client| client.0.is_loopback())
    }

    /// The model of conversations that name none: the operator's.
    pub(crate) fn default_model(&self) -> Option<Llm> {
        let model = self.engine().models().operator_default()?;
        Some(Llm { model, ..Llm::default() })
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.0.activity
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// All metrics, as text.
    pub(crate) fn exposition(&self) -> &Exposition {
        &self.0.exposition
    }

    pub(crate) fn health(&self) -> &Health {
        &self.0.health
    }

    /// The log of who did what.
    pub(crate) fn audit(&self) -> &Recorder {
        &self.0.audit
    }

    /// The address that the server listens on, once it does.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.0.bound.get().copied()
    }

    pub(crate) fn set_bound(&self, address: SocketAddr) {
        let _ = self.0.bound.set(address);
    }

    /// The text of `/openapi.json`, made when it is first asked for.
    pub(crate) fn openapi(&self) -> Bytes {
        self.0.openapi.get_or_init(crate::openapi::text).clone()
    }

    /// The sockets that are open.
    pub(crate) fn sockets(&self) -> &TaskTracker {
        &self.0.sockets
    }

    /// Users or keys are others than they were: nothing is remembered of them, and sockets look whether they may stay open.
    pub(crate) fn accounts_changed(&self) {
        self.authenticator().forget();
        self.0.changed.send_replace(());
    }

    /// Fires when users or keys have changed.
    pub(crate) fn account_changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Fires when the server stops: long answers and sockets end then.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }
}
