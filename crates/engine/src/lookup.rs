//! The values of secrets.

use std::time::Duration;

use indexmap::IndexMap;
use longshore_protocol::{
    Action, Secret,
    agent::{LookupSecret, SecretSource},
};

/// How long another server may take to give a secret out.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest value that is taken.
const MAX_LEN: usize = 64 * 1024;

/// Values that are known without asking anybody.
pub(crate) fn known_values(secrets: &IndexMap<String, SecretSource>) -> impl Iterator<Item = String> + '_ {
    secrets.values().filter_map(|source| match source {
        SecretSource::StaticSecret(secret) => secret.value.as_ref().map(|value| value.expose().to_owned()),
        SecretSource::LookupSecret(_) | SecretSource::Unknown(_) => None,
    })
}

/// The secrets that a command names, in any case.
pub(crate) fn named_by(action: &Action, secrets: &IndexMap<String, SecretSource>) -> IndexMap<String, SecretSource> {
    let Action::TerminalAction(action) = action else { return IndexMap::new() };
    let command = action.command.to_uppercase();
    let is_named = |name: &String| command.contains(&name.to_uppercase());
    secrets.iter().filter(|(name, _)| is_named(name)).map(|(name, source)| (name.clone(), source.clone())).collect()
}

/// The values of secrets. One that cannot be had is left out and named in the log.
pub(crate) async fn resolve(
    http: &reqwest::Client,
    secrets: IndexMap<String, SecretSource>,
) -> IndexMap<String, Secret> {
    let mut values = IndexMap::new();
    for (name, source) in secrets {
        match source {
            SecretSource::StaticSecret(secret) => values.extend(secret.value.map(|value| (name, value))),
            SecretSource::LookupSecret(lookup) => match fetch(http, &lookup).await {
                Ok(value) => {
                    values.insert(name, value);
                }
                Err(reason) => tracing::warn!(secret.name = name, reason, "a secret could not be looked up"),
            },
            SecretSource::Unknown(_) => {}
        }
    }
    values
}

async fn fetch(http: &reqwest::Client, lookup: &LookupSecret) -> Result<Secret, String> {
    let mut request = http.get(&lookup.url).timeout(TIMEOUT);
    for (name, value) in &lookup.headers.0 {
        request = request.header(name, value);
    }
    let describe = |error: reqwest::Error| error.without_url().to_string();
    let mut response = request.send().await.and_then(reqwest::Response::error_for_status).map_err(describe)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_LEN {
            return Err(format!("the value is longer than {MAX_LEN} bytes"));
        }
    }
    String::from_utf8(body).map(Secret::new).map_err(|_| "the value is not UTF-8 text".to_owned())
}
