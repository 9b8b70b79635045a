//! What the kernel's side of Open vSwitch did with a packet, by its own tracepoints: the actions of its flow, and what it
//! handed to the daemon. Before 6.6 nothing else tells of a flow that ends a packet.

use crate::host::Host;
use crate::host::facts::ProbeState;
use crate::model::{Detail, Event, NetNs, Step, SwitchAction};
use crate::network::walk::Check;
use crate::uapi::openvswitch::{self, METER, OUTPUT, RECIRC};

/// The tracepoint of actions, as the probe is called.
const PROBE: &str = "ovs_do_execute_action";

/// One thing that was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Action(SwitchAction),
    Upcall { missed: Option<bool> },
}

/// How far Open vSwitch went with a packet that was not seen any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ended, and no action came before, or none after the last look-up: the flow has none.
    NoAction,
    /// To the daemon, which sent nothing back: the flow wants it so, or else there is none.
    Unreturned { by_flow: bool },
    /// To a port.
    Output,
    /// In a meter.
    Meter,
    /// Behind an action that sends it nowhere.
    Nowhere(SwitchAction),
}

/// What was told of a packet, between two places at which it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    acts: Vec<Act>,
    /// A buffer of it ended, without a loss.
    ended: bool,
}

impl Told {
    /// Of these steps; `None` where the tracepoints are not attached.
    pub(super) fn of<'a>(host: &Host, steps: impl Iterator<Item = &'a Step>) -> Option<Self> {
        let probe = host.probes.get(PROBE)?;
        let mut told = Self {
            acts: Vec::new(),
            ended: false,
        };
        for Step { event, .. } in steps {
            match event.detail {
                Detail::SwitchAction(action) => told.acts.push(Act::Action(action)),
                Detail::Upcall { missed } => told.acts.push(Act::Upcall { missed }),
                Detail::Consumed { .. } => told.ended = true,
                _ => {}
            }
        }
        (probe.state == ProbeState::Attached).then_some(told)
    }

    /// `None`: nothing was told.
    pub(super) fn end(&self) -> Option<End> {
        match self.acts.last() {
            Some(Act::Upcall { missed }) => Some(End::Unreturned {
                by_flow: *missed == Some(false),
            }),
            Some(Act::Action(action)) => match action.kind {
                OUTPUT => Some(End::Output),
                METER => Some(End::Meter),
                RECIRC => self.ended.then_some(End::NoAction),
                _ => Some(End::Nowhere(*action)),
            },
            None => self.ended.then_some(End::NoAction),
        }
    }

    /// Whether the kernel had a flow for it, and not its daemon the last word.
    pub(super) fn is_decided(&self) -> bool {
        self.end().is_some() && !self.waits()
    }

    /// Whether its daemon has it.
    pub(super) fn waits(&self) -> bool {
        matches!(self.end(), Some(End::Unreturned { .. }))
    }

    /// All of it in words.
    pub(super) fn words(&self, ports: &Ports<'_>) -> Option<String> {
        let words: Vec<String> = self.acts.iter().map(|act| ports.words(*act)).collect();
        match (words.as_slice(), self.end()) {
            ([], Some(End::NoAction)) => {
                Some("the kernel has a flow for it, without actions".to_owned())
            }
            ([], _) => None,
            (words, Some(End::NoAction)) => Some(format!(
                "the kernel: {}, and then a flow without actions",
                words.join(", ")
            )),
            (words, _) => Some(format!("the kernel: {}", words.join(", "))),
        }
    }
}

/// Names of ports by their numbers in the datapath of a namespace, where the daemon told them.
#[derive(Clone, Copy)]
pub(super) struct Ports<'a> {
    pub(super) host: &'a Host,
    pub(super) netns: NetNs,
}

impl Ports<'_> {
    fn words(&self, act: Act) -> String {
        match act {
            Act::Upcall { missed: Some(true) } => "no flow, to ovs-vswitchd".to_owned(),
            Act::Upcall { .. } => "to ovs-vswitchd".to_owned(),
            Act::Action(action) => {
                let words = openvswitch::words(action.kind, action.value);
                match self.name(action) {
                    Some(name) => format!("{words} ({name})"),
                    None => words,
                }
            }
        }
    }

    fn name(&self, action: SwitchAction) -> Option<&str> {
        let answers = self.host.ovs.iter();
        let near = answers.filter(|((device, _), _)| device.netns == self.netns);
        let mut ports = near
            .flat_map(|(_, read)| &read.fact.bridges)
            .flat_map(|bridge| &bridge.ports);
        let found = ports.find(|port| port.datapath == Some(action.value))?;
        (action.kind == OUTPUT).then_some(found.name.as_str())
    }
}

/// What the kernel did with a packet between two places, as checks: one for each time that a flow was looked for.
pub(super) fn checks(host: &Host, entered: &Event, between: &[Step]) -> Vec<Check> {
    let (Some(told), Some(netns)) = (Told::of(host, between.iter()), entered.netns) else {
        return Vec::new();
    };
    let ports = Ports { host, netns };
    let mut list: Vec<(&str, Vec<String>)> = Vec::new();
    let mut flow = "flow in the kernel";
    for act in &told.acts {
        match act {
            Act::Upcall { missed } => {
                let why = match missed {
                    Some(true) => "no flow in the kernel",
                    _ => flow,
                };
                list.push((why, vec!["to ovs-vswitchd".to_owned()]));
                flow = "sent by ovs-vswitchd";
            }
            Act::Action(_) => match list.last_mut() {
                Some((of, words)) if *of == flow => words.push(ports.words(*act)),
                _ => list.push((flow, vec![ports.words(*act)])),
            },
        }
    }
    let check = |(text, words): (&str, Vec<String>)| Check {
        hook: super::HOOK,
        chain: None,
        rule: None,
        handle: None,
        text: text.to_owned(),
        verdict: words.join(", "),
        undecided: None,
    };
    list.into_iter().map(check).collect()
}
