//! Certificates from an authority that speaks ACME.

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use longshore_server::Tls;
use rustls_acme::{AcmeConfig, acme::ACME_TLS_ALPN_NAME, caches::DirCache};

use crate::config::AcmeSection;

/// TLS with certificates that a task fetches and renews. Until the first is there, handshakes fail; an authority that cannot
/// be reached is asked again and again, and the log says so.
pub(crate) fn start(section: &AcmeSection) -> Result<Tls> {
    if section.domains.is_empty() {
        bail!("[server.acme]: give at least one domain");
    }
    std::fs::create_dir_all(&section.cache)
        .with_context(|| format!("[server.acme]: the folder {} cannot be made", section.cache.display()))?;
    let mut config = AcmeConfig::new(&section.domains).cache(DirCache::new(section.cache.clone()));
    config = match &section.directory {
        Some(directory) => config.directory(directory),
        None => config.directory_lets_encrypt(true),
    };
    if let Some(contact) = &section.contact {
        config = config.contact_push(format!("mailto:{contact}"));
    }
    let mut state = config.state();
    let tls = Tls::with_resolver(state.resolver(), &[ACME_TLS_ALPN_NAME]).context("[server.acme]")?;
    tokio::spawn(async move {
        while let Some(event) = state.next().await {
            match event {
                Ok(event) => tracing::info!(event = ?event, "certificates"),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "no certificate could be had from the authority; it is asked again later");
                }
            }
        }
    });
    Ok(tls)
}
