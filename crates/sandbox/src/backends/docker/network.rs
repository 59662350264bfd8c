//! The network of boxes that may reach every public address.
//!
//! They share one bridge, because engines have few networks to give away. Rules of this machine's packet filter keep them
//! apart from each other, from this machine and from what is private around it.

use std::{collections::HashMap, net::IpAddr, path::Path};

use bollard::{
    models::{NetworkCreateRequest, NetworkInspect},
    query_parameters::{InspectNetworkOptions, ListContainersOptionsBuilder},
};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{
    Docker,
    engine::{is_conflict, is_missing, lacks},
    firewall::{self, Firewall},
    layout::DEPLOYMENT_LABEL,
};
use crate::{Deployment, Error};

/// What to do where there is no such network.
const ADVICE: &str = "boxes can still reach what `allowed_hosts` names, over the server's proxy";

/// The network that boxes of a deployment share.
#[derive(Debug)]
pub(super) struct BridgeNetwork {
    name: String,
    bridge: String,
    firewall: Firewall,
    /// Whether it can be had, since somebody looked.
    possible: Mutex<Option<bool>>,
    /// Held while the network is made or removed, so that none is removed that a box is about to use.
    changing: tokio::sync::Mutex<()>,
}

impl BridgeNetwork {
    pub(super) fn new(deployment: &Deployment, name: String) -> Self {
        // Names of network interfaces are short.
        let digest = Sha256::digest(&deployment.name);
        let suffix =
            format!("{:010x}", digest.iter().take(5).fold(0_u64, |number, byte| number << 8 | u64::from(*byte)));
        let bridge = format!("ls{suffix}");
        Self {
            firewall: Firewall::new(bridge.clone(), &suffix),
            name,
            bridge,
            possible: Mutex::new(None),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// Whether it can be had, as far as somebody looked.
    pub(super) fn is_possible(&self) -> bool {
        *self.possible.lock() == Some(true)
    }

    /// Looks whether it can be had.
    pub(super) async fn probe(&self, docker: &Docker) {
        let possible = self.obstacle(docker).await.is_none();
        *self.possible.lock() = Some(possible);
    }

    /// Why it cannot be had.
    pub(super) async fn obstacle(&self, docker: &Docker) -> Option<String> {
        if let Some(obstacle) = apparent_obstacle(docker).await {
            return Some(obstacle.to_owned());
        }
        Firewall::probe().await.err().map(|cause| format!("the packet filter cannot be set: {cause}"))
    }

    /// Makes sure that the network and its rules are there. No box may start on it before.
    pub(super) async fn ensure(&self, docker: &Docker) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        if let Some(obstacle) = apparent_obstacle(docker).await {
            return Err(unavailable(obstacle));
        }
        // The rules name the bridge, which need not be there. So there is no moment without them.
        self.firewall
            .ensure(&name_servers(docker))
            .await
            .map_err(|cause| unavailable(&format!("the packet filter cannot be set: {cause}")))?;
        match self.inspect(docker).await? {
            Some(network) => self.check(&network)?,
            None => self.make(docker).await?,
        }
        self.check_bridge().map_err(unavailable)
    }

    /// Puts the rules back if somebody has taken them away while boxes are on the network.
    pub(super) async fn keep(&self, docker: &Docker) {
        let _changing = self.changing.lock().await;
        if !matches!(self.inspect(docker).await, Ok(Some(_))) {
            return;
        }
        if let Err(cause) = self.firewall.ensure(&name_servers(docker)).await {
            tracing::error!(cause, "the rules that keep boxes from this machine cannot be checked");
        }
    }

    /// Removes the network and its rules if no box is on it, running or not.
    pub(super) async fn remove_if_unused(&self, docker: &Docker) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        if self.inspect(docker).await?.is_none() {
            return Ok(());
        }
        let client = docker.engine.client().await?;
        let failed = |refusal| docker.engine.failed("remove the network of boxes", refusal);
        let filters = HashMap::from([("network", vec![self.name.as_str()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        if !client.list_containers(Some(options)).await.map_err(failed)?.is_empty() {
            return Ok(());
        }
        match client.remove_network(&self.name).await {
            Ok(()) => {}
            Err(refusal) if is_missing(&refusal) => {}
            Err(refusal) => return Err(failed(refusal)),
        }
        self.firewall
            .remove()
            .await
            .map_err(|cause| Error::failed("remove the rules of boxes from the packet filter", cause))
    }

    async fn inspect(&self, docker: &Docker) -> Result<Option<NetworkInspect>, Error> {
        match docker.engine.client().await?.inspect_network(&self.name, None::<InspectNetworkOptions>).await {
            Ok(network) => Ok(Some(network)),
            Err(refusal) if is_missing(&refusal) => Ok(None),
            Err(refusal) => Err(docker.engine.failed("look at the network of boxes", refusal)),
        }
    }

    async fn make(&self, docker: &Docker) -> Result<(), Error> {
        let options = [
            ("com.docker.network.bridge.name", self.bridge.as_str()),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
        ];
        let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let request = NetworkCreateRequest {
            name: self.name.clone(),
            driver: Some("bridge".to_owned()),
            enable_ipv6: Some(false),
            options: Some(options.map(text).into()),
            labels: Some([text((DEPLOYMENT_LABEL, &docker.deployment.name))].into()),
            ..NetworkCreateRequest::default()
        };
        match docker.engine.client().await?.create_network(request).await {
            Ok(_) => Ok(()),
            // Another server of this deployment was faster.
            Err(refusal) if is_conflict(&refusal) => Ok(()),
            Err(refusal) => Err(docker.engine.failed("make the network of boxes", refusal)),
        }
    }

    /// Whether a network of that name is the one that the rules are for.
    fn check(&self, network: &NetworkInspect) -> Result<(), Error> {
        let option = |key: &str| network.options.as_ref().and_then(|options| options.get(key)).map(String::as_str);
        if option("com.docker.network.bridge.name") == Some(&self.bridge)
            && option("com.docker.network.bridge.enable_icc") == Some("false")
            && network.enable_ipv6 != Some(true)
        {
            return Ok(());
        }
        Err(unavailable(&format!("somebody else has made a network '{}': remove it", self.name)))
    }

    /// Whether the bridge is where the rules are, and packets between boxes meet them.
    fn check_bridge(&self) -> Result<(), &'static str> {
        if !Path::new("/sys/class/net").join(&self.bridge).exists() {
            return Err("the engine's network is not this machine's");
        }
        let filtered = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
        if filtered.is_ok_and(|value| value.trim() == "1") {
            return Ok(());
        }
        Err("packets between boxes do not pass the packet filter: load the kernel module br_netfilter, and set \
             net.bridge.bridge-nf-call-iptables to 1")
    }
}

/// Why it cannot be had, as far as that is known without trying.
async fn apparent_obstacle(docker: &Docker) -> Option<&'static str> {
    if docker.engine.socket().is_none() {
        return Some("the engine is on another machine, whose packet filter cannot be set from here");
    }
    if docker.engine.facts().await.is_ok_and(|facts| facts.rootless) {
        return Some("the engine runs without root, in a network of its own");
    }
    (!rustix::process::geteuid().is_root()).then_some("only root can set the packet filter")
}

/// Whom boxes may ask for names.
fn name_servers(docker: &Docker) -> Vec<IpAddr> {
    if !docker.options.dns.is_empty() {
        return docker.options.dns.clone();
    }
    // Where the first one names only a resolver of this machine, engines take the second.
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let read = |file| firewall::name_servers(&std::fs::read_to_string(file).unwrap_or_default());
    files.into_iter().map(read).find(|servers| !servers.is_empty()).unwrap_or_default()
}

fn unavailable(obstacle: &str) -> Error {
    lacks(format!("a network for boxes cannot be had: {obstacle}; {ADVICE}"))
}
