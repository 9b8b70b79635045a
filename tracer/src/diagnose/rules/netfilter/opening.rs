//! What to open so that a flow passes a packet filter, both ways, and what the rules would do with it then. The change is
//! laid over the rules as they were read, and they are walked again: what stops the packet next, or its answer, is opened
//! by the same change or named.

use std::net::IpAddr;

use crate::host::facts::{BaseChain, Part, Rule, RuleVerdict, Side, Statement};
use crate::model::{Direction, Fragment, Proto, Tuple};
use crate::network::filter::{self, Answer, Change, End, Outcome, Packet, Rules, Undecided};
use crate::uapi::nf_conntrack::{STATE_ESTABLISHED, STATE_INVALID, STATE_NEW, STATE_UNTRACKED};

use super::super::super::chain_commands::{AtHead, chain_words, let_pass};
use super::super::super::hooks::Hook;
use super::super::super::loss::{Loss, tuple_of};
use super::super::super::owners::{self, Owner};
use super::super::super::remedy::{Remedy, Shell};
use super::suspects::{layer, packet};
use super::{discovery, goes_out};

/// Most chains that one change opens.
pub(super) const MOST: usize = 4;

/// A chain that has to let a packet pass, with the packet's addresses and ports.
struct Opening {
    base: BaseChain,
    /// The chain in which the rule is put: the base chain, or one below it.
    chain: String,
    tuple: Tuple,
    /// On which side the server's port is: the client's is another with each connection.
    server: Side,
}

/// Lets the flow pass at the head of a chain, and its answer where the rules would stop that. `None` where no rule can
/// say which flow is meant.
pub(super) fn both_ways(
    loss: &Loss<'_>,
    hook: Hook,
    chain: (&BaseChain, Option<&Owner>),
    shell: &Shell,
) -> Option<Remedy> {
    if discovery::is_one(loss) {
        return discovery::opened(loss, hook, chain.0);
    }
    Tried::on(loss, hook, chain)?.change(shell)
}

/// Chains that were opened in the rules as they were read, and what these do then.
struct Tried {
    openings: Vec<Opening>,
    then: Vec<String>,
}

impl Tried {
    /// The chain opened that stops the packet, and all that then stop it or its answer.
    fn on(
        loss: &Loss<'_>,
        hook: Hook,
        (chain, owner): (&BaseChain, Option<&Owner>),
    ) -> Option<Self> {
        // The source port of a tunnel's packet is another for each flow inside, and its answers have the same destination port.
        let outer = loss.tunnel().is_some();
        let (there, back) = match loss.journey.direction {
            _ if outer => (Side::Destination, Side::Destination),
            Direction::Reply => (Side::Source, Side::Destination),
            _ => (Side::Destination, Side::Source),
        };
        let head = head_of(loss, hook, (chain, owner));
        let mut openings = vec![Opening {
            base: chain.clone(),
            chain: head.clone(),
            tuple: loss.outermost()?,
            server: there,
        }];
        let mut then = Vec::new();
        let ruleset = loss.netns().and_then(|netns| loss.host.filters.get(&netns));
        if let Some(ruleset) = ruleset {
            let asked = packet(loss, hook, goes_out(loss, hook));
            let way = Way {
                rules: Rules::of(&ruleset.fact),
                hook,
                name: hook.chain_hook,
                owner,
            };
            let next = way.open(&asked, Some((chain, head)), there, &mut openings);
            then.push(next.words("it"));
            let first = first_fragment(loss, &asked);
            if let Some(first) = &first {
                let next = way.open(first, None, there, &mut openings);
                then.push(next.words("its first fragment"));
            }
            if let Some(name) = way_back(loss, hook) {
                let way = Way { name, ..way };
                let next = way.open(&answer_to(&asked, outer), None, back, &mut openings);
                then.push(next.words("its answer"));
                // What is answered to a large datagram may be as large.
                for fragment in [first.as_ref().map(|_| &asked), first.as_ref()] {
                    let answer = fragment.map(|asked| Packet {
                        fragment: asked.fragment,
                        ..answer_to(asked, outer)
                    });
                    if let Some(answer) = answer {
                        way.open(&answer, None, back, &mut openings);
                    }
                }
            }
        }
        Some(Self { openings, then })
    }

    /// As one change.
    fn change(&self, shell: &Shell) -> Option<Remedy> {
        let passes = self.openings.iter().filter_map(|opening| {
            let chain = (&opening.base, opening.chain.as_str());
            let_pass(chain, &opening.tuple, opening.server, shell)
        });
        let mut passes: Vec<AtHead> = passes.collect();
        passes.dedup();
        let mut all = passes.into_iter();
        let first = all.next()?;
        let there = self.openings.first()?.server;
        let to = self.openings.first().map(|opening| opening.tuple.dst);
        let back = |opening: &Opening| opening.server != there || Some(opening.tuple.dst) != to;
        let what = if self.openings.iter().any(back) {
            "let this flow and its answers pass"
        } else {
            "let this flow pass"
        };
        let change = shell
            .change(what, first.insert)
            .undone_by(first.delete.clone());
        let mut undone = vec![first.delete];
        let change = all.fold(change, |change, pass| {
            let change = change.and(pass.insert);
            // One command may take several rules of a chain away.
            if undone.contains(&pass.delete) {
                return change;
            }
            undone.push(pass.delete.clone());
            change.undone_by(pass.delete)
        });
        let then = (!self.then.is_empty())
            .then(|| format!("by the rules as they were read, {}", self.then.join("; ")));
        let owner = self.openings.iter().find_map(Opening::kept_by);
        Some(change.owner(owner).then(then))
    }
}

impl Opening {
    /// Who keeps the chain, where it is none for rules of others.
    fn kept_by(&self) -> Option<String> {
        let own = owners::of(&self.base.table, &self.chain, "")?;
        let kept = own.chain_for_others() == Some(self.chain.as_str());
        (!kept).then(|| own.words())
    }
}

/// The first fragment of the datagram of a later one: the rules may treat it otherwise, for it has ports.
fn first_fragment(loss: &Loss<'_>, later: &Packet) -> Option<Packet> {
    let own = later.tuple?;
    later.fragment.filter(|fragment| fragment.offset > 0)?;
    let tuples = loss.journey.steps.iter().map(|step| &step.event);
    let whole = |t: &Tuple| (t.src, t.dst) == (own.src, own.dst) && (t.sport, t.dport) != (0, 0);
    let tuple = tuples.filter_map(tuple_of).find(whole)?;
    Some(Packet {
        tuple: Some(tuple),
        fragment: Some(Fragment {
            offset: 0,
            more: true,
        }),
        length: None,
        ..later.clone()
    })
}

/// The hook at which the answer passes this namespace; `None` for an answer itself, which has none.
fn way_back(loss: &Loss<'_>, hook: Hook) -> Option<&'static str> {
    if loss.journey.direction != Direction::Forward {
        return None;
    }
    let own = |address: IpAddr| {
        let netns = loss.netns();
        netns.is_some_and(|netns| loss.host.is_local(netns, address))
    };
    let tuple = loss.outermost()?;
    match hook.chain_hook {
        "FORWARD" => Some("FORWARD"),
        "INPUT" => Some("OUTPUT"),
        "OUTPUT" => Some("INPUT"),
        "PREROUTING" if own(tuple.dst) => Some("OUTPUT"),
        "PREROUTING" => Some("PREROUTING"),
        "POSTROUTING" if own(tuple.src) => Some("INPUT"),
        "POSTROUTING" => Some("POSTROUTING"),
        _ => None,
    }
}

/// The answer as the same namespace sees it: of a connection that is known, where the packet's is; else as little of one
/// as the packet itself. `outer`: a tunnel's packet, whose answers are a flow of their own to the same port.
fn answer_to(packet: &Packet, outer: bool) -> Packet {
    let back = |tuple: Tuple| match tuple.proto {
        Proto::Udp if outer => Tuple {
            src: tuple.dst,
            dst: tuple.src,
            ..tuple
        },
        _ => tuple.reversed(),
    };
    let own_flow = outer && packet.tuple.is_some_and(|tuple| tuple.proto == Proto::Udp);
    // An echo comes back as large as it was sent.
    let echo = |t: &Tuple| matches!(t.proto, Proto::Icmp | Proto::Icmp6);
    let fragment = packet
        .fragment
        .filter(|_| packet.tuple.as_ref().is_some_and(echo));
    let strange = |bit: u32| packet.states.is_some_and(|s| s & bit != 0);
    Packet {
        tuple: packet.tuple.map(back),
        iif: packet.oif.clone(),
        oif: packet.iif.clone(),
        source_mac: packet.destination_mac,
        destination_mac: packet.source_mac,
        states: Some(if strange(STATE_INVALID) {
            STATE_INVALID
        } else if own_flow {
            packet.states.unwrap_or(STATE_NEW)
        } else if strange(STATE_UNTRACKED) {
            STATE_UNTRACKED
        } else {
            STATE_ESTABLISHED
        }),
        local: packet.local.clone(),
        fragment,
        ..Packet::default()
    }
}

/// A hook of the namespace with its rules.
#[derive(Clone)]
struct Way<'a> {
    rules: Rules<'a>,
    hook: Hook,
    name: &'static str,
    /// Who keeps the rules that stop the packet.
    owner: Option<&'a Owner>,
}

/// What the rules do with a packet once all that was found is opened.
enum Next {
    Passes,
    Stopped(String),
    Open(String),
}

impl Next {
    fn words(&self, who: &str) -> String {
        match self {
            Self::Passes => format!("{who} then passes"),
            Self::Stopped(what) => format!("{who} is then stopped by {what}"),
            Self::Open(why) => format!("whether {who} then passes cannot be told: {why}"),
        }
    }
}

impl<'a> Way<'a> {
    /// Walks the hook, opens each chain that stops the packet, and says what is left. `opened`: a chain that is opened
    /// already.
    fn open(
        &self,
        packet: &Packet,
        opened: Option<(&BaseChain, String)>,
        server: Side,
        openings: &mut Vec<Opening>,
    ) -> Next {
        let at = filter::Hook {
            layer: layer(self.hook),
            name: self.name,
            engine: None,
        };
        let mut rules = self.rules.clone();
        if let Some((chain, name)) = opened {
            rules = rules.with(accepted_at(chain, &name));
        }
        for _ in 0..MOST {
            let base = {
                let walk = filter::walk(&rules, packet, at);
                match walk.answer() {
                    Answer::Passes => return Next::Passes,
                    // What may stop it is opened as well: the change must not depend on chance.
                    Answer::CannotTell(why) => match walk.ends.first() {
                        Some(end) if end.outcome != Outcome::Queue => end.base.clone(),
                        _ => {
                            let why = why
                                .map_or("a rule that facts do not decide".to_owned(), open_words);
                            return Next::Open(why);
                        }
                    },
                    Answer::Stopped(end) if end.outcome == Outcome::Queue => {
                        return Next::Stopped(words(end));
                    }
                    Answer::Stopped(end) => end.base.clone(),
                }
            };
            let (Some(tuple), Some(chain)) =
                (packet.tuple, self.rules.base().find(|b| **b == base))
            else {
                return Next::Open("the packet is not known".to_owned());
            };
            let name =
                kept_for_others(&rules, (packet, at), (chain, self.owner)).unwrap_or(&chain.chain);
            let opening = Opening {
                base: chain.clone(),
                chain: name.to_owned(),
                tuple,
                server,
            };
            rules = rules.with(accepted_at(chain, name));
            openings.push(opening);
        }
        Next::Open("too many chains stop it".to_owned())
    }
}

/// The rule that left it open, in the words of who made it.
fn open_words(undecided: &Undecided<'_>) -> String {
    match undecided.rule {
        Some(rule) => format!(
            "rule {} of chain {} asks what is not known ({})",
            rule.number, undecided.chain, rule.text
        ),
        None => format!("{} in chain {}", undecided.what, undecided.chain),
    }
}

fn words(end: &End<'_>) -> String {
    let base = chain_words(end.base);
    match end.rule {
        Some(rule) => format!("rule {} of chain {} ({base})", rule.number, end.chain),
        None => format!("the policy of chain {base}"),
    }
}

/// The chain in which a rule for the lost packet is put: what the owner of the rules that stop it keeps for others, where
/// that is read before them; else the base chain.
fn head_of(loss: &Loss<'_>, hook: Hook, (chain, owner): (&BaseChain, Option<&Owner>)) -> String {
    let read = loss.netns().and_then(|netns| loss.host.filters.get(&netns));
    let kept = read.and_then(|read| {
        let at = filter::Hook {
            layer: layer(hook),
            name: hook.chain_hook,
            engine: None,
        };
        let asked = packet(loss, hook, goes_out(loss, hook));
        kept_for_others(&Rules::of(&read.fact), (&asked, at), (chain, owner))
    });
    kept.unwrap_or(&chain.chain).to_owned()
}

/// The chain that an owner keeps for rules of others, where what it accepts is not stopped by this base chain any more.
fn kept_for_others(
    rules: &Rules<'_>,
    (packet, at): (&Packet, filter::Hook<'_>),
    (chain, owner): (&BaseChain, Option<&Owner>),
) -> Option<&'static str> {
    let name = owner?.chain_for_others()?;
    rules.chain(chain, name)?;
    let opened = rules.clone().with(accepted_at(chain, name));
    let walk = filter::walk(&opened, packet, at);
    let stopped = walk.ends.iter().any(|end| end.base == chain);
    (!stopped).then_some(name)
}

/// A rule at the head of a chain, of a base chain's table, that accepts the packet that is walked.
pub(super) fn accepted_at(chain: &BaseChain, name: &str) -> Change {
    Change::Insert {
        base: chain.clone(),
        chain: name.to_owned(),
        rule: Rule {
            parts: vec![Part::Do(Statement::Verdict(RuleVerdict::Accept))],
            ..Rule::default()
        },
    }
}
