//! The walk itself: rule after rule, jump after jump, chain after chain.

use super::evaluate::{Evaluator, Found};
use super::state::State;
use super::states::{ESTABLISHED, INVALID, NEW, RELATED, UNTRACKED};
use super::{
    Chosen, Does, End, Hook, Outcome, Outside, Packet, Rules, Step, Translated, Undecided, Walk,
};
use crate::host::facts::{
    BaseChain, Missing, Part, Rule, RuleVerdict, Side, Statement, Test, Translation,
};
use crate::uapi::nf_conntrack::{IPS_DST_NAT_DONE, IPS_SRC_NAT_DONE};

/// Most rules that are looked at for one base chain: chains that jump to each other in many ways are cut here.
const MOST_RULES: u32 = 200_000;
/// The kernel follows this many jumps (NFT_JUMP_STACK_SIZE, linux/netfilter/nf_tables.h); a chain that leads to
/// itself is refused when it is made.
const DEEPEST: usize = 32;

/// Where a packet is behind a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Not behind it: all ways end.
    Ended,
    /// It comes out of it; `clean`: for sure, where it came into it.
    Falls { clean: bool },
}

/// Whether and where the packet goes on behind a rule.
enum Next {
    Rule,
    /// Out of the chain, as by `return`.
    Out,
    Ended,
}

pub(super) fn hook<'a>(rules: &'a Rules<'a>, packet: &Packet, hook: Hook<'_>) -> Walk<'a> {
    let mut called: Vec<&BaseChain> = rules.base().filter(|c| hook.calls(c, packet)).collect();
    called.sort_by_key(|chain| chain.priority);
    let mut walk = Walk::default();
    let mut state = State::of(packet);
    let mut certain = true;
    for base in called {
        match runs(&state, hook, base) {
            Some(false) => continue,
            Some(true) => {}
            None => certain = false,
        }
        let mut one = One {
            rules,
            packet,
            hook,
            base,
            state: state.clone(),
            walk: &mut walk,
            passed: Vec::new(),
            via: Vec::new(),
            element: None,
            left: MOST_RULES,
        };
        one.run(certain);
        let mut passed = std::mem::take(&mut one.passed);
        if runs(&state, hook, base).is_none() {
            passed.push(state.clone());
        }
        let Some(first) = passed.pop() else {
            walk.mark = None;
            walk.untracked = state.untracked;
            walk.zone = state.zone;
            return walk;
        };
        state = passed.iter().fold(first, State::or);
        certain &= walk.ends.is_empty() && !walk.unknown;
    }
    walk.passes = true;
    walk.mark = state.mark;
    walk.connection_mark = state.connection_mark;
    walk.untracked = state.untracked;
    walk.zone = state.zone;
    walk
}

/// Chains of NAT see the first packet of a connection alone (nf_nat_inet_fn, net/netfilter/nf_nat_core.c).
fn runs(state: &State, hook: Hook<'_>, base: &BaseChain) -> Option<bool> {
    if !base.is_nat() {
        return Some(true);
    }
    let done = match hook.name {
        "PREROUTING" | "OUTPUT" => IPS_DST_NAT_DONE,
        _ => IPS_SRC_NAT_DONE,
    };
    if state.status.is_some_and(|status| status & done != 0) {
        return Some(false);
    }
    let states = state.states_in(hook, base)?;
    let first = states & (NEW | RELATED);
    let others = states & (ESTABLISHED | INVALID | UNTRACKED);
    match (first, others) {
        (0, _) => Some(false),
        (_, 0) => Some(true),
        _ => None,
    }
}

/// The walk through one base chain.
struct One<'a, 'w, 'p> {
    rules: &'a Rules<'a>,
    packet: &'p Packet,
    hook: Hook<'p>,
    base: &'a BaseChain,
    state: State,
    walk: &'w mut Walk<'a>,
    /// What the packet is where it may have passed the base chain.
    passed: Vec<State>,
    via: Vec<(&'a str, u32)>,
    /// The element of a map whose verdict is carried out, and how many jumps led to the map's rule.
    element: Option<(Chosen<'a>, usize)>,
    left: u32,
}

/// A chain while it is walked.
struct Frame<'a> {
    name: &'a str,
    /// The packet surely comes to this rule.
    certain: bool,
    /// Nothing so far may have ended its way.
    clean: bool,
    /// What it is where it may have left the chain.
    out: Vec<State>,
}

impl<'a> One<'a, '_, '_> {
    fn run(&mut self, certain: bool) {
        let name = self.base.chain.as_str();
        let Flow::Falls { clean } = self.chain(name, certain) else {
            return;
        };
        let certain = certain && clean;
        let outcome = if self.rules.policy_drops(self.base) {
            Outcome::Drop
        } else {
            Outcome::Accept
        };
        self.walk.steps.push(Step {
            base: self.base,
            chain: name,
            rule: None,
            does: Does::Policy(outcome.clone()),
            certain,
            open: None,
        });
        if outcome == Outcome::Accept {
            self.passed.push(self.state.clone());
        } else {
            self.walk.ends.push(End {
                base: self.base,
                chain: name,
                rule: None,
                element: None,
                member: None,
                via: Vec::new(),
                outcome,
                certain,
            });
        }
    }

    fn chain(&mut self, name: &'a str, certain: bool) -> Flow {
        if self.via.len() >= DEEPEST {
            self.open(name, None, "chains that lead to each other".to_owned());
            return Flow::Falls { clean: false };
        }
        let mut frame = Frame {
            name,
            certain,
            clean: true,
            out: Vec::new(),
        };
        let mut reaches_end = true;
        for rule in self.rules.rules(self.base, name) {
            let Some(left) = self.left.checked_sub(1) else {
                self.open(name, Some(rule), "too many rules".to_owned());
                frame.clean = false;
                break;
            };
            self.left = left;
            match self.rule(rule, &mut frame) {
                Next::Rule => {}
                Next::Out => {
                    reaches_end = false;
                    break;
                }
                Next::Ended => {
                    reaches_end = false;
                    if frame.out.is_empty() {
                        return Flow::Ended;
                    }
                    break;
                }
            }
        }
        if reaches_end {
            self.end_of(&mut frame);
            frame.out.push(self.state.clone());
        }
        if let Some(first) = frame.out.pop() {
            self.state = frame.out.iter().fold(first, State::or);
        }
        Flow::Falls { clean: frame.clean }
    }

    /// What may stand behind the rules that are known.
    fn end_of(&mut self, frame: &mut Frame<'a>) {
        match self.rules.missing(self.base, frame.name) {
            Missing::Nothing => {}
            Missing::NotEnding => {
                frame.clean = false;
                self.passed.push(self.state.clone());
            }
            Missing::Cut => {
                frame.clean = false;
                self.walk.unknown = true;
                self.passed.push(self.state.clone());
                self.undecided(frame.name, None, "its rules are not all known".to_owned());
                self.state.mark = None;
            }
        }
    }

    /// Something not known may end the way here.
    fn open(&mut self, chain: &'a str, rule: Option<&'a Rule>, what: String) {
        self.walk.unknown = true;
        self.passed.push(self.state.clone());
        self.undecided(chain, rule, what);
    }

    fn undecided(&mut self, chain: &'a str, rule: Option<&'a Rule>, what: String) {
        let base = self.base;
        self.walk.because.get_or_insert(Undecided {
            base,
            chain,
            rule,
            what,
        });
    }

    fn rule(&mut self, rule: &'a Rule, frame: &mut Frame<'a>) -> Next {
        let mut open = None;
        let mut told = false;
        for part in &rule.parts {
            let statement = match part {
                Part::Test(test) => {
                    match self.evaluator().holds(test) {
                        Some(true) => {}
                        Some(false) => {
                            if open.is_none() {
                                self.outside(rule, test, frame.name);
                            }
                            return Next::Rule;
                        }
                        None => {
                            open = open.or(Some(test));
                            let what = format!("{test:?}");
                            self.undecided(frame.name, Some(rule), what);
                        }
                    }
                    continue;
                }
                Part::Do(statement) => statement,
            };
            if !told {
                self.step(rule, frame, open);
                told = true;
            }
            match self.act((rule, statement), frame, open.is_none()) {
                Next::Rule => {}
                other => return other,
            }
        }
        if !told {
            self.step(rule, frame, open);
        }
        Next::Rule
    }

    /// Notes a rule of which this test alone does not hold, since a set has not the packet.
    fn outside(&mut self, rule: &'a Rule, test: &'a Test, chain: &'a str) {
        let Test::InSet {
            fields,
            set,
            not: false,
        } = test
        else {
            return;
        };
        let evaluator = self.evaluator();
        let mut others = rule.tests().filter(|other| !std::ptr::eq(*other, test));
        let key = evaluator.key(fields);
        let (Some(set), Some(key)) = (self.rules.set(self.base, set), key) else {
            return;
        };
        if others.all(|other| evaluator.holds(other) == Some(true)) {
            self.walk.outside.push(Outside {
                base: self.base,
                chain: rule.chain.as_deref().unwrap_or(chain),
                rule,
                set,
                fields,
                key,
            });
        }
    }

    fn step(&mut self, rule: &'a Rule, frame: &Frame<'a>, open: Option<&'a Test>) {
        self.walk.steps.push(Step {
            base: self.base,
            chain: rule.chain.as_deref().unwrap_or(frame.name),
            rule: Some(rule),
            does: Does::Continues,
            certain: frame.certain && open.is_none(),
            open,
        });
    }

    /// The rule whose step was taken last does this. Of several elements of a map that may be met the first is told.
    fn does(&mut self, does: Does<'a>) {
        if let Some(step) = self.walk.steps.last_mut()
            && step.does == Does::Continues
        {
            step.does = does;
        }
    }

    fn evaluator(&self) -> Evaluator<'_, 'a> {
        Evaluator {
            packet: self.packet,
            state: &self.state,
            rules: self.rules,
            base: self.base,
            states: self.state.states_in(self.hook, self.base),
        }
    }

    /// What a statement does; `met`: the rule's tests surely hold so far.
    fn act(
        &mut self,
        (rule, statement): (&'a Rule, &'a Statement),
        frame: &mut Frame<'a>,
        met: bool,
    ) -> Next {
        let before = self.state.clone();
        match statement {
            Statement::Verdict(verdict) => return self.verdict((rule, verdict), frame, met),
            Statement::Map { fields, map } => return self.map((rule, fields, map), frame, met),
            Statement::Reject(with) => {
                self.does(Does::Rejects(with));
                return self.ends((rule, Outcome::Reject(with.clone())), frame, met);
            }
            Statement::Translate(made) if self.translates(made.side) => {
                return self.translate((rule, made), frame, met);
            }
            Statement::SetMark(value) => {
                self.state.mark = self.state.made(value, self.state.mark);
            }
            Statement::SetConnectionMark(value) => {
                let own = self.state.connection_mark;
                self.state.connection_mark = self.state.made(value, own);
            }
            // Only what no connection has yet can be left to none (nft_notrack_eval, notrack_tg).
            Statement::NoTrack if self.packet.tracked => {}
            Statement::NoTrack => match self.state.states_in(self.hook, self.base) {
                Some(INVALID) => self.state.untracked = Some(true),
                Some(states) if states & INVALID == 0 => {}
                _ => self.state.untracked = None,
            },
            // Nor does what has a connection change its zone (nft_ct_set_zone_eval, xt_ct_target).
            Statement::SetZone(zone) => match self.state.states_in(self.hook, self.base) {
                Some(INVALID) => self.state.zone = *zone,
                Some(states) if states & INVALID == 0 => {}
                _ => self.state.zone = None,
            },
            // Further chains see the MAC that the frame came with: what they ask of it is rarely asked after that.
            Statement::Note(_)
            | Statement::SetMac(..)
            | Statement::SetTtl { .. }
            | Statement::Translate(_) => {}
        }
        if !met {
            let after = self.state.clone();
            self.state = before.or(&after);
        }
        Next::Rule
    }

    /// The way ends here, or may.
    fn ends(
        &mut self,
        (rule, outcome): (&'a Rule, Outcome),
        frame: &mut Frame<'a>,
        met: bool,
    ) -> Next {
        if outcome == Outcome::Accept {
            self.passed.push(self.state.clone());
        } else {
            self.walk.ends.push(End {
                base: self.base,
                chain: rule.chain.as_deref().unwrap_or(frame.name),
                rule: Some(rule),
                element: self.decisive(rule),
                member: self.member(rule),
                via: self.via.clone(),
                outcome,
                certain: frame.certain && met,
            });
        }
        frame.clean = false;
        if met {
            return Next::Ended;
        }
        frame.certain = false;
        Next::Rule
    }

    /// The element of a map that decides, where a rule only carries it out: the map's own rule, or one of the chain to
    /// which the element leads that asks nothing.
    fn decisive(&self, rule: &Rule) -> Option<Chosen<'a>> {
        let (chosen, depth) = self.element?;
        let jumps = self.via.len() - depth;
        let plain = jumps == 1 && rule.tests().next().is_none();
        (jumps == 0 || plain).then_some(chosen)
    }

    /// The element of a set that makes the packet meet a rule.
    fn member(&self, rule: &'a Rule) -> Option<Chosen<'a>> {
        let rules = self.rules;
        let mut tests = rule.tests().flat_map(|test| match test {
            Test::Any(tests) => tests.as_slice(),
            test => std::slice::from_ref(test),
        });
        tests.find_map(|test| {
            let Test::InSet {
                fields,
                set,
                not: false,
            } = test
            else {
                return None;
            };
            let map = rules.set(self.base, set)?;
            let found = self.evaluator().find(map, fields);
            match found.elements.as_slice() {
                [element] if found.decided => Some(Chosen {
                    map,
                    fields,
                    element,
                }),
                _ => None,
            }
        })
    }

    /// Whether this end can be translated at the hook: that of a packet that comes in or is sent is its destination
    /// (nf_nat_setup_info, HOOK2MANIP).
    fn translates(&self, side: Side) -> bool {
        match side {
            Side::Source => matches!(self.hook.name, "POSTROUTING" | "INPUT"),
            Side::Destination => matches!(self.hook.name, "PREROUTING" | "OUTPUT"),
        }
    }

    fn translate(
        &mut self,
        (rule, made): (&'a Rule, &'a Translation),
        frame: &mut Frame<'a>,
        met: bool,
    ) -> Next {
        self.does(Does::Translates(made));
        self.walk.translated.push(Translated {
            base: self.base,
            chain: rule.chain.as_deref().unwrap_or(frame.name),
            rule,
            to: made,
            certain: frame.certain && met,
        });
        let before = self.state.clone();
        self.state.translate(made);
        let next = self.ends((rule, Outcome::Accept), frame, met);
        if !met {
            self.state = before;
        }
        next
    }

    fn verdict(
        &mut self,
        (rule, verdict): (&'a Rule, &'a RuleVerdict),
        frame: &mut Frame<'a>,
        met: bool,
    ) -> Next {
        self.does(Does::Verdict(verdict));
        match verdict {
            RuleVerdict::Continue => Next::Rule,
            RuleVerdict::Accept => self.ends((rule, Outcome::Accept), frame, met),
            RuleVerdict::Drop => self.ends((rule, Outcome::Drop), frame, met),
            RuleVerdict::Queue { .. } => self.ends((rule, Outcome::Queue), frame, met),
            RuleVerdict::Return => {
                frame.out.push(self.state.clone());
                if met {
                    return Next::Out;
                }
                frame.certain = false;
                Next::Rule
            }
            RuleVerdict::Jump(to) => self.jump((rule, to), frame, met),
            RuleVerdict::Goto(to) => self.go((rule, to), frame, met),
        }
    }

    fn below(&mut self, (rule, to): (&'a Rule, &'a str), frame: &Frame<'a>, met: bool) -> Flow {
        self.via.push((frame.name, rule.number));
        let flow = self.chain(to, frame.certain && met);
        self.via.pop();
        flow
    }

    fn jump(&mut self, (rule, to): (&'a Rule, &'a str), frame: &mut Frame<'a>, met: bool) -> Next {
        let before = self.state.clone();
        match (self.below((rule, to), frame, met), met) {
            (Flow::Ended, true) => {
                frame.clean = false;
                return Next::Ended;
            }
            (Flow::Ended, false) => {
                self.state = before;
                frame.clean = false;
            }
            (Flow::Falls { clean }, true) => frame.clean &= clean,
            (Flow::Falls { clean }, false) => {
                self.state = before.or(&self.state);
                frame.clean &= clean;
            }
        }
        frame.certain &= frame.clean;
        Next::Rule
    }

    fn go(&mut self, (rule, to): (&'a Rule, &'a str), frame: &mut Frame<'a>, met: bool) -> Next {
        let before = self.state.clone();
        let flow = self.below((rule, to), frame, met);
        match flow {
            Flow::Ended => frame.clean = false,
            Flow::Falls { clean } => {
                frame.clean &= clean;
                frame.out.push(self.state.clone());
            }
        }
        if met {
            return if flow == Flow::Ended {
                Next::Ended
            } else {
                Next::Out
            };
        }
        self.state = before;
        frame.certain = false;
        Next::Rule
    }

    /// A map of verdicts: one of several may be met.
    fn map(
        &mut self,
        (rule, fields, map): (&'a Rule, &'a [crate::host::facts::Field], &'a str),
        frame: &mut Frame<'a>,
        met: bool,
    ) -> Next {
        let rules = self.rules;
        let Some(set) = rules.set(self.base, map) else {
            self.open(frame.name, Some(rule), format!("map {map} was not read"));
            frame.clean = false;
            frame.certain = false;
            return Next::Rule;
        };
        let Found {
            elements,
            decided,
            open,
        } = self.evaluator().find(set, fields);
        if open {
            self.open(
                frame.name,
                Some(rule),
                format!("map {map} is not all known"),
            );
            frame.clean = false;
        }
        if !decided {
            self.undecided(frame.name, Some(rule), format!("map {map}"));
        }
        for element in elements {
            let Some(verdict) = &element.verdict else {
                continue;
            };
            let chosen = Chosen {
                map: set,
                fields,
                element,
            };
            self.element = Some((chosen, self.via.len()));
            let next = self.verdict((rule, verdict), frame, met && decided);
            self.element = None;
            if !matches!(next, Next::Rule) {
                return next;
            }
        }
        Next::Rule
    }
}
