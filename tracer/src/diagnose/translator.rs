//! Who translated the destination of a packet that found no receiver, or why nobody did: a rule that stands before the
//! right one, an entry of conntrack that is older than the rules, or a rule that takes the packet from conntrack. The
//! place where the packet died is not to blame then.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{
    BaseChain, ConntrackAnswer, ConntrackEntry, FilterEngine, FilterRule, Question, Rule,
    RuleVerdict, Side, Statement, Stop, Test, Translation,
};
use crate::model::{Detail, Device, Direction, Event, Fate, Journey, NetNs, Proto, Tuple};
use crate::network::bridging::bridge_of;
use crate::network::filter::{
    Change, Interface, Packet, Rules, Translated, Untranslated, first_translation, left_untracked,
    met, translations, zone,
};
use crate::network::reach;
use crate::uapi::nf_conntrack::{IPS_DST_NAT, STATE_UNTRACKED};
use crate::verdict::{Advice, AdviceKind, Evidence, Outcome, Verdict};

use super::Found;
use super::candidate::evidence;
use super::chain_commands::{iptables, let_pass, rule_of, rule_words, show_reached};
use super::deletion;
use super::loss::tuple_of;
use super::owners::{self, Owner};
use super::ports;
use super::remedy::{self, Command, Remedy, Shell, command, text};
use super::translation;
use super::untracked;
use super::view::View;
use super::words;

/// Most namespaces of a way that are looked at.
const MOST: usize = 6;
/// What is found at an address that nobody answers for.
const NOBODY: &str = "nobody answered";
/// Most rules that stand one before the other and lead to the same address.
const BEFORE: usize = 4;

/// A packet's way through a namespace that may translate it.
struct Passage<'a> {
    netns: NetNs,
    /// Where it came in, the last interface before the stack took it: a VLAN's, a bridge's, not their port. `None`: it was made
    /// there.
    came_in: Option<Device>,
    /// It was seen behind the stack: what comes in after that is the same packet once more.
    went_on: bool,
    before: Tuple,
    /// What became of its destination there; `None`: it stayed.
    after: Option<Tuple>,
    event: &'a Event,
}

impl Passage<'_> {
    fn hook(&self) -> &'static str {
        match self.came_in {
            Some(_) => "PREROUTING",
            None => "OUTPUT",
        }
    }

    /// The packet as it came to the hook.
    fn packet(&self, host: &Host) -> Packet {
        // What is bridged comes in at the bridge, for the rules of IP too (br_nf_pre_routing).
        let name = |device| {
            let link = bridge_of(host, device).or_else(|| host.link(device));
            link.map(|link| link.name.clone())
        };
        let headers = self.event.packet.as_ref();
        let addresses = host.addresses_in(self.netns);
        Packet {
            tuple: Some(self.before),
            transport: headers.map_or(crate::model::Transport::Other, |p| p.transport),
            fragment: headers.and_then(|p| p.fragment),
            iif: match self.came_in {
                Some(device) => name(device).map_or(Interface::Unknown, Interface::Named),
                None => Interface::Absent,
            },
            oif: match self.came_in {
                Some(_) => Interface::Absent,
                None => Interface::Unknown,
            },
            mark: self.came_in.map(|_| 0),
            next_header: headers.and_then(|p| p.next_header),
            tos: headers.map(|p| p.tos),
            local: Some(addresses.map(|a| a.address).collect()),
            ..Packet::default()
        }
    }

    /// What became of it; of one that still waits behind the translation, what conntrack's entry says.
    fn led_to(&self, known: Option<&ConntrackEntry>) -> Option<Tuple> {
        let told = || {
            let [(dst, dport), _] = known?.reply;
            Some(Tuple {
                dst,
                dport,
                ..self.before
            })
        };
        self.after.or_else(told)
    }

    /// The answer that a receiver would send to which a rule translates, as it comes back.
    fn answer(&self, packet: &Packet, to: &Named) -> Option<Packet> {
        let (address, _) = to.to.addresses?;
        let tuple = Tuple {
            dst: address,
            dport: to.to.ports.map_or(self.before.dport, |(port, _)| port),
            ..self.before
        };
        Some(Packet {
            tuple: Some(tuple.reversed()),
            local: packet.local.clone(),
            mark: Some(0),
            oif: Interface::Absent,
            ..Packet::default()
        })
    }

    /// The zone in which conntrack looks for its connection; `None`: the rules do not tell. Zone 0 where they are not read.
    fn zone(&self, host: &Host) -> Option<u16> {
        host.filters.get(&self.netns).map_or(Some(0), |facts| {
            zone(&Rules::of(&facts.fact), &self.packet(host), self.hook())
        })
    }

    /// What conntrack said of it, asked in that zone: in others it has other connections.
    fn answer_of<'h>(&self, host: &'h Host, zone: Option<u16>) -> Option<&'h ConntrackAnswer> {
        let own = |c: &ConntrackAnswer| {
            c.netns == self.netns && c.tuple == self.before && Some(c.zone) == zone
        };
        let mut answers = host.connections.iter().rev().map(|c| &c.fact);
        answers.find(|c| own(c))
    }

    /// The entry in that answer, where it is of a connection that the packet's own direction began.
    fn entry<'h>(&self, host: &'h Host, zone: Option<u16>) -> Option<&'h ConntrackEntry> {
        let entry = self.answer_of(host, zone)?.entry.as_ref()?;
        let ports = |t: &Tuple| [(t.src, t.sport), (t.dst, t.dport)];
        let echoes = matches!(self.before.proto, Proto::Icmp | Proto::Icmp6);
        (echoes || entry.original == ports(&self.before)).then_some(entry)
    }
}

/// The namespaces that a packet passed, with what it was where it came to each.
fn passages(journey: &Journey) -> Vec<Passage<'_>> {
    let mut list: Vec<Passage<'_>> = Vec::new();
    for event in journey.steps.iter().map(|s| &s.event) {
        let tunnelled = event.packet.as_ref().is_some_and(|p| p.tunnel.is_some());
        let (Some(device), Some(tuple)) = (event.device, tuple_of(event)) else {
            continue;
        };
        let came_in = matches!(event.detail, Detail::Ingress).then_some(device);
        if let Some(known) = list.iter_mut().find(|p| p.netns == device.netns) {
            known.went_on |= came_in.is_none();
            if known.came_in.is_some() && !known.went_on {
                known.came_in = came_in;
            }
            continue;
        }
        if tunnelled || list.len() >= MOST {
            continue;
        }
        let before = match came_in {
            Some(_) => tuple,
            None => event.original.unwrap_or(tuple),
        };
        let change = translation::changes(journey).find(|c| {
            c.netns == device.netns
                && (c.before.dst, c.before.dport) != (c.after.dst, c.after.dport)
        });
        list.push(Passage {
            netns: device.netns,
            came_in,
            went_on: false,
            before,
            after: change.map(|c| c.after),
            event,
        });
    }
    list
}

/// The zones of conntrack in which a namespace looks for the connection of two packets; `None` where the rules do not
/// tell both.
#[must_use]
pub fn zones(host: &Host, netns: NetNs, [one, other]: [&Journey; 2]) -> Option<[u16; 2]> {
    let zone = |journey| {
        let passed = passages(journey).into_iter().find(|p| p.netns == netns);
        host.filters.get(&netns)?;
        passed?.zone(host)
    };
    Some([zone(one)?, zone(other)?])
}

/// What to read while packets of a flow find no receiver.
#[must_use]
pub fn questions(view: &View<'_>) -> Vec<Question> {
    let failed = |journey: &&Journey| match journey.fate {
        Fate::Dropped { .. } => true,
        _ => !view.young(journey),
    };
    let Some(journey) = view.journeys(Direction::Forward).find(failed) else {
        return Vec::new();
    };
    let about = |passage: Passage<'_>| {
        let (netns, tuple) = (passage.netns, passage.before);
        let zone = passage.zone(view.host).unwrap_or_default();
        let own = view.host.is_local(netns, tuple.dst);
        let sockets = ports::question(netns, &tuple).filter(|_| own);
        [
            Question::Chains { netns },
            Question::Conntrack { netns, tuple, zone },
        ]
        .into_iter()
        .chain(sockets)
    };
    passages(journey).into_iter().flat_map(about).collect()
}

/// What is found out about a translation.
struct Finding {
    /// For the summary; empty where it only adds to the evidence.
    summary: String,
    evidence: Vec<Evidence>,
    remedies: Vec<Remedy>,
    /// The place where the packet died is not to blame: nothing is to be changed there.
    instead: bool,
}

/// Adds to a verdict what the translators on the way have to do with it.
pub(super) fn tell(view: &View<'_>, found: &Found<'_>, verdict: &mut Verdict) {
    let lost = found.chosen();
    if verdict.outcome == Outcome::Delivered
        || lost.is_some_and(|group| group.direction != Direction::Forward)
        || found.counts.reply.delivered > 0 && !view.is_refused()
    {
        return;
    }
    let journey = match lost {
        Some(group) => Some(group.example.journey),
        None => view.journeys(Direction::Forward).next_back(),
    };
    let status = lost.and_then(|group| {
        let example = &group.example;
        Some((example.netns()?, example.info.ct_status?))
    });
    let dead = |cause: &str| {
        [
            "route.",
            "neighbor.",
            "socket.",
            "link.",
            "l2.gone",
            "remote.",
            "nat.no-backend",
            "tunnel.no-remote",
        ]
        .iter()
        .any(|start| cause.starts_with(start))
            && !matches!(cause, "route.rp-filter" | "route.martian")
    };
    let filtered = |cause: &str| cause.starts_with("netfilter.");
    let cause = verdict.cause.as_deref();
    // Other networks of the machine may have the address: for this packet it was not there.
    let unreached = cause.and_then(|cause| match cause {
        "socket.none" => Some("nobody listens"),
        "l2.gone" => Some(NOBODY),
        cause if cause.starts_with("neighbor.") || cause.starts_with("route.") => Some(NOBODY),
        _ => None,
    });
    let (dead, filtered) = (cause.is_none_or(dead), cause.is_some_and(filtered));
    let finding = journey
        .into_iter()
        .flat_map(passages)
        .filter(|passage| dead || filtered && passage.after.is_none())
        .find_map(|passage| {
            let status = status.and_then(|(netns, s)| (netns == passage.netns).then_some(s));
            explain(view.host, &passage, (status, unreached))
        });
    if let Some(finding) = finding {
        finding.put_into(verdict);
    }
}

impl Finding {
    /// Adds that a rule for whatever address took a packet that was for another machine.
    fn foreign(&mut self, host: &Host, passage: &Passage<'_>, named: &Named, shell: &Shell) {
        let meant = passage.before.dst;
        self.summary = format!(
            "; it was for {meant}, which is no address of {}: {} names no destination and translates it to {}",
            host.namespace(passage.netns),
            named.words(),
            named.target()
        );
        let chain = (&named.base, named.base.chain.as_str());
        let passes = let_pass(chain, &passage.before, Side::Destination, shell);
        self.remedies.extend(passes.map(|pass| {
            shell
                .change(
                    format!("if {meant} is meant: leave this flow as it is, in front of the rule (new connections)"),
                    pass.insert,
                )
                .undone_by(pass.delete)
        }));
        self.remedies.push(text(
            "better: give the rule the address or the interface to which the packets come that it is for",
        ));
    }

    fn put_into(self, verdict: &mut Verdict) {
        verdict.summary += &self.summary;
        verdict.evidence.extend(self.evidence);
        let mut list = remedy::advice(&self.remedies);
        let before = u32::try_from(list.len()).unwrap_or_default();
        let looks = |advice: &Advice| !self.instead || advice.kind == AdviceKind::Look;
        let others = std::mem::take(&mut verdict.advice).into_iter();
        list.extend(others.filter(looks).map(|advice| Advice {
            undoes: advice.undoes.map(|number| number + before),
            ..advice
        }));
        verdict.advice = list;
    }
}

/// What the rules of a namespace say of a packet's destination. `status`: IPS_* as the kernel told it; `unreached`: what it
/// found there, where that was no way or nobody.
fn explain(
    host: &Host,
    passage: &Passage<'_>,
    (status, unreached): (Option<u32>, Option<&str>),
) -> Option<Finding> {
    let facts = &host.filters.get(&passage.netns)?.fact;
    let rules = Rules::of(facts);
    let mut packet = passage.packet(host);
    let zone = passage.zone(host);
    let known = passage.entry(host, zone);
    if left_untracked(&rules, &packet, passage.hook()).is_some() {
        packet.states = Some(STATE_UNTRACKED);
    }
    let given = passage.after.map(|after| entry_of(&passage.before, &after));
    let entry = given.as_ref().or(known);
    let place = (passage.hook(), Side::Destination);
    let shell = Shell::of(host, Some(passage.netns));
    match translations(&rules, &packet, place, entry) {
        Untranslated::By(rule) => {
            let rule = (&rule, unreached);
            Some(by(host, (passage, &packet), &rules, rule, &shell))
        }
        Untranslated::Stale | Untranslated::Older(_) | Untranslated::CannotTell
            if zone != Some(0) && passage.answer_of(host, zone).is_none() =>
        {
            Some(unread_zone(zone))
        }
        Untranslated::Stale => {
            // Translators other than netfilter's rules (IPVS, BPF) leave no such mark.
            let by_conntrack = status.or(known.map(|e| e.status))? & IPS_DST_NAT != 0;
            let to = passage.led_to(known).filter(|_| by_conntrack)?;
            Some(stale(host, (passage, &packet), &rules, (to, known), &shell))
        }
        Untranslated::Older(rule) => Some(older(passage, &Named::of(&rule), known, &shell)),
        Untranslated::NotTracked(rule) => {
            let rule = Named::of(&rule);
            Some(not_tracked((passage, &packet), &rules, &rule, &shell))
        }
        Untranslated::NoRule => elsewhere(host, (passage, &packet), &rules, &shell)
            .or_else(|| other_source(host, (passage, &packet), &rules, &shell)),
        Untranslated::CannotTell => None,
    }
}

/// A rule would translate it, had it come in at another interface: as one for a published port that leaves out what comes from
/// the bridge of its container.
fn elsewhere(
    host: &Host,
    (passage, packet): (&Passage<'_>, &Packet),
    rules: &Rules<'_>,
    shell: &Shell,
) -> Option<Finding> {
    passage.came_in?;
    let Interface::Named(interface) = &packet.iif else {
        return None;
    };
    let links = host.links().filter(|l| l.device.netns == passage.netns);
    let rule = { links }.find_map(|link| {
        let there = Packet {
            iif: Interface::Named(link.name.clone()),
            ..packet.clone()
        };
        first(rules, &there, passage.hook()).filter(|rule| rule.certain)
    })?;
    let (address, _) = rule.to.addresses?;
    reach::owners(host, passage.netns, address).first()?;
    Some(Finding {
        summary: format!(
            "; {} translates this to {}, and not what comes in at {interface}",
            rule.words(),
            rule.target()
        ),
        evidence: vec![rule.evidence("leaves out what comes in there")],
        remedies: vec![
            shell.look(
                "the rule: is it meant to leave that out?",
                show_reached(&rule.base, &rule.rule.chain),
            ),
            text(format!(
                "from there ask {} itself, or publish the port for that side too (with a hairpin: what it translates has to be masqueraded)",
                rule.target()
            )),
        ],
        // What listens on the port itself, as a proxy for published ports does, may be let in.
        instead: !serves(host, passage, packet),
    })
}

/// Whether a socket of the namespace takes the packet as it is.
fn serves(host: &Host, passage: &Passage<'_>, packet: &Packet) -> bool {
    let sockets = packet.tuple.and_then(|tuple| {
        let own = host.is_local(passage.netns, tuple.dst);
        ports::on_port(host, passage.netns, &tuple).filter(|_| own)
    });
    sockets.is_some_and(|sockets| sockets.iter().any(|socket| socket.listens()))
}

/// A rule would translate it, had it another source: as those that let only some networks reach a balancer's address.
fn other_source(
    host: &Host,
    (passage, packet): (&Passage<'_>, &Packet),
    rules: &Rules<'_>,
    shell: &Shell,
) -> Option<Finding> {
    let facts = &host.filters.get(&passage.netns)?.fact;
    // Other sources reach endpoints elsewhere: to this one the service is without.
    let comments = met(rules, packet, passage.hook());
    if comments.iter().any(|rule| owners::has_no_endpoint(rule)) {
        return None;
    }
    let here = facts.base.iter().filter(|b| b.hook == passage.hook());
    let mut listed =
        here.flat_map(|base| facts.beside(base).map(move |(chain, r)| (base, chain, r)));
    let (base, chain, rule, to) = listed.find_map(|(base, chain, rule)| {
        let sources = listed_sources(rule)?;
        let (other, _) = sources.first()?;
        let there = Packet {
            tuple: packet.tuple.map(|tuple| Tuple {
                src: *other,
                ..tuple
            }),
            ..packet.clone()
        };
        let to = first(rules, &there, passage.hook()).filter(|to| to.certain)?;
        let way = met(rules, &there, passage.hook());
        let leads_there = way.iter().any(|met| std::ptr::eq(*met, rule));
        leads_there.then_some((base, chain, rule, to))
    })?;
    let (address, _) = to.to.addresses?;
    reach::owners(host, passage.netns, address).first()?;
    let source = passage.before.src;
    let named = rule_of(chain, rule, Stop::Accept);
    let words = rule_words(base, chain, &named);
    let owner = owners::of(&base.table, chain, &rule.text);
    let change = beside(base, (chain, rule), source).map(|[insert, delete]| {
        shell
            .change(format!("let {source} in as well (new connections)"), insert)
            .undone_by(delete)
            .owner(owner.map(Owner::words))
    });
    Some(Finding {
        summary: format!(
            "; {} would translate it to {}, and {words} lets only other sources than {source} come there",
            to.words(),
            to.target()
        ),
        evidence: vec![evidence("rule", format!("{words}: {}", rule.text))],
        remedies: [shell.look(
            "the sources that are let in: is this one meant to be left out?",
            show_reached(base, chain),
        )]
        .into_iter()
        .chain(change)
        .collect(),
        instead: true,
    })
}

/// The sources of a rule that asks for nothing else and leads on.
fn listed_sources(rule: &Rule) -> Option<&[(IpAddr, IpAddr)]> {
    let mut tests = rule.tests();
    let (
        Some(Test::Address {
            side: Side::Source,
            ranges,
            not: false,
        }),
        None,
    ) = (tests.next(), tests.next())
    else {
        return None;
    };
    let leads = |s: &Statement| {
        matches!(
            s,
            Statement::Verdict(RuleVerdict::Jump(_) | RuleVerdict::Goto(_))
        )
    };
    rule.statements().any(leads).then_some(ranges)
}

/// A copy of such a rule for another source put before it, and what takes it away.
fn beside(base: &BaseChain, (chain, rule): (&str, &Rule), source: IpAddr) -> Option<[Command; 2]> {
    let program = iptables(base)?;
    let leads = rule.statements().find_map(|s| match s {
        Statement::Verdict(RuleVerdict::Jump(to)) => Some(("-j", to)),
        Statement::Verdict(RuleVerdict::Goto(to)) => Some(("-g", to)),
        _ => None,
    });
    let (how, to) = leads?;
    Some([
        command![..&program, "-I", chain, rule.number, "-s", source, how, to],
        command![..&program, "-D", chain, "-s", source, how, to],
    ])
}

/// A rule would translate it, but the entry of its connection is older.
fn older(
    passage: &Passage<'_>,
    rule: &Named,
    known: Option<&ConntrackEntry>,
    shell: &Shell,
) -> Finding {
    let target = rule.target();
    Finding {
        summary: format!(
            "; {} would translate it to {target}, but its conntrack entry is older than the rule and has no translation",
            rule.words()
        ),
        evidence: vec![rule.evidence("would translate it")],
        remedies: forget(
            &passage.before,
            zone_of(known),
            &format!("the next packet is translated to {target}"),
            shell,
        ),
        instead: true,
    }
}

/// A rule would translate it, but another one takes it from conntrack.
fn not_tracked(
    (passage, packet): (&Passage<'_>, &Packet),
    rules: &Rules<'_>,
    rule: &Named,
    shell: &Shell,
) -> Finding {
    let answer = passage.answer(packet, rule);
    let there = (packet, passage.hook());
    let both = answer.iter().map(|answer| (answer, "PREROUTING"));
    let packets: Vec<_> = std::iter::once(there).chain(both).collect();
    let list = untracked::rules(rules, &packets);
    Finding {
        summary: format!(
            "; {} would translate it to {}, but it is untracked, and what is not tracked is not translated: {}",
            rule.words(),
            rule.target(),
            untracked::words(&list)
        ),
        evidence: vec![rule.evidence("would translate it")],
        remedies: untracked::track(&list, shell).into_iter().collect(),
        instead: true,
    }
}

/// Its connection is in a zone of conntrack that is not read: nothing is told of what its entry says.
fn unread_zone(zone: Option<u16>) -> Finding {
    let which = zone.map_or_else(|| "another zone".to_owned(), |zone| format!("zone {zone}"));
    Finding {
        summary: String::new(),
        evidence: vec![evidence(
            "conntrack",
            format!(
                "rules put it into {which} of conntrack, which was not read: whether its entry is older than they are cannot be told"
            ),
        )],
        remedies: Vec::new(),
        instead: false,
    }
}

/// The entry that a translation shows.
fn entry_of(before: &Tuple, after: &Tuple) -> ConntrackEntry {
    ConntrackEntry {
        original: [(before.src, before.sport), (before.dst, before.dport)],
        reply: [(after.dst, after.dport), (before.src, before.sport)],
        status: IPS_DST_NAT,
        tcp_state: None,
        timeout: None,
        zone: 0,
    }
}

/// A rule that translates, with what it takes to name and to delete it.
struct Named {
    base: BaseChain,
    rule: FilterRule,
    to: Translation,
    certain: bool,
}

impl Named {
    fn of(found: &Translated<'_>) -> Self {
        Self {
            base: found.base.clone(),
            rule: rule_of(found.chain, found.rule, Stop::Nat),
            to: found.to.clone(),
            certain: found.certain,
        }
    }

    fn words(&self) -> String {
        let words = rule_words(&self.base, &self.rule.chain, &self.rule);
        match self.base.engine {
            FilterEngine::Legacy => format!("{words} (iptables-legacy)"),
            _ => words,
        }
    }

    /// To what it translates, as an address and a port.
    fn target(&self) -> String {
        let (Some((first, last)), ports) = (self.to.addresses, self.to.ports) else {
            return self.to.text.clone();
        };
        let address = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        match ports {
            Some((port, _)) if first.is_ipv6() => format!("[{address}]:{port}"),
            Some((port, _)) => format!("{address}:{port}"),
            None => address,
        }
    }

    fn evidence(&self, does: &str) -> Evidence {
        let owner = owners::of(&self.base.table, &self.rule.chain, &self.rule.text);
        let whose = owner.map_or_else(String::new, |owner| format!(" (of {})", owner.name));
        evidence(
            "rule",
            format!("{}{whose} {does}: {}", self.words(), self.rule.text),
        )
    }

    /// The rules without it.
    fn gone(&self) -> Change {
        Change::Delete {
            base: self.base.clone(),
            chain: self.rule.chain.clone(),
            number: self.rule.number,
        }
    }

    /// Whether it is for packets to any address, and took one that is not for this machine. What other rules lead to may have
    /// been asked there.
    fn takes_what_is_foreign(&self, host: &Host, passage: &Passage<'_>) -> bool {
        let asks_where = |test: &Test| match test {
            Test::Address { side, .. } => *side == Side::Destination,
            Test::Port { .. } | Test::Protocol { .. } | Test::Version { .. } => false,
            _ => true,
        };
        self.certain
            && passage.hook() == "PREROUTING"
            && self.rule.chain == self.base.chain
            && !self.rule.tests.iter().any(asks_where)
            && !host.is_local(passage.netns, passage.before.dst)
    }

    /// Whether it may have given this destination: one without an address gives the interface's own.
    fn leads_to(&self, tuple: &Tuple) -> bool {
        let within = |(first, last): (IpAddr, IpAddr)| first <= tuple.dst && tuple.dst <= last;
        let port = |(first, last): (u16, u16)| first <= tuple.dport && tuple.dport <= last;
        self.to.addresses.is_none_or(within) && self.to.ports.is_none_or(port)
    }
}

/// The first rule that translates the destination of a new connection.
fn first(rules: &Rules<'_>, packet: &Packet, hook: &str) -> Option<Named> {
    first_translation(rules, packet, (hook, Side::Destination)).map(|rule| Named::of(&rule))
}

/// A rule gave the translation that led nowhere: it is named, and deleted where it stands before another that leads to
/// somebody.
fn by(
    host: &Host,
    (passage, packet): (&Passage<'_>, &Packet),
    rules: &Rules<'_>,
    (rule, unreached): (&Translated<'_>, Option<&str>),
    shell: &Shell,
) -> Finding {
    let named = Named::of(rule);
    let mut finding = Finding {
        summary: String::new(),
        evidence: vec![named.evidence("translates it")],
        remedies: Vec::new(),
        instead: false,
    };
    let behind = passage.after.filter(|_| named.certain).and_then(|after| {
        let found = reach::owners(host, passage.netns, after.dst);
        let nobody = unreached.or_else(|| found.is_empty().then_some(NOBODY))?;
        let rules = (rules, Named::of(rule));
        Some((behind(host, (passage, packet), rules, &after)?, nobody))
    });
    let Some(((wrong, right), nobody)) = behind else {
        if unreached.is_some() && named.takes_what_is_foreign(host, passage) {
            finding.foreign(host, passage, &named, shell);
        }
        finding.remedies.push(shell.look(
            format!(
                "the rule that translates it to {}: is that still right?",
                named.target()
            ),
            show_reached(&named.base, &named.rule.chain),
        ));
        return finding;
    };
    finding.summary = format!(
        "; {} translates it to {}, where {nobody}, and stands before {}, which would translate it to {}",
        named.words(),
        named.target(),
        right.words(),
        right.target()
    );
    finding.evidence.push(right.evidence("stands behind it"));
    let list: Vec<_> = wrong.into_iter().map(|w| (w.base, w.rule)).collect();
    let what = match list.len() {
        1 => "if what it leads to is gone: delete the rule",
        _ => "if what they lead to is gone: delete the rules",
    };
    let then = format!(
        "by the rules as they were read, it is then translated to {}",
        right.target()
    );
    let change = deletion::of(&list, what, shell).map(|change| change.then(then));
    finding.remedies.extend(change);
    finding
}

/// The rules that lead where nobody is, from the one on that was met, and the one behind them that leads to somebody.
fn behind(
    host: &Host,
    (passage, packet): (&Passage<'_>, &Packet),
    (rules, met): (&Rules<'_>, Named),
    dead: &Tuple,
) -> Option<(Vec<Named>, Named)> {
    let mut rules = rules.clone().with(met.gone());
    let mut wrong = vec![met];
    while wrong.len() < BEFORE {
        let next = first(&rules, packet, passage.hook()).filter(|next| next.certain)?;
        if !next.leads_to(dead) {
            let (address, _) = next.to.addresses?;
            let somebody = !reach::owners(host, passage.netns, address).is_empty();
            return somebody.then_some((wrong, next));
        }
        rules = rules.with(next.gone());
        wrong.push(next);
    }
    None
}

/// No rule gives the translation any more.
fn stale(
    host: &Host,
    (passage, packet): (&Passage<'_>, &Packet),
    rules: &Rules<'_>,
    (to, known): (Tuple, Option<&ConntrackEntry>),
    shell: &Shell,
) -> Finding {
    let now = first(rules, packet, passage.hook());
    let then = match &now {
        Some(rule) if rule.certain => format!("the next packet is translated to {}", rule.target()),
        Some(_) => "the next packet is translated as the rules say now".to_owned(),
        None => "the next packet is not translated, for no rule does".to_owned(),
    };
    let list = now
        .iter()
        .map(|rule| rule.evidence("translates new connections"));
    Finding {
        summary: format!(
            "; no rule translates {} to {} any more: its conntrack entry on {} is older than the rules (stale)",
            passage.before.destination(),
            to.destination(),
            words::namespace(host, passage.netns)
        ),
        evidence: list.collect(),
        remedies: forget(&passage.before, zone_of(known), &then, shell),
        instead: true,
    }
}

fn zone_of(entry: Option<&ConntrackEntry>) -> u16 {
    entry.map_or(0, |entry| entry.zone)
}

/// Makes conntrack forget one connection, by its tuple as it began. It cannot be taken back, and need not: the next packet
/// makes a new entry.
pub(super) fn forget(original: &Tuple, zone: u16, then: &str, shell: &Shell) -> Vec<Remedy> {
    let Some((list, delete)) = entry_commands(original, zone) else {
        return Vec::new();
    };
    vec![
        shell.look("the entry", list),
        shell
            .change("delete the stale conntrack entry", delete)
            .then(then.to_owned()),
    ]
}

/// The commands that show and delete the entry of a connection.
fn entry_commands(original: &Tuple, zone: u16) -> Option<(Command, Command)> {
    let (protocol, ports) = match original.proto {
        Proto::Tcp => ("tcp", true),
        Proto::Udp => ("udp", true),
        Proto::Sctp => ("sctp", true),
        Proto::Icmp => ("icmp", false),
        Proto::Icmp6 => ("icmpv6", false),
        Proto::Arp | Proto::Other(_) => return None,
    };
    let family: &[&str] = if original.src.is_ipv6() {
        &["-f", "ipv6"]
    } else {
        &[]
    };
    let transport = if ports {
        vec![
            "--sport".to_owned(),
            original.sport.to_string(),
            "--dport".to_owned(),
            original.dport.to_string(),
        ]
    } else {
        vec!["--icmp-id".to_owned(), original.icmp_id.to_string()]
    };
    let zone: Vec<String> = match zone {
        0 => Vec::new(),
        zone => vec!["-w".to_owned(), zone.to_string()],
    };
    let command = |act: &str| {
        command![
            "conntrack",
            act,
            ..family,
            "-p",
            protocol,
            "-s",
            original.src,
            "-d",
            original.dst,
            ..&transport,
            ..&zone
        ]
    };
    Some((command("-L"), command("-D")))
}

/// Whether the rules of a namespace were read and none of them translates this packet; `None` where that is not known.
#[must_use]
pub fn no_rule(host: &Host, journey: &Journey, netns: NetNs) -> Option<bool> {
    let facts = &host.filters.get(&netns)?.fact;
    let rules = Rules::of(facts);
    let passage = passages(journey).into_iter().find(|p| p.netns == netns)?;
    let place = (passage.hook(), Side::Destination);
    let packet = passage.packet(host);
    let zone = zone(&rules, &packet, passage.hook());
    match translations(&rules, &packet, place, passage.entry(host, zone)) {
        Untranslated::NoRule => Some(true),
        Untranslated::CannotTell => None,
        _ => Some(false),
    }
}
