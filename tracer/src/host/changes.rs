//! What changed of the host while it was traced: a thing that came, went, or is not what it was. Folded from the same facts
//! as [`super::Host`], each change with its time; the words are made by who shows them.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::facts::{
    BaseChain, Chain, FilterEngine, InterfaceAddress, Link, Missing, RoutingChange, Ruleset,
};
use crate::model::{Device, KtimeNs, Mac, NetNs};

/// Most changes that are kept: the newest.
const MOST: usize = 1024;
/// Most rules of one namespace that are told of one change: a rule set that is put in as a whole is one of many.
const RULES: usize = 32;

/// How a thing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It was not there before.
    Came,
    /// It is there no more.
    Went,
    /// It is another than it was.
    Changed,
}

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When it was told, at the latest.
    pub at: KtimeNs,
    /// Not before then, where it is known only by two readings.
    pub after: Option<KtimeNs>,
    /// Where.
    pub netns: NetNs,
    /// How.
    pub course: Course,
    /// What.
    pub what: Changed,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    /// A namespace, and with it all that is in it.
    Namespace,
    /// An interface by its name.
    Link(String),
    /// Something about an interface.
    LinkState(Device, LinkState),
    /// An address of an interface.
    Address(Device, IpAddr, u8),
    /// A route or a policy rule.
    Routing(RoutingChange),
    /// A chain that the kernel calls.
    Chain(ChainId),
    /// The policy of such a chain; whether it drops now.
    Policy(ChainId, bool),
    /// A rule of a packet filter, as the program that made it would print it.
    Rule(ChainId, String),
    /// More rules of the namespace than are told.
    MoreRules(usize),
    /// A setting: its path below /proc/sys, what it was, and what it is.
    Sysctl(String, Option<String>, Option<String>),
}

/// A property of an interface, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Administratively up or down.
    Up(bool),
    /// With a carrier or without.
    Carrier(bool),
    /// Bytes, before and now.
    Mtu(u32, u32),
    /// Its MAC, before and now.
    Mac(Option<Mac>, Option<Mac>),
    /// Number of the bridge, bond or VRF to which it belongs.
    Master(Option<u32>),
}

/// A chain by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainId {
    /// Whose.
    pub engine: FilterEngine,
    /// Family.
    pub family: String,
    /// Table.
    pub table: String,
    /// Name.
    pub chain: String,
}

impl ChainId {
    fn of(chain: &Chain) -> Self {
        Self {
            engine: chain.engine,
            family: chain.family.clone(),
            table: chain.table.clone(),
            chain: chain.name.clone(),
        }
    }

    fn of_base(chain: &BaseChain) -> Self {
        Self {
            engine: chain.engine,
            family: chain.family.clone(),
            table: chain.table.clone(),
            chain: chain.chain.clone(),
        }
    }
}

/// All changes that are kept, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    list: VecDeque<Change>,
}

impl Changes {
    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.list.iter()
    }

    pub(super) fn push(&mut self, change: Change) {
        if self.list.len() >= MOST {
            self.list.pop_front();
        }
        self.list.push_back(change);
    }
}

/// What is different about an interface.
pub(super) fn link(before: &Link, now: &Link) -> Vec<(Course, Changed)> {
    let mut found = Vec::new();
    let mut note = |state| found.push((Course::Changed, Changed::LinkState(now.device, state)));
    if before.up != now.up {
        note(LinkState::Up(now.up));
    } else if before.carrier != now.carrier && now.up {
        note(LinkState::Carrier(now.carrier));
    }
    if before.mtu != now.mtu {
        note(LinkState::Mtu(before.mtu, now.mtu));
    }
    if before.mac != now.mac {
        note(LinkState::Mac(before.mac, now.mac));
    }
    if before.master != now.master {
        note(LinkState::Master(now.master));
    }
    if before.name != now.name {
        found.push((Course::Went, Changed::Link(before.name.clone())));
        found.push((Course::Came, Changed::Link(now.name.clone())));
    }
    found
}

/// Addresses that came and went, without those that IPv6 gives to each interface by itself.
pub(super) fn addresses(
    device: Device,
    before: &[InterfaceAddress],
    now: &[InterfaceAddress],
) -> Vec<(Course, Changed)> {
    let missing_in = |list: &[InterfaceAddress], one: &InterfaceAddress| {
        !list
            .iter()
            .any(|other| (other.address, other.prefix) == (one.address, one.prefix))
    };
    let told = |course, one: &InterfaceAddress| {
        let what = Changed::Address(device, one.address, one.prefix);
        (course, what)
    };
    let given = |one: &&InterfaceAddress| match one.address {
        IpAddr::V6(address) => !address.is_unicast_link_local(),
        IpAddr::V4(_) => true,
    };
    let went = before
        .iter()
        .filter(|one| missing_in(now, one))
        .filter(given);
    let came = now
        .iter()
        .filter(|one| missing_in(before, one))
        .filter(given);
    went.map(|one| told(Course::Went, one))
        .chain(came.map(|one| told(Course::Came, one)))
        .collect()
}

/// What is different about the packet filters of a namespace.
pub(super) fn ruleset(before: &Ruleset, now: &Ruleset) -> Vec<(Course, Changed)> {
    let mut found = Vec::new();
    let same_base = |a: &BaseChain, b: &BaseChain| {
        a.engine == b.engine && (&a.family, &a.table, &a.chain) == (&b.family, &b.table, &b.chain)
    };
    for old in &before.base {
        if !now.base.iter().any(|new| same_base(old, new)) {
            found.push((Course::Went, Changed::Chain(ChainId::of_base(old))));
        }
    }
    for new in &now.base {
        match before.base.iter().find(|old| same_base(old, new)) {
            None => found.push((Course::Came, Changed::Chain(ChainId::of_base(new)))),
            Some(old) if old.policy_drop != new.policy_drop => {
                let policy = Changed::Policy(ChainId::of_base(new), new.policy_drop);
                found.push((Course::Changed, policy));
            }
            Some(_) => {}
        }
    }
    let rules = rules(before, now);
    let more = rules.len().saturating_sub(RULES);
    found.extend(rules.into_iter().take(RULES));
    if more > 0 {
        found.push((Course::Changed, Changed::MoreRules(more)));
    }
    found
}

/// Rules that stand in one of two readings alone. What was not read whole says nothing of what is not in it.
fn rules(before: &Ruleset, now: &Ruleset) -> Vec<(Course, Changed)> {
    let same = |a: &Chain, b: &Chain| {
        a.engine == b.engine && (&a.family, &a.table, &a.name) == (&b.family, &b.table, &b.name)
    };
    let texts = |chain: Option<&Chain>| -> Vec<String> {
        let rules = chain.into_iter().flat_map(|chain| &chain.rules);
        rules.map(|rule| rule.text.clone()).collect()
    };
    let mut went = Vec::new();
    let mut came = Vec::new();
    let only_now = now.chains.iter();
    let only_now = only_now.filter(|new| !before.chains.iter().any(|old| same(old, new)));
    let pairs = before
        .chains
        .iter()
        .map(|old| (Some(old), now.chains.iter().find(|new| same(old, new))))
        .chain(only_now.map(|new| (None, Some(new))));
    for (old, new) in pairs {
        let Some(chain) = new.or(old) else { continue };
        let cut = |chain: Option<&Chain>| chain.is_some_and(|c| c.missing != Missing::Nothing);
        if cut(old) || cut(new) {
            continue;
        }
        let mut left = texts(old);
        for text in texts(new) {
            match left.iter().position(|known| *known == text) {
                Some(at) => {
                    left.remove(at);
                }
                None => came.push((Course::Came, Changed::Rule(ChainId::of(chain), text))),
            }
        }
        let gone = left.into_iter();
        went.extend(gone.map(|text| (Course::Went, Changed::Rule(ChainId::of(chain), text))));
    }
    [came, went].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::Rule;
    use crate::model::IfIndex;

    fn chain(name: &str, rules: &[&str]) -> Chain {
        let rule = |text: &&str| Rule {
            text: (*text).to_owned(),
            ..Rule::default()
        };
        Chain {
            engine: FilterEngine::Nftables,
            family: "ip".into(),
            table: "filter".into(),
            name: name.into(),
            rules: rules.iter().map(rule).collect(),
            missing: Missing::Nothing,
        }
    }

    fn of(chains: Vec<Chain>) -> Ruleset {
        Ruleset {
            chains,
            ..Ruleset::default()
        }
    }

    fn told(found: &[(Course, Changed)]) -> Vec<(Course, &str)> {
        let rule = |(course, what): &'_ (Course, Changed)| match what {
            Changed::Rule(_, _) => Some(*course),
            _ => None,
        };
        found
            .iter()
            .filter_map(|one| {
                let text = match &one.1 {
                    Changed::Rule(_, text) => text.as_str(),
                    _ => "",
                };
                rule(one).map(|course| (course, text))
            })
            .collect()
    }

    #[test]
    fn a_rule_that_moved_is_no_change_and_one_of_two_equal_ones_is() {
        let before = of(vec![chain("FORWARD", &["a", "b", "b"])]);
        let now = of(vec![chain("FORWARD", &["b", "a", "c"])]);
        let found = ruleset(&before, &now);
        assert_eq!(told(&found), [(Course::Came, "c"), (Course::Went, "b")]);
        assert!(ruleset(&before, &before).is_empty());
    }

    #[test]
    fn a_chain_that_was_cut_says_nothing() {
        let before = of(vec![chain("FORWARD", &["a"])]);
        let mut cut = chain("FORWARD", &[]);
        cut.missing = Missing::Cut;
        assert!(ruleset(&before, &of(vec![cut])).is_empty());
    }

    #[test]
    fn many_rules_are_counted() {
        let texts: Vec<String> = (0..RULES + 7).map(|n| format!("rule {n}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let found = ruleset(&of(Vec::new()), &of(vec![chain("KUBE", &texts)]));
        assert_eq!(found.len(), RULES + 1);
        let last = found.last().map(|(_, what)| what);
        assert_eq!(last, Some(&Changed::MoreRules(7)));
    }

    #[test]
    fn what_changed_about_a_link_is_told_once() {
        let device = Device {
            netns: NetNs(1),
            ifindex: IfIndex(2),
        };
        let mut before = Link::new(device, "eth0");
        before.up = true;
        before.carrier = true;
        before.mtu = 1500;
        let mut now = before.clone();
        // a link that is taken down has no carrier either
        now.up = false;
        now.carrier = false;
        let state = |state| (Course::Changed, Changed::LinkState(device, state));
        assert_eq!(link(&before, &now), [state(LinkState::Up(false))]);
        now = before.clone();
        now.mtu = 1400;
        assert_eq!(link(&before, &now), [state(LinkState::Mtu(1500, 1400))]);
        assert!(link(&before, &before).is_empty());
    }
}
