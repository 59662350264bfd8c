//! TLS, with certificates that may change while the server runs.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

/// Bytes of a file with certificates or a key.
const MAX_BYTES: u64 = 1 << 20;

/// How often files are looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(10);

/// How the server speaks TLS: version 1.2 or later, and HTTP/1.1 in it.
#[derive(Clone)]
pub struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// Looked at now and then, if the certificate comes from files.
    pub(crate) certificate: Option<Certificate>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS with a certificate from files, which is loaded again when they change.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] if the library cannot be set up.
    pub fn with_certificate(certificate: Certificate) -> Result<Self, TlsError> {
        let tls = Self::with_resolver(Arc::new(certificate.clone()), &[])?;
        Ok(Self { certificate: Some(certificate), ..tls })
    }

    /// TLS with certificates that somebody else looks after; `protocols` are offered besides HTTP.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] if the library cannot be set up.
    pub fn with_resolver(resolver: Arc<dyn ResolvesServerCert>, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Unusable)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        let http: &[u8] = b"http/1.1";
        config.alpn_protocols = [http].iter().chain(protocols).map(|protocol| protocol.to_vec()).collect();
        Ok(Self { acceptor: Arc::new(config).into(), certificate: None })
    }
}

/// A certificate and its key from files.
#[derive(Clone)]
pub struct Certificate(Arc<Files>);

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    loaded: RwLock<Loaded>,
}

struct Loaded {
    key: Arc<CertifiedKey>,
    /// What was in the files when they were last tried, as a hash.
    tried: [u8; 32],
}

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is no PEM file with what it should have.
    #[error("{} has no usable {what} in PEM form: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// What was read cannot be used, for instance because certificate and key do not belong together.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(rustls::Error),
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("certificate", &self.0.certificate).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a chain of certificates, the server's own first, and its key: PEM files of 1 MiB at most.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let contents = Contents::read(&certificate, &key)?;
        let loaded = RwLock::new(Loaded { key: contents.parse(&certificate, &key)?, tried: contents.hash() });
        Ok(Self(Arc::new(Files { certificate, key, loaded })))
    }

    /// Reads the files again, unless they are as they were at the last try, and says whether there is a new certificate. New
    /// connections get it, others go on. Blocks for as long as the files take.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificate stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let Files { certificate, key, loaded } = &*self.0;
        let contents = Contents::read(certificate, key)?;
        let hash = contents.hash();
        if std::mem::replace(&mut loaded.write().tried, hash) == hash {
            return Ok(false);
        }
        let parsed = contents.parse(certificate, key)?;
        loaded.write().key = parsed;
        Ok(true)
    }

    /// Reads the files again and tells the log what came of it.
    pub async fn refresh(&self) {
        let certificate = self.clone();
        match tokio::task::spawn_blocking(move || certificate.reload()).await {
            Ok(Ok(true)) => tracing::info!(file = %self.0.certificate.display(), "the certificate was loaded again"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the certificate could not be loaded again: the old one stays in use");
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.loaded.read().key))
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// What is in the two files.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { certificate: read(certificate)?, key: read(key)? })
    }

    fn hash(&self) -> [u8; 32] {
        let length = (self.certificate.len() as u64).to_le_bytes();
        Sha256::new().chain_update(length).chain_update(&self.certificate).chain_update(&self.key).finalize().into()
    }

    fn parse(&self, certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
        let malformed = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Malformed { path, what, source }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
        let chain = chain.map_err(malformed(certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(malformed(key, "private key"))?;
        CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(TlsError::Unusable)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    let read = read.and_then(|length| {
        let fits = length as u64 <= MAX_BYTES;
        fits.then_some(()).ok_or_else(|| io::Error::other(format!("it is larger than {MAX_BYTES} bytes")))
    });
    read.map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
