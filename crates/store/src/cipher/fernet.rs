//! One Fernet key.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    cipher::{
        AES_128, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
        UnboundCipherKey,
    },
    digest, hmac,
    iv::FixedLength,
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use longshore_protocol::Secret;

use crate::AuditHash;

const VERSION: u8 = 0x80;
const TIME: usize = 8;
const IV: usize = 16;
const BLOCK: usize = 16;
const MAC: usize = 32;
const HEADER: usize = 1 + TIME + IV;

/// How every token begins: the version byte and the first bytes of any time before the year 2106.
const PREFIX: &str = "gAAAAA";

pub(super) struct Fernet {
    authentication: hmac::Key,
    encryption: PaddedBlockEncryptingKey,
    decryption: PaddedBlockDecryptingKey,
}

impl Fernet {
    /// The key that the official server derives from an operator's text.
    pub(super) fn new(secret: &Secret) -> Self {
        let key = digest::digest(&digest::SHA256, secret.expose().as_bytes());
        let (authentication, encryption) = key.as_ref().split_at(16);
        let aes = || UnboundCipherKey::new(&AES_128, encryption).expect("AES-128 takes 16 bytes");
        Self {
            authentication: hmac::Key::new(hmac::HMAC_SHA256, authentication),
            encryption: PaddedBlockEncryptingKey::cbc_pkcs7(aes()).expect("AES-128 has a CBC mode"),
            decryption: PaddedBlockDecryptingKey::cbc_pkcs7(aes()).expect("AES-128 has a CBC mode"),
        }
    }

    pub(super) fn seal(&self, text: &str) -> String {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let mut iv = [0; IV];
        rand::fill(&mut iv).expect("the operating system has random bytes");
        self.token(text, time, iv)
    }

    /// The text, if the token was made with this key. Its age does not matter.
    pub(super) fn open(&self, token: &[u8]) -> Option<String> {
        let (signed, mac) = token.split_at_checked(token.len().checked_sub(MAC)?)?;
        let (header, ciphertext) = signed.split_at_checked(HEADER)?;
        if header[0] != VERSION || ciphertext.is_empty() || ciphertext.len() % BLOCK != 0 {
            return None;
        }
        hmac::verify(&self.authentication, signed, mac).ok()?;
        let iv: [u8; IV] = header[1 + TIME..].try_into().ok()?;
        let mut buffer = ciphertext.to_vec();
        let text = self.decryption.decrypt(&mut buffer, DecryptionContext::Iv128(FixedLength::from(iv))).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }

    /// A signature of `message`, under a key that is derived for the purpose.
    pub(super) fn sign(&self, purpose: &str, message: &[u8]) -> AuditHash {
        let mut signature = AuditHash::default();
        signature.0.copy_from_slice(hmac::sign(&self.derived(purpose), message).as_ref());
        signature
    }

    pub(super) fn is_signed(&self, purpose: &str, message: &[u8], signature: &AuditHash) -> bool {
        hmac::verify(&self.derived(purpose), message, &signature.0).is_ok()
    }

    fn derived(&self, purpose: &str) -> hmac::Key {
        let key = hmac::sign(&self.authentication, purpose.as_bytes());
        hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
    }

    fn token(&self, text: &str, time: u64, iv: [u8; IV]) -> String {
        let mut ciphertext = text.as_bytes().to_vec();
        self.encryption
            .less_safe_encrypt(&mut ciphertext, EncryptionContext::Iv128(FixedLength::from(iv)))
            .expect("AES-CBC encrypts a text of any length");
        let mut token = Vec::with_capacity(HEADER + ciphertext.len() + MAC);
        token.push(VERSION);
        token.extend(time.to_be_bytes());
        token.extend(iv);
        token.extend(ciphertext);
        let mac = hmac::sign(&self.authentication, &token);
        token.extend(mac.as_ref());
        URL_SAFE.encode(token)
    }
}

/// The bytes of a text that may be a token.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    text.starts_with(PREFIX).then(|| URL_SAFE.decode(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "correct horse battery staple ü";
    const TIME: u64 = 1_763_596_800;

    /// Made once by version 50.0.2 of the Python package `cryptography`.
    const TOKENS: [(&str, &str); 3] = [
        (
            "sk-live-0123456789",
            "gAAAAABpHloAAAECAwQFBgcICQoLDA0OD38y2haf6YubSqY8SKT9_XQzKK-3BEcEhR9iws14iT31Al5g2A7R_appCwhIfcdxhIJewa9z8wkVbQIjxJfAP-8=",
        ),
        (
            "Grüße, 世界",
            "gAAAAABpHloAAAECAwQFBgcICQoLDA0OD4MLQh9PrpTyPOZmEyj7VBsedd1U1t42SoeU9T9SYNMB8JDyfSG0LSWhWbZZMGPaLA==",
        ),
        ("", "gAAAAABpHloAAAECAwQFBgcICQoLDA0OD0bEg9d_XWc6N5DZs9s2pds2CeyAIyFis_SzdgsfPzGx9POZLPzjyIc9k7eRkRdH5w=="),
    ];

    fn key() -> Fernet {
        Fernet::new(&Secret::new(SECRET))
    }

    #[test]
    fn tokens_are_those_of_the_official_server() {
        for (text, token) in TOKENS {
            let iv = std::array::from_fn(|index| u8::try_from(index).unwrap());
            assert_eq!(key().token(text, TIME, iv), token);
            assert_eq!(key().open(&decode(token).unwrap()).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_was_sealed_opens_and_never_looks_the_same() {
        let [first, second] = [key().seal("abc"), key().seal("abc")];
        assert_ne!(first, second);
        assert_eq!(key().open(&decode(&first).unwrap()).as_deref(), Some("abc"));
        assert!(Fernet::new(&Secret::new("other")).open(&decode(&first).unwrap()).is_none());
    }

    #[test]
    fn a_token_with_any_byte_changed_or_missing_does_not_open() {
        let token = decode(&key().seal("abc")).unwrap();
        for index in 0..token.len() {
            let mut changed = token.clone();
            changed[index] ^= 1;
            assert!(key().open(&changed).is_none(), "byte {index}");
            assert!(key().open(&token[..index]).is_none(), "{index} bytes");
        }
    }
}
