//! What to look at and what to change in Open vSwitch.

use std::net::IpAddr;

use crate::host::facts::{OvsBridge, OvsFlow, OvsPort, OvsStep, OvsTrace};
use crate::model::{Device, Proto, Tuple};

use super::super::candidate::Candidate;
use super::super::causes::{OVS_CT, OVS_PORT};
use super::super::loss::Loss;
use super::super::remedy::{Command, Remedy, command, text};
use super::{Scene, rule_words};

/// Said of every rule that is changed.
const OWNED: &str =
    "a controller, OVN or an agent that wrote the rule writes it again: change the policy there";

/// `ovs-ofctl`, with the version of OpenFlow that the bridge insists on.
fn ofctl(bridge: Option<&OvsBridge>) -> Vec<String> {
    let version = bridge.and_then(|bridge| bridge.protocols.last());
    let version = version
        .into_iter()
        .flat_map(|it| ["-O".to_owned(), it.clone()]);
    std::iter::once("ovs-ofctl".to_owned())
        .chain(version)
        .collect()
}

/// A rule as ovs-ofctl takes it, without its actions.
fn rule(step: &OvsStep) -> String {
    let matched = match step.matched.as_deref() {
        None | Some("") => String::new(),
        Some(matched) => format!(",{matched}"),
    };
    format!("table={},priority={}{matched}", step.table, step.priority)
}

impl Scene<'_> {
    fn ofctl(&self, bridge: &str) -> Vec<String> {
        ofctl(self.answer.bridge(bridge))
    }

    fn owned(&self, step: &OvsStep) -> Option<String> {
        let controlled = self
            .answer
            .bridge(&step.bridge)
            .is_some_and(|it| it.controlled);
        (controlled || step.cookie.is_some()).then(|| OWNED.to_owned())
    }

    /// The command that says which rules packets like it meet.
    pub(super) fn look(&self) -> Vec<Remedy> {
        let Some((bridge, port)) = self.port() else {
            return vec![
                self.shell()
                    .look("look first: bridges and their ports", "ovs-vsctl show"),
            ];
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let flow = match port.name.chars().all(plain) {
            true => self.answer.flow.words(&port.name),
            false => self.answer.flow.words(&port.number.to_string()),
        };
        vec![
            self.shell().look(
                "look first: which rules do packets like it meet?",
                command!["ovs-appctl ofproto/trace", bridge.name, flow],
            ),
            self.shell().look(
                "rules with their counters",
                command![..self.ofctl(&bridge.name), "dump-flows", bridge.name],
            ),
        ]
    }

    fn remove(&self, bridge: &str, rule: String) -> Command {
        command![..self.ofctl(bridge), "--strict del-flows", bridge, rule]
    }

    fn add(&self, bridge: &str, rule: String) -> Command {
        command![..self.ofctl(bridge), "add-flow", bridge, rule]
    }

    /// The rule with its actions, to be written again as it was.
    fn whole(step: &OvsStep, actions: &[&str]) -> String {
        let cookie = step
            .cookie
            .as_ref()
            .map_or_else(String::new, |c| format!("cookie={c},"));
        format!("{cookie}{},actions={}", rule(step), actions.join(","))
    }

    /// The one rule deleted.
    pub(super) fn delete(&self, step: &OvsStep) -> Vec<Remedy> {
        let actions: Vec<&str> = step.actions.iter().map(String::as_str).collect();
        let change = self
            .shell()
            .change(
                format!("delete this one rule of {}", step.bridge),
                self.remove(&step.bridge, rule(step)),
            )
            .undone_by(self.add(&step.bridge, Self::whole(step, &actions)))
            .scope(Some(format!(
                "all packets that it matches ({}) meet the next rule of the table",
                rule_words(step)
            )))
            .owner(self.owned(step));
        vec![change]
    }

    /// A rule for the flow and its answers where none lets them pass. Only where the bridge works as a switch: what a
    /// pipeline of tables wants done with the packet is not known.
    pub(super) fn let_pass(&self, trace: &OvsTrace, step: &OvsStep) -> Vec<Remedy> {
        let before = trace.steps.iter().take(trace.steps.len().saturating_sub(1));
        // Behind `ct` the daemon writes `drop`: the packet goes on as another one.
        let plain = |action: &String| {
            let turns = ["resubmit(", "goto_table:", "ct(", "ct_clear"];
            action == "drop" || turns.iter().any(|turn| action.starts_with(turn))
        };
        let switches = before
            .filter(|other| other.bridge == step.bridge)
            .all(|other| other.actions.iter().all(plain));
        let Some([there, back]) = conditions(&self.answer.flow).filter(|_| switches) else {
            return vec![text(
                "which rule is missing is known to who writes them (a controller, OVN, an agent): does it run, and did it report an error?",
            )];
        };
        let priority = match step.matched {
            None => 1,
            Some(_) => step.priority.saturating_add(1),
        };
        // What conntrack takes for invalid passes as such, and nothing else.
        let invalid = step
            .matched
            .as_deref()
            .is_some_and(|it| it.contains("+inv"));
        let state = if invalid { "ct_state=+inv+trk," } else { "" };
        let rule = |flow: String| format!("table={},priority={priority},{state}{flow}", step.table);
        let bridge = &step.bridge;
        let change = self
            .shell()
            .change(
                format!("let this flow and its answers pass {bridge} as through a switch"),
                self.add(bridge, format!("{},actions=normal", rule(there.clone()))),
            )
            .and(self.add(bridge, format!("{},actions=normal", rule(back.clone()))))
            .undone_by(self.remove(bridge, rule(there)))
            .undone_by(self.remove(bridge, rule(back)))
            .scope(Some("rules of later tables are passed by".to_owned()))
            .owner(self.owned(step));
        vec![change]
    }

    /// The rule without its meter.
    pub(super) fn without_meter(&self, step: &OvsStep, meter: &str) -> Vec<Remedy> {
        let version = |bridge: &str| {
            let words = self.ofctl(bridge);
            match words.len() {
                // meters came with OpenFlow 1.3
                1 => command!["ovs-ofctl -O OpenFlow13 meter-stats", bridge],
                _ => command![..words, "meter-stats", bridge],
            }
        };
        let look = self
            .shell()
            .look("what the meter counted", version(&step.bridge));
        let named = format!("meter:{meter}");
        let all: Vec<&str> = step.actions.iter().map(String::as_str).collect();
        let rest: Vec<&str> = all.iter().copied().filter(|it| *it != named).collect();
        // Buckets of groups stand among the actions, and are none of the rule.
        if rest.is_empty() || all.iter().any(|action| action.starts_with("group:")) {
            return vec![
                look,
                text("give the meter a higher rate (ovs-ofctl mod-meter)"),
            ];
        }
        let typed = |actions: &[&str]| {
            let words = match self.ofctl(&step.bridge) {
                words if words.len() == 1 => vec![
                    "ovs-ofctl".to_owned(),
                    "-O".to_owned(),
                    "OpenFlow13".to_owned(),
                ],
                words => words,
            };
            command![
                ..words,
                "--strict mod-flows",
                step.bridge,
                format!("{},actions={}", rule(step), actions.join(","))
            ]
        };
        let change = self
            .shell()
            .change(format!("take meter {meter} out of this one rule"), typed(&rest))
            .undone_by(typed(&all))
            .scope(Some("what the rule matches has no limit then; a higher rate for the meter (ovs-ofctl mod-meter) keeps one".to_owned()))
            .owner(self.owned(step));
        vec![look, change]
    }
}

/// What a rule has to match for a flow, and for its answers.
fn conditions(flow: &OvsFlow) -> Option<[String; 2]> {
    let Tuple {
        proto, src, dst, ..
    } = flow.tuple;
    let v6 = dst.is_ipv6();
    let ends = |from: IpAddr, to: IpAddr| match v6 {
        true => format!("ipv6_src={from},ipv6_dst={to}"),
        false => format!("nw_src={from},nw_dst={to}"),
    };
    let name = match (proto, v6) {
        (Proto::Icmp, _) => "icmp",
        (Proto::Icmp6, _) => "icmp6",
        (Proto::Tcp, false) => "tcp",
        (Proto::Tcp, true) => "tcp6",
        (Proto::Udp, false) => "udp",
        (Proto::Udp, true) => "udp6",
        _ => return None,
    };
    let port = |key: &str, port: u16| match proto {
        Proto::Tcp | Proto::Udp => format!(",{key}={port}"),
        _ => String::new(),
    };
    Some([
        format!(
            "{name},{}{}",
            ends(src, dst),
            port("tp_dst", flow.tuple.dport)
        ),
        format!(
            "{name},{}{}",
            ends(dst, src),
            port("tp_src", flow.tuple.dport)
        ),
    ])
}

/// Start the daemon, or let it go on.
pub(super) fn daemon(scene: &Scene<'_>, stopped: Option<u32>) -> Vec<Remedy> {
    let shell = scene.shell();
    let look = shell.look(
        "look first: which processes of Open vSwitch are there?",
        "pgrep -a ovs",
    );
    if let Some(pid) = stopped {
        let change = shell
            .change("let ovs-vswitchd go on", command!["kill -CONT", pid])
            .undone_by(command!["kill -STOP", pid]);
        return vec![look, change];
    }
    if !scene.answer.daemons.is_empty() {
        return vec![
            look,
            shell.look("does the datapath lose more? (lost)", "ovs-dpctl show"),
            text(
                "is ovs-vswitchd busy or short of handler threads? its log (ovs-vswitchd.log) and ovs-appctl upcall/show tell",
            ),
        ];
    }
    if scene.answer.bridges.is_empty() {
        return vec![
            look,
            text(
                "start Open vSwitch, database and ovs-vswitchd: systemctl start openvswitch-switch (Debian), openvswitch (Fedora), or the pod that runs it",
            ),
        ];
    }
    let change = shell
        .change("start ovs-vswitchd", "ovs-vswitchd --pidfile --detach")
        .undone_by("ovs-appctl exit")
        .owner(Some(
            "where a service or a pod runs it: systemctl restart ovs-vswitchd (or openvswitch-switch), or restart the pod; why it ended stands in its log".to_owned(),
        ));
    vec![look, change]
}

/// Conntrack of the datapath did not take it.
pub(super) fn conntrack(scene: &Scene<'_>) -> Candidate {
    scene
        .candidate(
            &OVS_CT,
            "conntrack within Open vSwitch refuses it".to_owned(),
        )
        .advise(scene.look())
        .advise([
            scene.shell().look(
                "connections that the datapath tracks",
                "ovs-appctl dpctl/dump-conntrack",
            ),
            scene.shell().look("what conntrack counted", "conntrack -S"),
        ])
}

/// The last rule has actions, and they come to nothing.
pub(super) fn no_output(scene: &Scene<'_>, step: &OvsStep) -> Candidate {
    let found = broken_patch(scene, step)
        .or_else(|| other_vlan(scene, step))
        .or_else(|| port_down(scene, step));
    let (why, changes) = found.unwrap_or_else(|| {
        let remarks = match step.remarks.is_empty() {
            true => step.actions.join(", "),
            false => step.remarks.join("; "),
        };
        (remarks, Vec::new())
    });
    let words = format!(
        "the output of {} comes to nothing: {why} ({})",
        step.bridge,
        rule_words(step)
    );
    scene
        .candidate(&OVS_PORT, words)
        .advise(scene.look())
        .advise([scene
            .shell()
            .look("ports of all bridges, with their errors", "ovs-vsctl show")])
        .advise(changes)
}

/// The ports to which a rule sends, by OpenFlow's numbers; of a switch all others.
fn outputs<'a>(scene: &Scene<'a>, step: &OvsStep) -> Vec<&'a OvsPort> {
    let ports = scene
        .answer
        .bridge(&step.bridge)
        .map(|bridge| bridge.ports.as_slice());
    let switches = step
        .actions
        .iter()
        .any(|action| action == "NORMAL" || action == "FLOOD");
    let named = |port: &&OvsPort| {
        step.actions.iter().any(|action| {
            let to = action.strip_prefix("output:");
            to.is_some_and(|to| to == port.name || to.parse() == Ok(port.number))
        })
    };
    ports
        .unwrap_or_default()
        .iter()
        .filter(|port| switches || named(port))
        .collect()
}

type Found = Option<(String, Vec<Remedy>)>;

/// A patch port whose other end is none, or has another one.
fn broken_patch(scene: &Scene<'_>, step: &OvsStep) -> Found {
    let all = || scene.answer.bridges.iter().flat_map(|bridge| &bridge.ports);
    let patches = || all().filter(|port| port.kind == "patch");
    let mut broken = outputs(scene, step)
        .into_iter()
        .filter(|port| port.kind == "patch")
        .filter(|port| {
            let other = patches().find(|other| Some(other.name.as_str()) == port.option("peer"));
            other.and_then(|other| other.option("peer")) != Some(port.name.as_str())
        });
    let port = broken.next().filter(|_| broken.next().is_none())?;
    let was = port.option("peer").unwrap_or_default();
    let there = patches().find(|other| other.name == was);
    let why = match there.and_then(|other| other.option("peer")) {
        Some(other) => format!(
            "patch port {} has the other end {was}, whose own other end is {other}",
            port.name
        ),
        None => format!(
            "patch port {} has the other end {was}, which is no patch port",
            port.name
        ),
    };
    let mut fitting = patches().filter(|other| other.option("peer") == Some(port.name.as_str()));
    let (name, before, after) = match (fitting.next().filter(|_| fitting.next().is_none()), there) {
        (Some(right), _) => (&port.name, was, right.name.as_str()),
        (None, Some(other)) => (
            &other.name,
            other.option("peer").unwrap_or_default(),
            port.name.as_str(),
        ),
        (None, None) => return Some((why, Vec::new())),
    };
    let set = |peer: &str| {
        command![
            "ovs-vsctl set interface",
            name,
            format!("options:peer={peer}")
        ]
    };
    let change = scene
        .shell()
        .change("name the other end that names this one", set(after))
        .undone_by(set(before));
    Some((why, vec![change]))
}

/// An access port whose VLAN no other port of its bridge has.
fn other_vlan(scene: &Scene<'_>, step: &OvsStep) -> Found {
    let bridge = scene.answer.bridge(&step.bridge)?;
    let (own, port) = scene.port()?;
    if own.name != bridge.name || !step.actions.iter().any(|action| action == "NORMAL") {
        return None;
    }
    let others = || {
        let is_other = |other: &&OvsPort| other.name != port.name && other.name != bridge.name;
        bridge.ports.iter().filter(is_other)
    };
    let takes = |other: &OvsPort, vlan: u16| match other.tag {
        Some(tag) => tag == vlan,
        None => other.trunks.is_empty() || other.trunks.contains(&vlan),
    };
    let vlan = port.tag?;
    if others().any(|other| takes(other, vlan)) {
        return None;
    }
    let why = format!(
        "{} is in VLAN {vlan}, and no other port of {} takes that",
        port.name, bridge.name
    );
    let mut tags: Vec<u16> = others().filter_map(|other| other.tag).collect();
    tags.sort_unstable();
    tags.dedup();
    let [tag] = tags.as_slice() else {
        return Some((why, Vec::new()));
    };
    let set = |tag: u16| command!["ovs-vsctl set port", port.name, format!("tag={tag}")];
    let change = scene
        .shell()
        .change("put it into the VLAN of the other ports", set(*tag))
        .undone_by(set(vlan));
    Some((why, vec![change]))
}

/// A port that is down, where it is the only one to which the packet could go.
fn port_down(scene: &Scene<'_>, step: &OvsStep) -> Found {
    let grouped = step
        .actions
        .iter()
        .any(|action| action.starts_with("group:"));
    let ports = match grouped {
        true => scene.answer.bridge(&step.bridge)?.ports.iter().collect(),
        false => outputs(scene, step),
    };
    let down = |port: &&OvsPort| {
        let mut links = scene.host.links();
        let netns = scene.device.netns;
        let local = port.name == step.bridge;
        !local && links.any(|link| link.device.netns == netns && link.name == port.name && !link.up)
    };
    let mut found = ports.into_iter().filter(down);
    let port = found.next().filter(|_| found.next().is_none())?;
    let set = |state: &str| command!["ip link set dev", port.name, state];
    let change = scene
        .shell()
        .change("bring the port up", set("up"))
        .undone_by(set("down"));
    Some((format!("port {} is down", port.name), vec![change]))
}

/// An action that puts another destination MAC on a frame.
#[must_use]
pub fn rewrites(action: &str) -> bool {
    action.starts_with("mod_dl_dst:")
        || action.starts_with("set_field:") && action.ends_with("->eth_dst")
        || action.starts_with("load:") && action.contains("->NXM_OF_ETH_DST")
}

/// A frame that came to another machine than it was for, by a rule that names the port or the MAC. The rule is added to what
/// is known.
///
/// # Errors
/// The candidate as it was, where no rule of Open vSwitch did it.
pub fn misdirected(loss: &Loss<'_>, candidate: Candidate) -> Result<Candidate, Box<Candidate>> {
    let Some((scene, trace, step)) = misdirecting(loss) else {
        return Err(Box::new(candidate));
    };
    let what = match step.actions.iter().any(|action| rewrites(action)) {
        true => "gave it this MAC",
        false => "sent it to this port",
    };
    let mut candidate = candidate;
    candidate.summary += &format!("; a rule of {} {what} ({})", step.bridge, rule_words(step));
    let advised = candidate.advise(scene.look()).advise(scene.delete(step));
    Ok(super::told(advised, trace, true))
}

fn misdirecting<'a>(loss: &Loss<'a>) -> Option<(Scene<'a>, &'a OvsTrace, &'a OvsStep)> {
    let scene = Scene::of(loss.host, loss.steps(), None)?;
    // What is lost in Open vSwitch itself came to nobody.
    if loss.device() == Some(scene.device) {
        return None;
    }
    let trace = scene.answer.traces.iter().find(|trace| !trace.drops())?;
    let special = |step: &&OvsStep| {
        let names = |action: &String| rewrites(action) || action.starts_with("output:");
        step.matched
            .as_deref()
            .is_some_and(|matched| !matched.is_empty())
            && step.actions.iter().any(names)
    };
    // A rewritten MAC says more than a port that follows from it.
    let rewriting = |step: &&OvsStep| step.actions.iter().any(|action| rewrites(action));
    let steps = || trace.steps.iter().filter(special);
    let step = steps().find(rewriting).or_else(|| {
        let to_other = |step: &&OvsStep| {
            outputs(&scene, step)
                .iter()
                .any(|port| port.kind != "patch")
        };
        steps().find(to_other)
    })?;
    is_elsewhere(&scene, loss.device()?).then_some((scene, trace, step))
}

/// Whether the frame was not meant for the machine that it came to.
fn is_elsewhere(scene: &Scene<'_>, here: Device) -> bool {
    let meant = scene.answer.flow.macs.map(|(_, to)| to);
    scene.host.link(here).is_some_and(|link| link.mac != meant)
        || scene.host.is_local(here.netns, scene.answer.flow.tuple.dst)
}
