//! A machine and an internet for one test, each in a network namespace without a name, which ends with its last thread:
//! nothing is left of them however the test ends, and tests run beside each other with the same addresses.
//!
//! ```text
//! machine: the test, its proxy                  internet: the test's servers
//! 198.51.100.1, 2001:db8::1 ────── a cable ────── 198.51.100.7, 198.51.100.8, 2001:db8::7,
//!                                                 and addresses that boxes may not reach, which can be reached from here
//! ```

use std::{
    net::SocketAddr,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::thread::UnshareFlags;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

use super::program::DEADLINE;

/// Addresses of the internet that boxes may not reach.
pub(crate) const CLOSED: &[&str] =
    &["169.254.169.254", "100.100.100.200", "168.63.129.16", "10.250.0.1", "fd00:ec2::254"];

/// An address that swallows what is sent to it.
pub(crate) const SILENT: &str = "198.51.100.200";

/// The test's internet.
pub(crate) struct World {
    internet: Handle,
}

impl World {
    /// Listens in the internet and lets `serve` have each connection.
    pub(crate) async fn listen<F>(&self, address: &str, mut serve: impl FnMut(TcpStream) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address: SocketAddr = address.parse().expect("an address");
        let (ready, listens) = oneshot::channel();
        self.internet.spawn(async move {
            let listener = TcpListener::bind(address).await.expect("a port of the internet");
            ready.send(()).expect("the test waits");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        listens.await.expect("it listens");
    }

    /// Runs a program in the internet; it ends with what is returned.
    pub(crate) async fn run(&self, mut command: tokio::process::Command) -> tokio::process::Child {
        command.kill_on_drop(true);
        let start = async move { command.spawn().expect("it starts") };
        self.internet.spawn(start).await.expect("a thread")
    }
}

/// Runs a test that needs to be root, on a machine of its own.
pub(crate) fn on_a_machine(test: impl AsyncFnOnce(World) + Send) {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("LONGSHORE_REQUIRE_ROOT").is_none_or(|value| value != "1"), "this test needs root");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"skipped: only root can make network namespaces\n");
        return;
    }
    thread::scope(|scope| {
        let (to_machine, from_internet) = mpsc::channel();
        let (to_internet, from_machine) = mpsc::channel();
        let (running, test_ends) = oneshot::channel::<()>();
        scope.spawn(move || {
            enter_empty_network();
            let runtime = runtime();
            to_machine.send((rustix::thread::gettid(), runtime.handle().clone())).expect("the machine waits");
            if from_machine.recv().is_ok() {
                connect_internet();
                to_machine.send((rustix::thread::gettid(), runtime.handle().clone())).expect("the machine waits");
                let _ = runtime.block_on(test_ends);
            }
        });
        let machine = scope.spawn(move || {
            let _running = running;
            enter_empty_network();
            let (thread, _) = from_internet.recv().expect("an internet");
            connect_machine(thread.as_raw_nonzero().get());
            to_internet.send(()).expect("the internet waits");
            let (_, internet) = from_internet.recv().expect("an internet");
            wait_for_cable();
            runtime().block_on(test(World { internet }));
        });
        if let Err(panic) = machine.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Everything on one thread, since a namespace belongs to a thread.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[expect(unsafe_code, reason = "the call can do more than it does here")]
fn enter_empty_network() {
    // SAFETY: only a thread that leaves its table of descriptors can lose some, and this one leaves its network.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network namespace");
    ip("link set lo up");
}

fn connect_machine(internet: i32) {
    ip(&format!("link add cable type veth peer name cable netns {internet}"));
    ip("address add 198.51.100.1/24 dev cable");
    ip("address add 2001:db8::1/64 dev cable nodad");
    ip("link set cable up");
    ip("route add default via 198.51.100.7");
    ip("route add default via 2001:db8::7");
    ip(&format!("neighbour add {SILENT} lladdr 02:00:00:00:00:99 dev cable"));
}

fn connect_internet() {
    for address in ["198.51.100.7/24", "198.51.100.8/24", "2001:db8::7/64"].iter().chain(CLOSED) {
        ip(&format!("address add {address} dev cable{}", if address.contains(':') { " nodad" } else { "" }));
    }
    ip("link set cable up");
    wait_for_cable();
}

/// Waits until the kernel has noticed that the cable has two ends. What is sent before is lost, and sent again much later.
fn wait_for_cable() {
    let deadline = Instant::now() + DEADLINE;
    while !ip("-brief link show cable").contains(" UP ") {
        assert!(Instant::now() < deadline, "the cable is not up in time");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Changes the network of this thread, or asks about it.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("the program 'ip' of iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
