//! Tunnels by CONNECT.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

use super::{
    program::{Program, curl, curl_text, rest, send_all},
    servers::{digest, echo, echo_at_end, pattern},
    world::on_a_machine,
};

#[test]
fn tls_passes_from_end_to_end() {
    on_a_machine(async |world| {
        let folder = tempfile::tempdir().expect("a folder");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
            .args([
                "-subj",
                "/CN=allowed.test",
                "-addext",
                "subjectAltName=DNS:allowed.test",
                "-keyout",
                "key",
                "-out",
                "cert",
            ])
            .current_dir(&folder)
            .output()
            .await
            .expect("the program 'openssl'");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(folder.path().join("page"), "over TLS\n").expect("space");
        let mut server = Command::new("openssl");
        server
            .args(["s_server", "-accept", "198.51.100.7:443", "-cert", "cert", "-key", "key", "-WWW"])
            .current_dir(&folder);
        server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = world.run(server).await;
        let mut said = BufReader::new(server.stdout.take().expect("its output")).lines();
        while said.next_line().await.expect("a line").expect("it runs") != "ACCEPT" {}

        let program = Program::new(&["allowed.test"]);
        program.names.set("allowed.test", &[&["198.51.100.7"]]);
        let port = program.port().await.to_string();
        let certificate = folder.path().join("cert");
        let trust = ["--cacert", certificate.to_str().expect("a path"), "-x", &port];
        let text = curl_text(&[&trust[..], &["https://allowed.test/page"]].concat()).await;
        assert_eq!(text, "over TLS\n");
        let output = curl(&[&trust[..], &["https://evil.test/page"]].concat()).await;
        assert_eq!(output.status.code(), Some(56), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("403"), "{output:?}");
        server.kill().await.expect("it runs");
    });
}

#[test]
fn bytes_pass_both_ways_at_once() {
    on_a_machine(async |world| {
        echo(&world, "198.51.100.7:7").await;
        let program = Program::new(&["198.51.100.7:7"]);
        let mut stream = program.tunnel("198.51.100.7:7").await;
        let bytes = pattern(8_000_000);
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let ((), back) = tokio::join!(send_all(&mut writer, &bytes), rest(&mut reader));
        assert_eq!(digest(&back), digest(&bytes));
        drop(stream);
        let count = bytes.len() as u64;
        super::program::until("the end is told", || !program.book.closed.lock().is_empty()).await;
        assert_eq!(*program.book.closed.lock(), [("198.51.100.7".to_owned(), 7, count, count)]);
    });
}

#[test]
fn one_way_may_end_first() {
    on_a_machine(async |world| {
        echo_at_end(&world, "198.51.100.7:7").await;
        let program = Program::new(&["198.51.100.7:7"]);
        let mut stream = program.tunnel("198.51.100.7:7").await;
        send_all(&mut stream, b"the last words").await;
        assert_eq!(rest(&mut stream).await, b"the last words");
        // The host may end first too.
        world
            .listen("198.51.100.8:7", |mut stream| async move {
                stream.shutdown().await.unwrap();
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await.unwrap();
                assert_eq!(bytes, b"still listening?");
            })
            .await;
        let program = Program::new(&["198.51.100.8:7"]);
        let mut stream = program.tunnel("198.51.100.8:7").await;
        assert!(rest(&mut stream).await.is_empty());
        send_all(&mut stream, b"still listening?").await;
        super::program::until("the end is told", || !program.book.closed.lock().is_empty()).await;
        assert_eq!(program.book.closed.lock()[0].2, 16);
    });
}

#[test]
fn what_is_sent_with_the_request_arrives() {
    on_a_machine(async |world| {
        echo(&world, "198.51.100.7:7").await;
        // Some clients speak HTTP/1.0 to a proxy.
        for version in ["1.0", "1.1"] {
            let program = Program::new(&["198.51.100.7:7"]);
            let mut stream = program.open();
            let request = format!("CONNECT 198.51.100.7:7 HTTP/{version}\r\n\r\nearly");
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = super::program::head(&mut stream).await;
            assert!(answer.starts_with(&format!("HTTP/{version} 200 ")), "{answer}");
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"early");
        }
    });
}
