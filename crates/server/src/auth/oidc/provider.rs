//! What the provider says: its public keys, found through its discovery document.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{Jwk, KeyOperations, PublicKeyUse},
};
use longshore_outbound::{
    Client, Method, Request, Url,
    header::{CACHE_CONTROL, HeaderMap},
    read_limited,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::options::is_safe;

/// Bytes of a document.
const MAX_BYTES: usize = 256 * 1024;

/// Keys of a provider; those after them are left out.
const MAX_KEYS: usize = 100;

/// How long keys are taken for current: what the provider says within these bounds, else an hour.
const LIFETIME: Duration = Duration::from_hours(1);
const MIN_LIFETIME: Duration = Duration::from_mins(5);
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// A provider, and how to reach it.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) issuer: String,
    pub(super) http: Client,
    /// How long one request may take.
    pub(super) timeout: Duration,
}

/// Why the provider's keys are not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ProviderError(String);

/// A public key of the provider.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) public: DecodingKey,
    family: AlgorithmFamily,
    algorithm: Option<Algorithm>,
}

impl Key {
    /// Whether signatures of this algorithm are checked with the key.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.family == algorithm.family() && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// A key for signatures that the library knows; none if it is for something else.
    fn of(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let is_for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature)
            && jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        let algorithm = jwk.common.key_algorithm.map(Algorithm::try_from).transpose().ok()?;
        let public = DecodingKey::from_jwk(&jwk).ok()?;
        let family = public.family();
        let is_asymmetric = family != AlgorithmFamily::Hmac;
        (is_for_signatures && is_asymmetric).then_some(Self { id: jwk.common.key_id, public, family, algorithm })
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Provider {
    /// The provider's keys, and how long they are current.
    ///
    /// # Errors
    /// The provider does not answer, or not what it should.
    pub(super) async fn keys(&self) -> Result<(Vec<Key>, Duration), ProviderError> {
        let address = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let address = address.parse().map_err(|error| ProviderError(format!("{address} is no address: {error}")))?;
        let (discovery, _): (Discovery, _) = self.get(address).await?;
        if discovery.issuer != self.issuer {
            return Err(ProviderError(format!(
                "the provider calls itself {:?}: write exactly that as the issuer",
                discovery.issuer
            )));
        }
        let jwks = discovery.jwks_uri.parse().ok().filter(is_safe);
        let jwks = jwks.ok_or_else(|| ProviderError("the provider's jwks_uri is no address of https".to_owned()))?;
        let (set, headers): (KeySet, _) = self.get(jwks).await?;
        let keys: Vec<_> = set.keys.into_iter().take(MAX_KEYS).filter_map(Key::of).collect();
        if keys.is_empty() {
            return Err(ProviderError("the provider has no key for signatures".to_owned()));
        }
        Ok((keys, lifetime(&headers)))
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<(T, HeaderMap), ProviderError> {
        let mut request = Request::new(Method::GET, url.clone());
        *request.timeout_mut() = Some(self.timeout);
        let failed = |error: longshore_outbound::Error| ProviderError(error.to_string());
        let response = self.http.execute(request).await.map_err(failed)?;
        if *response.url() != url {
            return Err(ProviderError(format!("{url} leads elsewhere, which is not followed")));
        }
        if !response.status().is_success() {
            return Err(ProviderError(format!("{url} answers {}", response.status())));
        }
        let headers = response.headers().clone();
        let body = read_limited(response, MAX_BYTES).await.map_err(failed)?;
        let value = serde_json::from_slice(&body);
        Ok((value.map_err(|error| ProviderError(format!("{url} has not what it should: {error}")))?, headers))
    }
}

fn lifetime(headers: &HeaderMap) -> Duration {
    let said = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let max_age = said.split(',').find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok());
    max_age.map_or(LIFETIME, Duration::from_secs).clamp(MIN_LIFETIME, MAX_LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_current_as_long_as_the_provider_says_within_bounds() {
        for (said, lifetime) in [
            ("", LIFETIME),
            ("public, max-age=7200, must-revalidate", Duration::from_hours(2)),
            ("max-age=0", MIN_LIFETIME),
            ("max-age=99999999999", MAX_LIFETIME),
            ("max-age=soon", LIFETIME),
        ] {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, said.parse().unwrap())]);
            assert_eq!(super::lifetime(&headers), lifetime, "{said}");
        }
    }
}
