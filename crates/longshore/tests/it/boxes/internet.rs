//! A machine and an internet, each in a network namespace that ends with the process which holds it.
//!
//! ```text
//! machine: the server, the test                    internet: one program
//! 198.51.100.1, 10.250.0.1, 2001:db8::1 ── cable ── 198.51.100.7, 198.51.100.8, 10.250.0.9, 169.254.169.254, 2001:db8::7
//! ```

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::support::PATIENCE;

/// Whom boxes may be allowed to reach.
pub(crate) const ALLOWED: &str = "198.51.100.7";

/// Whom they are not, of the internet.
pub(crate) const OTHERS: [&str; 5] =
    ["198.51.100.8", "10.250.0.9", "169.254.169.254", "100.100.100.200", "[2001:db8::7]"];

/// The machine that the server is on.
pub(crate) const MACHINE: [&str; 3] = ["198.51.100.1", "10.250.0.1", "[2001:db8::1]"];

/// What is written down of whoever waits until the internet answers.
const PROBE: &str = "tcp 198.51.100.7 8080\n";

/// Answers on every address, and writes down who was asked.
const PROGRAM: &str = include_str!("internet.py");

/// The namespaces, and who holds them.
pub(crate) struct Internet {
    machine: Child,
    elsewhere: Child,
    folder: tempfile::TempDir,
}

impl Internet {
    /// Makes both and moves this thread to the machine; none if this user may not. The thread's children are there too.
    pub(crate) fn enter() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("LONGSHORE_REQUIRE_ROOT").is_none_or(|value| value != "1"),
                "this test needs root"
            );
            println!("skipped: only root can make network namespaces");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join("log")).unwrap();
        fs::write(folder.path().join("internet.py"), PROGRAM).unwrap();
        let internet = format!("exec python3 {0}/internet.py {0}/log", folder.path().display());
        let wait = format!("until [ -e {}/go ]; do sleep 0.01; done; ", folder.path().display());
        let (machine, elsewhere) = (namespace("exec sleep 1000"), namespace(&(wait + &internet)));
        let made = Self { machine, elsewhere, folder };
        made.connect();
        let network = File::open(network(&made.machine)).unwrap();
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network)).unwrap();
        fs::write(made.folder.path().join("go"), "").unwrap();
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect((ALLOWED, 8080)).is_err() {
            assert!(Instant::now() < end, "the internet does not answer");
            thread::sleep(Duration::from_millis(10));
        }
        // That was written down too, and is not what a box does.
        while fs::read_to_string(made.log()).unwrap() != PROBE {
            assert!(Instant::now() < end, "the internet writes nothing down");
            thread::sleep(Duration::from_millis(10));
        }
        Some(made)
    }

    fn connect(&self) {
        let (machine, internet) = (&self.machine, &self.elsewhere);
        ip(machine, &format!("link add cable type veth peer name cable netns {}", internet.id()));
        for side in [machine, internet] {
            ip(side, "link set lo up");
        }
        for address in MACHINE {
            add(machine, address);
        }
        for address in [ALLOWED].iter().chain(&OTHERS) {
            add(internet, address);
        }
        for side in [machine, internet] {
            ip(side, "link set cable up");
        }
        ip(machine, "route add default via 198.51.100.7");
        ip(machine, "route add default via 2001:db8::7");
    }

    /// Who was asked, one line for each time.
    pub(crate) fn asked(&self) -> Vec<String> {
        fs::read_to_string(self.log()).unwrap().strip_prefix(PROBE).unwrap().lines().map(str::to_owned).collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for holder in [&mut self.machine, &mut self.elsewhere] {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// A program in a network namespace of its own.
fn namespace(script: &str) -> Child {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--", "sh", "-c", script]).stdin(Stdio::null());
    let child = unshare.spawn().expect("the program 'unshare' of util-linux");
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let end = Instant::now() + PATIENCE;
    while fs::read_link(network(&child)).unwrap() == own {
        assert!(Instant::now() < end, "there is no namespace");
        thread::sleep(Duration::from_millis(1));
    }
    child
}

fn network(holder: &Child) -> PathBuf {
    Path::new("/proc").join(holder.id().to_string()).join("ns/net")
}

fn add(side: &Child, address: &str) {
    let (address, mask) = match address.strip_prefix('[') {
        Some(address) => (address.trim_end_matches(']'), "64"),
        None => (address, "24"),
    };
    let more = if mask == "64" { " nodad" } else { "" };
    ip(side, &format!("address add {address}/{mask} dev cable{more}"));
}

fn ip(side: &Child, arguments: &str) {
    let mut nsenter = Command::new("nsenter");
    nsenter.arg(format!("--net={}", network(side).display())).arg("ip").args(arguments.split(' '));
    let output = nsenter.output().expect("the program 'nsenter' of util-linux");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
