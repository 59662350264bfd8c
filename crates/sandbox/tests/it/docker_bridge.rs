//! Boxes of Docker that may reach every public address, and nothing else.

use std::{net::IpAddr, path::Path, time::Duration};

use longshore_sandbox::{Backend as _, Error, Network, SandboxId, Spec};
use tokio::net::{TcpStream, UnixStream};

use crate::{
    docker_neighbour::{GREETING, NAME, Neighbour},
    docker_support::{Boxed, DEBIAN, Place, docker, engine_socket, run, skip, spec, until},
};

fn bridged() -> Spec {
    Spec { image: Some(DEBIAN.to_owned()), network: Network::Bridge, ..spec() }
}

/// A place whose boxes can have such a network; none where that takes more than this machine gives.
async fn place(name_server: Option<IpAddr>) -> Option<Place> {
    let place = Place::with(|options| options.dns.extend(name_server)).await?;
    if place.backend.has_bridge() {
        return Some(place);
    }
    assert!(std::env::var_os("LONGSHORE_REQUIRE_ROOT").is_none_or(|value| value != "1"), "no network for boxes");
    skip("this machine's packet filter cannot be set");
    None
}

/// Those of `targets` (`address:port`) that take a connection from the box.
async fn open(boxed: &Boxed, targets: &str) -> String {
    let script = "for t in TARGETS; do (timeout 3 bash -c \"exec 3<>/dev/tcp/${t%:*}/${t#*:}\" 2> /dev/null && echo $t) & done; wait";
    boxed.must(&script.replace("TARGETS", targets)).await
}

/// Whether a target takes a connection from here.
async fn answers(target: &str) -> bool {
    let connected = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(target)).await;
    matches!(connected, Ok(Ok(_)))
}

async fn fetch(boxed: &Boxed, neighbour: &Neighbour) -> String {
    boxed.must(&format!("curl --silent --fail --max-time 10 http://{}/", neighbour.address)).await
}

fn address(place: &Place, boxed: &Boxed) -> String {
    let networks = place.inspect(boxed.id, ".NetworkSettings.Networks");
    let after = networks.split("\"IPAddress\":\"").nth(1).expect("an address");
    after.split('"').next().expect("an address").to_owned()
}

/// The network's bridge on this machine, and its address there.
fn bridge(place: &Place) -> (String, String) {
    let network = format!("longshore-{}", place.deployment.name);
    let inspect = |field: &str| docker(&["network", "inspect", "--format", &format!("{{{{{field}}}}}"), &network]);
    (inspect("index .Options \"com.docker.network.bridge.name\""), inspect("(index .IPAM.Config 0).Gateway"))
}

fn rules(bridge: &str) -> Vec<String> {
    let saved = [run("iptables-save", &[]), run("ip6tables-save", &[])].join("\n");
    let suffix = bridge.trim_start_matches("ls");
    let ours =
        saved.lines().filter(|line| line.starts_with("-A") && line.contains(suffix) && !line.contains("MASQUERADE"));
    ours.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_box_reaches_public_addresses_and_no_others() {
    let Some(place) = place(None).await else { return };
    let public = Neighbour::new([198, 51, 100]);
    let private = Neighbour::new([10, 250, 17]);
    let (boxed, other) = (place.run(&bridged()).await, place.run(&bridged()).await);
    assert_eq!(fetch(&boxed, &public).await, GREETING);

    // What there is to be reached: the other box from itself, all else from here.
    other.must("setsid python3 -m http.server 8080 > /dev/null 2>&1 &").await;
    let beside = format!("{}:8080", address(&place, &other));
    until("the other box listens", || async { open(&other, &beside).await == beside }).await;
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (name, gateway) = bridge(&place);
    let own = run("ip", &["-4", "-o", "address"]);
    let own = own.lines().filter_map(|line| line.split_whitespace().nth(3)?.split('/').next());
    let mut targets: Vec<_> = own.filter(|own| !own.starts_with("127.")).map(|own| format!("{own}:{port}")).collect();
    for own in [gateway.clone(), public.here.to_string(), private.here.to_string()] {
        assert!(targets.contains(&format!("{own}:{port}")), "{own}: {targets:?}");
    }
    targets.push(format!("{}:80", private.address));
    for target in &targets {
        until(target, || answers(target)).await;
    }
    targets.push(beside);
    assert_eq!(open(&boxed, &targets.join(" ")).await, "");

    // What need not be there is refused all the same, and at once.
    // The network of the boxes is one of the private ones, and there nothing is forwarded.
    let beside = |address: &str| gateway.split('.').take(2).eq(address.split('.').take(2));
    let closed: Vec<_> = [
        ("169.254.169.254", "169.254.0.0/16"),
        ("100.64.0.1", "100.64.0.0/10"),
        ("192.168.255.254", "192.168.0.0/16"),
        ("172.16.255.254", "172.16.0.0/12"),
        ("10.0.0.1", "10.0.0.0/8"),
        ("198.18.0.1", "198.18.0.0/15"),
    ]
    .into_iter()
    .filter(|(address, _)| !beside(address))
    .collect();
    let targets: Vec<_> = closed.iter().map(|(address, _)| format!("{address}:80")).collect();
    assert_eq!(open(&boxed, &targets.join(" ")).await, "");
    let filter = run("iptables", &["-v", "-n", "-x", "-L", &format!("LONGSHORE-{}", name.trim_start_matches("ls"))]);
    for (_, network) in closed {
        let rule = filter.lines().find(|line| line.contains(network)).expect("a rule");
        assert_ne!(rule.split_whitespace().next(), Some("0"), "{rule}");
    }
    // Nor is there another version of the protocol, or a host behind the engine's own server for names.
    assert_eq!(boxed.must("cat /proc/net/if_inet6").await, "");
    assert_eq!(open(&boxed, &format!("127.0.0.11:{port}")).await, "");
    // Nobody pretends to be somebody else, because that takes raw sockets.
    boxed.must_not("python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'").await;
}

#[tokio::test]
async fn what_the_machine_publishes_is_closed_to_boxes() {
    let Some(place) = place(None).await else { return };
    let public = Neighbour::new([198, 51, 100]);
    let published = Published::new();
    let target = format!("{}:{}", public.here, published.port);
    until("it answers", || answers(&target)).await;
    let boxed = place.run(&bridged()).await;
    assert_eq!(open(&boxed, &format!("{target} {}:8080", published.address)).await, "");
}

#[tokio::test]
async fn names_are_resolved_by_a_server_that_gives_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let public = Neighbour::new([198, 51, 100]);
    let private = Neighbour::new([10, 250, 18]);
    let Some(place) = place(Some(private.address.into())).await else { return };
    let boxed = place.run(&bridged()).await;
    let found = boxed.must(&format!("getent ahostsv4 {NAME}")).await;
    assert!(found.starts_with(&private.address.to_string()), "{found}");
    boxed.must_not("getent ahostsv4 nobody.test").await;
    assert_eq!(open(&boxed, &format!("{}:80", private.address)).await, "");
    assert_eq!(fetch(&boxed, &public).await, GREETING);
}

#[tokio::test]
async fn the_rules_are_there_before_a_box_runs_and_go_with_the_last_one() {
    let Some(place) = place(None).await else { return };
    let (one, two) = (place.run(&bridged()).await, place.run(&bridged()).await);
    let (name, gateway) = bridge(&place);
    let before = rules(&name);
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let target = format!("{gateway}:{}", listener.local_addr().expect("an address").port());
    assert_eq!(open(&one, &target).await, "");

    // Somebody takes a rule away: without it the machine is open.
    let input = before.iter().find(|rule| rule.starts_with("-A INPUT")).expect("a rule").replacen("-A", "-D", 1);
    run("iptables", &input.split(' ').collect::<Vec<_>>());
    assert_eq!(open(&one, &target).await, target);
    place.backend.stop(two.id).await.expect("a stop");
    place.backend.start(two.id, &bridged()).await.expect("a start");
    assert_eq!((open(&one, &target).await, rules(&name)), (String::new(), before.clone()));

    // Somebody puts one before ours.
    let accept = ["INPUT", "-i", &name, "-j", "ACCEPT"];
    run("iptables", &[&["-I"], &accept[..]].concat());
    place.backend.start(two.id, &bridged()).await.expect("a start");
    let still = open(&one, &target).await;
    run("iptables", &[&["-D"], &accept[..]].concat());
    assert_eq!(still, "");

    place.backend.destroy(one.id).await.expect("no box");
    assert_eq!(rules(&name), before);
    place.backend.destroy(two.id).await.expect("no box");
    assert!(rules(&name).is_empty() && !Path::new("/sys/class/net").join(&name).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_such_network_where_the_packet_filter_is_elsewhere() {
    if Place::new().await.is_none() {
        return;
    }
    let (listener, socket) = (tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port"), engine_socket());
    let address = format!("tcp://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut engine = UnixStream::connect(&socket).await.expect("the engine");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut engine).await });
        }
    });
    let place = Place::with(|options| options.address = Some(address)).await.expect("the engine answers there, too");
    assert!(!place.backend.has_bridge());
    let id = SandboxId::random();
    let error = place.backend.create(id, &bridged()).await.expect_err("it is refused");
    assert!(matches!(&error, Error::Unavailable { reason, .. } if reason.contains("allowed_hosts")), "{error}");
    // All else works.
    place.run(&spec()).await.must("true").await;
    drop(place);
}

/// A container of somebody else's with a port that the machine passes on.
struct Published {
    id: String,
    port: String,
    address: String,
}

impl Published {
    fn new() -> Self {
        let serve = ["python3", "-m", "http.server", "8080"];
        let id = docker(&[&["run", "--detach", "--publish", "8080", DEBIAN], &serve[..]].concat());
        let mapped = docker(&["port", &id, "8080"]);
        let port = mapped.lines().next().and_then(|line| line.rsplit(':').next()).expect("a port").to_owned();
        let address = docker(&["inspect", "--format", "{{ .NetworkSettings.Networks.bridge.IPAddress }}", &id]);
        Self { id, port, address }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["rm", "--force", &self.id]).output();
    }
}
