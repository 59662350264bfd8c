//! What the owner of a box hears of what it may not do.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::program::{Program, head};

async fn deny(program: &Program, count: usize, mut host: impl FnMut(usize) -> String) {
    let mut stream = program.open();
    for index in 0..count {
        let request = format!("GET http://{}/ HTTP/1.1\r\n\r\n", host(index));
        stream.write_all(request.as_bytes()).await.expect("a listener");
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 403 "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_is_told_once_a_minute_with_how_often_it_was_tried() {
    let program = Program::new(&[]);
    deny(&program, 500, |_| "evil.test".to_owned()).await;
    deny(&program, 1, |_| "evil.test:81".to_owned()).await;
    let told = |host: &str, port, reason: &str| (host.to_owned(), port, reason.to_owned());
    let mut expected =
        vec![told("evil.test", 80, "is not in allowed_hosts"), told("evil.test", 81, "is not in allowed_hosts")];
    assert_eq!(program.denied(), expected);
    tokio::time::advance(Duration::from_secs(61)).await;
    deny(&program, 2, |_| "evil.test".to_owned()).await;
    expected.push(told("evil.test", 80, "is not in allowed_hosts (tried 499 more times before)"));
    assert_eq!(program.denied(), expected);
    tokio::time::advance(Duration::from_secs(61)).await;
    deny(&program, 1, |_| "evil.test".to_owned()).await;
    expected.push(told("evil.test", 80, "is not in allowed_hosts (tried 1 more times before)"));
    assert_eq!(program.denied(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_box_that_tries_every_host_does_not_fill_its_log() {
    let program = Program::new(&[]);
    deny(&program, 2000, |index| format!("host-{index}.test")).await;
    assert_eq!(program.denied().len(), 64);
    assert!(program.names.asked().is_empty());
    // When the minute is over, others have their turn.
    tokio::time::advance(Duration::from_secs(61)).await;
    deny(&program, 1, |_| "late.test".to_owned()).await;
    assert_eq!(program.denied().last().unwrap().0, "late.test");
}
