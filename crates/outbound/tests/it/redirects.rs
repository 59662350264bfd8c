//! Where answers lead.

use longshore_outbound::{
    Client, ErrorKind, Method, Policy, Request, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue},
};

use crate::{allowing, client, get, host::Host, refusal};

#[tokio::test]
async fn a_redirect_to_a_closed_address_is_refused() {
    let (open, closed) = (Host::at("127.0.0.2:0".parse().unwrap()).await, Host::start().await);
    let client = client(allowing(&["127.0.0.2"]));
    for status in [301, 302, 303, 307, 308] {
        for url in [
            closed.url("/"),
            format!("http://localhost:{}/", closed.port()),
            format!("http://0x7f.1:{}/", closed.port()),
            format!("http://[::ffff:127.0.0.1]:{}/", closed.port()),
            format!("//127.0.0.1:{}/", closed.port()),
            format!("http://127.0.0.2@127.0.0.1:{}/", closed.port()),
            // Through an open one once more.
            open.url(&format!("/302/{}", closed.url("/"))),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
        ] {
            let refusal = refusal(&client, &open.url(&format!("/{status}/{url}"))).await;
            assert!(refusal.contains("[outbound] allow"), "{refusal}");
        }
        let refusal = refusal(&client, &open.url(&format!("/{status}/file:///etc/passwd"))).await;
        assert!(refusal.contains("only addresses of http and https"), "{refusal}");
    }
    assert!(closed.seen().is_empty());
}

#[tokio::test]
async fn ten_redirects_are_followed_and_no_more() {
    let host = Host::start().await;
    let client = client(Policy::open());
    let chain = |length: usize| host.url(&format!("{}/end", "/302/".repeat(length)));
    assert_eq!(get(&client, &chain(10)).await.unwrap(), host.address.to_string());
    assert_eq!(host.seen().len(), 11);
    let error = get(&client, &chain(11)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyRedirects);
    assert_eq!(host.seen().len(), 11);
}

/// Posts with everything that may hold a key.
async fn post(client: &Client, url: &str) -> Response {
    let mut request = Request::new(Method::POST, url.parse().unwrap());
    *request.body_mut() = Some("the body".into());
    for name in ["authorization", "cookie", "x-session-api-key", "api-key", "proxy-authorization"] {
        request.headers_mut().insert(name, HeaderValue::from_static("the-key"));
    }
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    client.execute(request).await.unwrap()
}

fn keys(headers: &HeaderMap) -> usize {
    headers.values().filter(|value| value.as_bytes() == b"the-key").count()
}

#[tokio::test]
async fn another_origin_gets_no_credentials() {
    let (one, two) = (Host::start().await, Host::start().await);
    let client = client(Policy::open());
    post(&client, &one.url(&format!("/307/{}", two.url("/x")))).await;
    assert_eq!(keys(&one.seen()[0].headers), 5);
    let [seen] = &two.seen()[..] else { panic!("one request") };
    assert_eq!(keys(&seen.headers), 0, "{seen:?}");
    assert_eq!((&seen.method, &*seen.body), (&Method::POST, "the body"));
    assert_eq!(seen.headers[CONTENT_TYPE], "text/plain");
    // The same host by another name is another origin.
    post(&client, &one.url(&format!("/307/http://localhost:{}/x", one.port()))).await;
    assert_eq!(keys(&one.seen()[1].headers), 0);
    // The way back restores nothing.
    post(&client, &one.url(&format!("/307/{}", two.url(&format!("/307/{}", one.url("/x")))))).await;
    assert_eq!(keys(&one.seen()[1].headers), 0);
    // The same origin gets all again.
    post(&client, &one.url("/307//x")).await;
    assert_eq!(keys(&one.seen()[1].headers), 5);
}

#[tokio::test]
async fn the_user_of_an_address_is_told_to_its_origin_alone() {
    let (one, two) = (Host::start().await, Host::start().await);
    let client = client(Policy::open());
    let with_user = |url: String| url.replacen("://", "://me:hunter%202@", 1);
    get(&client, &with_user(one.url(&format!("/302/{}", with_user(two.url("/")))))).await.unwrap();
    let seen = one.seen();
    assert_eq!(seen[0].headers[AUTHORIZATION], "Basic bWU6aHVudGVyIDI=");
    assert!(
        two.seen().iter().all(|seen| !seen.headers.contains_key(AUTHORIZATION) && !seen.headers.contains_key(COOKIE))
    );
}

#[tokio::test]
async fn methods_change_as_in_browsers() {
    let host = Host::start().await;
    let client = client(Policy::open());
    for (status, method, body) in [
        (301, Method::GET, ""),
        (302, Method::GET, ""),
        (303, Method::GET, ""),
        (307, Method::POST, "the body"),
        (308, Method::POST, "the body"),
    ] {
        post(&client, &host.url(&format!("/{status}//x"))).await;
        let seen = host.seen().pop().unwrap();
        assert_eq!((seen.method, &*seen.body), (method, body), "{status}");
        assert_eq!(seen.headers.contains_key(CONTENT_TYPE), !body.is_empty());
    }
    // What is no redirect, or leads nowhere, is an answer.
    for path in ["/300/x", "/304/x", "/302/http://["] {
        assert!(!post(&client, &host.url(path)).await.status().is_success());
    }
}
