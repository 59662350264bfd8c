//! Git over REST.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{TestServer, answer};

/// W8: the official server fails on a name with a space.
#[tokio::test]
async fn changes_diffs_and_commits() {
    let server = TestServer::start().await;
    let output = server
        .execute(json!({"command": "git init -q -b main repo && cd repo && printf '1\\n2\\n' > 'a b.txt' && printf bye > gone \
            && git add . && git -c user.name=N -c user.email=e@x commit -qm 'first commit' \
            && printf '1\\nchanged\\n' > 'a b.txt' && rm gone && printf new > 'né w.txt'"}))
        .await;
    assert_eq!(output["exit_code"], 0, "{output}");
    let repo = server.path("repo");
    let get = async |path: &str, query: &[(&str, &str)]| answer(server.get(path).query(query)).await;
    let changes = json!([
        {"status": "UPDATED", "path": "a b.txt"},
        {"status": "DELETED", "path": "gone"},
        {"status": "ADDED", "path": "né w.txt"},
    ]);
    assert_eq!(get("/api/git/changes", &[("path", &repo)]).await, (StatusCode::OK, changes.clone()));
    assert_eq!(get("/api/git/changes", &[("path", &format!("{repo}/.")), ("ref", "HEAD")]).await.1, changes);
    let (status, _) = get("/api/git/changes", &[("path", &repo), ("ref", "nosuchref")]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    for path in ["/nonexistent", "/"] {
        assert_eq!(get("/api/git/changes", &[("path", path)]).await, (StatusCode::OK, json!([])), "{path}");
    }
    for (name, modified, original) in [("a b.txt", "1\nchanged", "1\n2"), ("gone", "", "bye"), ("né w.txt", "new", "")]
    {
        let (_, diff) = get("/api/git/diff", &[("path", &format!("{repo}/{name}"))]).await;
        assert_eq!(diff, json!({"modified": modified, "original": original}), "{name}");
    }
    let (_, nowhere) = get("/api/git/diff", &[("path", "/etc/passwd")]).await;
    assert_eq!(nowhere, json!({"modified": null, "original": null}));
    let (_, page) = get("/api/git/commits", &[("path", &repo), ("limit", "1")]).await;
    assert_eq!((&page["has_more"], &page["commits"][0]["subject"]), (&Value::Bool(false), &json!("first commit")));
    let sha = page["commits"][0]["sha"].as_str().unwrap();
    let (_, first) = get(&format!("/api/git/commits/{sha}/changes"), &[("path", &repo)]).await;
    assert_eq!(first, json!([{"status": "ADDED", "path": "a b.txt"}, {"status": "ADDED", "path": "gone"}]));
    let gone = format!("{repo}/gone");
    let (_, diff) = get("/api/git/diff", &[("path", &gone), ("commit", sha)]).await;
    assert_eq!(diff, json!({"modified": "bye", "original": ""}));
    let (status, body) = get("/api/git/diff", &[("path", &gone), ("commit", sha), ("ref", "HEAD")]).await;
    assert_eq!(
        (status, body),
        (StatusCode::BAD_REQUEST, json!({"detail": "'ref' and 'commit' are mutually exclusive"}))
    );
    let (status, _) = get("/api/git/commits/deadbeef/changes", &[("path", &repo)]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    server.stop().await;
}
