//! `[server]`: where the server listens, and who may call it.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use longshore_server::{Certificate, Tls};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where the server listens, and who may call it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerSection {
    /// Address to listen on. Without it: 0.0.0.0 if keys are needed, else 127.0.0.1.
    pub(crate) host: Option<String>,
    /// Port to listen on. Without it: 8000.
    pub(crate) port: Option<u16>,
    /// Threads that serve. Without it: one for each core.
    pub(crate) workers: Option<NonZeroUsize>,
    /// Web origins that may call the server from a browser, besides localhost: `https://app.example`, or `*` for all.
    pub(crate) cors_origins: Vec<String>,
    /// Regular expression of more such origins; it must match all of an origin.
    pub(crate) cors_origin_pattern: Option<String>,
    /// Names that the server answers to: `api.example`, or `*.example` for all below. Without any: all names if keys are
    /// needed, else only those of this machine.
    pub(crate) allowed_hosts: Vec<String>,
    /// Proxies that are believed when they tell in `X-Forwarded-For` or `Forwarded` where a request comes from: `10.0.0.0/8`,
    /// or one address. A proxy must set or remove `X-Forwarded-For`, which goes before `Forwarded`.
    trusted_proxies: Vec<String>,
    /// TLS with a certificate from files.
    tls: Option<TlsFiles>,
    /// TLS with certificates from an authority that speaks ACME.
    acme: Option<AcmeSection>,
}

/// TLS with a certificate from files. They are loaded again when they change, and at SIGHUP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TlsFiles {
    /// PEM file of the chain of certificates, the server's own first.
    certificate: PathBuf,
    /// PEM file of the key.
    key: PathBuf,
}

/// TLS with certificates from an authority that speaks ACME, such as Let's Encrypt. The server must be reachable at port 443
/// of each domain. Needs a program that is built with the feature `acme`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "acme"), expect(dead_code, reason = "only the feature reads them"))]
pub(crate) struct AcmeSection {
    /// Names of the server that certificates are asked for.
    pub(crate) domains: Vec<String>,
    /// Mail address for messages about certificates.
    pub(crate) contact: Option<String>,
    /// Address of the authority. Without it: that of Let's Encrypt.
    pub(crate) directory: Option<String>,
    /// Folder for the account and certificates.
    pub(crate) cache: PathBuf,
}

/// TLS, and what may be loaded again.
#[derive(Default)]
pub(crate) struct TlsSetup {
    pub(crate) tls: Option<Tls>,
    pub(crate) certificate: Option<Certificate>,
}

impl ServerSection {
    /// Proxies that are believed.
    pub(crate) fn trusted_proxies(&self) -> Result<Vec<IpNet>> {
        let parse = |text: &String| {
            let net = text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
            net.with_context(|| format!("trusted_proxies: '{text}' is no network: write 10.0.0.0/8 or 10.0.0.1"))
        };
        self.trusted_proxies.iter().map(parse).collect()
    }

    /// Whether a server would take it.
    pub(super) fn check(&self) -> Result<()> {
        self.trusted_proxies()?;
        // Fetching a certificate starts a task, which only a server does.
        if self.acme.is_none() || self.tls.is_some() || !cfg!(feature = "acme") {
            self.tls()?;
        }
        Ok(())
    }

    /// TLS as the file wants it. Certificates from an authority are fetched by a task that this starts.
    pub(crate) fn tls(&self) -> Result<TlsSetup> {
        match (&self.tls, &self.acme) {
            (None, None) => Ok(TlsSetup::default()),
            (Some(files), None) => {
                let certificate = Certificate::load(&files.certificate, &files.key).context("[server.tls]")?;
                let tls = Tls::with_certificate(certificate.clone()).context("[server.tls]")?;
                Ok(TlsSetup { tls: Some(tls), certificate: Some(certificate) })
            }
            (None, Some(acme)) => Ok(TlsSetup { tls: Some(by_acme(acme)?), certificate: None }),
            (Some(_), Some(_)) => bail!("[server.tls] and [server.acme] cannot be used together: choose one"),
        }
    }
}

#[cfg(feature = "acme")]
fn by_acme(section: &AcmeSection) -> Result<Tls> {
    crate::acme::start(section)
}

#[cfg(not(feature = "acme"))]
fn by_acme(_: &AcmeSection) -> Result<Tls> {
    bail!(
        "[server.acme]: this program is built without the feature `acme`; use [server.tls], or build it with the feature"
    )
}
