//! Texts that hold addresses and names among words: the expression, firewall rules, what could not be read.
//!
//! Words that are known stay, all others are taken for names: a rule that is written in a new way is hidden too much,
//! never too little.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddrV4};

use super::Pseudonyms;
use super::address::Addresses;
use super::names::{CHAINS, Kind};
use crate::filter::is_keyword;
use crate::host::prefix::network;
use crate::model::Mac;

/// Words of nft(8) and iptables(8) that rules are told with (see `host::firewall`).
const RULE_WORDS: &str = "accept arp bytes comment conntrack count ct daddr day destination drop established ether fib flags hour \
    icmp icmp6 icmpv6 id iif iifname igmp in inet invalid ip ip6 ipsec ipv4 ipv6 ipv6-icmp l4proto label limit mark \
    masquerade meta minute missing multiport nat new nfproto not oif oifname operation or original out over perhaps \
    priority proto protocol queue rate redirect reject related reply request reset saddr sctp second source sport dport \
    state status tcp tcp-reset th to type udp unknown untracked vmap week with gre local broadcast multicast unicast \
    numgen inc random mod offset exthdr exists hbh rt frag dst src mh nexthdr hdrlength seg-left reserved more-fragments option \
    maxseg size window timestamp tsval tsecr sack sack-perm mtu nexthop classid zone set";
/// Targets of iptables that are no chains, beside the words of rules in capitals.
const TARGETS: &str =
    "CONNMARK CT DNAT LOG MARK MASQUERADE NETMAP NFQUEUE NOTRACK RETURN SNAT TCPMSS TPROXY";
/// Words of what could not be read (see `host::answers`, `host::watch`), beside those of the system's errors.
const TOLD_WORDS: &str = "arp base bridge cannot cgroups chains connection conntrack counters entry file filter firewall \
    forwarding found gone icmp icmp6 id in interface interfaces ip ip6 ip6tables-legacy iptables-legacy IPsec is legacy namespace \
    neighbour never nftables of on or policies policy port proto read route routes rules sctp sockets stands sysctl \
    table tables tcp the to towards udp was what";
/// Numbers of errors whose words are taken.
const ERRORS: std::ops::Range<i32> = 1..134;
/// Stands for what no pseudonym can stand for.
const MORE: &str = "…";

/// Words that texts are told with.
pub(super) struct Vocabulary {
    rule: HashSet<String>,
    told: HashSet<String>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        let rule = RULE_WORDS.split_whitespace();
        let capitals = rule.clone().map(str::to_uppercase);
        let targets = TARGETS.split_whitespace().chain(CHAINS);
        let errors = ERRORS.flat_map(|number| {
            let text = io::Error::from_raw_os_error(number).to_string();
            let mut words = Vec::new();
            rewrite(&text, |_, token| {
                words.push(token.text.to_owned());
                None
            });
            words
        });
        Self {
            told: TOLD_WORDS
                .split_whitespace()
                .map(str::to_owned)
                .chain(errors)
                .collect(),
            rule: rule
                .clone()
                .map(str::to_owned)
                .chain(capitals)
                .chain(targets.map(str::to_owned))
                .collect(),
        }
    }
}

/// A piece of a text.
#[derive(Clone, Copy)]
struct Token<'t> {
    text: &'t str,
    /// Between quotation marks.
    quoted: bool,
}

/// The text with tokens replaced; `of` gets the token before too, and `None` leaves a token as it is.
fn rewrite(text: &str, mut of: impl FnMut(&str, Token<'_>) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = "";
    while let Some(first) = rest.chars().next() {
        let token = if first == '"' {
            let inner = rest.get(1..).unwrap_or_default();
            let text = inner.split('"').next().unwrap_or_default();
            out.push('"');
            rest = inner;
            Token { text, quoted: true }
        } else {
            let end = rest.find(parts).unwrap_or(rest.len());
            let text = rest.get(..end).unwrap_or_default();
            // a colon behind a word is punctuation, but for an address that ends in it
            let text = match text.strip_suffix(':') {
                Some(word) if text.parse::<IpAddr>().is_err() => word,
                _ => text,
            };
            Token {
                text,
                quoted: false,
            }
        };
        if !token.text.is_empty() {
            match of(before, token) {
                Some(new) => out.push_str(&new),
                None => out.push_str(token.text),
            }
            before = token.text;
        }
        rest = rest.get(token.text.len()..).unwrap_or_default();
        let closing = if token.quoted { 1 } else { 0 };
        let empty = token.text.is_empty() && !token.quoted;
        let skip = if empty { first.len_utf8() } else { closing };
        let (between, after) = rest.split_at_checked(skip).unwrap_or((rest, ""));
        out.push_str(between);
        rest = after;
    }
    out
}

/// Characters between tokens.
fn parts(c: char) -> bool {
    c.is_whitespace() || ",{}()[]!=<>&|\";".contains(c)
}

/// How addresses are replaced.
trait Replace {
    fn address(&mut self, address: IpAddr) -> IpAddr;
    fn network(&mut self, address: IpAddr, length: u8) -> IpAddr;
    fn mac(&mut self, mac: Mac) -> Mac;
}

impl Replace for Addresses {
    fn address(&mut self, address: IpAddr) -> IpAddr {
        Self::address(self, address)
    }

    fn network(&mut self, address: IpAddr, length: u8) -> IpAddr {
        Self::network(self, address, length)
    }

    fn mac(&mut self, mac: Mac) -> Mac {
        Self::mac(self, mac)
    }
}

/// Pseudonyms become what they stand for.
struct Back<'a>(&'a Addresses);

impl Replace for Back<'_> {
    fn address(&mut self, address: IpAddr) -> IpAddr {
        self.0.original(address)
    }

    fn network(&mut self, address: IpAddr, _: u8) -> IpAddr {
        self.0.original(address)
    }

    fn mac(&mut self, mac: Mac) -> Mac {
        self.0.original_mac(mac)
    }
}

/// `10.0.0.1`, `10.0.0.0/8`, `10.0.0.1:80`, `10.0.0.1-10.0.0.9`, `fd00::1`, `02:00:00:00:00:01` replaced; `None` for what
/// is no address.
fn address(token: &str, by: &mut impl Replace) -> Option<String> {
    if let Ok(address) = token.parse() {
        return Some(by.address(address).to_string());
    }
    if let Ok(end) = token.parse::<SocketAddrV4>() {
        let address = by.address((*end.ip()).into());
        return Some(format!("{address}:{}", end.port()));
    }
    if let Some((base, length)) = token.split_once('/') {
        return prefix(base.parse().ok()?, length, by);
    }
    if let Some((first, last)) = token.split_once('-') {
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        return Some(format!("{}-{}", by.address(first), by.address(last)));
    }
    Some(by.mac(mac(token)?).to_string())
}

fn prefix(base: IpAddr, length: &str, by: &mut impl Replace) -> Option<String> {
    let most = if base.is_ipv4() { 32 } else { 128 };
    let length: u8 = length.parse().ok().filter(|length| *length <= most)?;
    let own = network(base, length) != base;
    let new = if own {
        by.address(base)
    } else {
        by.network(base, length)
    };
    Some(format!("{new}/{length}"))
}

fn mac(token: &str) -> Option<Mac> {
    let bytes: Option<Vec<u8>> = token
        .split(':')
        .map(|pair| {
            u8::from_str_radix(pair, 16)
                .ok()
                .filter(|_| pair.len() == 2)
        })
        .collect();
    bytes?.try_into().ok().map(Mac)
}

/// `net 10.1` is `net 10.1.0.0/16`.
fn partial(token: &str, by: &mut impl Replace) -> Option<String> {
    let octets: Result<Vec<u8>, _> = token.split('.').map(str::parse).collect();
    let octets = octets.ok().filter(|octets| octets.len() < 4)?;
    let mut base = [0; 4];
    base.iter_mut()
        .zip(&octets)
        .for_each(|(to, from)| *to = *from);
    prefix(base.into(), &(octets.len() * 8).to_string(), by)
}

fn expression(text: &str, by: &mut impl Replace) -> String {
    rewrite(text, |before, token| match before {
        "mask" => None,
        "net" => address(token.text, by).or_else(|| partial(token.text, by)),
        // a number alone is a port or a protocol
        _ => address(token.text, by),
    })
}

/// Words before the names of what runs on the machine (`filter::Named`), and what these are hidden as.
const NAMED: [(&str, Kind); 4] = [
    ("pod", Kind::Namespace),
    ("container", Kind::Namespace),
    ("service", Kind::Namespace),
    ("process", Kind::Process),
];

/// The expression with names replaced. A name without a word before it uses the one of the name before.
fn called(text: &str, mut of: impl FnMut(Kind, &str) -> String) -> String {
    let mut carried = None;
    rewrite(text, |_, token| {
        let word = token.text;
        if let Some((_, kind)) = NAMED.into_iter().find(|(known, _)| *known == word) {
            carried = Some(kind);
            return None;
        }
        let address = word.split('/').next().unwrap_or(word);
        if is_keyword(word) || address.parse::<IpAddr>().is_ok() {
            carried = None;
            return None;
        }
        if ["and", "or", "not"].contains(&word) {
            return None;
        }
        carried.map(|kind| of(kind, word))
    })
}

/// `80`, `80-90`, `0x10/0xff`, `3/minute`, `1:`.
fn is_number(token: &str) -> bool {
    let hex = |part: &str| {
        part.strip_prefix("0x")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    token
        .split(['-', ':', '/', '.'])
        .all(|part| hex(part) || plain(part))
}

impl Pseudonyms {
    /// An expression, as the user wrote it or in words: names do not stand in it.
    pub(super) fn expression(&mut self, text: &str) -> String {
        let text = called(text, |kind, name| self.names.path(kind, name));
        expression(&text, &mut self.addresses)
    }

    /// An expression with pseudonyms, as it was meant.
    pub(super) fn meant(&self, text: &str) -> String {
        let original = |_, name: &str| {
            let parts = name.split('/').map(|part| self.names.original(part));
            parts.collect::<Vec<_>>().join("/")
        };
        expression(&called(text, original), &mut Back(&self.addresses))
    }

    /// A rule, or a test of one.
    pub(super) fn rule(&mut self, text: &str) -> String {
        rewrite(text, |before, token| {
            let word = token.text;
            if !token.quoted && word.starts_with('-') {
                return None;
            }
            match before {
                "iifname" | "oifname" | "-i" | "-o" => return Some(self.pattern(word)),
                "comment" | "--comment" => return Some(self.names.name(Kind::Comment, word)),
                _ => {}
            }
            if token.quoted {
                return Some(self.names.name(Kind::Other, word));
            }
            if let Some(new) = address(word, &mut self.addresses) {
                return Some(new);
            }
            if word == MORE || before == "-m" {
                return None;
            }
            if before == "--match-set" {
                return Some(self.names.name(Kind::Set, word));
            }
            if let Some(set) = word.strip_prefix('@') {
                let raw = set.bytes().all(|b| b.is_ascii_digit());
                return (!raw).then(|| format!("@{}", self.names.name(Kind::Set, set)));
            }
            let known = |part: &str| is_number(part) || self.vocabulary.rule.contains(part);
            if word.split('/').all(known) {
                return None;
            }
            let kind = match before {
                "-j" | "-g" | "jump" | "goto" => Kind::Chain,
                _ => Kind::Other,
            };
            Some(self.names.name(kind, word))
        })
    }

    /// An interface's name in a rule's words: `eth0`, `veth*`, `veth+`.
    fn pattern(&mut self, word: &str) -> String {
        let (pattern, end) = match word.strip_suffix('+') {
            Some(start) => (format!("{start}*"), "+"),
            None => (word.to_owned(), "*"),
        };
        match self.names.interface(&pattern) {
            Some(new) => match new.strip_suffix('*') {
                Some(start) => format!("{start}{end}"),
                None => new,
            },
            None => MORE.to_owned(),
        }
    }

    /// What could not be read, and why.
    pub(super) fn told(&mut self, text: &str) -> String {
        rewrite(text, |before, token| {
            let word = token.text;
            if let Some(new) = address(word, &mut self.addresses) {
                return Some(new);
            }
            if is_number(word) {
                return None;
            }
            if before == "sysctl" {
                return Some(self.names.sysctl(word));
            }
            let kind = match before {
                "namespace" if word != "is" => Kind::Namespace,
                // a node's name comes first
                "" => Kind::Host,
                _ => Kind::Other,
            };
            let known = kind != Kind::Namespace && self.vocabulary.told.contains(word);
            (!known).then(|| self.names.name(kind, word))
        })
    }

    /// A text of ours in which names may stand that were told before.
    pub(super) fn remark(&mut self, text: &str) -> String {
        rewrite(text, |_, token| {
            address(token.text, &mut self.addresses).or_else(|| self.names.known(token.text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::pseudonyms;
    use super::*;

    #[test]
    fn names_in_an_expression_are_hidden_and_understood() {
        let mut all = pseudonyms();
        let typed =
            "tcp and (src pod shop/cart or shop/db) and process nginx and pid 7 and port 80";
        let hidden = all.expression(typed);
        for name in ["shop", "cart", "db", "nginx"] {
            assert!(!hidden.contains(name), "{hidden}");
        }
        assert!(hidden.starts_with("tcp and (src pod ns-"), "{hidden}");
        assert!(hidden.ends_with(" and pid 7 and port 80"), "{hidden}");
        assert_eq!(all.meant(&hidden), typed);
        let shop = all.names.name(Kind::Namespace, "pod shop/cart");
        assert!(hidden.contains(&shop), "{shop} in {hidden}");
    }

    #[test]
    fn an_expression_keeps_its_words() {
        let mut all = pseudonyms();
        let a = all.addresses.address(IpAddr::from([10, 1, 2, 3]));
        let net = all.addresses.network(IpAddr::from([10, 1, 0, 0]), 16);
        for (text, expected) in [
            (
                "tcp and (host 10.1.2.3 or net 10.1.0.0/16) and port 80",
                format!("tcp and (host {a} or net {net}/16) and port 80"),
            ),
            ("net 10.1", format!("net {net}/16")),
            (
                "net 10.1.0.0 mask 255.255.0.0",
                format!("net {} mask 255.255.0.0", {
                    all.addresses.address(IpAddr::from([10, 1, 0, 0]))
                }),
            ),
            (
                "tcp[tcpflags] & tcp-syn != 0",
                "tcp[tcpflags] & tcp-syn != 0".to_owned(),
            ),
            ("src host 0.0.0.0", "src host 0.0.0.0".to_owned()),
        ] {
            assert_eq!(all.expression(text), expected);
        }
        let hidden = all.expression("host 10.1.2.3 and net 10.1.0.0/16");
        assert_eq!(all.meant(&hidden), "host 10.1.2.3 and net 10.1.0.0/16");
    }

    #[test]
    fn a_rule_keeps_only_words_that_are_known() {
        let mut all = pseudonyms();
        let a = all.addresses.address(IpAddr::from([10, 1, 2, 3]));
        let eth0 = all.names.name(Kind::Interface, "eth0");
        let chain = all.names.name(Kind::Chain, "KUBE-FW");
        let comment = all.names.name(Kind::Comment, "block the payments team");
        let set = all.names.name(Kind::Set, "banned");
        for (text, expected) in [
            (
                "-i eth0 ! -s 10.1.2.3 -p tcp -m multiport --dports 80,90:95 -m comment --comment \"block the payments team\" -j KUBE-FW",
                format!(
                    "-i {eth0} ! -s {a} -p tcp -m multiport --dports 80,90:95 -m comment --comment \"{comment}\" -j {chain}"
                ),
            ),
            (
                "iifname \"eth0\" ip saddr { 10.1.2.3, 10.1.2.3-10.1.2.3 } ct state invalid,new limit rate over 3/minute drop",
                format!(
                    "iifname \"{eth0}\" ip saddr {{ {a}, {a}-{a} }} ct state invalid,new limit rate over 3/minute drop"
                ),
            ),
            (
                "oifname != \"veth*\" ip daddr @banned @2,32,16 reject with tcp reset",
                format!("oifname != \"veth*\" ip daddr @{set} @2,32,16 reject with tcp reset"),
            ),
            (
                "-i cali+ -m hashlimit … -j REJECT --reject-with tcp-reset",
                "-i cali+ -m hashlimit … -j REJECT --reject-with tcp-reset".to_owned(),
            ),
            (
                "meta mark & 0xff == 0x10 masquerade",
                "meta mark & 0xff == 0x10 masquerade".to_owned(),
            ),
        ] {
            assert_eq!(all.rule(text), expected);
        }
        assert!(!all.rule("payments \"an open").contains("payments"));
        assert!(!all.rule("payments \"an open").contains("open"));
    }

    #[test]
    fn what_could_not_be_read_hides_names() {
        let mut all = pseudonyms();
        let a = all.addresses.address(IpAddr::from([10, 1, 2, 3]));
        let space = all.names.name(Kind::Namespace, "the");
        let node = all.names.name(Kind::Host, "node1");
        let eth0 = all.names.name(Kind::Interface, "eth0");
        for (text, expected) in [
            (
                "interfaces of namespace the",
                format!("interfaces of namespace {space}"),
            ),
            (
                "node1: routes towards 10.1.2.3 in namespace 4026531840",
                format!("{node}: routes towards {a} in namespace 4026531840"),
            ),
            (
                "sysctl net/ipv4/conf/eth0/rp_filter in namespace 7",
                format!("sysctl net/ipv4/conf/{eth0}/rp_filter in namespace 7"),
            ),
            (
                "connection of tcp 10.1.2.3:80 > 10.1.2.3:443 in namespace 7",
                format!("connection of tcp {a}:80 > {a}:443 in namespace 7"),
            ),
            (
                "Operation not permitted (os error 1)",
                "Operation not permitted (os error 1)".to_owned(),
            ),
            (
                "the namespace is gone, or was never found",
                "the namespace is gone, or was never found".to_owned(),
            ),
        ] {
            assert_eq!(all.told(text), expected);
        }
    }

    #[test]
    fn a_remark_hides_what_is_known() {
        let mut all = pseudonyms();
        let node = all.names.name(Kind::Host, "node1");
        assert_eq!(
            all.remark("node1: tcx; node2: clsact"),
            format!("{node}: tcx; node2: clsact")
        );
    }
}
