//! Which addresses may be asked.

use std::net::IpAddr;

use url::Url;

use crate::{
    address::{self, Kind},
    error::Refusal,
    host::{Host, Hosts},
};

/// The most entries of a list, and the longest entry.
const MAX_ENTRIES: usize = 256;
const MAX_LENGTH: usize = 512;

/// Which addresses may be asked for users.
///
/// Public addresses are, unless the operator denies them. Others are if the operator allows them; [`Policy::open`] begins
/// with those of this machine and of private networks allowed. What is denied is closed even if it is allowed too.
#[derive(Debug, Clone)]
pub struct Policy {
    is_open: bool,
    allowed: Vec<Hosts>,
    denied: Vec<Hosts>,
    ports: Vec<u16>,
}

/// A setting that makes no sense: the entry that is wrong, and how to write it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) String);

impl Policy {
    /// For many users: public addresses alone, on all ports.
    pub const fn closed() -> Self {
        Self { is_open: false, allowed: Vec::new(), denied: Vec::new(), ports: Vec::new() }
    }

    /// For a single user, who owns the machine: its own addresses and those of private networks too. Each use of one is
    /// logged. Link-local, metadata, multicast and reserved addresses stay closed.
    pub fn open() -> Self {
        Self { is_open: true, ..Self::closed() }
    }

    /// Opens hosts whose addresses are not public. An entry is a name, which is then open whatever its addresses are; `*.`
    /// and a name for all below it; an address; or a network (`10.1.0.0/16`, `fd00:1::/32`).
    ///
    /// # Errors
    /// An entry that is none of these, or more than 256.
    pub fn with_allowed(self, entries: &[String]) -> Result<Self, Invalid> {
        let allowed = parse("allow", entries)?;
        if allowed.contains(&Hosts::All) {
            return Err(Invalid(
                "'*' in allow would open a cloud's metadata as well: list names and networks".to_owned(),
            ));
        }
        Ok(Self { allowed, ..self })
    }

    /// Closes hosts, also public and allowed ones. The entries are those of [`Policy::with_allowed`], and `*`. A name closes
    /// what is asked for by this name; an address and a network close names that lead there as well.
    ///
    /// # Errors
    /// An entry that is none of these, or more than 256.
    pub fn with_denied(self, entries: &[String]) -> Result<Self, Invalid> {
        Ok(Self { denied: parse("deny", entries)?, ..self })
    }

    /// Closes all ports but these, or none if there are none here.
    ///
    /// # Errors
    /// A port 0, or more than 256.
    pub fn with_ports(self, ports: &[u16]) -> Result<Self, Invalid> {
        if ports.len() > MAX_ENTRIES || ports.contains(&0) {
            return Err(Invalid(format!("ports must be at most {MAX_ENTRIES} numbers from 1 to 65535")));
        }
        Ok(Self { ports: ports.to_vec(), ..self })
    }

    /// Judges what can be judged before a name is looked up.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::scheme(url.scheme()));
        }
        let text = url.host_str().unwrap_or_default();
        let host = Host::parse(text).map_err(|why| Refusal::no_host(text, why))?;
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.ports.is_empty() && !self.ports.contains(&port) {
            return Err(Refusal::port(&host, port));
        }
        match host {
            Host::Name(_) if self.denies(&host) => Err(Refusal::denied(&host)),
            Host::Name(_) => Ok(()),
            Host::Address(address) => self.judge(&host, address),
        }
    }

    /// Judges an address of `host`.
    pub(crate) fn judge(&self, host: &Host, address: IpAddr) -> Result<(), Refusal> {
        if self.denies(host) || address::ends(address).into_iter().any(|end| self.denies(&end.into())) {
            return Err(Refusal::denied(host));
        }
        if self.allows(host) {
            return Ok(());
        }
        let is_open = |address: IpAddr, kind| self.allows(&address.into()) || self.is_open_kind(host, kind);
        address::closed(address, is_open).map_or(Ok(()), |kind| Err(Refusal::closed(host, kind)))
    }

    fn denies(&self, host: &Host) -> bool {
        self.denied.iter().any(|hosts| hosts.contain(host))
    }

    fn allows(&self, host: &Host) -> bool {
        self.allowed.iter().any(|hosts| hosts.contain(host))
    }

    fn is_open_kind(&self, host: &Host, kind: Kind) -> bool {
        let is_near = matches!(kind, Kind::Loopback | Kind::OwnMachine | Kind::Private | Kind::Carrier);
        if self.is_open && is_near {
            tracing::debug!(%host, "asked for the single user, although it is {kind}");
        }
        self.is_open && is_near
    }
}

fn parse(list: &str, entries: &[String]) -> Result<Vec<Hosts>, Invalid> {
    if entries.len() > MAX_ENTRIES {
        return Err(Invalid(format!("{list} has {} entries and may have {MAX_ENTRIES}", entries.len())));
    }
    let wrong = |entry: &str, why| {
        let entry: String = entry.chars().take(100).collect();
        Invalid(format!(
            "'{}' in {list} {why}: write example.com, *.example.com, 10.1.2.3, 10.1.0.0/16 or fd00:1::/32",
            entry.escape_debug()
        ))
    };
    let entries = entries.iter().map(|entry| match entry.trim() {
        entry if entry.len() > MAX_LENGTH => Err(wrong(entry, "is longer than 512 bytes")),
        entry => Hosts::parse(entry).map_err(|why| wrong(entry, why)),
    });
    entries.collect()
}
