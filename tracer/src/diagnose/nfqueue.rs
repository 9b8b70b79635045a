//! Packets that a rule hands to a process (NFQUEUE): which rule, which queue, and what the process does with them.

use crate::host::Host;
use crate::host::facts::{
    BaseChain, FilterRule, PacketQueue, Question, Rule, RuleVerdict, Statement, Stop,
};
use crate::model::{Detail, Device, Event, Journey, NetNs, Tuple};
use crate::network::filter::{self, Interface, Outcome, Packet, Rules};
use crate::verdict::{Confidence, Outcome as Became, Place};

use super::candidate::{Candidate, Specificity, place_at};
use super::causes::NETFILTER_QUEUE;
use super::chain_commands::{delete_rule, rule_of, rule_words};
use super::device_state;
use super::loss::{Loss, tuple_of};
use super::remedy::{Remedy, Shell, text};
use super::view::last_seen;
use super::words::count;

/// What to read where a packet has no end.
#[must_use]
pub fn questions(netns: NetNs) -> [Question; 2] {
    [Question::Chains { netns }, Question::PacketQueues { netns }]
}

/// A rule that hands a packet to a queue.
struct Handed {
    hook: &'static str,
    base: BaseChain,
    rule: FilterRule,
    number: u16,
    certain: bool,
}

/// Rules that hand a packet to a queue on its way through a namespace into which it came.
fn handed(host: &Host, came_in: Device, (tuple, event): (Tuple, &Event)) -> Vec<Handed> {
    let netns = came_in.netns;
    let Some(read) = host.filters.get(&netns) else {
        return Vec::new();
    };
    let hooks: &[&str] = if host.is_local(netns, tuple.dst) {
        &["PREROUTING", "INPUT"]
    } else {
        &["PREROUTING", "FORWARD", "POSTROUTING"]
    };
    let rules = Rules::of(&read.fact);
    let link = host.link(came_in);
    let local = host.addresses_in(netns);
    let headers = event.packet.as_ref();
    let packet = Packet {
        tuple: Some(tuple),
        transport: headers.map_or(crate::model::Transport::Other, |p| p.transport),
        fragment: headers.and_then(|p| p.fragment),
        iif: link.map_or(Interface::Unknown, |l| Interface::Named(l.name.clone())),
        local: Some(local.map(|a| a.address).collect()),
        ..Packet::default()
    };
    hooks
        .iter()
        .flat_map(|hook| at_hook(&rules, &packet, hook))
        .collect()
}

fn at_hook(rules: &Rules<'_>, packet: &Packet, name: &'static str) -> Vec<Handed> {
    let at = filter::Hook {
        layer: filter::Layer::Ip,
        name,
        engine: None,
    };
    let walk = filter::walk(rules, packet, at);
    let ends = walk.ends.iter().filter(|e| e.outcome == Outcome::Queue);
    ends.filter_map(|end| {
        let rule = end.rule?;
        Some(Handed {
            hook: name,
            base: end.base.clone(),
            rule: rule_of(end.chain, rule, Stop::Queue),
            number: number_of(rule)?,
            certain: end.certain,
        })
    })
    .collect()
}

/// The queue that a rule names; of several the first.
fn number_of(rule: &Rule) -> Option<u16> {
    rule.statements().find_map(|statement| match statement {
        Statement::Verdict(RuleVerdict::Queue { number, .. }) => Some(*number),
        _ => None,
    })
}

fn queues(host: &Host, netns: NetNs) -> &[PacketQueue] {
    let read = host.packet_queues.get(&netns);
    read.map_or(&[][..], |read| read.fact.as_slice())
}

/// `queue 3 (python3 (pid 12, stopped))`.
#[must_use]
pub fn words(queue: &PacketQueue) -> String {
    match who(queue) {
        Some(who) => format!("queue {} of {who}", queue.number),
        None => format!("queue {}", queue.number),
    }
}

fn who(queue: &PacketQueue) -> Option<String> {
    let names: Vec<String> = queue.holders.iter().map(device_state::holder).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// How to look at the queues of a namespace.
#[must_use]
pub fn look(shell: &Shell) -> Remedy {
    shell.look(
        "queues that a process has open: number, port id, packets that wait, copy mode, copy range, dropped since it was full, dropped for want of room at the socket",
        "cat /proc/net/netfilter/nfnetlink_queue",
    )
}

/// What the process behind a queue does, and what lets it go on.
#[must_use]
pub fn let_read(host: &Host, queue: &PacketQueue) -> Vec<Remedy> {
    let what = "what the process that has the queue open is doing";
    let holders = queue.holders.iter();
    let mut list: Vec<Remedy> = holders
        .flat_map(|holder| device_state::held_up(host, holder, what))
        .collect();
    let name = queue.holders.first().map(|holder| &holder.process.comm);
    list.push(text(format!(
        "fix or restart {}: each packet waits for its verdict",
        name.map_or("the process that has the queue open", |name| name.as_str())
    )));
    list
}

/// The rule taken away until a process reads the queue again.
#[must_use]
pub fn without((base, rule): (&BaseChain, &FilterRule), shell: &Shell) -> Remedy {
    let (delete, revert) = delete_rule(base, rule);
    let change = shell
        .change(
            "until a process reads the queue: take the rule away that hands packets to it",
            delete,
        )
        .scope("packets pass without being looked at".to_owned());
    revert.into_iter().fold(change, Remedy::undone_by)
}

/// A queue of the loss's namespace that refused packets since it was full.
#[must_use]
pub fn full<'a>(loss: &Loss<'a>) -> Option<&'a PacketQueue> {
    let refused = |queue: &&PacketQueue| queue.dropped > 0 || queue.undelivered > 0;
    queues(loss.host, loss.netns()?).iter().find(refused)
}

/// A packet without an end that waits in a queue for a verdict.
#[must_use]
pub fn waits(host: &Host, journey: &Journey) -> Option<Candidate> {
    let last = last_seen(journey)?;
    let came_in = last
        .device
        .filter(|_| matches!(last.detail, Detail::Ingress))?;
    let tuple = tuple_of(last)?;
    let list = queues(host, came_in.netns);
    let waiting = |number: u16| {
        let mut own = list.iter();
        own.find(|queue| queue.number == number && queue.waiting > 0)
    };
    let (handed, queue) = handed(host, came_in, (tuple, last))
        .into_iter()
        .find_map(|handed| {
            let queue = waiting(handed.number)?;
            Some((handed, queue))
        })?;
    let shell = Shell::of(host, Some(came_in.netns));
    let process = who(queue).unwrap_or_else(|| "the process that has it open".to_owned());
    let candidate = Candidate::new(
        &NETFILTER_QUEUE,
        place_at(host, came_in, handed.hook),
        format!(
            "it waits in queue {} (NFQUEUE) on {} for the verdict of {process}, which does not answer",
            queue.number,
            host.namespace(came_in.netns)
        ),
    )
    .leads_to(Became::Vanished)
    .explains(Specificity::Linked)
    .sure(if handed.certain {
        Confidence::Certain
    } else {
        Confidence::Likely
    })
    .because(
        "queue",
        format!(
            "{} in queue {}, {} dropped since it was full",
            count(u64::from(queue.waiting), "packet"),
            queue.number,
            queue.dropped
        ),
    )
    .because("rule", rule_line(&handed));
    Some(
        candidate
            .advise([look(&shell)])
            .advise(let_read(host, queue))
            .advise([without((&handed.base, &handed.rule), &shell)]),
    )
}

fn rule_line(handed: &Handed) -> String {
    format!(
        "{}: {}",
        rule_words(&handed.base, &handed.rule.chain, &handed.rule),
        handed.rule.text
    )
}

/// A process gave the packet back with the verdict DROP, or went away while it waited.
#[must_use]
pub fn refused(loss: &Loss<'_>) -> Option<Candidate> {
    let host = loss.host;
    let device = loss.came_in().or(loss.last_device())?;
    let by_verdict = loss
        .frames()
        .any(|frame| frame.starts_with("nfqnl_recv_verdict"));
    let handed = loss
        .tuple()
        .and_then(|tuple| handed(host, device, (tuple, loss.event)).into_iter().next());
    let list = queues(host, device.netns);
    let queue = match &handed {
        Some(handed) => list.iter().find(|queue| queue.number == handed.number),
        None => list.first().filter(|_| list.len() == 1),
    };
    let own = loss.event.process.as_ref().filter(|_| by_verdict);
    let process = own.map(ToString::to_string).or_else(|| who(queue?));
    let process = process.unwrap_or_else(|| "the process that listens".to_owned());
    let number = handed.as_ref().map(|handed| handed.number);
    let number = number.or(queue.map(|queue| queue.number));
    let named = number.map_or_else(|| "its queue".to_owned(), |n| format!("queue {n}"));
    let hook = handed.as_ref().map(|handed| handed.hook);
    let what = if by_verdict {
        format!("{process} refused it: verdict DROP for a packet of {named}")
    } else {
        format!("it waited in {named}, and its process went away")
    };
    let shell = Shell::of(host, Some(device.netns));
    let mut candidate = Candidate::new(
        &NETFILTER_QUEUE,
        Place {
            hook: hook.map(str::to_owned),
            ..loss.place_at_device("")
        },
        format!("NFQUEUE on {}: {what}", loss.namespace_words()),
    )
    .explains(Specificity::Linked)
    .because("rule", handed.as_ref().map(rule_line))
    .because(
        "process",
        by_verdict.then(|| format!("{process} freed it in the call that gave the verdict")),
    )
    .advise([look(&shell)]);
    if by_verdict {
        candidate = candidate.advise([text(format!(
            "look at the log and the rules of {process}: it saw the packet and decided against it"
        ))]);
    } else {
        candidate = candidate.advise([text(
            "start the process again; with bypass (`--queue-bypass`, `queue flags bypass`) packets pass while it is away",
        )]);
    }
    Some(
        candidate.advise(
            handed
                .iter()
                .map(|handed| without((&handed.base, &handed.rule), &shell)),
        ),
    )
}
