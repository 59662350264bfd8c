//! SOCKS5, byte by byte and with a real client.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    program::{Program, curl, curl_text, rest, send_all},
    servers::{digest, echo_at_end, pattern, web},
    world::on_a_machine,
};

const GREETING: &[u8] = b"\x05\x01\x00";

/// A request for a connection to a name.
fn connect(name: &[u8], port: u16) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("a short name");
    [b"\x05\x01\x00\x03", &[length][..], name, &port.to_be_bytes()].concat()
}

#[tokio::test]
async fn what_is_not_served_has_its_reply() {
    for (request, reply) in [
        (connect(b"evil.test", 443), 2),
        (connect(b"allowed.test", 22), 2),
        (connect(b"allowed.test", 443), 4),
        (connect(b"ALLOWED.test.", 443), 4),
        (connect(b"127.0.0.1", 443), 2),
        (connect(b"allowed.test", 0), 1),
        (connect(b"allowed.test\0.evil.test", 443), 1),
        (connect(b"%61llowed.test", 443), 1),
        (connect(b"allowed.test:443", 443), 1),
        (connect(b"user@allowed.test", 443), 1),
        (connect(b"fe80::1%eth0", 443), 1),
        (connect(b"\xff\xfe", 443), 1),
        (connect(b"", 443), 1),
        (connect(&[b'a'; 255], 443), 1),
        // Addresses: loopback in both families, metadata.
        (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb".to_vec(), 2),
        (b"\x05\x01\x00\x01\xa9\xfe\xa9\xfe\x00\x50".to_vec(), 2),
        ([&b"\x05\x01\x00\x04"[..], &[0; 10], b"\xff\xff\x7f\x00\x00\x01\x00\x50"].concat(), 2),
        // To listen, to send datagrams, and what has no name.
        (b"\x05\x02\x00\x01\x7f\x00\x00\x01\x01\xbb".to_vec(), 7),
        (b"\x05\x03\x00\x01\x7f\x00\x00\x01\x01\xbb".to_vec(), 7),
        (b"\x05\x09\x00\x01\x7f\x00\x00\x01\x01\xbb".to_vec(), 7),
        (b"\x05\x01\x00\x09\x7f\x00\x00\x01\x01\xbb".to_vec(), 8),
    ] {
        let program = Program::new(&["allowed.test", "127.0.0.1"]);
        let mut stream = program.open();
        stream.write_all(&[GREETING, &request].concat()).await.unwrap();
        let said = rest(&mut stream).await;
        assert_eq!(said, [5, 0, 5, reply, 0, 1, 0, 0, 0, 0, 0, 0], "{request:?}");
        assert_eq!(program.names.asked().len(), usize::from(reply == 4), "{request:?}");
    }
}

#[tokio::test]
async fn a_program_that_wants_a_password_is_told_that_there_is_none() {
    let program = Program::new(&["allowed.test"]);
    let mut stream = program.open();
    stream.write_all(b"\x05\x01\x02").await.unwrap();
    assert_eq!(rest(&mut stream).await, [5, 0xff]);
}

#[test]
fn a_real_client_reaches_what_is_allowed() {
    on_a_machine(async |world| {
        let seen = web(&world, "198.51.100.7:80").await;
        web(&world, "[2001:db8::7]:80").await;
        let program = Program::new(&["allowed.test", "198.51.100.7", "[2001:db8::]/32"]);
        program.names.set("allowed.test", &[&["198.51.100.7"]]);
        let port = program.port().await.to_string();
        let via = ["--socks5-hostname", port.as_str()];
        let text = curl_text(&[&via[..], &["http://allowed.test/", "http://198.51.100.7/"]].concat()).await;
        assert_eq!(text, "this is 198.51.100.7:80\n".repeat(2));
        let text = curl_text(&[&via[..], &["-g", "http://[2001:db8::7]/"]].concat()).await;
        assert_eq!(text, "this is [2001:db8::7]:80\n");
        let output = curl(&[&via[..], &["http://evil.test/"]].concat()).await;
        assert_eq!(output.status.code(), Some(97), "{output:?}");
        assert_eq!(seen.lock().len(), 2);
        assert_eq!(program.denied().len(), 1);
    });
}

#[test]
fn bytes_pass_both_ways_and_one_way_may_end_first() {
    on_a_machine(async |world| {
        echo_at_end(&world, "198.51.100.7:7").await;
        let program = Program::new(&["allowed.test:7"]);
        program.names.set("allowed.test", &[&["198.51.100.7"]]);
        let mut stream = program.open();
        // All at once, before any answer.
        let bytes = pattern(3_000_000);
        let request = [GREETING, &connect(b"allowed.test", 7)].concat();
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let send = async {
            writer.write_all(&request).await.unwrap();
            send_all(&mut writer, &bytes).await;
        };
        let receive = async {
            let mut replies = [0; 12];
            reader.read_exact(&mut replies).await.unwrap();
            assert_eq!(replies[..4], [5, 0, 5, 0]);
            rest(&mut reader).await
        };
        let ((), back) = tokio::join!(send, receive);
        assert_eq!(digest(&back), digest(&bytes));
    });
}
