//! What packets of boxes may pass this machine, as rules of its packet filter.
//!
//! Boxes are on a bridge of their own. From there everything to this machine itself is dropped, and what it would forward is
//! refused unless it goes to a public address. All rules are put in place at once, and read back.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Stdio,
};

use parking_lot::Mutex;
use tokio::{io::AsyncWriteExt, process::Command};

/// Marks our rules.
const MARK: &str = "--comment longshore";
/// What is not public: this network, private, shared by carriers, loopback, link-local (metadata services), protocol
/// assignments (and the one that Microsoft's cloud serves its machines at), benchmarks, multicast, reserved and broadcast.
const CLOSED: [&str; 13] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
];
/// Where administrators' programs are besides `PATH`.
const MORE_PATHS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// The rules for one bridge.
#[derive(Debug)]
pub(super) struct Firewall {
    bridge: String,
    chain: String,
    /// What was put in place last.
    placed: Mutex<Option<Placed>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    name_servers: Vec<IpAddr>,
    /// Our chain as the filter shows it, which differs a little from what it was told.
    shown: Vec<String>,
}

impl Firewall {
    /// Rules for `bridge`, in a chain with a name that ends with `suffix`.
    pub(super) fn new(bridge: String, suffix: &str) -> Self {
        Self { bridge, chain: format!("LONGSHORE-{suffix}"), placed: Mutex::new(None) }
    }

    /// Whether the packet filter can be used, and if not, why.
    pub(super) async fn probe() -> Result<(), String> {
        run("iptables-save", &["-t", "filter"], None).await?;
        run("iptables-restore", &["--test", "--noflush"], Some("*filter\nCOMMIT\n")).await.map(drop)
    }

    /// Makes sure that the rules stand. `name_servers` may be asked for names although their addresses are not public.
    pub(super) async fn ensure(&self, name_servers: &[IpAddr]) -> Result<(), String> {
        let saved = run("iptables-save", &["-t", "filter"], None).await?;
        let placed = self.placed.lock().clone();
        let stands =
            placed.is_some_and(|placed| placed.name_servers == name_servers && self.stands(&saved, &placed.shown));
        if stands && self.ensure_v6().await? {
            return Ok(());
        }
        let wanted = self.chain_rules(name_servers);
        restore("iptables-restore", &self.change(&saved, Some(&wanted))).await?;

        let saved = run("iptables-save", &["-t", "filter"], None).await?;
        let shown = rules_of(&saved, &self.chain);
        if shown.len() != wanted.len() || !self.stands(&saved, &shown) || !self.ensure_v6().await? {
            return Err("the rules were accepted but do not stand".to_owned());
        }
        *self.placed.lock() = Some(Placed { name_servers: name_servers.to_vec(), shown });
        Ok(())
    }

    /// Removes the rules.
    pub(super) async fn remove(&self) -> Result<(), String> {
        *self.placed.lock() = None;
        let saved = run("iptables-save", &["-t", "filter"], None).await?;
        restore("iptables-restore", &self.change(&saved, None)).await?;
        if has_v6() {
            let saved = run("ip6tables-save", &["-t", "filter"], None).await?;
            restore("ip6tables-restore", &self.change_v6(&saved, false)).await?;
        }
        Ok(())
    }

    /// Whether all rules are there and nothing of somebody else's comes before them.
    fn stands(&self, saved: &str, shown: &[String]) -> bool {
        let forward = forwarding_chain(saved);
        rules_of(saved, &self.chain) == shown && self.leads(saved, "INPUT", 1) && self.leads(saved, forward, 2)
    }

    /// Whether `chain` begins with rules of Longshore's, and `count` of those are for this bridge.
    fn leads(&self, saved: &str, chain: &str, count: usize) -> bool {
        let rules = rules_of(saved, chain);
        rules.iter().take_while(|rule| rule.contains(MARK)).filter(|rule| self.is_ours(rule)).count() == count
    }

    fn is_ours(&self, rule: &str) -> bool {
        rule.contains(MARK) && rule.split(' ').any(|word| word == self.bridge)
    }

    /// The rules for what comes from a box and would be forwarded.
    fn chain_rules(&self, name_servers: &[IpAddr]) -> Vec<String> {
        let Self { bridge, chain, .. } = self;
        let mut rules = vec![
            format!("-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"),
            format!("-A {chain} -o {bridge} -j REJECT"),
            // What was addressed to this machine and is passed on to a port that somebody published.
            format!("-A {chain} -m conntrack --ctstate DNAT -j REJECT"),
        ];
        for server in name_servers.iter().filter(|server| server.is_ipv4()) {
            for protocol in ["udp", "tcp"] {
                rules.push(format!("-A {chain} -d {server}/32 -p {protocol} -m {protocol} --dport 53 -j RETURN"));
            }
        }
        rules.extend(CLOSED.map(|network| format!("-A {chain} -d {network} -j REJECT")));
        rules
    }

    /// What to tell the filter so that the rules stand, in place of those that do; or so that there are none.
    fn change(&self, saved: &str, wanted: Option<&[String]>) -> String {
        let Self { bridge, chain, .. } = self;
        let forward = forwarding_chain(saved);
        let mut lines = vec!["*filter".to_owned()];
        let has_chain = saved.lines().any(|line| line.starts_with(&format!(":{chain} ")));
        if wanted.is_some() || has_chain {
            // Makes the chain, or empties it.
            lines.push(format!(":{chain} - [0:0]"));
        }
        for parent in ["INPUT", "FORWARD", "DOCKER-USER"] {
            let ours = rules_of(saved, parent).into_iter().filter(|rule| self.is_ours(rule));
            lines.extend(ours.map(|rule| rule.replacen("-A", "-D", 1)));
        }
        if let Some(wanted) = wanted {
            lines.extend(wanted.iter().cloned());
            let mark = format!("-m comment {MARK}");
            lines.push(format!(
                "-I {forward} 1 -o {bridge} -m conntrack ! --ctstate RELATED,ESTABLISHED {mark} -j DROP"
            ));
            lines.push(format!("-I {forward} 1 -i {bridge} {mark} -j {chain}"));
            lines.push(format!("-I INPUT 1 -i {bridge} {mark} -j DROP"));
        } else if has_chain {
            lines.push(format!("-X {chain}"));
        }
        lines.push("COMMIT\n".to_owned());
        lines.join("\n")
    }

    /// Makes sure that nothing passes in IPv6, which the network does not have. True if all stands.
    async fn ensure_v6(&self) -> Result<bool, String> {
        if !has_v6() {
            return Ok(true);
        }
        let stands = |saved: &str| self.leads(saved, "INPUT", 1) && self.leads(saved, "FORWARD", 2);
        let saved = run("ip6tables-save", &["-t", "filter"], None).await?;
        if stands(&saved) {
            return Ok(true);
        }
        restore("ip6tables-restore", &self.change_v6(&saved, true)).await?;
        run("ip6tables-save", &["-t", "filter"], None).await.map(|saved| stands(&saved))
    }

    fn change_v6(&self, saved: &str, wanted: bool) -> String {
        let mut lines = vec!["*filter".to_owned()];
        for parent in ["INPUT", "FORWARD"] {
            let ours = rules_of(saved, parent).into_iter().filter(|rule| self.is_ours(rule));
            lines.extend(ours.map(|rule| rule.replacen("-A", "-D", 1)));
        }
        if wanted {
            for place in ["INPUT 1 -i", "FORWARD 1 -i", "FORWARD 1 -o"] {
                lines.push(format!("-I {place} {} -m comment {MARK} -j DROP", self.bridge));
            }
        }
        lines.push("COMMIT\n".to_owned());
        lines.join("\n")
    }
}

/// The chain for rules that come before the engine's own. Without it the filter's own chain does, because then the engine has
/// no rules in this filter.
fn forwarding_chain(saved: &str) -> &'static str {
    if saved.lines().any(|line| line == "-A FORWARD -j DOCKER-USER") { "DOCKER-USER" } else { "FORWARD" }
}

fn rules_of(saved: &str, chain: &str) -> Vec<String> {
    let start = format!("-A {chain} ");
    saved.lines().filter(|line| line.starts_with(&start)).map(str::to_owned).collect()
}

fn has_v6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

async fn restore(program: &str, rules: &str) -> Result<(), String> {
    run(program, &["--wait", "--noflush"], Some(rules)).await.map(drop)
}

/// Runs a program of the packet filter to its end.
async fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:{MORE_PATHS}"))
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|cause| format!("{program} cannot be started ({cause})"))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await.map_err(|cause| format!("{program}: {cause}"))?;
    }
    let output = child.wait_with_output().await.map_err(|cause| format!("{program}: {cause}"))?;
    if !output.status.success() {
        return Err(format!("{program} says: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The name servers of this machine that boxes can ask. Those on loopback are asked by the engine.
pub(super) fn name_servers(resolv_conf: &str) -> Vec<IpAddr> {
    let servers = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = servers.filter_map(|server| server.trim().parse::<Ipv4Addr>().ok());
    addresses.filter(|server| !server.is_loopback() && !server.is_unspecified()).map(IpAddr::V4).collect()
}

#[cfg(test)]
mod tests {
    use longshore_outbound::address::{Kind, NETWORKS_V4};

    use super::*;

    #[test]
    fn the_filter_closes_what_the_proxy_refuses() {
        let closed: Vec<ipnet::Ipv4Net> = CLOSED.iter().map(|network| network.parse().unwrap()).collect();
        for (network, _) in NETWORKS_V4.iter().filter(|(_, kind)| *kind != Kind::Documentation) {
            assert!(closed.iter().any(|wider| wider.contains(network)), "{network}");
        }
    }
}
