//! `/sockets/bash-events`: what happens to commands, and commands to start (contract: server §5.3).

use std::{collections::HashSet, time::Duration};

use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use longshore_engine::bash::Watch;
use longshore_protocol::{
    UtcTime,
    account::Scope,
    bash::{BashError, BashEvent, ExecuteBash},
    nulls,
};
use longshore_store::BashQuery;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    NEEDS_WRITE,
    admission::{Admission, Caller, is_late_authentication},
    connection::{Connection, Gone, close, open},
    mistake,
};
use crate::{
    ApiError, Place, Principal,
    audit::{Trail, UNWRITTEN, described},
    extract::ApiQuery,
    routes::bash::commands::start,
    state::AppState,
};

/// Events that are read from the store at once.
const PAGE: usize = 100;

/// An event that is stored and published while the replay begins may be seen twice, unless it is older than this.
const OVERLAP: Duration = Duration::from_mins(1);

#[derive(Deserialize)]
pub(super) struct Query {
    #[serde(default)]
    session_api_key: Option<String>,
    #[serde(default)]
    resend_mode: Option<ResendMode>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum ResendMode {
    All,
}

pub(super) async fn bash_events(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<ApiQuery<Query>, ApiError>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "This address speaks WebSocket only. Open it with a WebSocket client.",
        )
    })?;
    let ApiQuery(query) = query.map_err(|_| ApiError::forbidden("resend_mode must be 'all'"))?;
    let admission = Admission::before_upgrade(&state, &caller, query.session_api_key.as_deref()).await?;
    let replay = query.resend_mode == Some(ResendMode::All);
    Ok(open(upgrade, &state.clone(), async move |socket| {
        let Caller { seat, trail, .. } = caller;
        let mut connection = Connection::new(socket, seat, &state);
        let Some(principal) = admission.complete(&state, &mut connection).await else {
            return trail.refused(&state).await;
        };
        trail.opened(&state, &principal, None).await;
        match Place::of(&principal, &state).await {
            Ok(place) => {
                let _ = serve(&state, &trail, &principal, &place, &mut connection, replay).await;
            }
            Err(_) => connection.close(close::TRY_LATER, "The workspace cannot be reached").await,
        }
    }))
}

async fn serve(
    state: &AppState,
    trail: &Trail,
    principal: &Principal,
    place: &Place,
    connection: &mut Connection,
    replay: bool,
) -> Result<(), Gone> {
    let Ok(mut watch) = state.bash().watch(&place.scope) else {
        connection.close(close::TRY_LATER, "Too many bash event connections").await;
        return Err(Gone);
    };
    let mut replayed = if replay { replay_all(state, place, connection).await? } else { HashSet::new() };
    loop {
        tokio::select! {
            frame = watch.next() => match frame {
                Some(frame) if replayed.remove(&*frame.id) => {}
                Some(frame) => connection.send(frame.json).await?,
                None => return fallen_behind(connection, watch).await,
            },
            text = connection.receive() => match text {
                Some(text) if is_late_authentication(&text) => {}
                Some(text) => command(state, trail, principal, place, connection, text.as_bytes()).await?,
                None => return Err(Gone),
            },
        }
    }
}

async fn fallen_behind(connection: &mut Connection, watch: Watch) -> Result<(), Gone> {
    drop(watch);
    connection.close(close::TRY_LATER, "Too slow: connect again and ask for all events").await;
    Err(Gone)
}

/// Sends all stored events. Returns the ids of the latest, which the watch may have seen too.
async fn replay_all(state: &AppState, place: &Place, connection: &mut Connection) -> Result<HashSet<String>, Gone> {
    let recent = UtcTime(Timestamp::now() - OVERLAP);
    let mut ids = HashSet::new();
    let mut from = None;
    loop {
        let query = BashQuery { from, limit: PAGE, ..BashQuery::default() };
        let page = match state.bash().search(&place.scope, query).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "events of commands cannot be replayed");
                connection.close(close::TRY_LATER, "The events cannot be read now").await;
                return Err(Gone);
            }
        };
        for event in page.items {
            let (id, timestamp) = match &event {
                BashEvent::BashCommand(command) => (&command.id, command.timestamp),
                BashEvent::BashOutput(output) => (&output.id, output.timestamp),
                BashEvent::BashError(_) | BashEvent::Unknown(_) => continue,
            };
            if timestamp >= recent {
                ids.insert(id.clone());
            }
            connection.send(frame(&event)?).await?;
        }
        from = page.next;
        if from.is_none() {
            return Ok(ids);
        }
    }
}

/// Starts a command, or tells this client what is wrong with it.
async fn command(
    state: &AppState,
    trail: &Trail,
    principal: &Principal,
    place: &Place,
    connection: &mut Connection,
    text: &[u8],
) -> Result<(), Gone> {
    let mistake = match crate::extract::parse::<ExecuteBash>(text) {
        Ok(_) if !principal.has(Scope::Write) => ("Forbidden", NEEDS_WRITE.to_owned()),
        Ok(_) if state.audit().refuses_changes() => ("CommandRefused", UNWRITTEN.to_owned()),
        Ok(request) => {
            let described = described(&request.command, state);
            let started = start(state, place, request).await;
            let status = started.as_ref().map_or_else(ApiError::status, |_| StatusCode::OK);
            trail.commanded(state, described, status).await;
            match started {
                Ok(_) => return Ok(()),
                Err(error) => ("CommandRefused", error.detail()),
            }
        }
        Err(problem) => mistake(&problem),
    };
    let error = BashError {
        id: Uuid::new_v4().simple().to_string(),
        timestamp: UtcTime(Timestamp::now()),
        code: mistake.0.to_owned(),
        detail: mistake.1,
    };
    connection.send(frame(&error.into())?).await
}

fn frame(event: &BashEvent) -> Result<axum::body::Bytes, Gone> {
    nulls::to_vec(event).map(Into::into).map_err(|_| Gone)
}
