//! `[outbound]`: requests that the server makes for users.

use std::{num::NonZeroU64, time::Duration};

use anyhow::{Context as _, Result};
use longshore_outbound::{Client, Invalid, Options, Policy};
use longshore_protocol::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// What the server may ask for its users: models, secrets to look up, and other addresses that they name.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Outbound {
    /// Hosts that may be asked although their addresses are not public: `models.internal`, `*.internal`, `10.1.2.3`,
    /// `10.1.0.0/16`, `fd00:1::/32`. At most 256. A single user reaches this machine and private networks without.
    allow: Vec<String>,
    /// Hosts that may not be asked, also public and allowed ones; `*` for all. At most 256.
    deny: Vec<String>,
    /// Ports that may be asked. Without them: all. At most 256.
    ports: Vec<u16>,
    /// A proxy that all requests go through: `http://proxy.internal:3128`, perhaps with a user and a password. It looks
    /// names up then, and has to keep requests from private addresses.
    #[schemars(with = "Option<String>")]
    proxy: Option<Secret>,
    /// Seconds that a request may take. Without it: 60. Models and secrets have limits of their own.
    timeout: Option<NonZeroU64>,
}

impl Outbound {
    /// The client for addresses that users name. Those of this machine and of private networks are open for a single user.
    pub(crate) fn client(&self, is_single_user: bool) -> Result<Client> {
        let Self { allow, deny, ports, proxy, .. } = self;
        let policy = if is_single_user { Policy::open() } else { Policy::closed() };
        let policy = policy.with_allowed(allow).and_then(|policy| policy.with_denied(deny));
        let client = self.asking(policy.and_then(|policy| policy.with_ports(ports)))?;
        if proxy.is_some() {
            tracing::info!("requests for users go through a proxy, which has to keep them from private addresses");
        } else if is_single_user {
            tracing::info!("requests for the single user may reach this machine and private networks");
        }
        Ok(client)
    }

    /// The client for addresses that the operator names, in private networks too; through the same proxy.
    pub(crate) fn trusted_client(&self) -> Result<Client> {
        self.asking(Ok(Policy::open()))
    }

    fn asking(&self, policy: Result<Policy, Invalid>) -> Result<Client> {
        let client = policy.map(Options::new).and_then(|options| {
            let timeout = self.timeout.map_or(options.timeout, |seconds| Duration::from_secs(seconds.get()));
            Client::new(Options { proxy: self.proxy.clone(), timeout, ..options })
        });
        client.context("[outbound] in the configuration file")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_the_entry_and_without_a_password() {
        let read = |text: &str| toml::from_str::<Outbound>(text).unwrap().client(false).map(drop);
        read("allow = ['*.internal', '10.1.0.0/16', 'fd00:1::/32', '::1']\ndeny = ['*']\nports = [443]\ntimeout = 5")
            .unwrap();
        read("proxy = 'http://me:hunter2@127.0.0.1:3128'").unwrap();
        for (text, says) in [
            ("allow = ['*']", "'*' in allow"),
            ("allow = ['http://models.internal']", "'http://models.internal' in allow"),
            ("deny = ['10.0.0.1/8']", "'10.0.0.1/8' in deny"),
            ("ports = [0]", "from 1 to 65535"),
            ("proxy = 'socks5://me:hunter2@127.0.0.1'", "write http://HOST:PORT"),
            ("proxy = 'me:hunter2@proxy'", "write http://HOST:PORT"),
        ] {
            let error = format!("{:#}", read(text).expect_err(text));
            assert!(error.contains("[outbound]") && error.contains(says) && !error.contains("hunter2"), "{error}");
        }
        for unknown in ["alow = []", "timeout = 0", "ports = [65536]"] {
            toml::from_str::<Outbound>(unknown).expect_err(unknown);
        }
        let shown = format!("{:?}", toml::from_str::<Outbound>("proxy = 'http://me:hunter2@h:1'").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
