//! What ovs-vswitchd writes for people: `dpif/show` and `ofproto/trace` (ofproto/ofproto-dpif.c and
//! ofproto/ofproto-dpif-trace.c of Open vSwitch 2.10 to 3.1).

use crate::host::facts::{OvsBridge, OvsPort, OvsStep, OvsTrace};

/// Bridges and ports of `dpif/show`: datapaths at the left, bridges below them, and below these
/// `if2a41 3/5: (system)`, `int-ext 2/none: (patch: peer=ext-int)`.
pub(super) fn bridges(text: &str) -> Vec<OvsBridge> {
    let mut list: Vec<OvsBridge> = Vec::new();
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let line = line.trim();
        match depth {
            0 => {}
            1 | 2 => list.extend(line.strip_suffix(':').map(|name| OvsBridge {
                name: name.to_owned(),
                fail_mode: None,
                protocols: Vec::new(),
                controlled: false,
                ports: Vec::new(),
            })),
            _ => {
                if let (Some(bridge), Some(port)) = (list.last_mut(), port_of(line)) {
                    bridge.ports.push(port);
                }
            }
        }
    }
    list
}

fn port_of(line: &str) -> Option<OvsPort> {
    let (front, rest) = line.split_once(": (")?;
    let (name, numbers) = front.rsplit_once(' ')?;
    let (number, datapath) = numbers.split_once('/')?;
    let inside = rest.strip_suffix(')')?;
    let (kind, options) = inside.split_once(": ").unwrap_or((inside, ""));
    Some(OvsPort {
        name: name.to_owned(),
        number: number.parse().ok()?,
        datapath: datapath.parse().ok(),
        kind: kind.to_owned(),
        options: options
            .split(", ")
            .filter_map(|option| option.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        tag: None,
        trunks: Vec::new(),
    })
}

/// What `ofproto/trace` says. What it does not know is left out.
pub(super) fn trace(assumed: &str, text: &str) -> OvsTrace {
    let mut found = OvsTrace {
        assumed: assumed.to_owned(),
        steps: Vec::new(),
        output: String::new(),
    };
    let mut bridge = String::new();
    let mut within = false;
    for line in text.lines() {
        let said = line.trim();
        if let Some(name) = said.strip_prefix("bridge(\"") {
            bridge = name.trim_end_matches("\")").to_owned();
            within = false;
        } else if let Some(output) = said.strip_prefix("Datapath actions: ") {
            output.clone_into(&mut found.output);
            within = false;
        } else if let Some(step) = step_of(said, &bridge) {
            found.steps.push(step);
            within = true;
        } else if is_frame(line) {
            within = false;
        } else if let (Some(step), true, false) = (found.steps.last_mut(), within, said.is_empty())
        {
            match said.strip_prefix("-> ").or(said.strip_prefix(">> ")) {
                Some(remark) => step
                    .remarks
                    .push(remark.trim_end_matches(" <<<<").to_owned()),
                None => step.actions.push(said.to_owned()),
            }
        }
    }
    found
}

/// Lines at the left edge, which stand around the rules.
fn is_frame(line: &str) -> bool {
    !line.starts_with(' ') && !line.is_empty()
}

/// ` 9. icmp,reg7=0x5, priority 40, cookie 0x77`, or ` 0. No match.`
fn step_of(line: &str, bridge: &str) -> Option<OvsStep> {
    let (table, rule) = line.split_once(". ")?;
    let table = table.parse().ok()?;
    let mut step = OvsStep {
        bridge: bridge.to_owned(),
        table,
        ..OvsStep::default()
    };
    if rule.starts_with("No match") {
        return Some(step);
    }
    // `priority 0` alone matches all; a table with a name has that before the rule, in front of its own dot.
    let (matched, rest) = match rule.strip_prefix("priority ") {
        Some(rest) => ("", rest),
        None => rule.split_once(", priority ")?,
    };
    let (priority, cookie) = match rest.split_once(", cookie ") {
        Some((priority, cookie)) => (priority, Some(cookie.to_owned())),
        None => (rest, None),
    };
    step.matched = Some(matched.to_owned());
    step.priority = priority.trim().parse().ok()?;
    step.cookie = cookie;
    Some(step)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "the text is written below")]
mod tests {
    use super::*;

    const SHOWN: &str = "system@ovs-system: hit:0 missed:0
  br-ext:
    ens3f0 1/3: (system)
    ext-int 2/none: (patch: peer=int-ext)
  br-int:
    br-int 65534/2: (internal)
    tun0 4/6: (vxlan: key=77, remote_ip=172.21.9.2)
";

    #[test]
    fn bridges_are_read_with_their_ports() {
        let [outer, inner] = bridges(SHOWN).try_into().unwrap();
        assert_eq!(
            (outer.name.as_str(), inner.name.as_str()),
            ("br-ext", "br-int")
        );
        let told: Vec<_> = outer
            .ports
            .iter()
            .map(|p| (p.name.as_str(), p.number, p.datapath, p.option("peer")))
            .collect();
        assert_eq!(
            told,
            [
                ("ens3f0", 1, Some(3), None),
                ("ext-int", 2, None, Some("int-ext"))
            ]
        );
        let tunnel = inner.ports.last().unwrap();
        assert_eq!(tunnel.kind, "vxlan");
        assert_eq!(tunnel.option("remote_ip"), Some("172.21.9.2"));
        assert_eq!(tunnel.option("key"), Some("77"));
    }

    const TRACED: &str = r#"Flow: icmp,in_port=3

bridge("br-int")
----------------
 0. ip, priority 50, cookie 0x77
    ct(table=1)
    drop
     -> A clone of the packet is forked to recirculate.

Final flow: unchanged
Megaflow: recirc_id=0,eth,ip,in_port=3,nw_frag=no
Datapath actions: ct,recirc(0x2)

===============================================================================
recirc(0x2) - resume conntrack with ct_state=inv|trk
===============================================================================

Flow: recirc_id=0x2,ct_state=inv|trk,eth,icmp,in_port=3

bridge("br-int")
----------------
    thaw
        Resuming from table 1
 1. ct_state=+trk, priority 40
    resubmit(,9)
 9. No match.
            drop

bridge("br-ext")
----------------
 0. priority 0
    output:99
     >> Nonexistent output port

Final flow: unchanged
Datapath actions: drop
"#;

    #[test]
    fn a_trace_is_read_step_by_step() {
        let found = trace("trk,inv", TRACED);
        assert!(found.drops());
        let told: Vec<_> = found
            .steps
            .iter()
            .map(|s| {
                let actions = s.actions.join(";");
                (
                    s.bridge.as_str(),
                    s.table,
                    s.matched.as_deref(),
                    s.priority,
                    actions,
                )
            })
            .collect();
        let row = |bridge, table, matched, priority, actions: &str| {
            (bridge, table, matched, priority, actions.to_owned())
        };
        assert_eq!(
            told,
            [
                row("br-int", 0, Some("ip"), 50, "ct(table=1);drop"),
                row("br-int", 1, Some("ct_state=+trk"), 40, "resubmit(,9)"),
                row("br-int", 9, None, 0, "drop"),
                row("br-ext", 0, Some(""), 0, "output:99"),
            ]
        );
        let [first, .., last] = found.steps.as_slice() else {
            unreachable!("four steps, not {found:?}")
        };
        assert_eq!(first.cookie.as_deref(), Some("0x77"));
        assert_eq!(last.remarks, ["Nonexistent output port"]);
    }
}
