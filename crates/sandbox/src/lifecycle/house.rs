//! A box that runs, as its place has it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use longshore_protocol::sandbox::{SandboxEvent, SandboxEventBody};
use longshore_store::SandboxChange;
use longshore_workspace::{Reader, Remote, RemoteOptions, Workspace, Writer};
use tokio::sync::broadcast;
use tokio_util::sync::DropGuard;
use tracing::Instrument as _;

use super::{Shared, journal::now, plan::Plan};
use crate::{
    Error, SandboxId,
    backend::Connector,
    egress::{self, Acceptor, Ledger, Policy, Proxy, SystemResolver},
};

/// How long a box that cannot be reached is left alone before its connections are asked for again.
const REACH_AGAIN: Duration = Duration::from_secs(5);

/// A box that runs or sleeps. Dropping it ends its way out and our connection to it, not the box.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) id: SandboxId,
    pub(crate) workspace: Arc<dyn Workspace>,
    /// Ends the box's way out when it is dropped.
    egress: Option<DropGuard>,
}

impl House {
    /// The box with this id, which runs. Connects when it is first used.
    pub(crate) fn new(id: SandboxId, plan: &Plan) -> Result<Self, Error> {
        let workspace = match plan.backend.in_process(&plan.spec) {
            Some(workspace) => workspace?,
            None => Arc::new(remote(id, plan)),
        };
        Ok(Self { id, workspace, egress: None })
    }

    /// Opens the box's way out, if its plan has one. What it may not reach is told to `watchers`.
    pub(crate) fn open_egress(
        &mut self,
        shared: &Arc<Shared>,
        plan: &Plan,
        watchers: &broadcast::Sender<SandboxEvent>,
    ) {
        let Some(policy) = &plan.policy else { return };
        let cancel = shared.stopping.child_token();
        let denials = Denials { id: self.id, shared: Arc::clone(shared), watchers: watchers.clone() };
        let policy = Policy::clone(policy);
        let proxy =
            Proxy::new(policy, Arc::new(SystemResolver::default()), Arc::new(denials), egress::Limits::default());
        // A connection of its own: what programs load does not stand in the way of what the agent does.
        let gate = Gate(remote(self.id, plan));
        let guard = cancel.clone().drop_guard();
        let proxy = Arc::new(proxy);
        let serve = async move {
            while let Err(error) = egress::run(&gate, &proxy, &cancel).await {
                // A box that cannot be reached now may be later; one that is gone takes this with it.
                tracing::debug!(%error, "a box's connections cannot be had");
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(REACH_AGAIN) => {}
                }
            }
        };
        shared.tracker.spawn(serve.instrument(tracing::info_span!("box", sandbox.id = %self.id)));
        self.egress = Some(guard);
    }
}

fn remote(id: SandboxId, plan: &Plan) -> Remote {
    let connector = Connector { backend: Arc::clone(&plan.backend), id };
    Remote::new(Arc::new(connector), RemoteOptions::new(&plan.spec.working_dir))
}

/// The connections that programs in a box open to the proxy.
struct Gate(Remote);

#[async_trait]
impl Acceptor for Gate {
    async fn accept(&self) -> Result<(Reader, Writer), longshore_workspace::Error> {
        self.0.accept().await
    }
}

/// Logs what a box may not reach.
#[derive(Debug)]
struct Denials {
    id: SandboxId,
    shared: Arc<Shared>,
    watchers: broadcast::Sender<SandboxEvent>,
}

impl Ledger for Denials {
    fn denied(&self, host: &str, port: u16, reason: &str) {
        let body = SandboxEventBody::Denied { host: host.to_owned(), port, reason: reason.to_owned() };
        let change = SandboxChange { events: vec![body], ..SandboxChange::new(now()) };
        // A box must not hold the server up by asking for what it may not have.
        self.shared.journal.note_if_room(self.id, change, &self.watchers);
    }

    // The proxy logs these itself.
    fn connected(&self, _host: &str, _port: u16, _address: SocketAddr) {}

    fn closed(&self, _host: &str, _port: u16, _up: u64, _down: u64) {}
}
