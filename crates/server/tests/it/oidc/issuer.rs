//! An identity provider on a port of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RsaKeyPair,
    },
};
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use longshore_server::OidcOptions;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// What tokens are for, where a test says nothing.
pub(crate) const AUDIENCE: &str = "longshore";

/// A pair of keys, by the algorithm that it signs with.
pub(crate) enum Signer {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    Ps256(RsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn ps256() -> Self {
        Self::Ps256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
            Self::Ps256(_) => "PS256",
            Self::Ed(_) => "EdDSA",
        }
    }

    pub(crate) fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y)})
            }
            Self::Rs256(pair) | Self::Ps256(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let text = |number: &[u8]| base64(number);
                json!({
                    "kty": "RSA",
                    "n": text(n.big_endian_without_leading_zero()),
                    "e": text(e.big_endian_without_leading_zero()),
                })
            }
            Self::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key().as_ref())}),
        };
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |pair: &RsaKeyPair, algorithm| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(algorithm, &random, message, &mut signature).unwrap();
            signature
        };
        match self {
            Self::Es256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Rs256(pair) => rsa(pair, &RSA_PKCS1_SHA256),
            Self::Ps256(pair) => rsa(pair, &RSA_PSS_SHA256),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of this header and these claims.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        token(header, claims, |message| self.sign(message))
    }
}

/// A token with whatever signature.
pub(crate) fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", base64(signature))
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970, and so many more.
pub(crate) fn seconds(more: i64) -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap() + more
}

/// How the provider answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Well,
    Fails,
    Hangs,
    /// As somebody else.
    Lies,
}

struct Shared {
    url: String,
    mood: Mutex<Mood>,
    keys: Mutex<Vec<Value>>,
    asked: AtomicUsize,
}

/// A provider with one key of the id `one`, until a test adds others.
pub(crate) struct Issuer {
    shared: Arc<Shared>,
    pub(crate) signer: Signer,
    task: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        Self::of(Mood::Well).await
    }

    pub(crate) async fn of(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let signer = Signer::es256();
        let keys = Mutex::new(vec![signer.jwk("one")]);
        let shared = Arc::new(Shared { url, mood: Mutex::new(mood), keys, asked: AtomicUsize::new(0) });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys_of))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { shared, signer, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.shared.url
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.shared.mood.lock() = mood;
    }

    pub(crate) fn publish(&self, keys: Vec<Value>) {
        *self.shared.keys.lock() = keys;
    }

    /// How often its keys were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Options with which its tokens are accepted, and their users added.
    pub(crate) fn options(&self) -> OidcOptions {
        OidcOptions { create_users: true, ..OidcOptions::new(self.url(), AUDIENCE) }
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.signer.algorithm(), "typ": "JWT", "kid": "one"})
    }

    /// What a good token says of somebody.
    pub(crate) fn claims(&self, subject: &str) -> Value {
        json!({"iss": self.url(), "aud": AUDIENCE, "sub": subject, "exp": seconds(600), "iat": seconds(-1)})
    }

    /// A good token of somebody, with more in it.
    pub(crate) fn token(&self, subject: &str, more: Value) -> String {
        self.signer.token(&self.header(), &with(self.claims(subject), more))
    }
}

/// A table with the entries of another; those that are null there are taken out.
pub(crate) fn with(mut table: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more} is no table") };
    for (name, value) in more {
        if value.is_null() {
            table.as_object_mut().unwrap().remove(&name);
        } else {
            table[name] = value;
        }
    }
    table
}

async fn discovery(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let mood = *shared.mood.lock();
    let url = &shared.url;
    let issuer = match mood {
        Mood::Well => url.as_str(),
        Mood::Lies => "https://id.example",
        Mood::Fails => return Err(StatusCode::INTERNAL_SERVER_ERROR),
        Mood::Hangs => std::future::pending().await,
    };
    Ok(axum::Json(json!({"issuer": issuer, "jwks_uri": format!("{url}/keys")})))
}

async fn keys_of(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.asked.fetch_add(1, Ordering::Relaxed);
    axum::Json(json!({"keys": *shared.keys.lock()}))
}
