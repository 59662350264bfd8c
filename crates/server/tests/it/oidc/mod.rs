//! Tokens of an identity provider.

mod issuer;

use std::time::Duration;

use aws_lc_rs::hmac;
use longshore_protocol::account::Scope;
use longshore_server::{ClaimValue, Limits, OidcOptions, Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use self::issuer::{AUDIENCE, Issuer, Mood, Signer, base64, seconds, token, with};
use crate::server::{Setup, TestServer, answer, until};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

async fn start(oidc: OidcOptions) -> TestServer {
    let limits = Limits { wrong_keys_per_minute: 10_000, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    TestServer::of(Setup { options, oidc: Some(oidc), users: &["root", "ann"], ..Setup::default() }).await
}

async fn me(server: &TestServer, token: &str) -> (StatusCode, Value) {
    answer(server.get("/me").bearer_auth(token)).await
}

/// Whom a token is taken for.
async fn user(server: &TestServer, token: &str) -> Value {
    let (status, me) = me(server, token).await;
    assert_eq!(status, OK, "{me}");
    me["user_id"].clone()
}

/// Why a token is refused.
async fn refused(server: &TestServer, token: &str) -> String {
    let (status, body) = me(server, token).await;
    assert_eq!(status, UNAUTHORIZED, "{body}");
    body["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_opens_what_its_user_has() {
    let issuer = Issuer::start().await;
    let setup = Setup { oidc: Some(issuer.options()), ..Setup::default() };
    let server = TestServer::of(setup).await;
    // Without users, too, everybody needs one.
    assert_eq!(answer(server.get("/me")).await.0, UNAUTHORIZED);
    let token = issuer.token("8f3a", json!({}));
    for request in [server.get("/me").bearer_auth(&token), server.get("/me").header("X-Session-API-Key", &token)] {
        let (_, me) = answer(request).await;
        assert_eq!(
            (&me["user_id"], &me["role"], &me["scopes"]),
            (&json!("8f3a"), &json!("user"), &json!(["read", "write"]))
        );
    }
    // The user is a user like others, and may have keys.
    let (status, key) = answer(server.post("/keys").bearer_auth(&token).json(&json!({}))).await;
    assert_eq!(status, StatusCode::CREATED, "{key}");
    assert_eq!(user(&server, key["key"].as_str().unwrap()).await, "8f3a");
    let path = format!("/sockets/bash-events?session_api_key={token}");
    server.socket(&path).await.send("{}").await;
    server.stop().await;
}

#[tokio::test]
async fn what_providers_write_differently_is_accepted() {
    let issuer = Issuer::start().await;
    let signers = [Signer::es256(), Signer::rs256(), Signer::ps256(), Signer::ed()];
    let ids = ["a", "b", "c", "d"];
    let mut keys: Vec<_> = signers.iter().zip(ids).map(|(signer, id)| signer.jwk(id)).collect();
    // Keys for other things, and of kinds that nobody knows, are in the way of none.
    keys.extend([json!({"kty": "new", "kid": "a"}), json!({"kty": "oct", "k": "AAAA", "kid": "a"}), json!("key")]);
    issuer.publish(keys);
    let server =
        start(OidcOptions { audience: vec!["other".to_owned(), AUDIENCE.to_owned()], ..issuer.options() }).await;
    for (signer, id) in signers.iter().zip(ids) {
        let header = json!({"alg": signer.algorithm(), "kid": id});
        assert_eq!(user(&server, &signer.token(&header, &issuer.claims(id))).await, id);
    }
    let header = json!({"alg": "EdDSA", "kid": "d"});
    for (more_header, more) in [
        (json!({"typ": "at+jwt"}), json!({})),
        (json!({"typ": "application/AT+JWT"}), json!({})),
        (json!({"kid": null}), json!({})),
        (json!({}), json!({"aud": ["else", AUDIENCE]})),
        (json!({}), json!({"exp": 32_503_680_000.5, "iat": null})),
        (json!({}), json!({"exp": seconds(-30), "nbf": seconds(30), "iat": seconds(30)})),
    ] {
        let token = signers[3].token(&with(header.clone(), more_header), &with(issuer.claims("eve"), more));
        assert_eq!(user(&server, &token).await, "eve");
    }
    server.stop().await;
}

#[tokio::test]
async fn forged_tokens_open_nothing() {
    let issuer = Issuer::start().await;
    let server = start(issuer.options()).await;
    let (header, claims) = (issuer.header(), issuer.claims("eve"));
    let good = issuer.signer.token(&header, &claims);
    assert_eq!(user(&server, &good).await, "eve");

    let other = Signer::es256();
    let public = issuer.signer.jwk("one");
    let hmac = |secret: &[u8], message: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
    };
    let hs256 = with(header.clone(), json!({"alg": "HS256"}));
    let parts: Vec<_> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let admin = base64(issuer.claims("root").to_string());
    let mut forged = vec![
        other.token(&header, &claims),
        other.token(&with(header.clone(), json!({"jwk": other.jwk("one")})), &claims),
        other.token(&with(header.clone(), json!({"kid": "two"})), &claims),
        Signer::ed().token(&with(header.clone(), json!({"alg": "EdDSA"})), &claims),
        token(&hs256, &claims, |message| hmac(public.to_string().as_bytes(), message)),
        token(&hs256, &claims, |message| hmac(public["x"].as_str().unwrap().as_bytes(), message)),
        token(&hs256, &claims, |message| hmac(b"", message)),
        token(&header, &claims, |_| Vec::new()),
        token(&header, &claims, |_| vec![0; 64]),
        format!("{head}.{admin}.{signature}"),
        format!("{head}.{body}"),
        format!("{head}.{body}."),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("..{signature}"),
        format!("{good}="),
        "..".to_owned(),
        base64("{}"),
    ];
    for name in ["none", "None", "NONE", "", "HS512", "ES384", "RS256", "A256KW"] {
        let header = with(header.clone(), json!({"alg": name}));
        forged.push(token(&header, &claims, |_| Vec::new()));
        forged.push(issuer.signer.token(&header, &claims));
    }
    // What is good is signed, and says something that must be refused.
    for more in [
        json!({"crit": ["exp"], "exp": seconds(600)}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"crit": []}),
        json!({"typ": "logout+jwt"}),
        json!({"typ": "dpop+jwt"}),
        json!({"typ": ""}),
        json!({"typ": 1}),
    ] {
        forged.push(issuer.signer.token(&with(header.clone(), more), &claims));
    }
    for token in forged {
        assert_eq!(me(&server, &token).await.0, UNAUTHORIZED, "{token}");
    }
    assert_eq!(user(&server, &good).await, "eve");
    server.stop().await;
}

#[tokio::test]
async fn a_token_for_something_else_opens_nothing() {
    let issuer = Issuer::start().await;
    let server = start(issuer.options()).await;
    for more in [
        json!({"iss": null}),
        json!({"iss": "https://id.example"}),
        json!({"iss": [issuer.url()]}),
        json!({"iss": format!("{}/", issuer.url())}),
        json!({"aud": null}),
        json!({"aud": "other"}),
        json!({"aud": []}),
        json!({"aud": ["other"]}),
        json!({"aud": {AUDIENCE: true}}),
        json!({"exp": null}),
        json!({"exp": seconds(-61)}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": seconds(600).to_string()}),
        json!({"nbf": seconds(120)}),
        json!({"nbf": "never"}),
        json!({"iat": seconds(120)}),
        json!({"iat": "now"}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"sub": "a".repeat(256)}),
        json!({"cnf": {"jkt": "x"}}),
        json!({"pad": "x".repeat(16 * 1024)}),
    ] {
        let token = issuer.token("eve", more.clone());
        let why = refused(&server, &token).await;
        assert!(!why.contains(&token), "{more}: {why}");
    }
    assert_eq!(user(&server, &issuer.token("eve", json!({}))).await, "eve");
    let audience = refused(&server, &issuer.token("eve", json!({"aud": "other"}))).await;
    let expired = refused(&server, &issuer.token("eve", json!({"exp": 1}))).await;
    assert!(audience.contains("audience") && expired.contains("expired"), "{audience} {expired}");
    server.stop().await;
}

#[tokio::test]
async fn nobody_becomes_a_user_who_was_there_before() {
    let issuer = Issuer::start().await;
    let server = start(OidcOptions { user_claim: "email".to_owned(), ..issuer.options() }).await;
    let token = |subject: &str, email: &str| issuer.token(subject, json!({"email": email, "email_verified": true}));
    // A user of the operator's, the single user whose things need no row of a user, and whoever had the name before.
    assert!(refused(&server, &token("1", "ann")).await.contains("somebody else"));
    assert!(refused(&server, &token("1", "local")).await.contains("no user"));
    assert_eq!(user(&server, &token("1", "eve@id.example")).await, "eve@id.example");
    assert!(refused(&server, &token("2", "eve@id.example")).await.contains("somebody else"));
    assert_eq!(user(&server, &token("1", "eve@id.example")).await, "eve@id.example");
    // Names are not made to fit.
    for email in ["eve @id.example", "@id.example", "é@id.example", "eve@id.example\n", "../ann", "", &"e".repeat(129)]
    {
        assert!(refused(&server, &token("1", email)).await.contains("nobody"), "{email:?}");
    }
    for more in [
        json!({"email": "ben@id.example"}),
        json!({"email": "ben@id.example", "email_verified": false}),
        json!({"email": "ben@id.example", "email_verified": "false"}),
        json!({"email_verified": true}),
    ] {
        refused(&server, &issuer.token("3", more)).await;
    }
    // An admin binds a user to an identity, and to no other.
    let root = server.key("root", &Scope::ALL).await;
    let change = json!({"options": {"identity": {"issuer": issuer.url(), "subject": "1"}}});
    let patch = server.request(Method::PATCH, "/admin/users/ann").bearer_auth(&root).json(&change);
    assert_eq!(answer(patch).await.0, OK);
    assert_eq!(user(&server, &token("1", "ann")).await, "ann");
    assert!(refused(&server, &token("2", "ann")).await.contains("somebody else"));
    server.stop().await;
}

#[tokio::test]
async fn an_operator_may_trust_the_providers_names() {
    let issuer = Issuer::start().await;
    let options = OidcOptions { create_users: false, link_users: true, ..issuer.options() };
    let server = start(options).await;
    assert_eq!(user(&server, &issuer.token("ann", json!({}))).await, "ann");
    assert!(refused(&server, &issuer.token("eve", json!({}))).await.contains("no user"));
    assert!(refused(&server, &issuer.token("local", json!({}))).await.contains("no user"));
    server.stop().await;

    let server = start(OidcOptions { user_prefix: "id-".to_owned(), ..issuer.options() }).await;
    assert_eq!(user(&server, &issuer.token("ann", json!({}))).await, "id-ann");
    server.stop().await;
}

#[tokio::test]
async fn one_who_comes_many_times_at_once_is_one_user() {
    let issuer = Issuer::start().await;
    let server = start(issuer.options()).await;
    let tokens: Vec<_> = (0..20).map(|number| issuer.token("eve", json!({"jti": number}))).collect();
    let users = futures::future::join_all(tokens.iter().map(|token| user(&server, token))).await;
    assert!(users.iter().all(|user| user == "eve"), "{users:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_disabled_user_is_kept_out() {
    let issuer = Issuer::start().await;
    let server = start(issuer.options()).await;
    let token = issuer.token("eve", json!({}));
    assert_eq!(user(&server, &token).await, "eve");
    let root = server.key("root", &Scope::ALL).await;
    let set = async |disabled: bool| {
        let patch = server.request(Method::PATCH, "/admin/users/eve").bearer_auth(&root);
        assert_eq!(answer(patch.json(&json!({"disabled": disabled}))).await.0, OK);
    };
    set(true).await;
    assert!(refused(&server, &token).await.contains("disabled"));
    set(false).await;
    assert_eq!(user(&server, &token).await, "eve");
    server.stop().await;
}

#[tokio::test]
async fn claims_say_what_a_token_is_good_for() {
    let issuer = Issuer::start().await;
    let admin = ClaimValue { name: "realm_access.roles".to_owned(), value: "operator".to_owned() };
    let server = start(OidcOptions {
        admin_claim: Some(admin),
        scope_claim: Some("scope".to_owned()),
        required_claims: [("hd".to_owned(), "id.example".to_owned())].into(),
        ..issuer.options()
    })
    .await;
    let admin = json!({"roles": ["x", "operator"]});
    for (more, role, scopes) in [
        (json!({"scope": "openid read"}), "user", json!(["read"])),
        (json!({"scope": ["write", "admin"]}), "user", json!(["write"])),
        (json!({"scope": "admin", "realm_access": admin}), "admin", json!(["admin"])),
        (json!({"realm_access": admin}), "admin", json!([])),
        (json!({"scope": "admin read", "realm_access": {"roles": ["operators"]}}), "user", json!(["read"])),
    ] {
        let token = issuer.token("eve", with(json!({"hd": "id.example"}), more.clone()));
        let scopes = scopes.as_array().unwrap();
        let may = async |method, path| answer(server.request(method, path).bearer_auth(&token)).await.0;
        let allowed = |scope| if scopes.contains(&json!(scope)) { OK } else { StatusCode::FORBIDDEN };
        assert_eq!(may(Method::GET, "/admin/users").await, allowed("admin"), "{more}");
        assert_eq!(may(Method::GET, "/api/conversations/count").await, allowed("read"), "{more}");
        if scopes.contains(&json!("read")) {
            assert_eq!(me(&server, &token).await.1["role"], role, "{more}");
        }
    }
    for more in [json!({}), json!({"hd": "other.example"}), json!({"hd": ""})] {
        assert!(refused(&server, &issuer.token("eve", more)).await.contains("requires"));
    }
    server.stop().await;
}

#[tokio::test]
async fn new_keys_are_found_and_made_up_ones_do_not_trouble_the_provider() {
    let issuer = Issuer::start().await;
    let server = start(issuer.options()).await;
    assert_eq!(user(&server, &issuer.token("eve", json!({}))).await, "eve");
    assert_eq!(issuer.asked(), 1);

    let next = Signer::rs256();
    issuer.publish(vec![next.jwk("two")]);
    let header = |id: &str| json!({"alg": "RS256", "kid": id});
    // Many come with the new key at once, and are served by one question.
    let claims: Vec<_> = (0..20).map(|number| issuer.claims(&format!("user-{number}"))).collect();
    let tokens: Vec<_> = claims.iter().map(|claims| next.token(&header("two"), claims)).collect();
    for (status, _) in futures::future::join_all(tokens.iter().map(|token| me(&server, token))).await {
        assert_eq!(status, OK);
    }
    assert_eq!(issuer.asked(), 2);
    let made_up: Vec<_> = (0..50).map(|number| next.token(&header(&format!("x{number}")), &claims[0])).collect();
    for (status, _) in futures::future::join_all(made_up.iter().map(|token| me(&server, token))).await {
        assert_eq!(status, UNAUTHORIZED);
    }
    assert_eq!(issuer.asked(), 2);
    // The old key is the provider's no more.
    refused(&server, &issuer.token("eve", json!({"jti": 2}))).await;
    server.stop().await;
}

#[tokio::test]
async fn keys_that_are_known_work_while_the_provider_is_down() {
    let issuer = Issuer::start().await;
    let server = start(issuer.options()).await;
    assert_eq!(user(&server, &issuer.token("eve", json!({}))).await, "eve");
    for mood in [Mood::Fails, Mood::Hangs, Mood::Lies] {
        issuer.set(mood);
        let server = start(OidcOptions { timeout: Duration::from_millis(200), ..issuer.options() }).await;
        let token = issuer.token("eve", json!({"jti": 1}));
        let response = server.get("/me").bearer_auth(&token).send().await.unwrap();
        assert_eq!(response.status(), UNAVAILABLE, "{mood:?}");
        assert!(response.headers().contains_key("retry-after"));
        // Others are let in as ever.
        let ann = server.key("ann", &[Scope::Read]).await;
        assert_eq!(user(&server, &ann).await, "ann");
        assert_eq!(me(&server, "no token").await.0, UNAUTHORIZED);
        server.stop().await;
    }
    assert_eq!(user(&server, &issuer.token("eve", json!({"jti": 2}))).await, "eve");
    let unknown = Signer::es256().token(&with(issuer.header(), json!({"kid": "two"})), &issuer.claims("eve"));
    assert_eq!(me(&server, &unknown).await.0, UNAVAILABLE);
    assert_eq!(user(&server, &issuer.token("eve", json!({"jti": 3}))).await, "eve");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_starts_before_its_provider_finds_it() {
    let issuer = Issuer::of(Mood::Fails).await;
    let server = start(OidcOptions { timeout: Duration::from_millis(200), ..issuer.options() }).await;
    issuer.set(Mood::Well);
    let token = issuer.token("eve", json!({}));
    // The first question may be under way still.
    until(async || (me(&server, &token).await.0 == OK).then_some(())).await;
    assert_eq!(user(&server, &token).await, "eve");
    server.stop().await;
}
