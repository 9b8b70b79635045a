//! Commands of nft, iptables, ebtables and arptables that show a chain, or change it.

use std::net::IpAddr;

use crate::host::facts::{BaseChain, FilterEngine, FilterRule, Rule, Side, Stop};
use crate::host::{is_nft_name, nft_string};
use crate::model::{Proto, Tuple};

use super::remedy::{Command, Shell, command};

/// A chain in words: `filter/FORWARD`, with its family where that is not the usual one.
#[must_use]
pub fn chain_words(chain: &BaseChain) -> String {
    match chain.family.as_str() {
        "ip" | "ip6" => format!("{}/{}", chain.table, chain.chain),
        family => format!("{family} {}/{}", chain.table, chain.chain),
    }
}

/// A rule of a chain that is reached from a base chain, as commands need it.
#[must_use]
pub fn rule_of(chain: &str, rule: &Rule, stop: Stop) -> FilterRule {
    FilterRule {
        chain: chain.to_owned(),
        handle: rule.handle,
        number: rule.number,
        stop,
        text: rule.text.clone(),
        whole: rule.whole,
        packets: rule.packets,
        tests: rule.tests().cloned().collect(),
    }
}

/// `rule 2 of chain nat/DOCKER`, or by its handle where nft shows that.
#[must_use]
pub fn rule_words(base: &BaseChain, chain: &str, rule: &FilterRule) -> String {
    let which = match rule.handle {
        Some(handle) if !base.is_iptables() => format!("rule (handle {handle})"),
        _ => format!("rule {}", rule.number),
    };
    let name = chain_words(&BaseChain {
        chain: chain.to_owned(),
        ..base.clone()
    });
    format!("{which} of chain {name}")
}

/// The iptables command for a chain (`ip6tables-legacy -t raw`), where there is one.
#[must_use]
pub fn iptables(chain: &BaseChain) -> Option<Vec<String>> {
    if !chain.is_iptables() {
        return None;
    }
    let six = if chain.family == "ip6" { "6" } else { "" };
    let legacy = match chain.engine {
        FilterEngine::Nftables => "",
        FilterEngine::Legacy => "-legacy",
    };
    let mut words = vec![format!("ip{six}tables{legacy}")];
    if chain.table != "filter" {
        words.extend(["-t".to_owned(), chain.table.clone()]);
    }
    Some(words)
}

/// Whether arptables made this chain, or can at least show and change it.
#[must_use]
pub fn is_arptables(base: &BaseChain) -> bool {
    base.family == "arp" && base.table == "filter" && base.chain == base.hook
}

/// The program of the iptables family by which some of these chains were made.
#[must_use]
pub fn program_of(chains: &[&BaseChain]) -> Option<String> {
    let mut programs = chains.iter().filter_map(|chain| iptables(chain));
    programs.next()?.into_iter().next()
}

/// The one to be used where no chain tells.
#[must_use]
pub const fn default_program(v6: bool) -> &'static str {
    if v6 { "ip6tables" } else { "iptables" }
}

/// The command that shows a base chain with its counters.
#[must_use]
pub fn show_chain(chain: &BaseChain) -> Command {
    show_reached(chain, &chain.chain)
}

/// The command that shows a chain that is reached from a base chain.
#[must_use]
pub fn show_reached(base: &BaseChain, name: &str) -> Command {
    match iptables(base) {
        Some(program) => command![..program, "-nvL", name, "--line-numbers"],
        None => command!["nft -a list chain", base.family, base.table, name],
    }
}

/// The program other than nft that makes and shows such a chain: ebtables and arptables use the names of iptables.
#[must_use]
pub fn other_program(base: &BaseChain, name: &str) -> Option<Command> {
    if base.table != "filter" && base.table != "nat" {
        return None;
    }
    match base.family.as_str() {
        "bridge" => Some(command!["ebtables -t", base.table, "-L", name, "--Lc --Ln"]),
        "arp" => Some(command!["arptables -nvL", name, "--line-numbers"]),
        _ => None,
    }
}

/// The command that takes a rule out of its chain, and the one that puts it back where the rule is known in full.
#[must_use]
pub fn delete_rule(base: &BaseChain, rule: &FilterRule) -> (Command, Option<Command>) {
    let (name, number, text) = (&rule.chain, rule.number, &rule.text);
    let handle = rule.handle.filter(|_| !base.is_iptables());
    match (handle, iptables(base)) {
        (None, Some(program)) => {
            // The text is what iptables-save prints, with its quotes.
            let words = rule.whole.then(|| shlex::split(text)).flatten();
            (
                command![..&program, "-D", name, number],
                words.map(|words| command![..&program, "-I", name, number, ..words]),
            )
        }
        (handle, _) => {
            let place = [&base.family, &base.table, name];
            let handle = handle.unwrap_or_default();
            // nft joins its arguments before it reads them: a rule may be one of them. An index counts from 0, and
            // `add` puts the rule behind the one that it names.
            let back = || match number.checked_sub(2) {
                Some(before) => command!["nft add rule", ..place, "index", before, text],
                None => command!["nft insert rule", ..place, text],
            };
            (
                command!["nft delete rule", ..place, "handle", handle],
                rule.whole.then(back),
            )
        }
    }
}

/// The command that sets a chain's policy.
#[must_use]
pub fn set_policy(chain: &BaseChain, accept: bool) -> Command {
    match iptables(chain) {
        Some(program) => {
            let policy = if accept { "ACCEPT" } else { "DROP" };
            command![..program, "-P", chain.chain, policy]
        }
        None => {
            let policy = if accept { "accept" } else { "drop" };
            let block = format!("{{ policy {policy}; }}");
            command!["nft chain", chain.family, chain.table, chain.chain, block]
        }
    }
}

/// A rule put at the head of a chain, and what takes it away again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtHead {
    /// Puts the rule in front of the others of its chain.
    pub insert: Command,
    /// Takes it away; of nftables all rules of the chain that were inserted so.
    pub delete: Command,
}

/// The comment by which rules of nftables are found again that were inserted as advised.
const MARK: &str = "tracer-advice";

/// A rule at the head of a chain of a base chain's table, in the words of the program that makes the chain.
#[must_use]
pub fn at_head((base, chain): (&BaseChain, &str), rule: &[String], shell: &Shell) -> AtHead {
    let arptables = || is_arptables(base).then(|| vec!["arptables".to_owned()]);
    if let Some(program) = iptables(base).or_else(arptables) {
        return AtHead {
            insert: command![..&program, "-I", chain, ..rule],
            delete: command![..&program, "-D", chain, ..rule],
        };
    }
    let place = [base.family.as_str(), base.table.as_str(), chain];
    // A rule of nftables is deleted by its handle, which is known only once it stands.
    let handles = format!("s/.*comment \"{MARK}\" # handle //p");
    let delete = command!["nft -a list chain", ..place]
        .piped_to(command!["sed -n", handles])
        .piped_to(shell.fed_with(command!["nft delete rule", ..place, "handle"]));
    AtHead {
        insert: command!["nft insert rule", ..place, ..rule, "comment", MARK],
        delete,
    }
}

/// How one flow is let pass at the head of a chain of a base chain's table. `server`: the side whose port is matched, for the client's is another
/// with each connection. A later fragment has no ports: what lets it pass is for such fragments alone. ARP has no flows.
#[must_use]
pub fn let_pass(
    (base, chain): (&BaseChain, &str),
    tuple: &Tuple,
    server: Side,
    shell: &Shell,
) -> Option<AtHead> {
    if tuple.proto == Proto::Arp || base.family == "arp" {
        return None;
    }
    let port = match server {
        Side::Source => ("sport", tuple.sport),
        Side::Destination => ("dport", tuple.dport),
    };
    let rule = if base.is_iptables() {
        pass_by_iptables(tuple, port)
    } else {
        pass_by_nft(tuple, port)
    };
    Some(at_head((base, chain), &rule, shell))
}

/// Whether it is the tuple of a fragment other than the first, whose ports are not known.
fn is_portless(tuple: &Tuple) -> bool {
    matches!(tuple.proto, Proto::Tcp | Proto::Udp | Proto::Sctp)
        && tuple.sport == 0
        && tuple.dport == 0
}

fn pass_by_iptables(tuple: &Tuple, (side, port): (&str, u16)) -> Vec<String> {
    let mut what = command_words(&["-s"], tuple.src);
    what.extend(command_words(&["-d"], tuple.dst));
    what.extend(match tuple.proto {
        // ip6tables has no such option; fragments have the protocol of their datagram there too (ipv6_find_hdr).
        proto if is_portless(tuple) && tuple.dst.is_ipv6() => command_words(&["-p"], proto),
        proto if is_portless(tuple) => command_words(&["-p", &proto.to_string()], "-f"),
        Proto::Tcp => command_words(&["-p", "tcp", &format!("--{side}")], port),
        Proto::Udp => command_words(&["-p", "udp", &format!("--{side}")], port),
        Proto::Sctp => command_words(&["-p", "sctp", &format!("--{side}")], port),
        Proto::Icmp => command_words(&["-p"], "icmp"),
        Proto::Icmp6 => command_words(&["-p"], "ipv6-icmp"),
        Proto::Other(number) => command_words(&["-p"], number),
        Proto::Arp => Vec::new(),
    });
    what.extend(command_words(&["-j"], "ACCEPT"));
    what
}

fn pass_by_nft(tuple: &Tuple, (side, port): (&str, u16)) -> Vec<String> {
    let family = match tuple.dst {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    };
    let mut what = command_words(&[family, "saddr"], tuple.src);
    what.extend(command_words(&[family, "daddr"], tuple.dst));
    what.extend(match tuple.proto {
        proto if is_portless(tuple) => {
            let offset: &[&str] = match tuple.dst {
                IpAddr::V4(_) => &["ip", "frag-off", "&", "0x1fff"],
                IpAddr::V6(_) => &["frag", "frag-off"],
            };
            let mut words = command_words(&["meta", "l4proto"], proto);
            words.extend(command_words(offset, "!="));
            words.push("0".to_owned());
            words
        }
        Proto::Tcp => command_words(&["tcp", side], port),
        Proto::Udp => command_words(&["udp", side], port),
        Proto::Sctp => command_words(&["sctp", side], port),
        Proto::Icmp => command_words(&["meta", "l4proto"], "icmp"),
        Proto::Icmp6 => command_words(&["meta", "l4proto"], "ipv6-icmp"),
        Proto::Other(number) => command_words(&["meta", "l4proto"], number),
        Proto::Arp => Vec::new(),
    });
    what.push("accept".to_owned());
    what
}

/// The name of an interface in a rule of nft(8): as it is where nft takes it so, else as a string.
#[must_use]
pub fn nft_word(interface: &str) -> String {
    if is_nft_name(interface) {
        interface.to_owned()
    } else {
        nft_string(interface)
    }
}

fn command_words(words: &[&str], last: impl ToString) -> Vec<String> {
    let words = words.iter().map(|word| (*word).to_owned());
    words.chain([last.to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

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
            kind: None,
            devices: Vec::new(),
            stops: Vec::new(),
            more_stops: false,
        }
    }

    #[test]
    fn each_engine_has_its_program() {
        let policy = |engine, family, table, name| {
            set_policy(&chain(engine, family, table, name), true)
                .line()
                .expect("one that can be typed")
        };
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
            "nft chain inet fw forward '{ policy accept; }'"
        );
    }

    #[test]
    fn a_deleted_rule_is_put_back_at_its_place() {
        let back = |base: &BaseChain, number, handle| {
            let rule = FilterRule {
                chain: base.chain.clone(),
                handle,
                number,
                stop: Stop::Drop,
                text: "ip daddr 10.0.0.9 drop".to_owned(),
                whole: true,
                packets: None,
                tests: Vec::new(),
            };
            delete_rule(base, &rule).1.and_then(|c| c.line())
        };
        let nft = chain(FilterEngine::Nftables, "inet", "fw", "forward");
        for (number, command) in [
            (
                1,
                "nft insert rule inet fw forward 'ip daddr 10.0.0.9 drop'",
            ),
            (
                2,
                "nft add rule inet fw forward index 0 'ip daddr 10.0.0.9 drop'",
            ),
            (
                5,
                "nft add rule inet fw forward index 3 'ip daddr 10.0.0.9 drop'",
            ),
        ] {
            assert_eq!(back(&nft, number, Some(9)).as_deref(), Some(command));
        }
        let legacy = chain(FilterEngine::Legacy, "ip", "filter", "FORWARD");
        assert_eq!(
            back(&legacy, 3, None).as_deref(),
            Some("iptables-legacy -I FORWARD 3 ip daddr 10.0.0.9 drop")
        );
    }

    #[test]
    fn a_later_fragment_is_let_pass_without_ports() {
        let words = |base: &BaseChain, src: &str, dst: &str| {
            let tuple = Tuple {
                src: src.parse().expect("an address"),
                dst: dst.parse().expect("an address"),
                sport: 0,
                dport: 0,
                proto: Proto::Udp,
                icmp_id: 0,
            };
            let shell = Shell::of(&Host::default(), None);
            let place = (base, base.chain.as_str());
            let passes = let_pass(place, &tuple, Side::Destination, &shell);
            passes.and_then(|pass| pass.insert.line())
        };
        let legacy = |family| chain(FilterEngine::Legacy, family, "mangle", "FORWARD");
        let nft = |family| chain(FilterEngine::Nftables, family, "fw", "pre");
        let v4 = ("10.0.0.1", "10.0.0.2");
        let v6 = ("fd00::1", "fd00::2");
        for (base, (src, dst), command) in [
            (
                legacy("ip"),
                v4,
                "iptables-legacy -t mangle -I FORWARD -s 10.0.0.1 -d 10.0.0.2 -p udp -f -j ACCEPT",
            ),
            (
                legacy("ip6"),
                v6,
                "ip6tables-legacy -t mangle -I FORWARD -s fd00::1 -d fd00::2 -p udp -j ACCEPT",
            ),
            (
                nft("ip"),
                v4,
                "nft insert rule ip fw pre ip saddr 10.0.0.1 ip daddr 10.0.0.2 meta l4proto udp ip frag-off '&' 0x1fff '!=' 0 accept comment tracer-advice",
            ),
            (
                nft("ip6"),
                v6,
                "nft insert rule ip6 fw pre ip6 saddr fd00::1 ip6 daddr fd00::2 meta l4proto udp frag frag-off '!=' 0 accept comment tracer-advice",
            ),
        ] {
            assert_eq!(words(&base, src, dst).as_deref(), Some(command));
        }
    }
}
