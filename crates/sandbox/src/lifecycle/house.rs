//! A box that runs, as its place has it.

use std::sync::Arc;

use longshore_protocol::sandbox::{SandboxEvent, SandboxEventBody};
use longshore_store::SandboxChange;
use longshore_workspace::{Remote, Workspace};
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Shared, journal::now, plan::Plan};
use crate::{Error, SandboxId, backend::Connector, egress};

/// A box that runs or sleeps. Dropping it ends its way out and our connection to it, not the box.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) id: SandboxId,
    pub(crate) workspace: Arc<dyn Workspace>,
    _egress: Option<DropGuard>,
}

impl House {
    /// The box with this id, which runs. Connects when it is first used.
    pub(crate) fn new(id: SandboxId, plan: &Plan) -> Result<Self, Error> {
        let workspace = match plan.backend.in_process(&plan.spec) {
            Some(workspace) => workspace?,
            None => Arc::new(remote(id, plan)),
        };
        Ok(Self { id, workspace, _egress: None })
    }

    /// Opens the box's way out, if its plan has one. What it may not reach is told to `watchers`.
    pub(crate) fn open_egress(
        &mut self,
        shared: &Arc<Shared>,
        plan: &Plan,
        watchers: &broadcast::Sender<SandboxEvent>,
    ) {
        let Some(policy) = &plan.policy else { return };
        let cancel = CancellationToken::new();
        let denials = Denials { id: self.id, shared: Arc::clone(shared), watchers: watchers.clone() };
        let proxy = egress::Proxy::new(Arc::clone(policy), Arc::new(denials));
        // A connection of its own: what programs load does not stand in the way of what the agent does.
        let source = remote(self.id, plan);
        shared.tracker.spawn(egress::run(source, proxy, cancel.clone()));
        self._egress = Some(cancel.drop_guard());
    }
}

fn remote(id: SandboxId, plan: &Plan) -> Remote {
    let connector = Connector { backend: Arc::clone(&plan.backend), id };
    Remote::new(Arc::new(connector), plan.spec.working_dir.clone())
}

/// Logs what a box may not reach.
#[derive(Debug)]
struct Denials {
    id: SandboxId,
    shared: Arc<Shared>,
    watchers: broadcast::Sender<SandboxEvent>,
}

impl egress::Ledger for Denials {
    fn denied(&self, host: &str, port: u16, reason: &str) {
        let body = SandboxEventBody::Denied { host: host.to_owned(), port, reason: reason.to_owned() };
        let change = SandboxChange { events: vec![body], ..SandboxChange::new(now()) };
        // A box must not hold the server up by asking for what it may not have.
        self.shared.journal.note_if_room(self.id, change, &self.watchers);
    }
}
