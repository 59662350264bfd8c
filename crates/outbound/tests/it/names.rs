//! Names, and where they lead.

use std::sync::Arc;

use longshore_outbound::{Client, ErrorKind, Options, Policy};

use crate::{
    allowing, get,
    host::{Book, Host},
    owned, refusal,
};

fn client(policy: Policy, book: &Arc<Book>) -> Client {
    Client::new(Options { resolver: Arc::clone(book) as _, ..Options::new(policy) }).unwrap()
}

#[tokio::test]
async fn a_public_name_with_a_closed_address_is_refused() {
    let host = Host::start().await;
    for (address, what) in [
        ("127.0.0.1", "a loopback address"),
        ("10.0.0.1", "a private address"),
        ("169.254.169.254", "link-local"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("fd00:ec2::254", "a cloud's metadata"),
        ("::1", "a loopback address"),
    ] {
        let book = Book::of(&[("public.test", &[&[address]])]);
        let client = client(Policy::closed(), &book);
        let refusal = refusal(&client, &format!("http://public.test:{}/", host.port())).await;
        assert!(refusal.starts_with("public.test is ") && refusal.contains(what), "{refusal}");
        assert!(refusal.contains("allow = [\"public.test\"]") && !refusal.contains(address), "{refusal}");
    }
    assert!(host.seen().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_is_judged_each_time() {
    let open = Host::at("127.0.0.2:0".parse().unwrap()).await;
    let closed = Host::at(([127, 0, 0, 1], open.port()).into()).await;
    let book = Book::of(&[("rebinding.test", &[&["127.0.0.2"], &["127.0.0.1"]])]);
    let client = client(allowing(&["127.0.0.2"]), &book);
    let url = format!("http://rebinding.test:{}/", open.port());
    assert_eq!(get(&client, &url).await.unwrap(), open.address.to_string());
    // What was judged is what was connected to: nobody looked a second time.
    assert_eq!(book.lookups(), 1);
    refusal(&client, &url).await;
    assert_eq!(book.lookups(), 2);
    assert!(closed.seen().is_empty());
}

#[tokio::test]
async fn of_many_addresses_only_the_open_ones_are_tried() {
    let open = Host::at("127.0.0.2:0".parse().unwrap()).await;
    let closed = Host::at(([127, 0, 0, 1], open.port()).into()).await;
    let book = Book::of(&[("many.test", &[&["127.0.0.1", "10.0.0.1", "127.0.0.2", "169.254.169.254"]])]);
    let client = client(allowing(&["127.0.0.2"]), &book);
    let url = format!("http://many.test:{}/", open.port());
    assert_eq!(get(&client, &url).await.unwrap(), open.address.to_string());
    assert!(closed.seen().is_empty());
}

#[tokio::test]
async fn a_denied_name_is_not_looked_up_and_a_denied_network_closes_names() {
    let host = Host::start().await;
    let book = Book::of(&[("denied.test", &[&["127.0.0.1"]]), ("other.test", &[&["127.0.0.1"]])]);
    let client =
        client(Policy::open().with_denied(&owned(&["denied.test", "*.denied.test", "127.0.0.1"])).unwrap(), &book);
    for name in ["denied.test", "DENIED.test.", "a.denied.test"] {
        refusal(&client, &format!("http://{name}:{}/", host.port())).await;
    }
    assert_eq!(book.lookups(), 0);
    refusal(&client, &format!("http://other.test:{}/", host.port())).await;
    assert!(host.seen().is_empty());
}

#[tokio::test]
async fn an_allowed_name_may_lead_anywhere_and_its_neighbours_may_not() {
    let host = Host::start().await;
    let address: &[&[&str]] = &[&["127.0.0.1"]];
    let names = ["models.test", "a.models.test", "a.b.models.test", "amodels.test", "models.test.evil.test"];
    let book = Book::of(&names.map(|name| (name, address)));
    let client = client(allowing(&["models.test", "*.models.test"]), &book);
    for name in &names[..3] {
        get(&client, &format!("http://{name}:{}/", host.port())).await.unwrap();
    }
    host.seen();
    for name in &names[3..] {
        refusal(&client, &format!("http://{name}:{}/", host.port())).await;
    }
    assert!(host.seen().is_empty());
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_not_a_refusal() {
    let book = Book::of(&[("empty.test", &[&[]])]);
    let client = client(Policy::closed(), &book);
    for (name, says) in [("unknown.test", "there is no such name"), ("empty.test", "it has no address")] {
        let error = get(&client, &format!("http://{name}/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.to_string().contains(name) && error.to_string().contains(says), "{error}");
    }
}
