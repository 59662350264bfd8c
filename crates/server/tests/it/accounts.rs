//! Users and keys of a server with many users.

use longshore_protocol::account::Scope;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::server::{Said, Setup, TestServer, answer};

const USERS: &[&str] = &["root", "ann", "bob"];

async fn start() -> TestServer {
    TestServer::of(Setup { users: USERS, ..Setup::default() }).await
}

fn ask(server: &TestServer, key: &str, method: Method, path: &str) -> RequestBuilder {
    server.request(method, path).bearer_auth(key)
}

async fn admin(server: &TestServer, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let key = server.key("root", &Scope::ALL).await;
    answer(ask(server, &key, method, path).json(&body)).await
}

async fn status(server: &TestServer, key: &str) -> StatusCode {
    answer(ask(server, key, Method::GET, "/me")).await.0
}

#[tokio::test]
async fn a_server_with_users_asks_everybody_for_a_key() {
    let server = start().await;
    assert_eq!(answer(server.get("/me")).await.0, StatusCode::UNAUTHORIZED);
    let key = server.key("ann", &[Scope::Read]).await;
    for request in [server.get("/me").header("X-Session-API-Key", &key), server.get("/me").bearer_auth(&key)] {
        let (_, me) = answer(request).await;
        assert_eq!((&me["user_id"], &me["role"], &me["scopes"]), (&json!("ann"), &json!("user"), &json!(["read"])));
    }
    // The id and the length of a key are no secret, the rest is.
    let (head, tail) = key.split_at(key.len() - 1);
    let wrong = if tail == "0" { "1" } else { "0" };
    for wrong in [format!("{head}{wrong}"), head.to_owned(), format!("{key}0"), "lsk_".to_owned(), String::new()] {
        assert_eq!(status(&server, &wrong).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_admin_manages_users_and_keys() {
    let server = start().await;
    let (made, user) = admin(&server, Method::POST, "/admin/users", json!({"name": "cid"})).await;
    assert_eq!((made, &user["role"], &user["disabled_at"]), (StatusCode::CREATED, &json!("user"), &Value::Null));
    let again = admin(&server, Method::POST, "/admin/users", json!({"name": "cid", "role": "admin"})).await;
    assert_eq!(again.0, StatusCode::CONFLICT);
    let wrong = admin(&server, Method::POST, "/admin/users", json!({"name": "a b"})).await;
    assert_eq!(wrong.0, StatusCode::UNPROCESSABLE_ENTITY);

    let (_, page) = admin(&server, Method::GET, "/admin/users?limit=3", Value::Null).await;
    let names = |page: &Value| -> Vec<_> {
        page["items"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&page), ["ann", "bob", "cid"]);
    let next = format!("/admin/users?page_id={}", page["next_page_id"].as_str().unwrap());
    let (_, page) = admin(&server, Method::GET, &next, Value::Null).await;
    assert_eq!((names(&page), &page["next_page_id"]), (vec!["root".to_owned()], &Value::Null));

    let wish = json!({"label": "laptop", "scopes": ["read"]});
    let (made, new) = admin(&server, Method::POST, "/admin/users/cid/keys", wish).await;
    assert_eq!(made, StatusCode::CREATED, "{new}");
    let key = new["key"].as_str().unwrap();
    assert_eq!(status(&server, key).await, StatusCode::OK);
    let (_, keys) = admin(&server, Method::GET, "/admin/keys?user=cid", Value::Null).await;
    assert_eq!(keys["items"][0]["id"], new["id"]);
    assert!(!keys.to_string().contains(key), "a key is shown once");

    // What is changed over the API counts at once.
    let disabled = admin(&server, Method::PATCH, "/admin/users/cid", json!({"disabled": true})).await.1;
    assert!(disabled["disabled_at"].is_string(), "{disabled}");
    let (refused, body) = answer(ask(&server, key, Method::GET, "/me")).await;
    assert_eq!(refused, StatusCode::UNAUTHORIZED);
    assert_eq!(body["detail"], "This user is disabled: ask an admin.");
    admin(&server, Method::PATCH, "/admin/users/cid", json!({"disabled": false})).await;
    assert_eq!(status(&server, key).await, StatusCode::OK);
    let path = format!("/admin/keys/{}", new["id"].as_str().unwrap());
    assert!(admin(&server, Method::DELETE, &path, Value::Null).await.1["revoked_at"].is_string());
    assert_eq!(status(&server, key).await, StatusCode::UNAUTHORIZED);

    let (shut_out, _) = admin(&server, Method::PATCH, "/admin/users/root", json!({"disabled": true})).await;
    assert_eq!(shut_out, StatusCode::CONFLICT);
    let (none, _) = admin(&server, Method::GET, "/admin/users/nobody", Value::Null).await;
    assert_eq!(none, StatusCode::NOT_FOUND);
    server.stop().await;
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused() {
    let server = start().await;
    for (wish, reason) in [
        (json!({"scopes": []}), "one scope"),
        (json!({"scopes": ["admin"]}), "role admin"),
        (json!({"scopes": ["all"]}), "scope"),
        (json!({"label": "x".repeat(129)}), "128"),
        (json!({"label": "a\nb"}), "printable"),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), "passed"),
        (json!({"workspace_id": uuid::Uuid::nil()}), "no workspace"),
        (json!({"scope": ["read"]}), "scope"),
    ] {
        let (status, body) = admin(&server, Method::POST, "/admin/users/ann/keys", wish.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wish}: {body}");
        assert!(body.to_string().contains(reason), "{wish}: {body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_user_makes_keys_with_no_more_rights_than_the_own() {
    let server = start().await;
    let key = server.key("ann", &[Scope::Read, Scope::Write]).await;
    let make = async |key: &str, wish: Value| answer(ask(&server, key, Method::POST, "/keys").json(&wish)).await;
    let (status, _) = make(&key, json!({"scopes": ["read", "admin"]})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let writer = make(&key, json!({"scopes": ["write"]})).await.1["key"].as_str().unwrap().to_owned();
    assert_eq!(make(&writer, json!({"scopes": ["read"]})).await.0, StatusCode::FORBIDDEN);
    assert_eq!(make(&writer, json!({})).await.1["scopes"], json!(["write"]), "as much as it may");

    let (_, me) = answer(ask(&server, &key, Method::GET, "/me")).await;
    let (status, bound) = make(&key, json!({"workspace_id": me["workspace_id"]})).await;
    assert_eq!(status, StatusCode::CREATED, "{bound}");
    let bound_key = bound["key"].as_str().unwrap();
    let (_, me_bound) = answer(ask(&server, bound_key, Method::GET, "/me")).await;
    assert_eq!((&me_bound["is_bound"], &me_bound["workspace_id"]), (&json!(true), &me["workspace_id"]));
    assert_eq!(make(bound_key, json!({})).await.1["workspace_id"], me["workspace_id"]);
    assert_eq!(answer(ask(&server, bound_key, Method::GET, "/keys")).await.0, StatusCode::FORBIDDEN);

    // Bob sees and ends none of them.
    let bob = server.key("bob", &[Scope::Read, Scope::Write]).await;
    let path = format!("/keys/{}", bound["id"].as_str().unwrap());
    assert_eq!(answer(ask(&server, &bob, Method::DELETE, &path)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(answer(ask(&server, &bob, Method::GET, "/keys")).await.1["items"].as_array().unwrap().len(), 1);
    assert_eq!(answer(ask(&server, bound_key, Method::DELETE, &path)).await.0, StatusCode::OK, "its own end");
    assert_eq!(answer(ask(&server, bound_key, Method::GET, "/me")).await.0, StatusCode::UNAUTHORIZED);
    server.stop().await;
}

#[tokio::test]
async fn a_bound_key_sees_the_conversations_of_its_workspace_only() {
    let server = start().await;
    let key = server.key("ann", &[Scope::Read, Scope::Write]).await;
    let (_, me) = answer(ask(&server, &key, Method::GET, "/me")).await;
    let wish = json!({"workspace_id": me["workspace_id"]});
    let bound = answer(ask(&server, &key, Method::POST, "/keys").json(&wish)).await.1;
    let bound = bound["key"].as_str().unwrap();
    let create = async |key: &str, more: Value| {
        let wish = server.wish("m", more);
        answer(ask(&server, key, Method::POST, "/api/conversations").json(&wish)).await
    };
    let (made, mine) = create(bound, json!({})).await;
    assert_eq!(made, StatusCode::CREATED, "{mine}");
    let elsewhere = json!({"workspace": {"working_dir": server.path("x"), "workspace_id": uuid::Uuid::nil()}});
    assert_eq!(create(bound, elsewhere).await.0, StatusCode::FORBIDDEN);
    let own_box = json!({"workspace": {"working_dir": server.path("x"), "sandbox": {}}});
    assert_eq!(create(bound, own_box.clone()).await.0, StatusCode::FORBIDDEN);
    // One that is not in the workspace, since it has a place for itself.
    let (made, apart) = create(&key, own_box).await;
    assert_eq!(made, StatusCode::CREATED, "{apart}");
    let apart = apart["id"].as_str().unwrap();

    let get = async |key: &str, path: &str| answer(ask(&server, key, Method::GET, path)).await;
    assert_eq!(get(&key, "/api/conversations/count").await.1, json!(2));
    assert_eq!(get(bound, "/api/conversations/count").await.1, json!(1));
    let (_, found) = get(bound, "/api/conversations/search").await;
    assert_eq!(found["items"][0]["id"], mine["id"]);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(get(bound, &format!("/api/conversations/{apart}")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(bound, &format!("/api/conversations?ids={apart}")).await.1, json!([null]));
    assert_eq!(create(bound, json!({"conversation_id": apart})).await.0, StatusCode::NOT_FOUND);
    server.stop().await;
}

#[tokio::test]
async fn a_socket_ends_with_the_key_that_opened_it() {
    let server = start().await;
    let key = server.key("ann", &[Scope::Read]).await;
    let other = server.key("ann", &[Scope::Read]).await;
    let mut stays = server.try_socket("/sockets/bash-events", &[("X-Session-API-Key", &other)]).await.unwrap();
    let mut ends = server.try_socket("/sockets/bash-events", &[("X-Session-API-Key", &key)]).await.unwrap();
    let path = format!("/admin/keys/{}", &key[4..20]);
    assert_eq!(admin(&server, Method::DELETE, &path, Value::Null).await.0, StatusCode::OK);
    assert_eq!(ends.next().await, Said::Closed(4001));
    stays.send("x").await;
    assert_eq!(stays.next().await.json()["code"], "JSONDecodeError", "the other key is good");
    admin(&server, Method::PATCH, "/admin/users/ann", json!({"disabled": true})).await;
    assert_eq!(stays.next().await, Said::Closed(4001));
    server.stop().await;
}
