//! Commands, files and git of a conversation: as outside of it, but in its workspace only.

use std::path::Path;

use longshore_server::Server;
use reqwest::{
    Method, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::server::{TestServer, answer};

const NOBODY: &str = "/api/conversations/99999999-2222-3333-4444-555555555555";

/// A conversation's path and folder.
async fn conversation(server: &TestServer) -> (String, String) {
    let info = server.make("m", json!({})).await;
    let folder = info["workspace"]["working_dir"].as_str().unwrap().to_owned();
    (format!("/api/conversations/{}", info["id"].as_str().unwrap()), folder)
}

fn file() -> Form {
    Form::new().part("file", Part::bytes(b"content".as_slice()).file_name("x"))
}

#[tokio::test]
async fn commands_run_in_the_workspace_and_have_events_of_their_own() {
    let server = TestServer::start().await;
    let ((one, folder), (other, _)) = (conversation(&server).await, conversation(&server).await);
    let (status, output) =
        server.post_json(&format!("{one}/bash/execute_bash_command"), &json!({"command": "pwd"})).await;
    assert_eq!((status, &output["stdout"]), (StatusCode::OK, &json!(format!("{folder}\n"))));
    let (_, command) =
        server.post_json(&format!("{one}/bash/start_bash_command"), &json!({"command": "sleep 30"})).await;
    let id = command["id"].as_str().unwrap();
    let count = async |place: &str| {
        server.look(&format!("{place}/bash/bash_events/search")).await["items"].as_array().unwrap().len()
    };
    assert_eq!(count(&one).await, 3);
    for elsewhere in [other.as_str(), "/api"] {
        assert_eq!(count(elsewhere).await, 0, "{elsewhere}");
        let (status, _) = answer(server.get(&format!("{elsewhere}/bash/bash_events/{id}"))).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, _) = answer(server.post(&format!("{elsewhere}/bash/bash_commands/{id}/stop"))).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (_, found) = answer(server.get(&format!("{elsewhere}/bash/bash_events/")).json(&json!([id]))).await;
        assert_eq!(found, json!([null]));
        let (_, cleared) = answer(server.request(Method::DELETE, &format!("{elsewhere}/bash/bash_events"))).await;
        assert_eq!(cleared["cleared_count"], 0);
    }
    let (status, _) = answer(server.post(&format!("{one}/bash/bash_commands/{id}/stop"))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(server.look(&format!("{one}/bash/bash_events/{id}")).await["command"], "sleep 30");
    server.stop().await;
}

#[tokio::test]
async fn files_and_git_are_reached_in_the_workspace() {
    let server = TestServer::start().await;
    let (place, folder) = conversation(&server).await;
    let path = format!("{folder}/deep/down.txt");
    let (status, body) = answer(server.post(&format!("{place}/file/upload?path={path}")).multipart(file())).await;
    assert_eq!((status, &body["file_size"]), (StatusCode::OK, &json!(7)));
    let (status, body) = answer(server.get(&format!("{place}/file/download?path={path}"))).await;
    assert_eq!((status, body), (StatusCode::OK, json!("content")));
    let (status, body) = answer(server.post(&format!("{place}/file/create_directory?path={folder}/new"))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(Path::new(&folder).join("new").is_dir());

    let setup =
        "git init -q . && git add . && git -c user.name=N -c user.email=n@x commit -qm one && echo x >deep/down.txt";
    let (_, output) = server.post_json(&format!("{place}/bash/execute_bash_command"), &json!({"command": setup})).await;
    assert_eq!(output["exit_code"], 0, "{output}");
    let changes = server.look(&format!("{place}/git/changes?path={folder}")).await;
    assert_eq!(changes[0]["path"], "deep/down.txt");
    let diff = server.look(&format!("{place}/git/diff?path={path}")).await;
    assert_eq!((&diff["original"], &diff["modified"]), (&json!("content"), &json!("x")));
    let commits = server.look(&format!("{place}/git/commits?path={folder}")).await;
    let sha = commits["commits"][0]["sha"].as_str().unwrap();
    let changed = server.look(&format!("{place}/git/commits/{sha}/changes?path={folder}")).await;
    assert_eq!(changed[0]["path"], "deep/down.txt");
    server.stop().await;
}

#[tokio::test]
async fn no_path_leads_out_of_the_workspace() {
    let server = TestServer::start().await;
    let ((place, folder), (_, other)) = (conversation(&server).await, conversation(&server).await);
    // All that is outside is the test's own, so that nothing is lost on the day this fails.
    std::os::unix::fs::symlink(&other, Path::new(&folder).join("link")).unwrap();
    std::os::unix::fs::symlink(format!("{folder}/../later"), Path::new(&folder).join("dangling")).unwrap();
    let outside = json!({"detail": "path must be inside the conversation workspace"});
    for path in [
        server.path("outside.txt"),
        server.folder.to_str().unwrap().to_owned(),
        "relative".to_owned(),
        String::new(),
        other.clone(),
        format!("{folder}/../x"),
        format!("{folder}/link/file"),
        format!("{folder}/dangling"),
        format!("{folder}%2F..%2Fx"),
        format!("{folder}/%2e%2e/x"),
        format!("{folder}x"),
    ] {
        for (method, route) in [
            (Method::GET, "file/download?path="),
            (Method::POST, "file/upload?path="),
            (Method::POST, "file/create_directory?path="),
            (Method::GET, "git/changes?path="),
            (Method::GET, "git/diff?path="),
            (Method::GET, "git/commits?path="),
            (Method::GET, "git/commits/abcdef/changes?path="),
        ] {
            let mut request = server.request(method, &format!("{place}/{route}{path}"));
            if route.starts_with("file/upload") {
                request = request.multipart(file());
            }
            assert_eq!(answer(request).await, (StatusCode::UNPROCESSABLE_ENTITY, outside.clone()), "{route}{path}");
        }
    }
    for command in ["execute", "start"] {
        let path = format!("{place}/bash/{command}_bash_command");
        for cwd in [server.folder.to_str().unwrap(), "relative", "", &other, &format!("{folder}/link")] {
            let refused = server.post_json(&path, &json!({"command": "touch here", "cwd": cwd})).await;
            let outside = json!({"detail": "cwd must be inside the conversation workspace"});
            assert_eq!(refused, (StatusCode::UNPROCESSABLE_ENTITY, outside), "{cwd}");
        }
    }
    assert!(!Path::new(&other).join("here").exists() && !server.folder.join("here").exists());
    server.stop().await;
}

#[tokio::test]
async fn there_is_no_place_without_a_conversation() {
    let server = TestServer::start().await;
    let not_found = json!({"detail": format!("Conversation not found: {}", &NOBODY[19..])});
    for (method, route) in [
        (Method::POST, "bash/execute_bash_command"),
        (Method::GET, "bash/bash_events/search"),
        (Method::GET, "file/download?path=/etc/passwd"),
        (Method::GET, "git/changes?path=/"),
    ] {
        let request = server.request(method, &format!("{NOBODY}/{route}")).json(&json!({"command": "true"}));
        assert_eq!(answer(request).await, (StatusCode::NOT_FOUND, not_found.clone()), "{route}");
    }
    // These are not about a workspace.
    let (place, _) = conversation(&server).await;
    for route in ["file/home", "file/search_subdirs?path=/"] {
        let (status, _) = answer(server.get(&format!("{place}/{route}"))).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{route}");
    }
    server.stop().await;
}

#[test]
fn the_document_has_each_operation_of_a_place_twice_under_names_of_their_own() {
    let document: Value = serde_json::from_slice(&Server::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut names = Vec::new();
    let mut scoped = 0;
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            names.push(operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path}")));
            let inside = path.strip_prefix("/api/conversations/{conversation_id}");
            let Some(outside) = inside.map(|rest| format!("/api{rest}")).filter(|path| paths.contains_key(path)) else {
                continue;
            };
            scoped += 1;
            let outside = &document["paths"][outside][method];
            assert_eq!(operation["requestBody"], outside["requestBody"], "{method} {path}");
            for status in ["404", "409"] {
                assert!(operation["responses"][status].is_object(), "{method} {path} has no {status}");
            }
        }
    }
    assert!(scoped >= 14, "only {scoped} operations");
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two operations have the same name");
}
