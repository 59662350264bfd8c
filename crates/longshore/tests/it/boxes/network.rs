//! Ways out over the network: those that are allowed are open, and no others.

use std::{
    os::linux::net::SocketAddrExt as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::net::{TcpListener, UdpSocket};

use super::{
    attack::{Attack, Field, python},
    client::eventually,
    ground::{Ground, Kind},
    internet::{ALLOWED, Internet, MACHINE, OTHERS},
};

/// Tries to reach each target in many ways, all at once, and says which way was open.
const TRY_ALL: &str = include_str!("try_all.py");

const TRIED: &[&str] = &["tried"];

/// Listens on all of the machine's addresses, and counts who comes.
async fn listen(port: u16) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    for address in ["0.0.0.0", "[::]"] {
        let counted = Arc::clone(&count);
        let Ok(listener) = TcpListener::bind(format!("{address}:{port}")).await else { continue };
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (counted, socket) = (Arc::clone(&count), UdpSocket::bind(format!("0.0.0.0:{port}")).await.unwrap());
    tokio::spawn(async move {
        while socket.recv(&mut [0; 100]).await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    count
}

/// A socket of this machine that has a name and no file.
fn name_socket() -> (String, std::os::unix::net::UnixListener) {
    let name = format!("longshore-test-{}", uuid::Uuid::new_v4().simple());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    (name, std::os::unix::net::UnixListener::bind_addr(&address).unwrap())
}

/// What can be tried without any address.
fn other_ways(kind: Kind, abstract_name: &str) -> Vec<Attack> {
    let ways = vec![
        Attack::new(
            "sockets of the machine without a file",
            python(&format!(
                "
for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET]:
    one = socket.socket(socket.AF_UNIX, kind)
    try: one.connect('\\0{abstract_name}'); print('BROKEN')
    except OSError as error: print(error.strerror)
for line in open('/proc/net/unix').read().splitlines()[1:]:
    name = line.split()[-1]
    if name.startswith('@'): print('BROKEN', name)
"
            )),
            &["Connection refused"],
        ),
        Attack::new(
            "sockets that speak for others",
            python(
                "
for name, family, kind, protocol in [
    ('raw', socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), ('raw UDP', socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP),
    ('raw IPv6', socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6), ('packets', socket.AF_PACKET, socket.SOCK_RAW, 0x300),
    ('packets', socket.AF_PACKET, socket.SOCK_DGRAM, 0x300),
]:
    try: socket.socket(family, kind, protocol); print('BROKEN', name)
    except OSError as error: print(error.strerror)
for family, protocol in [(socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6)]:
    try:
        one = socket.socket(family, socket.SOCK_DGRAM, protocol)
        one.settimeout(1)
        one.sendto(b'\\x08\\0\\0\\0\\0\\0\\0\\0', ('198.51.100.7' if family == socket.AF_INET else '2001:db8::7', 0))
        print('BROKEN', one.recv(100))
    except OSError as error: print(error.strerror or error)
one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
import struct
# A new default route: RTM_NEWROUTE, with all that the kernel wants.
one.bind((0, 0))
one.send(struct.pack('=IHHII', 36, 24, 0x405, 1, 0) + struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 254, 4, 0, 1, 0) + struct.pack('=HHI', 8, 4, 1))
code = struct.unpack('=i', one.recv(1000)[16:20])[0]
print('BROKEN' if code == 0 else os.strerror(-code))
",
            ),
            &["Operation not permitted"],
        ),
        Attack::new(
            "another interface",
            "ip link add dummy0 type dummy && echo BROKEN; ip link add v0 type veth && echo BROKEN; ip address add 10.9.9.9/8 dev lo && echo BROKEN; \
             ip tuntap add t0 mode tun && echo BROKEN; ip route add default dev lo && echo BROKEN; ip netns add x && echo BROKEN; \
             ls /sys/class/net 2> /dev/null | grep -v '^lo$' | sed s/^/BROKEN/; ip -o link | grep -v ': lo:' | sed s/^/BROKEN/; true",
            &["Operation not permitted"],
        ),
        Attack::new(
            "networks that are not those of namespaces",
            python(
                "
# To the machine outside of this one, the kernel's ciphers, and some more.
for family in [40, 38, 30, 21, 29, 31, 41, 44]:
    try: socket.socket(family, socket.SOCK_STREAM if family != 38 else socket.SOCK_SEQPACKET); print('BROKEN', family)
    except OSError as error: print(error.strerror)
",
            ),
            &["Address family not supported"],
        ),
    ];
    // Whether an engine's own filter refuses these depends on its version; the doctor warns.
    ways.into_iter().filter(|way| kind == Kind::Bubblewrap || !way.name.starts_with("networks that")).collect()
}

fn targets(addresses: &[&str], ports: &[u16]) -> String {
    let list: Vec<_> =
        addresses.iter().flat_map(|address| ports.iter().map(move |port| format!("('{address}', {port})"))).collect();
    format!("attempts([{}])", list.join(", "))
}

async fn is_closed(kind: Kind) {
    let Some(internet) = Internet::enter() else { return };
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, json!({})).await;
    let machine = listen(8080).await;
    let (name, _socket) = name_socket();
    let mut attacks = other_ways(kind, &name);
    let everybody: Vec<_> = [ALLOWED].into_iter().chain(OTHERS).chain(MACHINE).collect();
    attacks.push(Attack::new(
        "everybody out there",
        python(&format!("{TRY_ALL}{}", targets(&everybody, &[53, 80, 8080]))),
        TRIED,
    ));
    let proxies = "env | grep -i proxy | sed s/^/BROKEN/; curl -sS -m 3 http://198.51.100.7/";
    attacks.push(Attack::new(
        "a way that somebody named",
        proxies,
        &["Couldn't connect to server", "Failed to connect"],
    ));
    field.withstands(&attacks).await;
    assert_eq!((internet.asked(), machine.load(Ordering::Relaxed)), (Vec::new(), 0));
}

#[tokio::test]
async fn a_box_of_bubblewrap_without_hosts_reaches_nobody() {
    is_closed(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_without_hosts_reaches_nobody() {
    is_closed(Kind::Docker).await;
}

async fn reaches_the_allowed(kind: Kind) {
    let Some(internet) = Internet::enter() else { return };
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, json!({"allowed_hosts": [format!("{ALLOWED}:80"), "localhost:*"]})).await;
    let machine = listen(8080).await;
    // Who is allowed is reached, in all ways, and by the other box at the same time.
    let victim = field.victim.clone();
    let meanwhile = tokio::spawn(async move {
        for _ in 0..10 {
            assert_eq!(victim.must("curl -sS -m 20 http://198.51.100.7/").await, "reached 198.51.100.7 80");
        }
    });
    let ways = "curl -sS -m 20 http://198.51.100.7/; curl -sS -m 20 -p http://198.51.100.7/; curl -sS -m 20 -x socks5h://127.0.0.1:13128 http://198.51.100.7/; \
        curl -sS -m 20 -x $ALL_PROXY http://198.51.100.7/";
    assert_eq!(field.attacker.must(ways).await, ["reached 198.51.100.7 80"; 4].join("\n"));

    let (name, _socket) = name_socket();
    let mut attacks = other_ways(kind, &name);
    let others: Vec<_> = OTHERS.into_iter().chain(MACHINE).collect();
    let server = ground.client.port();
    let names = [
        "localhost",
        "LOCALHOST.",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:198.51.100.8]",
        "[64:ff9b::a9fe:a9fe]",
        "[fe80::1]",
        "198.51.100.7@198.51.100.8",
        "198.51.100.7%00.198.51.100.8",
        "172.17.0.1",
        "172.18.0.1",
        "255.255.255.255",
        "224.0.0.1",
    ];
    attacks.extend([
        Attack::new("others out there", python(&format!("{TRY_ALL}{}", targets(&others, &[80, 443]))), TRIED),
        Attack::new("other ports", python(&format!("{TRY_ALL}attempts([('{ALLOWED}', 443), ('{ALLOWED}', 8080), ('{ALLOWED}', 53)])")), TRIED),
        Attack::new("this machine under other names", python(&format!("{TRY_ALL}{}", targets(&names, &[8080, server]))), TRIED),
        Attack::new("where an allowed host points", "curl -sSL -m 20 http://198.51.100.7/moved", &["403", "not in allowed_hosts", "is not"]),
        Attack::new(
            "two requests in one",
            python(
                "
for said in [
    b'GET http://198.51.100.7/ HTTP/1.1\\r\\nHost: 198.51.100.7\\r\\n\\r\\nGET http://198.51.100.8/ HTTP/1.1\\r\\nHost: 198.51.100.8\\r\\nConnection: close\\r\\n\\r\\n',
    b'GET http://198.51.100.7/ HTTP/1.1\\r\\nHost: 198.51.100.7\\r\\nContent-Length: 5\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nGET http://198.51.100.8/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n',
    b'GET http://198.51.100.8/ HTTP/1.1\\r\\nHost: 198.51.100.7\\r\\n\\r\\n', b'GET / HTTP/1.1\\r\\nHost: 198.51.100.8\\r\\n\\r\\n',
    b'GET http://198.51.100.7:80@198.51.100.8/ HTTP/1.0\\r\\n\\r\\n', b'GET http://198.51.100.8\\\\@198.51.100.7/ HTTP/1.0\\r\\n\\r\\n',
    b'GET ' + b'A' * 1000000, b'\\x05' + b'\\xff' * 300, b'\\0' * 1000,
]:
    one = socket.create_connection(('127.0.0.1', 13128), 5)
    one.settimeout(3)
    answer = b''
    try:
        one.sendall(said)
        while part := one.recv(10000): answer += part
    except OSError: pass
    print('BROKEN' if b'reached 198.51.100.8' in answer else 'tried', answer[:80])
",
            ),
            TRIED,
        ),
        Attack::new(
            "to take the proxy's port",
            python(
                "
for address in ['127.0.0.1', '0.0.0.0']:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try: one.bind((address, 13128)); one.listen(); print('BROKEN')
    except OSError as error: print(error.strerror)
",
            ),
            &["Address already in use"],
        ),
    ]);
    field.withstands(&attacks).await;
    meanwhile.await.unwrap();
    let asked = internet.asked();
    assert!(!asked.is_empty() && asked.iter().all(|line| line == "tcp 198.51.100.7 80"), "{asked:?}");
    assert_eq!(machine.load(Ordering::Relaxed), 0);
    // And it is told.
    let denied = async |host: &str| {
        let events = field.attacker.events(0).await;
        events.into_iter().find(|event| event["kind"] == "denied" && event["host"] == host)
    };
    for host in ["198.51.100.8", "169.254.169.254", "localhost"] {
        eventually(&format!("{host} is told"), async || denied(host).await.is_some()).await;
    }
    let told: Value = denied("198.51.100.8").await.unwrap();
    assert!(told["reason"].as_str().unwrap().contains("allowed_hosts"), "{told}");
    assert!(field.victim.events(0).await.iter().all(|event| event["kind"] != "denied"));
}

#[tokio::test]
async fn a_box_of_bubblewrap_reaches_only_allowed_hosts() {
    reaches_the_allowed(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_reaches_only_allowed_hosts() {
    reaches_the_allowed(Kind::Docker).await;
}

/// A box asks for what it may not have, as often and as fast as it can.
async fn floods(kind: Kind) {
    let Some(internet) = Internet::enter() else { return };
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, json!({"allowed_hosts": [format!("{ALLOWED}:80")]})).await;
    let before = ground.memory();
    let flood = python(
        "
import threading
def flood(number):
    for count in range(150):
        try:
            one = socket.create_connection(('127.0.0.1', 13128), 10)
            one.settimeout(10)
            one.sendall(f'GET http://host{number}x{count}.test/ HTTP/1.0\\r\\n\\r\\n'.encode())
            while one.recv(10000): pass
        except OSError: pass
threads = [threading.Thread(target=flood, args=(number,)) for number in range(20)]
for thread in threads: thread.start()
held = []
for count in range(400):
    try: held.append(socket.create_connection(('127.0.0.1', 13128), 5))
    except OSError: pass
for thread in threads: thread.join()
print('flooded')
",
    );
    let attacker = field.attacker.clone();
    let flooding = tokio::spawn(async move { attacker.try_sh(&flood, 35).await });
    while !flooding.is_finished() {
        let said = field.victim.must("curl -sS -m 20 http://198.51.100.7/; cat secret").await;
        assert_eq!(said, "reached 198.51.100.7 80\ncanary-of-the-other-box");
        ground.must_be_healthy().await;
    }
    assert_eq!(flooding.await.unwrap().unwrap().text, "flooded\n");
    let events = field.attacker.events(0).await;
    assert!(events.len() < 200, "{} events of one box", events.len());
    let grown = ground.memory().saturating_sub(before);
    assert!(grown < 200 << 20, "the server has grown by {grown} bytes");
    assert!(internet.asked().iter().all(|line| line == "tcp 198.51.100.7 80"));
    // It is let out again when it is done.
    eventually("it works again", async || {
        field.attacker.sh("curl -sS -m 10 http://198.51.100.7/").await.text == "reached 198.51.100.7 80\n"
    })
    .await;
}

#[tokio::test]
async fn a_box_of_bubblewrap_that_floods_the_proxy_harms_nobody() {
    floods(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn a_box_of_docker_that_floods_the_proxy_harms_nobody() {
    floods(Kind::Docker).await;
}
