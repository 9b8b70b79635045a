//! Commands that translate the source of one flow in front of all other rules of a chain, and what takes them back.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{BaseChain, Rule, Side, Statement};
use crate::model::{Device, NetNs, Tuple};

use super::chain_commands::{at_head, default_program, nft_word};
use super::loss::Loss;
use super::remedy::{Remedy, Shell, command};
use super::translation;

/// What becomes of a flow's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It becomes this address.
    Address(IpAddr),
    /// It becomes an address of the interface through which the packet leaves.
    Masquerade,
    /// It stays as it is.
    Kept,
}

/// A rule for the source of a flow as it is before the translation, leaving through an interface.
#[derive(Clone, Copy, Debug)]
pub struct SourceRule<'a> {
    /// The chain: of type nat, at POSTROUTING.
    pub chain: &'a BaseChain,
    /// The flow; its addresses are matched, never a port.
    pub flow: &'a Tuple,
    /// Through which interface.
    pub device: &'a str,
    /// What becomes of it.
    pub source: Source,
}

impl SourceRule<'_> {
    /// The rule put in front of the others of its chain, with its undo.
    #[must_use]
    pub fn change(&self, shell: &Shell, text: impl Into<String>) -> Remedy {
        let rule = if self.chain.is_iptables() {
            self.by_iptables()
        } else {
            self.by_nft()
        };
        let rule = at_head((self.chain, &self.chain.chain), &rule, shell);
        shell
            .change(text, rule.insert)
            .undone_by(rule.delete)
            .owner(super::owners::words(self.chain, None))
    }

    fn by_iptables(&self) -> Vec<String> {
        let (src, dst) = (self.flow.src.to_string(), self.flow.dst.to_string());
        let rule = ["-s", &src, "-d", &dst, "-o", self.device, "-j"];
        let target = match self.source {
            Source::Address(to) => {
                vec!["SNAT".to_owned(), "--to-source".to_owned(), to.to_string()]
            }
            Source::Masquerade => vec!["MASQUERADE".to_owned()],
            Source::Kept => vec!["ACCEPT".to_owned()],
        };
        rule.map(str::to_owned).into_iter().chain(target).collect()
    }

    fn by_nft(&self) -> Vec<String> {
        let family = if self.flow.src.is_ipv6() { "ip6" } else { "ip" };
        let (src, dst) = (self.flow.src.to_string(), self.flow.dst.to_string());
        let device = nft_word(self.device);
        let rule = [
            family, "saddr", &src, family, "daddr", &dst, "oifname", &device,
        ];
        // A chain of both families has to be told which address it is.
        let both = (self.chain.family == "inet").then(|| family.to_owned());
        let target = match self.source {
            Source::Address(to) => ["snat".to_owned()]
                .into_iter()
                .chain(both)
                .chain(["to".to_owned(), to.to_string()])
                .collect(),
            Source::Masquerade => vec!["masquerade".to_owned()],
            Source::Kept => vec!["accept".to_owned()],
        };
        rule.map(str::to_owned).into_iter().chain(target).collect()
    }
}

/// A flow's source translated to an address of the interface by which it leaves, in the chain that translates others, else
/// in one that can; with iptables where there is none.
#[must_use]
pub fn masquerade(host: &Host, went: Device, flow: &Tuple, text: impl Into<String>) -> Remedy {
    let shell = Shell::of(host, Some(went.netns));
    let device = host.interface(went);
    if let Some(chain) = translator(host, went.netns, flow.src.is_ipv6()) {
        let rule = SourceRule {
            chain,
            flow,
            device: &device,
            source: Source::Masquerade,
        };
        return rule.change(&shell, text);
    }
    let program = default_program(flow.src.is_ipv6());
    let ends = ["-s", &flow.src.to_string(), "-d", &flow.dst.to_string()].map(str::to_owned);
    let rule = |verb: &'static str| {
        command![
            program,
            "-t nat",
            verb,
            "POSTROUTING",
            ..&ends,
            "-o",
            &device,
            "-j MASQUERADE"
        ]
    };
    shell.change(text, rule("-A")).undone_by(rule("-D"))
}

/// A flow's source left as it is, in front of the rules that translate it where it leaves.
#[must_use]
pub fn kept(host: &Host, went: Device, flow: &Tuple, text: impl Into<String>) -> Option<Remedy> {
    let rule = SourceRule {
        chain: translator(host, went.netns, flow.src.is_ipv6())?,
        flow,
        device: &host.interface(went),
        source: Source::Kept,
    };
    Some(rule.change(&Shell::of(host, Some(went.netns)), text))
}

/// The chain that translates the sources of a family, else the first that can.
#[must_use]
pub fn translator(host: &Host, netns: NetNs, v6: bool) -> Option<&BaseChain> {
    let chains = translators(host, netns, v6);
    let translates = |chain: &&&BaseChain| !translating(host, netns, chain).is_empty();
    chains.iter().find(translates).or(chains.first()).copied()
}

/// The flow of a lost packet as it was before this namespace translated its source.
#[must_use]
pub fn before(loss: &Loss<'_>) -> Option<Tuple> {
    let netns = loss.netns()?;
    translation::changes(loss.journey)
        .filter(|c| c.netns == netns && c.before.src != c.after.src)
        .last()
        .map(|c| c.before)
        .or_else(|| loss.tuple())
}

/// What to do where the interface has no address to which a rule could translate: another interface's, or as it is.
#[must_use]
pub fn without_address(loss: &Loss<'_>, chain: &BaseChain) -> Option<Remedy> {
    let (device, flow) = (loss.device()?, before(loss)?);
    let host = loss.host;
    let shell = Shell::of(host, Some(device.netns));
    let family = |a: &IpAddr| a.is_ipv4() == flow.src.is_ipv4() && !translation::is_link_local(*a);
    let elsewhere = host
        .links()
        .filter(|l| l.device.netns == device.netns && l.device != device)
        .flat_map(|l| host.addresses(l.device))
        .map(|a| a.address)
        .find(family);
    let (source, text) = match elsewhere {
        Some(other) => (
            Source::Address(other),
            format!("translate this flow to {other}, an address of another interface"),
        ),
        None => (
            Source::Kept,
            format!(
                "no interface here has an address for it: let this flow out as it is (the other side needs a way back to {})",
                flow.src
            ),
        ),
    };
    let device = host.interface(device);
    let rule = SourceRule {
        chain,
        flow: &flow,
        device: &device,
        source,
    };
    Some(rule.change(&shell, text))
}

/// Any source port instead of the few that a rule has: the interface's own address, where it has one. The packet is
/// translated already, so no walk leads to the rule: one that names ports is taken to be it.
#[must_use]
pub fn any_port(loss: &Loss<'_>) -> Option<Remedy> {
    let (device, flow) = (loss.device()?, before(loss)?);
    let v6 = flow.src.is_ipv6();
    let has_few = |chain: &&BaseChain| {
        let rules = translating(loss.host, device.netns, chain);
        let idle = |rule: &Rule| rule.packets == Some(0);
        rules
            .iter()
            .any(|rule| !idle(rule) && has_ports(&rule.text))
    };
    let chains = translators(loss.host, device.netns, v6);
    let chain = chains.into_iter().find(has_few)?;
    let mut own = loss.host.addresses(device).iter().map(|a| a.address);
    own.find(|a| a.is_ipv6() == v6 && !translation::is_link_local(*a))?;
    let shell = Shell::of(loss.host, Some(device.netns));
    let device = loss.host.interface(device);
    let source = SourceRule {
        chain,
        flow: &flow,
        device: &device,
        source: Source::Masquerade,
    };
    Some(source.change(
        &shell,
        "let this flow have any source port, in front of the rule that has few",
    ))
}

/// Whether a rule that translates names ports: `--to-source 10.0.0.1:40000-40099`, `masquerade to :1024-2047`.
fn has_ports(text: &str) -> bool {
    let ports = |word: &str| {
        let range = word.rsplit_once(':').map_or("", |(_, ports)| ports);
        !range.is_empty() && range.chars().all(|c| c.is_ascii_digit() || c == '-')
    };
    let mut words = text
        .split_whitespace()
        .skip_while(|w| !matches!(*w, "--to-source" | "--to-ports" | "to"));
    match words.next() {
        Some("--to-ports") => true,
        // The last part of an IPv6 address looks like a port, unless it is in brackets.
        Some(_) => words
            .next()
            .is_some_and(|w| ports(w) && (w.contains(']') || w.matches(':').count() == 1)),
        None => false,
    }
}

/// Chains of a namespace that can translate the sources of a family.
#[must_use]
pub fn translators(host: &Host, netns: NetNs, v6: bool) -> Vec<&BaseChain> {
    let families = if v6 { ["ip6", "inet"] } else { ["ip", "inet"] };
    let known = host.filters.get(&netns);
    known
        .into_iter()
        .flat_map(|c| &c.fact.base)
        .filter(|c| c.hook == "POSTROUTING" && families.contains(&c.family.as_str()))
        .filter(|c| c.is_nat())
        .collect()
}

/// Whether any rule of a namespace translates sources of a family.
#[must_use]
pub fn translates_sources(host: &Host, netns: NetNs, v6: bool) -> bool {
    let chains = translators(host, netns, v6);
    let translates = |chain: &&BaseChain| !translating(host, netns, chain).is_empty();
    chains.iter().any(translates)
}

/// Rules that translate sources beside a chain, those that no packet has met too.
#[must_use]
pub fn translating<'a>(host: &'a Host, netns: NetNs, chain: &'a BaseChain) -> Vec<&'a Rule> {
    let translates = |rule: &&Rule| {
        rule.statements()
            .any(|s| matches!(s, Statement::Translate(made) if made.side == Side::Source))
    };
    let known = host.filters.get(&netns);
    known
        .into_iter()
        .flat_map(|c| c.fact.beside(chain))
        .map(|(_, rule)| rule)
        .filter(translates)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::remedy::advice;
    use crate::host::facts::FilterEngine;
    use crate::model::Proto;

    fn chain(engine: FilterEngine, family: &str, table: &str, name: &str) -> BaseChain {
        BaseChain {
            engine,
            family: family.to_owned(),
            table: table.to_owned(),
            chain: name.to_owned(),
            hook: "POSTROUTING".to_owned(),
            priority: 100,
            policy_drop: false,
            rules: None,
            policy_packets: None,
            kind: Some("nat".to_owned()),
            devices: Vec::new(),
            stops: Vec::new(),
            more_stops: false,
        }
    }

    fn typed(chain: &BaseChain, v6: bool, source: Source) -> Vec<String> {
        let end = |n: u8| -> IpAddr {
            if v6 {
                std::net::Ipv6Addr::from(u128::from(n)).into()
            } else {
                std::net::Ipv4Addr::new(10, 0, 0, n).into()
            }
        };
        let flow = Tuple {
            proto: Proto::Udp,
            src: end(2),
            sport: 40_000,
            dst: end(9),
            dport: 53,
            icmp_id: 0,
        };
        let rule = SourceRule {
            chain,
            flow: &flow,
            device: "wan0",
            source,
        };
        let shell = Shell::of(&Host::default(), None);
        let list = advice(&[rule.change(&shell, "")]);
        list.into_iter().filter_map(|a| a.command).collect()
    }

    #[test]
    fn ports_of_a_rule_are_known_by_its_text() {
        for (text, has) in [
            ("-o wan0 -j SNAT --to-source 10.0.0.1:40000-40000", true),
            ("-o wan0 -j MASQUERADE --to-ports 1024-2047", true),
            ("oifname \"wan0\" snat to 10.0.0.1:40000", true),
            ("oifname \"wan0\" snat to [fd00::1]:40000", true),
            ("oifname \"wan0\" snat to fd00::1", false),
            ("-o wan0 -j SNAT --to-source 10.0.0.1", false),
            ("-o wan0 -j MASQUERADE", false),
        ] {
            assert_eq!(has_ports(text), has, "{text}");
        }
    }

    #[test]
    fn the_flow_stands_first_and_its_ports_are_left_out() {
        let legacy = chain(FilterEngine::Legacy, "ip", "nat", "POSTROUTING");
        let to = Source::Address("10.0.0.1".parse().expect("an address"));
        assert_eq!(
            typed(&legacy, false, to),
            [
                "iptables-legacy -t nat -I POSTROUTING -s 10.0.0.2 -d 10.0.0.9 -o wan0 -j SNAT --to-source 10.0.0.1",
                "iptables-legacy -t nat -D POSTROUTING -s 10.0.0.2 -d 10.0.0.9 -o wan0 -j SNAT --to-source 10.0.0.1",
            ]
        );
        let both = chain(FilterEngine::Nftables, "inet", "fw", "post");
        assert_eq!(
            typed(&both, false, to),
            [
                "nft insert rule inet fw post ip saddr 10.0.0.2 ip daddr 10.0.0.9 oifname wan0 snat ip to 10.0.0.1 comment tracer-advice",
                r#"nft -a list chain inet fw post | sed -n 's/.*comment "tracer-advice" # handle //p' | xargs -r -n 1 nft delete rule inet fw post handle"#,
            ]
        );
        let six = chain(FilterEngine::Nftables, "ip6", "masq", "out");
        assert_eq!(
            typed(&six, true, Source::Masquerade)
                .first()
                .map(String::as_str),
            Some(
                "nft insert rule ip6 masq out ip6 saddr ::2 ip6 daddr ::9 oifname wan0 masquerade comment tracer-advice"
            )
        );
    }
}
