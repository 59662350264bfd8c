//! Addresses in URLs, in every spelling.

use longshore_outbound::{Client, ErrorKind, Options, Policy};

use crate::{
    allowing, client, get,
    host::{Book, Host},
    owned, refusal,
};

/// Spellings of addresses that are not public, and what is said of them.
const CLOSED: &[(&[&str], &str)] = &[
    (
        &[
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "0177.0x1",
            "127.0.0.1.",
            "017700000001",
            "１２７.0.0.1",
            "127。0。0。1",
            "%31%32%37.0.0.1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "127.255.255.254",
            "me:hunter2@127.0.0.1",
        ],
        "a loopback address",
    ),
    (&["0.0.0.0", "0", "0x0", "[::]", "0.1.2.3"], "an unspecified address"),
    (
        &["10.0.0.1", "167772161", "0xa.1", "172.16.0.1", "192.168.1.1", "[fd00::1]", "[fec0::1]", "[::ffff:10.0.0.1]"],
        "a private address",
    ),
    (&["100.64.0.1", "100.127.255.255"], "a private address of a carrier"),
    (&["100.100.100.200", "[fd00:ec2::254]", "[fd20:ce::254]", "168.63.129.16"], "a cloud's metadata"),
    (
        &["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[fe80::1]", "[::ffff:a9fe:a9fe]"],
        "link-local",
    ),
    (&["224.0.0.1", "239.1.1.1", "[ff02::1]"], "a multicast address"),
    (&["198.18.0.1"], "an address for benchmarks"),
    (&["198.51.100.7", "[2001:db8::1]"], "an address for documentation"),
    (
        &["192.0.0.8", "240.0.0.1", "255.255.255.255", "[4000::1]", "[64:ff9b:1::1]", "[2001:2::1]"],
        "a reserved address",
    ),
];

#[tokio::test]
async fn no_spelling_of_a_closed_address_is_asked() {
    let host = Host::start().await;
    let client = client(Policy::closed());
    for (spellings, what) in CLOSED {
        for spelling in *spellings {
            for scheme in ["http", "https", "HTTP"] {
                let refusal = refusal(&client, &format!("{scheme}://{spelling}:{}/", host.port())).await;
                assert!(refusal.contains(what), "{spelling}: {refusal}");
                assert!(refusal.contains("[outbound] allow = [\""), "{refusal}");
            }
        }
    }
    assert!(host.seen().is_empty());
}

#[tokio::test]
async fn a_zone_and_other_schemes_are_no_way_around() {
    for url in ["http://[fe80::1%25lo]/", "http://[::1%lo]/", "http://127.0.0.1:99999/", "http://[127.0.0.1]/"] {
        url.parse::<longshore_outbound::Url>().unwrap_err();
    }
    for url in ["ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:1/", "unix:/run/docker.sock", "data:,x"] {
        let refusal = refusal(&client(Policy::open()), url).await;
        assert!(refusal.contains("only addresses of http and https"), "{url}: {refusal}");
    }
}

#[tokio::test]
async fn the_operator_opens_addresses_networks_and_names() {
    let host = Host::start().await;
    let url = host.url("/");
    let local = format!("http://localhost:{}/", host.port());
    let mapped = format!("http://[::ffff:127.0.0.1]:{}/", host.port());
    for (allowed, open, closed) in [
        (&["127.0.0.1"][..], &[&url, &mapped, &local][..], &[][..]),
        (&["::ffff:127.0.0.1"], &[&url], &[]),
        (&["127.0.0.0/8"], &[&url, &mapped], &[]),
        (&["localhost"], &[&local], &[&url, &mapped]),
        (&["LOCALHOST."], &[&local], &[&url]),
        (&["127.0.0.2", "::1", "10.0.0.0/8", "*.localhost"], &[], &[&url, &mapped]),
    ] {
        let client = client(allowing(allowed));
        for url in open {
            assert_eq!(get(&client, url).await.unwrap(), host.address.to_string(), "{allowed:?} does not open {url}");
        }
        host.seen();
        for url in closed {
            refusal(&client, url).await;
        }
        assert!(host.seen().is_empty());
    }
}

#[tokio::test]
async fn a_single_user_reaches_this_machine_and_no_metadata() {
    let host = Host::start().await;
    let client = client(Policy::open());
    assert_eq!(get(&client, &host.url("/")).await.unwrap(), host.address.to_string());
    for closed in ["169.254.169.254", "100.100.100.200", "[fd00:ec2::254]", "0.0.0.0", "224.0.0.1", "[fe80::1]"] {
        refusal(&client, &format!("http://{closed}:{}/", host.port())).await;
    }
}

#[tokio::test]
async fn what_is_denied_is_closed_although_it_is_allowed_too() {
    let host = Host::start().await;
    let local = format!("http://localhost:{}/", host.port());
    for (denied, urls) in [
        (&["127.0.0.0/8", "::1"][..], &[&host.url("/"), &local][..]),
        (&["localhost"], &[&local]),
        (&["*"], &[&host.url("/"), &local]),
    ] {
        let policy = Policy::open().with_allowed(&owned(&["127.0.0.1", "localhost"])).unwrap();
        let client = client(policy.with_denied(&owned(denied)).unwrap());
        for url in urls {
            let refusal = refusal(&client, url).await;
            assert!(refusal.contains("deny in [outbound]"), "{refusal}");
        }
    }
    assert!(host.seen().is_empty());
}

#[tokio::test]
async fn only_listed_ports_are_asked() {
    let (one, two) = (Host::start().await, Host::start().await);
    let client = client(Policy::open().with_ports(&[one.port()]).unwrap());
    get(&client, &one.url("/")).await.unwrap();
    let refusal = refusal(&client, &two.url("/")).await;
    assert!(refusal.contains(&two.port().to_string()) && refusal.contains("ports in [outbound]"), "{refusal}");
    assert!(two.seen().is_empty());
}

#[tokio::test]
async fn errors_hold_nothing_secret_of_an_address() {
    let host = Host::start().await;
    let gone = Host::start().await.address;
    let rest = "hunter2/hidden-path?key=hidden-query#hidden-fragment";
    let open = Client::new(Options { resolver: Book::of(&[]), ..Options::new(Policy::open()) }).unwrap();
    for (client, url, kind) in [
        (&client(Policy::closed()), host.url(&format!("/{rest}")), ErrorKind::Refused),
        (&open, format!("http://{gone}/{rest}"), ErrorKind::Unreachable),
        (&open, format!("https://{}/{rest}", host.address), ErrorKind::Unreachable),
        (&open, format!("http://unknown.test/{rest}"), ErrorKind::Unreachable),
        (&open, format!("ftp://{}/{rest}", host.address), ErrorKind::Refused),
    ] {
        let url = url.replacen("://", "://hidden-user:hidden-password@", 1);
        let error = get(client, &url).await.expect_err(&url);
        assert_eq!(error.kind(), kind, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hidden") && !shown.contains("hunter2"), "{shown}");
        let name = url.parse::<longshore_outbound::Url>().unwrap().host_str().unwrap().to_owned();
        assert!(kind == ErrorKind::Refused || shown.contains(&name), "{shown}");
    }
}
