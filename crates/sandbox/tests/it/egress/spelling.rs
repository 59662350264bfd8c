//! Targets in hostile spellings. Nothing resolves here, so 502 means that the policy allows a name, and nothing is ever
//! connected.

use std::sync::Arc;

use longshore_sandbox::egress::{Limits, Policy, Proxy, SystemResolver};
use tokio::io::AsyncWriteExt as _;

use super::program::{Book, Program, head, rest};

#[tokio::test]
async fn tunnels_are_judged_by_what_they_mean() {
    for (target, status) in [
        ("allowed.test:443", 502),
        ("ALLOWED.TEST.:443", 502),
        ("www.below.test:443", 502),
        ("xn--exmple-qta.test:443", 502),
        ("allowed.test:22", 403),
        ("below.test:443", 403),
        ("allowed.test.evil.test:443", 403),
        ("evil.test:443", 403),
        ("notallowed.test:443", 403),
        ("allowed.test", 400),
        ("allowed.test:", 400),
        ("allowed.test:0", 400),
        ("allowed.test:65536", 400),
        ("allowed.test:+443", 400),
        ("allowed.test:0443", 400),
        ("allowed.test:443@evil.test:443", 400),
        ("allowed.test@evil.test:443", 400),
        ("%61llowed.test:443", 400),
        ("allowed.test%00.evil.test:443", 400),
        ("allowed..test:443", 400),
        ("*.below.test:443", 400),
        ("[fe80::1%25eth0]:443", 400),
        ("[::1:443", 400),
        // Numbers are addresses, and those that no box may reach; never names.
        ("127.0.0.1:443", 403),
        ("127.1:443", 403),
        ("0177.0.0.1:443", 403),
        ("0x7f000001:443", 403),
        ("2130706433:443", 403),
        ("[::ffff:127.0.0.1]:443", 403),
        ("256.1.1.1:443", 400),
        ("1.2.3.4.5:443", 400),
    ] {
        let program = Program::new(&["allowed.test", "*.below.test", "exámple.test", "127.0.0.0/8"]);
        assert_eq!(program.connect(target).await, status, "{target}");
        assert_eq!(program.names.asked().len(), usize::from(status == 502), "{target}: {:?}", program.names.asked());
        assert_eq!(program.denied().len(), usize::from(status == 403), "{target}");
        assert!(program.book.connected.lock().is_empty(), "{target}");
    }
}

#[tokio::test]
async fn requests_are_judged_by_their_url_alone() {
    for (line, status) in [
        ("GET http://allowed.test/", "502"),
        ("GET HTTP://ALLOWED.test./?a=b", "502"),
        ("GET http://allowed.test:80/", "502"),
        ("GET http://allowed.test:443/", "502"),
        ("GET http://evil.test/", "403"),
        ("GET http://evil.test/http://allowed.test/", "403"),
        ("GET http://evil.test?allowed.test", "403"),
        ("GET http://allowed.test:22/", "403"),
        ("GET http://allowed.test@evil.test/", "400"),
        ("GET http://allowed.test:80@evil.test/", "400"),
        ("GET http://user:password@allowed.test/", "400"),
        ("GET http://allowed.test:0/", "400"),
        ("GET http://allowed.test:0080/", "400"),
        ("GET http://allowed.test\\@evil.test/", "400"),
        ("GET http://allowed.test%2eevil.test/", "400"),
        ("GET http://[::1%25lo]/", "400"),
        ("GET http:///allowed.test/", "400"),
        ("GET https://allowed.test/", "400"),
        ("GET ftp://allowed.test/", "400"),
        ("GET //allowed.test/", "400"),
        ("GET allowed.test:80", "400"),
        ("GET /", "400"),
        ("OPTIONS *", "400"),
    ] {
        let program = Program::new(&["allowed.test"]);
        // The Host header says another thing than the line, and does not count.
        let host = if line.contains("evil") { "allowed.test" } else { "evil.test" };
        let answer = program.ask(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{line}: {answer}");
        assert_eq!(program.names.asked().len(), usize::from(status == "502"), "{line}");
    }
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let program = Program::new(&["allowed.test"]);
    let answer = program.ask("CONNECT evil.test:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 evil.test:443 is not in allowed_hosts\r\n"), "{answer}");
    assert!(answer.contains("proxy-status: longshore; error=http_request_denied\r\n"), "{answer}");
    assert!(answer.contains("add \"evil.test:443\" to its allowed_hosts"), "{answer}");
    let answer = program.ask("CONNECT allowed.test:22 HTTP/1.1\r\n\r\n").await;
    assert!(answer.contains("which has this host with the ports 80, 443"), "{answer}");
    let answer = program.ask("CONNECT allowed.test:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 allowed.test:443 cannot be looked up: no such name\r\n"), "{answer}");
    let answer = program.ask("GET /index.html HTTP/1.1\r\nHost: allowed.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("This is a proxy"), "{answer}");
    let answer = program.ask("GET http://user:password@allowed.test/ HTTP/1.1\r\n\r\n").await;
    assert!(answer.contains("a user's name") && !answer.contains("password"), "{answer}");
    assert_eq!(program.denied()[0], ("evil.test".to_owned(), 443, "is not in allowed_hosts".to_owned()));
}

#[tokio::test]
async fn the_machines_own_resolver_reaches_no_further() {
    let policy = Policy::parse(&["*:*".to_owned()]).unwrap();
    let book = Arc::<Book>::default();
    let proxy = Proxy::new(policy, Arc::new(SystemResolver::default()), book.clone(), Limits::default());
    let program = Program { book, proxy: Arc::new(proxy), ..Program::new(&[]) };
    let answer = program.ask("CONNECT localhost:80 HTTP/1.1\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 403 localhost:80 is a loopback address, which boxes may not reach"),
        "{answer}"
    );
}

#[tokio::test]
async fn heads_are_bounded() {
    let program = Program::new(&["allowed.test"]);
    let long = "a".repeat(17 * 1024);
    let answer = program.ask(&format!("GET http://allowed.test/ HTTP/1.1\r\nX: {long}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = "X: y\r\n".repeat(200);
    let answer = program.ask(&format!("GET http://allowed.test/ HTTP/1.1\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_does_not_say_where_it_wants_to_go_is_left() {
    for part in ["", "G", "GET http://allowed.test/ HTTP/1.1\r\nHost:", "\x05", "\x05\x01\x00\x05\x01\x00\x03\x0callo"]
    {
        let program = Program::with(&["allowed.test"], &[], Limits::default());
        let mut stream = program.open();
        stream.write_all(part.as_bytes()).await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.len() <= 2, "{said:?}");
    }
}

#[tokio::test]
async fn noise_is_answered_or_left_but_never_waited_for() {
    for noise in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n\0",
    ] {
        let program = Program::new(&["allowed.test"]);
        let mut stream = program.open();
        stream.write_all(noise).await.unwrap();
        stream.shutdown().await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&said));
    }
}

#[tokio::test]
async fn one_connection_carries_requests_that_are_judged_one_by_one() {
    let program = Program::new(&["allowed.test"]);
    let mut stream = program.open();
    for (target, status) in [("allowed.test", 502), ("evil.test", 403), ("allowed.test", 502), ("evil.test:80", 403)] {
        stream.write_all(format!("GET http://{target}/ HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
    }
}
