//! The boxes that the last server left, and the end of boxes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use longshore_protocol::sandbox::{SandboxOptions, SandboxState};
use longshore_store::{At, Sandbox, SandboxChange};

use super::{Key, Shared, journal::now, plan, slot::Slot};
use crate::{Backend, Error, Found, Running, SandboxId};

/// Compares what is stored with what is there. Rows of living boxes become places again; what nobody knows is removed in
/// the background.
pub(crate) async fn recover(shared: &Arc<Shared>) -> Result<(), Error> {
    let rows = shared.store.sandboxes().await.map_err(|cause| Error::failed("read the stored boxes", cause))?;
    let mut found = HashMap::new();
    let mut is_listed = HashSet::new();
    for backend in shared.backends.iter().filter(|backend| backend.is_isolated()) {
        match backend.list().await {
            Ok(boxes) => {
                found.extend(boxes.into_iter().map(|Found { id, running }| (id, running)));
                is_listed.insert(backend.name());
            }
            Err(error) => {
                tracing::warn!(backend = backend.name(), %error, "the boxes that are there cannot be listed yet");
            }
        }
    }
    let mut doomed = Vec::new();
    for row in rows {
        let id = SandboxId(row.id);
        if is_kept(shared, &row) {
            continue;
        }
        let Some(key) = key(shared, &row).await else {
            doomed.push(row);
            continue;
        };
        let running = if is_listed.contains(&*row.backend) {
            found.get(&id).copied().unwrap_or(Running::No)
        } else {
            as_stored(shared, &row)
        };
        let slot = match place(shared, key.clone(), &row, running) {
            Ok(slot) => slot,
            Err(error) => {
                tracing::error!(sandbox.id = %id, %error, "a stored box cannot be used as it is");
                match unusable(shared, key.clone(), &row, error).await {
                    Ok(slot) => slot,
                    Err(error) => {
                        tracing::error!(sandbox.id = %id, %error, "a stored box is left alone");
                        continue;
                    }
                }
            }
        };
        let slot = Arc::new(slot);
        shared.slots.lock().insert(key, Arc::clone(&slot));
        let was_there = matches!(row.state, SandboxState::Ready | SandboxState::Paused);
        if was_there && running == Running::No && !slot.is_blocked() {
            slot.found_lost(id).await;
        }
    }
    let shared = Arc::clone(shared);
    shared.clone().tracker.spawn(async move {
        for row in doomed {
            end(&shared, &row).await;
        }
        remove_orphans(&shared).await;
    });
    Ok(())
}

/// What a box that could not be looked for is taken to do: to wake it is the way to find out.
fn as_stored(shared: &Shared, row: &Sandbox) -> Running {
    let is_isolated = shared.backends.find(Some(&row.backend)).is_ok_and(|backend| backend.is_isolated());
    match row.state {
        SandboxState::Ready if !is_isolated => Running::Yes,
        SandboxState::Ready | SandboxState::Paused => Running::Paused,
        _ => Running::No,
    }
}

/// Whose box it is; none if it is to be removed: it was doomed, waited in a pool, or its place was deleted.
async fn key(shared: &Shared, row: &Sandbox) -> Option<Key> {
    let owner = row.owner.clone().filter(|_| !row.is_doomed)?;
    // An error is no proof that it is gone.
    let is_gone = match row.at {
        At::Own => false,
        At::Conversation(id) => matches!(shared.store.conversation(&owner, id).await, Ok(None)),
        At::Workspace(id) => matches!(shared.store.workspace(&owner, id).await, Ok(None)),
    };
    (!is_gone).then_some(Key { owner, at: row.at })
}

/// A stored box as a place, with no more rights than the operator gives today.
fn place(shared: &Arc<Shared>, key: Key, row: &Sandbox, running: Running) -> Result<Slot, Error> {
    let options = plan::within_ceilings(row.options.clone(), &shared.settings.defaults)?;
    let plan = plan::completed(&shared.settings, &shared.backends, options, row.working_dir.as_ref())?;
    Slot::found(Arc::clone(shared), key, plan, row, running)
}

/// A stored box that may not be as it is: it is stopped, says why, and can be removed.
async fn unusable(shared: &Arc<Shared>, key: Key, row: &Sandbox, error: Error) -> Result<Slot, Error> {
    let options = SandboxOptions { backend: Some(row.backend.clone()), ..SandboxOptions::default() };
    let plan = plan::completed(&shared.settings, &shared.backends, options, row.working_dir.as_ref())?;
    plan.backend.stop(SandboxId(row.id)).await?;
    let reason = format!("it cannot be used any more: {error}. Remove it, with its files, to get another");
    let slot = Slot::found(Arc::clone(shared), key, plan, row, Running::No)?;
    slot.block(Error::Invalid(reason));
    Ok(slot)
}

/// Whether a row is of a box that was found without one and is kept for whoever may miss it.
fn is_kept(shared: &Shared, row: &Sandbox) -> bool {
    let unused = now().0.duration_since(row.used_at.0);
    let is_old = shared
        .settings
        .retention
        .is_some_and(|retention| Duration::try_from(unused).is_ok_and(|unused| unused > retention));
    is_unknown(row) && !row.is_doomed && !is_old
}

async fn end(shared: &Shared, row: &Sandbox) {
    let id = SandboxId(row.id);
    match shared.backends.find(Some(&row.backend)) {
        Ok(backend) => remove(shared, &*backend, id).await,
        Err(error) => tracing::warn!(sandbox.id = %id, %error, "a box cannot be removed"),
    }
}

/// Removes boxes that no row names, or keeps them if the settings say so. A row comes before its box, so whatever has none is
/// of nobody, unless the rows are not those that were.
pub(crate) async fn remove_orphans(shared: &Shared) {
    for backend in shared.backends.iter() {
        let Ok(boxes) = backend.list().await else { continue };
        let Ok(rows) = shared.store.sandboxes().await else { return };
        let known: HashSet<_> = rows.iter().map(|row| SandboxId(row.id)).collect();
        let unknown: HashSet<_> = boxes.into_iter().map(|found| found.id).filter(|id| !known.contains(id)).collect();
        if unknown.is_empty() {
            continue;
        }
        // A box goes before its row, so one that went between the two looks is not there any more.
        let Ok(boxes) = backend.list().await else { continue };
        for Found { id, .. } in boxes.into_iter().filter(|found| unknown.contains(&found.id)) {
            if shared.settings.keeps_unknown {
                keep(shared, &**backend, id).await;
                continue;
            }
            tracing::warn!(sandbox.id = %id, backend = backend.name(), "removing a box that nobody knows");
            raze(shared, &**backend, id).await;
        }
    }
}

/// Tries again to remove what could not be removed before.
pub(crate) async fn remove_doomed(shared: &Shared) {
    let Ok(rows) = shared.store.sandboxes().await else { return };
    for row in rows.iter().filter(|row| row.is_doomed || (is_unknown(row) && !is_kept(shared, row))) {
        end(shared, row).await;
    }
}

/// Whether a row was made for a box that had none.
fn is_unknown(row: &Sandbox) -> bool {
    row.owner.is_none() && row.state == SandboxState::Lost
}

/// Stops a box that no row names, and gives it one, by which it is removed when its retention ends.
async fn keep(shared: &Shared, backend: &dyn Backend, id: SandboxId) {
    let at = now();
    let row = Sandbox {
        id: id.0,
        owner: None,
        at: At::Own,
        backend: backend.name().to_owned(),
        options: SandboxOptions::default(),
        working_dir: shared.settings.working_dir.to_string_lossy().into_owned(),
        state: SandboxState::Lost,
        reason: "it was found without a record of it".to_owned(),
        is_doomed: false,
        created_at: at,
        used_at: at,
    };
    let stopped = backend.stop(id).await;
    let kept = shared.store.create_sandbox(row).await;
    tracing::error!(
        sandbox.id = %id, backend = backend.name(), stopped = stopped.is_ok(), recorded = kept.is_ok(),
        "a box that nobody knows was stopped; its files are kept until its retention ends"
    );
}

/// Dooms a box that nobody has, and removes it.
pub(crate) async fn remove(shared: &Shared, backend: &dyn Backend, id: SandboxId) {
    if let Err(error) = doom(shared, id).await {
        tracing::warn!(sandbox.id = %id, %error, "a box could not be doomed");
    }
    raze(shared, backend, id).await;
}

/// Makes it durable that a box is to be removed.
pub(crate) async fn doom(shared: &Shared, id: SandboxId) -> Result<(), Error> {
    let change = SandboxChange { doom: true, ..SandboxChange::new(now()) };
    let doomed = shared.store.change_sandbox(id.0, change).await;
    doomed.map(drop).map_err(|cause| Error::failed("store that a box is to be removed", cause))
}

/// Removes a doomed box and then its row. What fails is tried again by the sweeper.
pub(crate) async fn raze(shared: &Shared, backend: &dyn Backend, id: SandboxId) {
    if let Err(error) = backend.destroy(id).await {
        tracing::warn!(sandbox.id = %id, %error, "a box could not be removed; it is tried again");
        return;
    }
    if let Err(error) = shared.store.delete_sandbox(id.0).await {
        tracing::warn!(sandbox.id = %id, %error, "the row of a removed box stays for now");
    }
}
