//! Requests with a whole URL.

use std::io::Write as _;

use longshore_sandbox::egress::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    program::{Program, curl, curl_text, head, rest},
    servers::{canned, digest, pattern, web},
    world::on_a_machine,
};

fn program() -> Program {
    let program = Program::new(&["allowed.test", "allowed.test:8080"]);
    program.names.set("allowed.test", &[&["198.51.100.7"]]);
    program
}

#[test]
fn a_request_reaches_its_host_without_what_is_between_program_and_proxy() {
    on_a_machine(async |world| {
        let seen = web(&world, "198.51.100.7:80").await;
        let program = program();
        let request = "POST http://allowed.test/path?query=1 HTTP/1.1\r\nHost: evil.test\r\nX-Kept: yes\r\n\
                       Connection: close, X-Named, Content-Length\r\nX-Named: no\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
                       Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy-Anything: no\r\n\
                       Content-Length: 5\r\n\r\nhello";
        let answer = program.ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("this is 198.51.100.7:80\n"), "{answer}");
        let (text, body) = seen.lock()[0].clone();
        let mut lines: Vec<_> = text.lines().collect();
        lines[1..].sort_unstable();
        assert_eq!(lines, ["POST /path?query=1", "content-length: 5", "host: allowed.test", "x-kept: yes"]);
        assert_eq!(body, digest(b"hello"));
        let closed = program.book.closed.lock().clone();
        assert_eq!(closed.len(), 1);
        assert!(closed[0].0 == "allowed.test" && closed[0].1 == 80 && closed[0].2 > 5 && closed[0].3 > 5, "{closed:?}");
    });
}

#[test]
fn a_real_client_keeps_its_connection_and_each_request_is_judged() {
    on_a_machine(async |world| {
        web(&world, "198.51.100.7:80").await;
        let other = web(&world, "198.51.100.8:80").await;
        let program = program();
        program.names.set("evil.test", &[&["198.51.100.8"]]);
        let port = program.port().await.to_string();
        let urls = ["http://allowed.test/", "http://evil.test/", "http://allowed.test/"];
        let status = "%{http_code} %{num_connects}\n";
        let text = curl_text(
            &[&["-x", &port, "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", "-w", status], &urls[..]]
                .concat(),
        )
        .await;
        assert_eq!(text, "200 1\n403 0\n200 0\n");
        assert!(other.lock().is_empty());
        assert_eq!(program.names.asked(), ["allowed.test", "allowed.test"]);
    });
}

#[test]
fn large_bodies_pass_intact() {
    on_a_machine(async |world| {
        let seen = web(&world, "198.51.100.7:80").await;
        let program = program();
        let port = program.port().await.to_string();
        let bytes = pattern(8_000_000);
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&bytes).expect("space");
        let path = file.path().to_str().expect("a path");
        // Up: with a length, and without one.
        let upload = ["-x", &port, "-T", path, "http://allowed.test/up"];
        curl_text(&upload).await;
        curl_text(&[&upload[..], &["-H", "Transfer-Encoding: chunked"]].concat()).await;
        let uploads: Vec<_> =
            seen.lock().iter().map(|(text, body)| (text.contains("\ncontent-length:"), *body)).collect();
        assert_eq!(uploads, [(true, digest(&bytes)), (false, digest(&bytes))]);
        // Down.
        for url in ["http://allowed.test/bytes/8000000", "http://allowed.test/bytes/8000000?chunked"] {
            let output = curl(&["-x", &port, url]).await;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(digest(&output.stdout), digest(&bytes), "{url}");
        }
    });
}

#[test]
fn heads_without_bodies_and_gets_with_one_are_framed_right() {
    on_a_machine(async |world| {
        let seen = web(&world, "198.51.100.7:80").await;
        let program = program();
        let mut stream = program.open();
        stream.write_all(b"HEAD http://allowed.test/bytes/1234 HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(String::from_utf8_lossy(&answer).contains("content-length: 1234\r\n"));
        let chunked =
            "GET http://allowed.test/get HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        stream.write_all(chunked.as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.ends_with("this is 198.51.100.7:80\n"));
        stream.write_all(b"POST http://allowed.test/post HTTP/1.1\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        assert!(head(&mut stream).await.ends_with("this is 198.51.100.7:80\n"));
        let seen = seen.lock();
        assert_eq!(seen[1].1, digest(b"hello"));
        assert!(seen[2].0.contains("content-length: 0\n"), "{}", seen[2].0);
    });
}

#[test]
fn a_request_cannot_carry_another_one() {
    on_a_machine(async |world| {
        let seen = web(&world, "198.51.100.7:80").await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: allowed.test\r\n\r\n";
        for headers in [
            // Two lengths of which one is right for each reader; a host in a folded line; a length that is no number.
            format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}", smuggled.len() + 5),
            format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"),
            format!("Content-Length: 0\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
            format!("Content-Length: +0\r\n\r\n{smuggled}"),
            format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            format!("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ] {
            let program = program();
            let mut stream = program.open();
            let request = format!("POST http://allowed.test/outer HTTP/1.1\r\n{headers}");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            // The second request is one of its own, which is none for a proxy, or nothing is read after the first.
            let said = String::from_utf8(rest(&mut stream).await).unwrap();
            assert!(said.matches("HTTP/1.1 200").count() <= 1, "{said}");
        }
        assert!(seen.lock().iter().all(|(text, _)| text.starts_with("POST /outer\n")), "{:?}", seen.lock());
    });
}

#[test]
fn a_body_is_asked_for_only_if_the_host_may_have_it() {
    on_a_machine(async |world| {
        let seen = web(&world, "198.51.100.7:80").await;
        let program = program();
        let request =
            |host: &str| format!("PUT http://{host}/ HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        let mut stream = program.open();
        stream.write_all(request("allowed.test").as_bytes()).await.unwrap();
        assert_eq!(head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hello").await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(seen.lock()[0].1, digest(b"hello"));
        let mut stream = program.open();
        stream.write_all(request("evil.test").as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 403 "));
    });
}

#[test]
fn an_upgrade_leaves_both_ends_alone() {
    on_a_machine(async |world| {
        let serve = |mut stream: tokio::net::TcpStream| async move {
            let request = head(&mut stream).await.to_ascii_lowercase();
            assert!(
                request.contains("upgrade: websocket\r\n") && request.contains("connection: upgrade\r\n"),
                "{request}"
            );
            let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        };
        world.listen("198.51.100.7:80", serve).await;
        let program = program();
        let mut stream = program.open();
        let request =
            "GET http://allowed.test/ HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("upgrade: websocket\r\n"), "{answer}");
        stream.write_all(b" second").await.unwrap();
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"first second");
        stream.shutdown().await.unwrap();
        assert!(rest(&mut stream).await.is_empty());
    });
}

#[test]
fn answers_of_strange_servers_are_made_whole_or_refused() {
    on_a_machine(async |world| {
        for (port, answer, expected) in [
            (
                8001,
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "hello",
            ),
            (8002, "HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end"),
            (
                8003,
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nProxy-Authenticate: no\r\n\r\nok",
                "ok",
            ),
            (8004, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", "502"),
            (8005, "SSH-2.0-server\r\n", "502"),
            (8006, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "502"),
            (8007, "", "502"),
        ] {
            canned(&world, &format!("198.51.100.7:{port}"), answer).await;
            let program = Program::new(&["198.51.100.7:*"]);
            let proxy = program.port().await.to_string();
            let url = format!("http://198.51.100.7:{port}/");
            if expected == "502" {
                let status = curl_text(&["-x", &proxy, "-o", "/dev/null", "-w", "%{http_code}", &url]).await;
                assert_eq!(status, expected, "{port}");
            } else {
                let text = curl_text(&["-x", &proxy, "-i", &url]).await;
                assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with(expected), "{port}: {text}");
                assert!(!text.to_ascii_lowercase().contains("x-hop") && !text.contains("roxy-"), "{text}");
            }
        }
    });
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    on_a_machine(async |world| {
        world
            .listen("198.51.100.7:80", |stream| async move {
                let _held = stream;
                std::future::pending::<()>().await;
            })
            .await;
        let limits = Limits { idle: std::time::Duration::from_secs(1), ..Limits::default() };
        let program = Program::with(&["198.51.100.7"], &[], limits);
        let answer = program.ask("GET http://198.51.100.7/ HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 504 198.51.100.7:80 did not answer in time\r\n"), "{answer}");
    });
}
