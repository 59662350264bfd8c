//! Addresses that no box reaches, tried where they could be reached.

use std::{io, time::Duration};

use longshore_sandbox::egress::Limits;
use tokio::net::{TcpListener, TcpStream};

use super::{
    program::{Program, until},
    servers::{counter, echo, web},
    world::{CLOSED, SILENT, ip, on_a_machine},
};

fn socket(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Nobody connected to a port, as its queue shows.
fn assert_untouched(listener: TcpListener) {
    let accepted = listener.into_std().expect("a port").accept();
    assert_eq!(accepted.expect_err("nobody connected").kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn metadata_and_private_networks_are_closed_by_address_and_by_name() {
    on_a_machine(async |world| {
        let program = Program::new(&["*:*", "10.0.0.0/8:*", "169.254.169.254:*"]);
        for (index, address) in CLOSED.iter().enumerate() {
            let (seen, count_here) = counter();
            world.listen(&socket(address, 80), count_here).await;
            // The way there is open for everybody but boxes.
            TcpStream::connect(socket(address, 80)).await.expect("a way");
            until("the direct connection", || *seen.lock() == 1).await;
            let name = format!("name-{index}.test");
            program.names.set(&name, &[&[address]]);
            assert_eq!(program.connect(&socket(address, 80)).await, 403, "{address}");
            assert_eq!(program.connect(&format!("{name}:80")).await, 403, "{address}");
            assert_eq!(*seen.lock(), 1, "{address}");
        }
        assert_eq!(program.connect("[::ffff:169.254.169.254]:80").await, 403);
        assert_eq!(program.connect("2852039166:80").await, 403);
        assert!(program.book.connected.lock().is_empty());
        let told = program.denied();
        assert!(told.contains(&(
            "169.254.169.254".to_owned(),
            80,
            "is a link-local address, such as those of a cloud's metadata, which boxes may not reach".to_owned()
        )));
    });
}

#[test]
fn services_of_the_machine_are_closed_on_all_its_addresses() {
    on_a_machine(async |_world| {
        let service = TcpListener::bind("[::]:0").await.expect("a port");
        let port = service.local_addr().expect("its address").port();
        let program = Program::new(&["*:*", "127.0.0.0/8:*", "198.51.100.0/24:*"]);
        // Addresses that come later count from then on: one that is on an interface, and a network that is on none.
        ip("address add 198.51.100.66/24 dev cable");
        ip("route add local 198.51.100.128/26 dev lo");
        let addresses = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "198.51.100.1",
            "198.51.100.66",
            "198.51.100.130",
            "198.51.100.255",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "2001:db8::1",
            "::ffff:198.51.100.1",
            "2002:c633:6401::1",
            "64:ff9b::198.51.100.1",
        ];
        for (index, address) in addresses.iter().enumerate() {
            let name = format!("name-{index}.test");
            program.names.set(&name, &[&[address]]);
            assert_eq!(program.connect(&socket(address, port)).await, 403, "{address}");
            assert_eq!(program.connect(&format!("{name}:{port}")).await, 403, "{address}");
        }
        assert!(program.book.connected.lock().is_empty());
        assert_untouched(service);
    });
}

#[test]
fn the_operator_opens_networks_for_boxes_that_list_them() {
    on_a_machine(async |world| {
        web(&world, "10.250.0.1:80").await;
        let service = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let loopback = service.local_addr().expect("its address").to_string();
        let private = ["10.250.0.0/16", "127.0.0.1/32"];
        let program = Program::with(&["10.0.0.0/8", "127.0.0.1:*", "inside.test"], &private, Limits::default());
        program.names.set("inside.test", &[&["10.250.0.1"]]);
        program.names.set("other.test", &[&["10.250.0.1"]]);
        assert_eq!(program.connect("10.250.0.1:80").await, 200);
        assert_eq!(program.connect("inside.test:80").await, 200);
        assert_eq!(program.connect(&loopback).await, 200);
        assert_eq!(program.connect("10.251.0.1:80").await, 403);
        assert_eq!(program.connect("10.250.0.1:81").await, 403);
        // Networks are for addresses, so a name needs an entry of its own.
        assert_eq!(program.connect("other.test:80").await, 403);
        assert_eq!(program.names.asked(), ["inside.test"]);
    });
}

#[test]
fn a_name_that_changes_its_address_stays_outside() {
    on_a_machine(async |world| {
        echo(&world, "198.51.100.7:80").await;
        let service = TcpListener::bind("127.0.0.1:80").await.expect("a port");
        let program = Program::new(&["*"]);
        program.names.set("rebound.test", &[&["198.51.100.7"], &["127.0.0.1"]]);
        assert_eq!(program.connect("rebound.test:80").await, 200);
        // Asked once for a connection, there is no second answer.
        assert_eq!(program.names.asked().len(), 1);
        assert_eq!(program.connect("rebound.test:80").await, 403);
        program.names.set("both.test", &[&["127.0.0.1", "::1", "198.51.100.7"]]);
        assert_eq!(program.connect("both.test:80").await, 200);
        let addresses: Vec<_> =
            program.book.connected.lock().iter().map(|(_, _, address)| address.to_string()).collect();
        assert_eq!(addresses, ["198.51.100.7:80", "198.51.100.7:80"]);
        assert_untouched(service);
    });
}

#[test]
fn addresses_are_tried_in_turn_and_failures_have_names() {
    on_a_machine(async |world| {
        web(&world, "198.51.100.7:80").await;
        web(&world, "[2001:db8::7]:80").await;
        let limits = Limits { connect: Duration::from_secs(2), ..Limits::default() };
        let program = Program::with(&["*", "*:81"], &[], limits);
        for (name, addresses) in [
            ("second.test", &["198.51.100.8", "198.51.100.7"][..]),
            ("slow.test", &[SILENT, "198.51.100.7"]),
            ("six.test", &["2001:db8::7"]),
            ("refused.test", &["198.51.100.8"]),
            ("silent.test", &[SILENT]),
            ("empty.test", &[]),
        ] {
            program.names.set(name, &[addresses]);
        }
        for (target, status) in [
            ("second.test:80", 200),
            ("slow.test:80", 200),
            ("six.test:80", 200),
            ("[2001:db8::7]:80", 200),
            ("refused.test:80", 502),
            ("198.51.100.7:81", 502),
            ("empty.test:80", 502),
            ("missing.test:80", 502),
            ("silent.test:80", 504),
        ] {
            assert_eq!(program.connect(target).await, status, "{target}");
        }
        ip("route del default");
        assert_eq!(program.connect("198.52.0.1:80").await, 502);
        assert!(program.denied().is_empty());
    });
}
