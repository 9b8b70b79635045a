//! Connections that a control connection announces (FTP, TFTP, SIP): to a stateful filter they are related to it only where
//! a conntrack helper reads it. Since kernel 6.0 none does unless a rule assigns it (nf_conntrack_helper is gone).

use crate::host::facts::{Part, Ruleset, Statement};
use crate::model::{Device, Flow, Proto, Side, Tuple};
use crate::network::filter::{self, Packet, Rules};
use crate::uapi::nf_conntrack::STATE_RELATED;

use super::super::super::candidate::Candidate;
use super::super::super::chain_commands::program_of;
use super::super::super::hooks::Hook;
use super::super::super::loss::Loss;
use super::super::super::remedy::{Remedy, Shell, command};
use super::suspects::{layer, packet};
use super::{engine, filter_chains, goes_out};

/// A protocol whose connections announce others.
struct Control {
    /// As conntrack calls the helper.
    helper: &'static str,
    proto: Proto,
    port: u16,
    /// Of the connections that are announced.
    data: Proto,
}

const fn control(helper: &'static str, proto: Proto, port: u16, data: Proto) -> Control {
    Control {
        helper,
        proto,
        port,
        data,
    }
}

const CONTROLS: &[Control] = &[
    control("ftp", Proto::Tcp, 21, Proto::Tcp),
    control("tftp", Proto::Udp, 69, Proto::Udp),
    control("sip", Proto::Udp, 5060, Proto::Udp),
    control("sip", Proto::Tcp, 5060, Proto::Udp),
];

/// Adds the control connection between the same hosts, where the filter would let the packet pass as related to it and no
/// rule assigns a helper.
pub(super) fn explain(candidate: Candidate, (loss, hook): (&Loss<'_>, Hook)) -> Candidate {
    let read = loss.netns().and_then(|netns| loss.host.filters.get(&netns));
    let (Some(read), Some((control, tuple, flow))) = (read, control_of(loss)) else {
        return candidate;
    };
    if assigns_helper(&read.fact) || !passes_as_related(loss, hook, &read.fact) {
        return candidate;
    }
    let name = control.helper.to_uppercase();
    let candidate = candidate.because(
        "conntrack",
        format!(
            "an {name} control connection between the same hosts is in this trace: {tuple}. As related to it the filter would let this packet pass, but no rule in this namespace assigns the conntrack helper {} to it",
            control.helper
        ),
    );
    candidate.advise(assign(control, &tuple, (loss, hook, flow)))
}

/// The control connection of the trace between the hosts of the packet, from its client to its server.
fn control_of<'a>(loss: &Loss<'a>) -> Option<(&'static Control, Tuple, &'a Flow)> {
    let data = loss.outermost()?;
    let is_control = |control: &Control, tuple: &Tuple| {
        (tuple.proto, tuple.dport) == (control.proto, control.port)
    };
    let announces = |control: &Control, tuple: &Tuple| {
        let there = (tuple.src, tuple.dst) == (data.src, data.dst);
        let back = (tuple.src, tuple.dst) == (data.dst, data.src);
        // a TFTP server answers from another port to the port that asked
        let answers = control.helper != "tftp" || back && data.dport == tuple.sport;
        data.proto == control.data && (there || back) && answers
    };
    let own = |tuple: &Tuple| {
        CONTROLS
            .iter()
            .any(|c| is_control(c, tuple) || is_control(c, &tuple.reversed()))
    };
    if own(&data) {
        return None;
    }
    let others = loss.trace.flows.iter().filter(|f| f.id != loss.flow.id);
    others
        .flat_map(|flow| flow.tuples.iter().map(move |(_, tuple)| (flow, *tuple)))
        .find_map(|(flow, tuple)| {
            let control = CONTROLS
                .iter()
                .find(|c| is_control(c, &tuple) && announces(c, &tuple))?;
            Some((control, tuple, flow))
        })
}

/// Whether a rule may assign a helper: what it assigns is not read.
fn assigns_helper(ruleset: &Ruleset) -> bool {
    let rules = ruleset.chains.iter().flat_map(|chain| &chain.rules);
    rules.flat_map(|rule| &rule.parts).any(|part| {
        matches!(part, Part::Do(Statement::Note(text)) if text.starts_with("-j CT") || text.starts_with("objref"))
    })
}

fn passes_as_related(loss: &Loss<'_>, hook: Hook, ruleset: &Ruleset) -> bool {
    let related = Packet {
        states: Some(STATE_RELATED),
        ..packet(loss, hook, goes_out(loss, hook))
    };
    let at = filter::Hook {
        layer: layer(hook),
        name: hook.chain_hook,
        engine: None,
    };
    filter::walk(&Rules::of(ruleset), &related, at).answer() == filter::Answer::Passes
}

/// A rule that assigns the helper, by the program that made the filter.
fn assign(
    control: &Control,
    tuple: &Tuple,
    (loss, hook, flow): (&Loss<'_>, Hook, &Flow),
) -> Option<Remedy> {
    let shell = Shell::of(loss.host, loss.netns());
    let chains = filter_chains(loss, hook, engine(loss))?;
    let here = |device: Device| Some(device.netns) == loss.netns();
    let mut hops = flow.forward.hops.iter().filter(|hop| here(hop.device));
    // its client is on this host where it was sent here before it was received
    let made_here = hops.next().is_some_and(|hop| hop.side == Side::Egress);
    let (helper, proto, port) = (control.helper, control.proto, control.port);
    let what = "have conntrack read the control connection (from the next one on), so that what it announces is related to it";
    let (src, dst) = (tuple.src, tuple.dst);
    if let Some(program) = program_of(&chains) {
        let at = if made_here { "OUTPUT" } else { "PREROUTING" };
        let rule = format!("-s {src} -d {dst} -p {proto} --dport {port} -j CT --helper {helper}");
        let rule = || rule.split(' ');
        let change = shell.change(what, command![&program, "-t raw -I", at, ..rule()]);
        return Some(change.undone_by(command![&program, "-t raw -D", at, ..rule()]));
    }
    let at = if made_here { "output" } else { "prerouting" };
    let family = if dst.is_ipv6() { "ip6" } else { "ip" };
    let table = format!("tracer-{helper}");
    let object = format!("{{ type \"{helper}\" protocol {proto}; }}");
    let chain = format!("{{ type filter hook {at} priority filter; }}");
    let change = shell
        .change(what, command!["nft add table", family, table])
        .and(command!["nft add ct helper", family, table, helper, object])
        .and(command!["nft add chain", family, table, "assign", chain])
        .and(command![
            "nft add rule",
            family,
            table,
            "assign",
            family,
            "saddr",
            src,
            family,
            "daddr",
            dst,
            proto,
            "dport",
            port,
            "ct helper set",
            format!("\"{helper}\"")
        ])
        .undone_by(command!["nft delete table", family, table]);
    Some(change)
}
