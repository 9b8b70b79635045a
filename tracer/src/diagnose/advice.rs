//! Advice: commands that run in the right namespace, what to look at first, and how to take a change back.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{BaseChain, FilterEngine, FilterRule};
use crate::model::{NetNs, Proto, Tuple};
use crate::report::Advice;

/// Where commands have to run.
#[derive(Clone, Debug)]
pub struct Shell {
    prefix: String,
    suffix: String,
}

impl Shell {
    /// Commands for a namespace. One that `ip netns` knows gets the prefix; of others the text says the name.
    #[must_use]
    pub fn of(host: &Host, netns: Option<NetNs>) -> Self {
        let name = netns.map(|ns| host.namespace(ns)).unwrap_or_default();
        let (prefix, suffix) = match name.as_str() {
            "" | "host" => (String::new(), String::new()),
            // Pods, containers and nameless namespaces: `ip netns exec` does not know them.
            other if other.contains(['/', ':', ' ']) => {
                (String::new(), format!(" (inside the namespace {other})"))
            }
            named => (format!("ip netns exec {named} "), String::new()),
        };
        Self { prefix, suffix }
    }

    /// A command with what it is for.
    #[must_use]
    pub fn run(&self, text: impl Into<String>, command: impl AsRef<str>) -> Advice {
        Advice {
            text: text.into() + &self.suffix,
            command: Some(format!("{}{}", self.prefix, command.as_ref())),
        }
    }
}

/// Advice without a command.
#[must_use]
pub fn text(text: impl Into<String>) -> Advice {
    Advice {
        text: text.into(),
        command: None,
    }
}

/// A chain in words: `filter/FORWARD`, with its family where that is not the usual one.
#[must_use]
pub fn chain_words(chain: &BaseChain) -> String {
    match chain.family.as_str() {
        "ip" | "ip6" => format!("{}/{}", chain.table, chain.chain),
        family => format!("{family} {}/{}", chain.table, chain.chain),
    }
}

/// The iptables command for a chain (`ip6tables-legacy -t raw`), where there is one.
fn iptables(chain: &BaseChain) -> Option<String> {
    if !chain.is_iptables() {
        return None;
    }
    let six = if chain.family == "ip6" { "6" } else { "" };
    let legacy = match chain.engine {
        FilterEngine::Nftables => "",
        FilterEngine::Legacy => "-legacy",
    };
    let table = match chain.table.as_str() {
        "filter" => String::new(),
        table => format!(" -t {table}"),
    };
    Some(format!("ip{six}tables{legacy}{table}"))
}

/// The command that shows a base chain with its counters.
#[must_use]
pub fn show_chain(chain: &BaseChain) -> String {
    show_reached(chain, &chain.chain)
}

/// The command that shows a chain that is reached from a base chain.
#[must_use]
pub fn show_reached(base: &BaseChain, name: &str) -> String {
    iptables(base).map_or_else(
        || format!("nft -a list chain {} {} {name}", base.family, base.table),
        |program| format!("{program} -nvL {name} --line-numbers"),
    )
}

/// The program other than nft that makes and shows such a chain: ebtables and arptables use the names of iptables.
#[must_use]
pub fn other_program(base: &BaseChain, name: &str) -> Option<String> {
    if base.table != "filter" && base.table != "nat" {
        return None;
    }
    match base.family.as_str() {
        "bridge" => Some(format!("ebtables -t {} -L {name} --Lc --Ln", base.table)),
        "arp" => Some(format!("arptables -nvL {name} --line-numbers")),
        _ => None,
    }
}

/// The command that takes a rule out of its chain, and the one that puts it back where the rule is known in full.
#[must_use]
pub fn delete_rule(base: &BaseChain, rule: &FilterRule) -> (String, Option<String>) {
    let (name, number, text) = (&rule.chain, rule.number, &rule.text);
    let handle = rule.handle.filter(|_| !base.is_iptables());
    match (handle, iptables(base)) {
        (None, Some(program)) => (
            format!("{program} -D {name} {number}"),
            rule.whole
                .then(|| format!("{program} -I {name} {number} {text}")),
        ),
        (handle, _) => {
            let place = format!("{} {} {name}", base.family, base.table);
            let handle = handle.unwrap_or_default();
            (
                format!("nft delete rule {place} handle {handle}"),
                rule.whole
                    .then(|| format!("nft insert rule {place} {}", quoted(text))),
            )
        }
    }
}

/// A rule of nft as one argument of the shell, where it has characters that the shell would take for its own.
fn quoted(text: &str) -> String {
    if text.contains(['"', '{', '&', '*', '<', '>', '!', ';']) {
        format!("'{}'", text.replace('\'', ""))
    } else {
        text.to_owned()
    }
}

/// The command that sets a chain's policy.
#[must_use]
pub fn set_policy(chain: &BaseChain, accept: bool) -> String {
    match iptables(chain) {
        Some(program) => {
            let policy = if accept { "ACCEPT" } else { "DROP" };
            format!("{program} -P {} {policy}", chain.chain)
        }
        None => {
            let policy = if accept { "accept" } else { "drop" };
            format!(
                "nft 'chain {} {} {} {{ policy {policy}; }}'",
                chain.family, chain.table, chain.chain
            )
        }
    }
}

/// The command that lets one flow pass at the head of a chain, and the one that takes it back where that is one
/// command too. ARP has no flows.
#[must_use]
pub fn let_pass(chain: &BaseChain, tuple: &Tuple) -> Option<(String, Option<String>)> {
    if tuple.proto == Proto::Arp || chain.family == "arp" {
        return None;
    }
    if let Some(program) = iptables(chain) {
        let what = format!(
            "{} -s {} -d {}{} -j ACCEPT",
            chain.chain,
            tuple.src,
            tuple.dst,
            match tuple.proto {
                Proto::Tcp => format!(" -p tcp --dport {}", tuple.dport),
                Proto::Udp => format!(" -p udp --dport {}", tuple.dport),
                _ => String::new(),
            }
        );
        return Some((
            format!("{program} -I {what}"),
            Some(format!("{program} -D {what}")),
        ));
    }
    let family = match tuple.dst {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    };
    let port = match tuple.proto {
        Proto::Tcp => format!(" tcp dport {}", tuple.dport),
        Proto::Udp => format!(" udp dport {}", tuple.dport),
        _ => String::new(),
    };
    Some((
        format!(
            "nft insert rule {} {} {} {family} saddr {} {family} daddr {}{port} accept",
            chain.family, chain.table, chain.chain, tuple.src, tuple.dst
        ),
        None,
    ))
}

/// `ip` or `ip -6`.
#[must_use]
pub fn ip(v6: bool) -> &'static str {
    if v6 { "ip -6" } else { "ip" }
}

/// A sysctl as its program wants it: dots, or slashes where a part of the name has a dot itself.
#[must_use]
pub fn sysctl(name: &str) -> String {
    if name.contains('.') {
        name.to_owned()
    } else {
        name.replace('/', ".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::{Fact, Namespace};
    use crate::model::KtimeNs;

    fn chain(engine: FilterEngine, family: &str, table: &str, name: &str) -> BaseChain {
        BaseChain {
            engine,
            family: family.to_owned(),
            table: table.to_owned(),
            chain: name.to_owned(),
            hook: "FORWARD".to_owned(),
            priority: 0,
            policy_drop: true,
            rules: None,
            policy_packets: None,
            stops: Vec::new(),
            more_stops: false,
        }
    }

    #[test]
    fn each_engine_has_its_program() {
        let policy =
            |engine, family, table, name| set_policy(&chain(engine, family, table, name), true);
        assert_eq!(
            policy(FilterEngine::Nftables, "ip", "filter", "FORWARD"),
            "iptables -P FORWARD ACCEPT"
        );
        assert_eq!(
            policy(FilterEngine::Nftables, "ip6", "mangle", "FORWARD"),
            "ip6tables -t mangle -P FORWARD ACCEPT"
        );
        assert_eq!(
            policy(FilterEngine::Legacy, "ip", "filter", "FORWARD"),
            "iptables-legacy -P FORWARD ACCEPT"
        );
        assert_eq!(
            policy(FilterEngine::Nftables, "inet", "fw", "forward"),
            "nft 'chain inet fw forward { policy accept; }'"
        );
    }

    #[test]
    fn only_named_namespaces_get_the_prefix() {
        let mut host = Host::default();
        for (number, name) in [(1, "host"), (2, "node2"), (3, "shop/web-0")] {
            host.apply(
                KtimeNs(0),
                Fact::Namespace(Namespace {
                    node: None,
                    netns: NetNs(number),
                    name: name.to_owned(),
                }),
            );
        }
        let command = |ns| {
            Shell::of(&host, Some(NetNs(ns)))
                .run("look", "ip route")
                .command
        };
        assert_eq!(command(1).as_deref(), Some("ip route"));
        assert_eq!(command(2).as_deref(), Some("ip netns exec node2 ip route"));
        assert_eq!(command(3).as_deref(), Some("ip route"));
        let pod = Shell::of(&host, Some(NetNs(3))).run("look", "ip route");
        assert!(pod.text.contains("shop/web-0"));
        let nameless = Shell::of(&host, Some(NetNs(9))).run("look", "ip route");
        assert_eq!(nameless.command.as_deref(), Some("ip route"));
    }

    #[test]
    fn a_sysctl_with_a_dotted_interface_keeps_its_slashes() {
        assert_eq!(sysctl("net/ipv4/ip_forward"), "net.ipv4.ip_forward");
        assert_eq!(
            sysctl("net/ipv4/conf/eth0.5/forwarding"),
            "net/ipv4/conf/eth0.5/forwarding"
        );
    }
}
