//! Limits, and the proxy.

use std::time::Duration;

use longshore_outbound::{Client, ErrorKind, Options, Policy, read_limited};
use longshore_protocol::Secret;

use crate::{client, get, host::Host, refusal, request};

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit() {
    let host = Host::start().await;
    let client = client(Policy::open());
    let read = async |count: usize, limit| {
        read_limited(client.execute(request(&host.url(&format!("/bytes/{count}")))).await.unwrap(), limit).await
    };
    assert_eq!(read(1000, 1000).await.unwrap().len(), 1000);
    assert_eq!(read(0, 0).await.unwrap().len(), 0);
    for (count, limit) in [(1001, 1000), (1, 0), (500_000, 100_000)] {
        let error = read(count, limit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLong);
        assert!(error.to_string().contains(&format!("{} sent more than {limit} bytes", host.address)), "{error}");
    }
}

#[tokio::test]
async fn a_host_that_never_answers_is_given_up() {
    let host = Host::start().await;
    let timeout = Duration::from_millis(50);
    let short = Client::new(Options { timeout, ..Options::new(Policy::open()) }).unwrap();
    assert_eq!(get(&short, &host.url("/never")).await.unwrap_err().kind(), ErrorKind::Timeout);
    // A request's own limit comes before that of the client, and holds over redirects.
    let mut request = request(&host.url("/302//never"));
    *request.timeout_mut() = Some(timeout);
    let error = client(Policy::open()).execute(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(host.seen().len(), 3);
}

#[tokio::test]
async fn all_goes_through_the_operators_proxy_but_what_is_refused() {
    // The host answers as a proxy does: with whatever it is asked for.
    let proxy = Host::start().await;
    let url = Secret::new(format!("http://me:hunter2@localhost:{}", proxy.port()));
    let client = Client::new(Options { proxy: Some(url), ..Options::new(Policy::closed()) }).unwrap();
    assert_eq!(get(&client, "http://name.test/a?b").await.unwrap(), proxy.address.to_string());
    let [seen] = &proxy.seen()[..] else { panic!("one request") };
    assert_eq!(seen.target, "http://name.test/a?b");
    assert_eq!(seen.headers["proxy-authorization"], "Basic bWU6aHVudGVyMg==");
    refusal(&client, "http://127.0.0.1/").await;
    assert!(proxy.seen().is_empty());
    assert!(!format!("{client:?}").contains("hunter2"));
}
