use crate::Bench;
use longshore_protocol::action::TerminalAction;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency() {
    let bench = Bench::new("terminal");
    let t = std::time::Instant::now();
    let go = |text: &str| bench.run(TerminalAction { command: text.into(), ..Default::default() });
    go("echo hi").await.unwrap();
    println!("first {:?}", t.elapsed());
    for text in ["echo hi", "cd /tmp", "/bin/true"] {
        let mut times = vec![];
        for _ in 0..500 {
            let t = std::time::Instant::now();
            go(text).await.unwrap();
            times.push(t.elapsed());
        }
        times.sort();
        println!("{text}: p50 {:?} p99 {:?}", times[250], times[495]);
    }
    let t = std::time::Instant::now();
    bench
        .run(TerminalAction {
            command: "head -c 100000000 /dev/zero | tr '\\0' 'x'".into(),
            timeout: Some(60.0),
            ..Default::default()
        })
        .await
        .unwrap();
    println!("100MB {:?}", t.elapsed());
}
