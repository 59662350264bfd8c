//! A machine beside this one, in a network namespace of its own, which answers over HTTP and to questions for names.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use rustix::thread::UnshareFlags;

use crate::docker_support::run;

/// What it says.
pub(crate) const GREETING: &str = "hello from outside";
/// The only name that it knows, which is its own.
pub(crate) const NAME: &str = "neighbour.test";

pub(crate) struct Neighbour {
    /// The address of this machine on the cable.
    pub(crate) here: Ipv4Addr,
    /// The neighbour's address.
    pub(crate) address: Ipv4Addr,
    cable: String,
    end: Option<mpsc::Sender<()>>,
    machine: Option<JoinHandle<()>>,
}

impl Neighbour {
    /// A neighbour in a network of four addresses somewhere in `network`, which has 256.
    pub(crate) fn new(network: [u8; 3]) -> Self {
        let random = uuid::Uuid::new_v4();
        let first = random.as_bytes()[0] & 0b1111_1100;
        let at = |last: u8| Ipv4Addr::new(network[0], network[1], network[2], first + last);
        let (here, address) = (at(1), at(2));
        let cable = format!("lst{}", &random.simple().to_string()[..8]);

        let (to_test, from_machine) = mpsc::channel();
        let (to_machine, from_test) = mpsc::channel();
        let machine = thread::spawn(move || {
            enter_empty_network();
            to_test.send(rustix::thread::gettid()).expect("the test waits");
            from_test.recv().expect("a cable");
            ip(&format!("address add {address}/30 dev cable"));
            ip("link set cable up");
            ip(&format!("route add default via {here}"));
            serve(address);
            to_test.send(rustix::thread::gettid()).expect("the test waits");
            let _ = from_test.recv();
        });
        let thread = from_machine.recv().expect("a network");
        ip(&format!("link add {cable} type veth peer name cable netns {thread}", thread = thread.as_raw_nonzero()));
        let neighbour = Self { here, address, cable, end: Some(to_machine), machine: Some(machine) };
        ip(&format!("address add {here}/30 dev {}", neighbour.cable));
        ip(&format!("link set {} up", neighbour.cable));
        neighbour.end.as_ref().expect("a machine").send(()).expect("the machine waits");
        from_machine.recv().expect("a machine");
        neighbour
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.end = None;
        let _ = self.machine.take().map(JoinHandle::join);
        let _ = std::process::Command::new("ip").args(["link", "delete", &self.cable]).output();
    }
}

/// Answers until nobody can ask any more.
fn serve(address: Ipv4Addr) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).expect("a port");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{GREETING}");
        }
    });
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).expect("a port");
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(&answer(&question[..length], address), from);
        }
    });
}

/// The answer to a question for an address; every name is the neighbour's own, or nobody's.
fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let labels = NAME.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).expect("a short name");
        std::iter::once(length).chain(label.bytes())
    });
    let name: Vec<u8> = labels.chain([0]).collect();
    let end = 12 + name.len();
    let is_known = question.get(12..end).is_some_and(|asked| asked == name);
    let has_answer = is_known && question.get(end..end + 4) == Some(&[0, 1, 0, 1]);
    let mut answer = question[..question.len().min(end + 4)].to_vec();
    // An answer without authority; counts of questions, answers and two more kinds.
    answer[2..12].copy_from_slice(&[
        0x81,
        if is_known { 0x80 } else { 0x83 },
        0,
        1,
        0,
        u8::from(has_answer),
        0,
        0,
        0,
        0,
    ]);
    if has_answer {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

#[expect(unsafe_code, reason = "the call can do more than it does here")]
fn enter_empty_network() {
    // SAFETY: only a thread that leaves its table of descriptors can lose some, and this one leaves its network.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network namespace");
    ip("link set lo up");
}

fn ip(arguments: &str) -> String {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}
