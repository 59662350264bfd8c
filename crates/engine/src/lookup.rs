//! The values of secrets.

use std::time::Duration;

use indexmap::IndexMap;
use longshore_outbound::{
    Client, Error, Method, Request,
    header::{HeaderName, HeaderValue},
    read_limited,
};
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
pub(crate) async fn resolve(http: &Client, secrets: IndexMap<String, SecretSource>) -> IndexMap<String, Secret> {
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

async fn fetch(http: &Client, lookup: &LookupSecret) -> Result<Secret, String> {
    // Neither the address nor a header is told: both may hold a key.
    let url = lookup.url.parse().map_err(|error| format!("its url cannot be used: {error}"))?;
    let mut request = Request::new(Method::GET, url);
    *request.timeout_mut() = Some(TIMEOUT);
    for (name, value) in &lookup.headers.0 {
        let header = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) = header.ok_or("a header of the request is none of HTTP")?;
        request.headers_mut().append(name, value);
    }
    let response = http.execute(request).await.map_err(|error| error.to_string())?;
    let response = response.error_for_status().map_err(|error| Error::from(error).to_string())?;
    let body = read_limited(response, MAX_LEN).await.map_err(|error| error.to_string())?;
    String::from_utf8(body).map(Secret::new).map_err(|_| "the value is not UTF-8 text".to_owned())
}
