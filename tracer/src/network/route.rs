//! Routing: the kernel's walk over policy rules and tables, done again over what was read of them.
//!
//! RTM_GETROUTE tells the answer for now and for one packet; this tells which rule and which route give it, what was
//! passed on the way, and what it would be after a change ([`Tables`]). Not modelled are what one connection learned
//! (path MTU, redirects), routes that expired since they were read, and gateways that a local route of their own table
//! holds (the kernel then sends without them, and no listing tells: fib_check_nh_v4_gw). Where an IPv6 route for
//! certain sources or a VRF could decide, the answer is [`Decision::Undecided`].

mod compare;
mod fib4;
mod fib6;
mod receive;
mod rules;
mod tables;
mod words;

#[cfg(test)]
mod tests;

use crate::host::facts::{NextHop, PolicyRule, Question, TableRoute};
use crate::model::{IfIndex, Tuple};
use crate::uapi::errno::{EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH};
use crate::uapi::fib::LOOPBACK_IFINDEX;
use crate::uapi::rtnetlink::{RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN};

pub use compare::{Comparison, compare};
pub use receive::{Check, CheckResult, Forged, Input, InputEnd, check_source, receive};
pub use tables::{Change, Tables};
pub use words::{errno_words, route_spec, route_words, rule_words, table_words};

use rules::Match;

/// `lo` of every namespace.
pub const LOOPBACK: IfIndex = IfIndex(LOOPBACK_IFINDEX);

/// On which occasion a route is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// For a packet that this host makes.
    Output,
    /// For a packet that came in.
    Input,
    /// For the way back to the source of a packet that came in (rp_filter).
    Reverse,
}

/// A packet as routing sees it. What is `None` is not known, and decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its addresses, protocol and ports; the source is unspecified where the kernel has yet to choose one.
    pub tuple: Tuple,
    /// When.
    pub occasion: Occasion,
    /// Interface on which it came; [`LOOPBACK`] for what this host sends itself.
    pub iif: Option<IfIndex>,
    /// Interface to which the socket is bound.
    pub oif: Option<IfIndex>,
    /// skb->mark, or SO_MARK.
    pub mark: Option<u32>,
    /// Owner of the socket. What came in is root's (sock_net_uid, include/net/sock.h).
    pub uid: Option<u32>,
    /// Type of service.
    pub tos: Option<u8>,
}

impl Query {
    /// A packet that this host makes, of a socket that is not bound to an interface.
    #[must_use]
    pub const fn output(tuple: Tuple, mark: u32) -> Self {
        Self {
            tuple,
            occasion: Occasion::Output,
            iif: Some(LOOPBACK),
            oif: None,
            mark: Some(mark),
            uid: None,
            tos: None,
        }
    }

    /// A packet that came in.
    #[must_use]
    pub const fn input(tuple: Tuple, iif: IfIndex, mark: u32) -> Self {
        Self {
            tuple,
            occasion: Occasion::Input,
            iif: Some(iif),
            oif: None,
            mark: Some(mark),
            uid: Some(0),
            tos: None,
        }
    }

    /// The same with a type of service.
    #[must_use]
    pub const fn with_tos(self, tos: u8) -> Self {
        Self {
            tos: Some(tos),
            ..self
        }
    }

    const fn v6(&self) -> bool {
        self.tuple.dst.is_ipv6()
    }
}

/// How a rule or a route refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Without a word (EINVAL).
    Blackhole,
    /// With "host unreachable".
    Unreachable,
    /// With "administratively prohibited" (EACCES).
    Prohibit,
}

impl Refusal {
    /// By its name in ip-route(8) and ip-rule(8).
    #[must_use]
    pub fn of(kind: &str) -> Option<Self> {
        match kind {
            "blackhole" => Some(Self::Blackhole),
            "unreachable" => Some(Self::Unreachable),
            "prohibit" => Some(Self::Prohibit),
            _ => None,
        }
    }

    /// Its name there.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
        }
    }
}

/// Why an answer cannot be given.
#[derive(Clone, Debug, PartialEq)]
pub enum Unknown {
    /// Something was not read: what to ask.
    Unread(Question),
    /// Something cannot be told from facts: why, in words.
    Unmodelled(String),
}

impl Unknown {
    fn because(words: impl Into<String>) -> Self {
        Self::Unmodelled(words.into())
    }
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unread(Question::Rules { .. }) => f.write_str("the policy rules were not read"),
            Self::Unread(Question::RoutesTowards { dst, .. }) => {
                write!(f, "the routes towards {dst} were not read")
            }
            Self::Unread(Question::Sysctl { name, .. }) => write!(f, "{name} was not read"),
            Self::Unread(Question::Neighbor { address, .. }) => {
                write!(f, "the neighbour entry of {address} was not read")
            }
            Self::Unread(_) => f.write_str("something was not read"),
            Self::Unmodelled(why) => f.write_str(why),
        }
    }
}

/// What is decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision<'a> {
    /// A route, in the table to which this rule led.
    Route {
        /// The rule.
        rule: &'a PolicyRule,
        /// The route.
        route: &'a TableRoute,
        /// The path that is taken; several where the kernel chooses by a hash.
        hops: Vec<NextHop>,
    },
    /// A policy rule refuses.
    RefusedByRule(&'a PolicyRule, Refusal),
    /// A route refuses, in the table to which this rule led.
    RefusedByRoute(&'a PolicyRule, &'a TableRoute, Refusal),
    /// No route, but the socket is bound to this interface: the destination is taken to be on its link
    /// (ip_route_output_key_hash_rcu, net/ipv4/route.c).
    OnLink(IfIndex),
    /// No rule led to a route.
    Nothing,
    /// It cannot be told.
    Undecided(Unknown),
}

impl<'a> Decision<'a> {
    /// How it refuses.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::RefusedByRule(_, kind) | Self::RefusedByRoute(_, _, kind) => Some(*kind),
            _ => None,
        }
    }

    /// The rule that led to it.
    #[must_use]
    pub const fn rule(&self) -> Option<&'a PolicyRule> {
        match self {
            Self::Route { rule, .. }
            | Self::RefusedByRule(rule, _)
            | Self::RefusedByRoute(rule, ..) => Some(rule),
            Self::OnLink(_) | Self::Nothing | Self::Undecided(_) => None,
        }
    }

    /// The route, also one that refuses.
    #[must_use]
    pub const fn route(&self) -> Option<&'a TableRoute> {
        match self {
            Self::Route { route, .. } | Self::RefusedByRoute(_, route, _) => Some(route),
            _ => None,
        }
    }

    /// The errno that a lookup ends with (fib_props of net/ipv4/fib_semantics.c, fib6_prop of net/ipv6/route.c;
    /// fib4_rule_action and __fib6_rule_action for rules).
    #[must_use]
    pub const fn errno(&self) -> Option<u32> {
        match self {
            Self::RefusedByRule(_, Refusal::Unreachable) | Self::Nothing => Some(ENETUNREACH),
            Self::RefusedByRoute(_, _, Refusal::Unreachable) => Some(EHOSTUNREACH),
            Self::RefusedByRule(_, Refusal::Prohibit)
            | Self::RefusedByRoute(_, _, Refusal::Prohibit) => Some(EACCES),
            Self::RefusedByRule(_, Refusal::Blackhole)
            | Self::RefusedByRoute(_, _, Refusal::Blackhole) => Some(EINVAL),
            Self::Route { .. } | Self::OnLink(_) | Self::Undecided(_) => None,
        }
    }

    /// Whether both have the same end, by whichever rule.
    fn same_end(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Route { route, hops, .. },
                Self::Route {
                    route: r, hops: h, ..
                },
            ) => route == r && hops == h,
            (Self::Undecided(_), _) | (_, Self::Undecided(_)) => false,
            (Self::OnLink(a), Self::OnLink(b)) => a == b,
            _ => self.errno().is_some() && self.errno() == other.errno(),
        }
    }
}

/// Why the walk went on at a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Passed<'a> {
    /// A selector does not hold: its name in ip-rule(8).
    Selector(&'static str),
    /// Whether it holds is not known, and makes no difference.
    NoDifference(String),
    /// Its table has no route for the packet.
    NoRoute,
    /// A `throw` route ended the search of its table.
    Throw(&'a TableRoute),
    /// The route that was found does not count (`suppress_prefixlength`).
    Suppressed(&'a TableRoute),
    /// It says to go on, here or at another rule.
    Went,
}

/// A rule that was passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'a> {
    /// Which.
    pub rule: &'a PolicyRule,
    /// Why it did not decide.
    pub passed: Passed<'a>,
}

/// What is decided, and what came before.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<'a> {
    /// What is decided.
    pub decision: Decision<'a>,
    /// Rules that were passed, in order.
    pub trail: Vec<Step<'a>>,
}

/// What a table says.
enum Found<'a> {
    Route(&'a TableRoute, Vec<NextHop>),
    Refused(&'a TableRoute, Refusal),
    Throw(&'a TableRoute),
    Nothing,
    Unknown(Unknown),
}

/// Looks a route up.
#[must_use]
pub fn lookup<'a>(tables: &Tables<'a>, query: &Query) -> Answer<'a> {
    let undecided = |why| Answer {
        decision: Decision::Undecided(why),
        trail: Vec::new(),
    };
    let rules = match tables.rules(query.v6()) {
        Ok(rules) => rules,
        Err(why) => return undecided(why),
    };
    let routes = match tables.routes(query.tuple.dst) {
        Ok(routes) => routes,
        Err(why) => return undecided(why),
    };
    let walk = Walk {
        tables,
        query,
        rules,
        routes,
    };
    let mut trail = Vec::new();
    let mut decision = walk.from(0, None, &mut trail);
    if !query.v6() && tables.may_be_merged(&walk.rules) {
        let merged = walk.merged();
        if !merged.same_end(&decision) {
            let why = "the tables local and main are searched as one until a policy rule is added, and a longer prefix of main then comes first";
            decision = Decision::Undecided(Unknown::because(why));
        }
    }
    Answer {
        decision: walk.bound(decision),
        trail,
    }
}

/// One walk over the rules.
struct Walk<'a, 'q> {
    tables: &'q Tables<'a>,
    query: &'q Query,
    rules: Vec<&'a PolicyRule>,
    routes: Vec<&'a TableRoute>,
}

/// What a rule leads to.
enum Led<'a> {
    Done(Decision<'a>),
    On(Passed<'a>),
    /// A route that does not count; the decision that it would have been.
    Suppressed(&'a TableRoute, Decision<'a>),
}

impl<'a> Walk<'a, '_> {
    /// fib_rules_lookup, net/core/fib_rules.c. `leftover`: a suppressed route that IPv6 falls back to where no later
    /// rule looks into a table (fib6_rule_suppress leaves it in the result).
    fn from(
        &self,
        mut at: usize,
        mut leftover: Option<Decision<'a>>,
        trail: &mut Vec<Step<'a>>,
    ) -> Decision<'a> {
        while let Some(rule) = self.rules.get(at).copied() {
            match rules::holds(self.tables, rule, self.query) {
                Match::Yes => {}
                Match::No(selector) => {
                    let passed = Passed::Selector(selector);
                    trail.push(Step { rule, passed });
                    at += 1;
                    continue;
                }
                Match::Unknown(why) => return self.either(at, rule, why, leftover, trail),
            }
            match self.led(rule) {
                Led::Done(decision) => return decision,
                Led::On(passed) => {
                    if rule.action == "lookup" {
                        leftover = None;
                    }
                    trail.push(Step { rule, passed });
                }
                Led::Suppressed(route, decision) => {
                    leftover = self.query.v6().then_some(decision);
                    let passed = Passed::Suppressed(route);
                    trail.push(Step { rule, passed });
                }
            }
            at = self.next(at, rule);
        }
        leftover.unwrap_or(Decision::Nothing)
    }

    /// The rule behind one that matched: `goto` names a later one, and is passed over where there is none.
    fn next(&self, at: usize, rule: &PolicyRule) -> usize {
        let target = rule.goto.filter(|_| rule.action == "goto");
        let named = |target| self.rules.iter().position(|r| r.priority == target);
        target
            .and_then(named)
            .filter(|target| *target > at)
            .unwrap_or(at + 1)
    }

    /// It is not known whether a rule holds: the answer is known where it is the same both ways.
    fn either(
        &self,
        at: usize,
        rule: &'a PolicyRule,
        why: String,
        leftover: Option<Decision<'a>>,
        trail: &mut Vec<Step<'a>>,
    ) -> Decision<'a> {
        let because = format!("policy rule {}: {why}", rule.priority);
        let undecided = || Decision::Undecided(Unknown::because(because.clone()));
        if rule.action == "goto" {
            return undecided();
        }
        let led = self.led(rule);
        let passed = Passed::NoDifference(because.clone());
        trail.push(Step { rule, passed });
        let without = self.from(at + 1, leftover, trail);
        match led {
            Led::On(_) => without,
            Led::Done(with) if with.same_end(&without) => without,
            Led::Done(_) | Led::Suppressed(..) => undecided(),
        }
    }

    /// What a rule that holds leads to: fib4_rule_action (net/ipv4/fib_rules.c), __fib6_rule_action
    /// (net/ipv6/fib6_rules.c).
    fn led(&self, rule: &'a PolicyRule) -> Led<'a> {
        match rule.action.as_str() {
            "goto" | "nop" => return Led::On(Passed::Went),
            "lookup" => {}
            // Whatever else it says ends like `blackhole`.
            other => {
                let kind = Refusal::of(other).unwrap_or(Refusal::Blackhole);
                return Led::Done(Decision::RefusedByRule(rule, kind));
            }
        }
        let table = if rule.table == 0 {
            RT_TABLE_MAIN
        } else {
            rule.table
        };
        let (route, hops) = match self.search(&[table]) {
            Found::Route(route, hops) => (route, hops),
            Found::Refused(route, kind) => {
                return Led::Done(Decision::RefusedByRoute(rule, route, kind));
            }
            Found::Throw(route) => return Led::On(Passed::Throw(route)),
            Found::Nothing => return Led::On(Passed::NoRoute),
            Found::Unknown(why) => return Led::Done(Decision::Undecided(why)),
        };
        let decision = Decision::Route { rule, route, hops };
        // fib4_rule_suppress, fib6_rule_suppress
        if rule
            .suppress_prefix
            .is_some_and(|most| u32::from(route.length) <= most)
        {
            return Led::Suppressed(route, decision);
        }
        if rule.suppress_group.is_some() {
            let why = format!(
                "policy rule {} asks for the group of the interface, which is not read",
                rule.priority
            );
            return Led::Done(Decision::Undecided(Unknown::because(why)));
        }
        Led::Done(decision)
    }

    /// Searches tables as one.
    fn search(&self, numbers: &[u32]) -> Found<'a> {
        let routes: Vec<&'a TableRoute> = self
            .routes
            .iter()
            .copied()
            .filter(|route| numbers.contains(&route.table))
            .collect();
        if self.query.v6() {
            fib6::search(self.tables, &routes, self.query)
        } else {
            fib4::search(&routes, self.query)
        }
    }

    /// fib_lookup without custom rules (include/net/ip_fib.h): main, of which local is a part until fib_unmerge, then
    /// default, also where main refused.
    fn merged(&self) -> Decision<'a> {
        let rule = |table| self.rules.iter().copied().find(|r| r.table == table);
        let decide = |found: Found<'a>, table| {
            let rule = rule(table)?;
            match found {
                Found::Route(route, hops) => Some(Decision::Route { rule, route, hops }),
                Found::Refused(route, kind) => Some(Decision::RefusedByRoute(rule, route, kind)),
                Found::Unknown(why) => Some(Decision::Undecided(why)),
                Found::Throw(_) | Found::Nothing => None,
            }
        };
        let first = decide(self.search(&[RT_TABLE_LOCAL, RT_TABLE_MAIN]), RT_TABLE_MAIN);
        if let Some(decision @ (Decision::Route { .. } | Decision::Undecided(_))) = first {
            return decision;
        }
        let exists = self.routes.iter().any(|r| r.table == RT_TABLE_DEFAULT);
        let second = decide(self.search(&[RT_TABLE_DEFAULT]), RT_TABLE_DEFAULT);
        match (second, exists) {
            (Some(decision), _) => decision,
            (None, true) => Decision::Nothing,
            (None, false) => first.unwrap_or(Decision::Nothing),
        }
    }

    /// A socket that is bound to an interface sends there whatever the tables say.
    fn bound(&self, decision: Decision<'a>) -> Decision<'a> {
        let output = self.query.occasion == Occasion::Output && !self.query.v6();
        match self.query.oif {
            Some(oif) if output && decision.errno().is_some() => Decision::OnLink(oif),
            _ => decision,
        }
    }
}
