//! Requests over real connections.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod host;
mod limits;
mod names;
mod redirects;

use longshore_outbound::{Client, Error, Method, Options, Policy, Request};

/// A client with this policy.
fn client(policy: Policy) -> Client {
    Client::new(Options::new(policy)).unwrap()
}

/// A policy that opens these and nothing else.
fn allowing(entries: &[&str]) -> Policy {
    Policy::closed().with_allowed(&owned(entries)).unwrap()
}

fn owned(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

fn request(url: &str) -> Request {
    Request::new(Method::GET, url.parse().unwrap())
}

/// The text that is at an address.
async fn get(client: &Client, url: &str) -> Result<String, Error> {
    let response = client.execute(request(url)).await?;
    Ok(response.text().await?)
}

/// The refusal of an address.
async fn refusal(client: &Client, url: &str) -> String {
    let error = get(client, url).await.expect_err(url);
    assert!(error.is_refused(), "{url}: {error:?}");
    error.to_string()
}
