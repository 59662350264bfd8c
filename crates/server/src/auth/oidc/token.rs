//! Tokens: signed by the provider, for this server, at this time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::{Map, Value};

use super::{
    keys::{Down, Keys},
    options::OidcOptions,
};
use crate::auth::Denied;

/// Bytes of a token.
const MAX_TOKEN: usize = 16 * 1024;

/// What a token may call itself, if it says anything: an ID token or an access token. Others that the same provider signs,
/// such as messages about the end of a session, are no proof of who asks.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// What the provider says of somebody.
pub(super) type Claims = Map<String, Value>;

/// Which tokens are good.
#[derive(Debug)]
pub(super) struct Rules {
    issuer: String,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    leeway: Duration,
}

impl Rules {
    pub(super) fn new(options: &OidcOptions) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[&options.issuer]);
        validation.set_audience(&options.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = options.leeway.as_secs();
        validation.validate_nbf = true;
        Self { issuer: options.issuer.clone(), algorithms: options.accepted(), validation, leeway: options.leeway }
    }

    /// What a token says, after all of it was verified, and how long it is good.
    ///
    /// # Errors
    /// [`Denied::Unknown`] if the provider did not sign it, [`Denied::Ended`] if it did and the token is not good here and
    /// now, [`Denied::Unavailable`] if that cannot be known.
    pub(super) async fn verify(&self, token: &str, keys: &Keys) -> Result<(Claims, Duration), Denied> {
        let header = self.header(token).ok_or(Denied::Unknown)?;
        let found = keys.find(header.kid.as_deref(), header.alg).await;
        let found = found.map_err(|Down| Denied::Unavailable("the identity provider does not answer".to_owned()))?;
        let found = found.ok_or(Denied::Unknown)?;
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let verified = decode::<Claims>(token, &found.key().public, &validation);
        let claims = verified.map_err(|error| denied(error.kind()))?.claims;
        let rest = self.rest(&claims)?;
        Ok((claims, rest))
    }

    /// The header, which nobody has vouched for yet, if the rest may be looked at. Keys that it brings along mean nothing.
    fn header(&self, token: &str) -> Option<Header> {
        if token.len() > MAX_TOKEN || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return None;
        }
        let header = decode_header(token).ok()?;
        let is_known_type = header.typ.as_deref().is_none_or(|name| {
            let name = name.to_ascii_lowercase();
            TYPES.contains(&name.strip_prefix("application/").unwrap_or(&name))
        });
        // Whoever does not know all that a token calls critical must refuse it; there is nothing of that that is known here.
        (is_known_type && header.crit.is_none() && self.algorithms.contains(&header.alg)).then_some(header)
    }

    /// Checks what the library does not, and tells how long a token is good.
    fn rest(&self, claims: &Claims) -> Result<Duration, Denied> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Denied::Ended(OTHER));
        }
        if claims.contains_key("cnf") {
            return Err(Denied::Ended(
                "This token is bound to a key of its client, which is not supported: get one that is not.",
            ));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time =
            |name| claims.get(name).map(|value| value.as_f64().and_then(|it| Duration::try_from_secs_f64(it).ok()));
        match time("iat") {
            None => {}
            Some(Some(issued)) if issued <= now + self.leeway => {}
            Some(_) => return Err(Denied::Ended(EARLY)),
        }
        let end = time("exp").flatten().ok_or(Denied::Ended(EXPIRED))?;
        Ok((end.saturating_add(self.leeway)).saturating_sub(now))
    }
}

const OTHER: &str = "This token is not for this server: get one with its audience from its identity provider.";
const EARLY: &str = "This token is not good yet: compare the clocks of the identity provider and of this server.";
const EXPIRED: &str = "This token has expired: get another from the identity provider.";

fn denied(kind: &ErrorKind) -> Denied {
    match kind {
        ErrorKind::ExpiredSignature => Denied::Ended(EXPIRED),
        ErrorKind::ImmatureSignature => Denied::Ended(EARLY),
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer => Denied::Ended(OTHER),
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => {
            Denied::Ended("This token lacks one of iss, sub, aud and exp: get an ID token or an access token.")
        }
        _ => Denied::Unknown,
    }
}
