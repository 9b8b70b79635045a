//! A loopback address as the source of what leaves the host: a port published on 127.0.0.1, translated in OUTPUT to where a
//! container is. The kernel routes it out only with `route_localnet`, and what gets out has to be masqueraded, since nobody
//! can answer to 127.0.0.1.

use std::net::IpAddr;

use crate::host::Host;
use crate::model::{Device, IfIndex, NetNs, Proto, Tuple};
use crate::network::route::{Decision, Query, Tables, lookup};
use crate::network::settings::{Combined, Setting, conf, setting};
use crate::verdict::Confidence;

use super::super::candidate::{Candidate, Specificity};
use super::super::causes::ROUTE_MARTIAN;
use super::super::loss::Loss;
use super::super::nat_commands;
use super::super::needs::Asked;
use super::super::remedy::{Remedy, Shell, command, sysctl};
use super::super::source_address::without_source;
use super::super::words;
use super::route::HOOK;

const KEY: (bool, &str) = (false, "route_localnet");

/// A packet from loopback that OUTPUT translated to somewhere else.
fn leaving(loss: &Loss<'_>) -> Option<(NetNs, Tuple)> {
    let tuple = loss.tuple()?;
    let leaves = tuple.src.is_ipv4() && tuple.src.is_loopback() && !tuple.dst.is_loopback();
    let in_output = loss.function() == "nf_hook_slow" && loss.within("__ip_local_out");
    let netns = loss.netns()?;
    (leaves && in_output).then_some((netns, tuple))
}

/// Through which interface it would leave.
fn way(host: &Host, netns: NetNs, tuple: &Tuple) -> Option<Device> {
    let query = Query::output(without_source(tuple.dst, tuple), 0);
    let Decision::Route { hops, .. } = lookup(&Tables::of(host, netns), &query).decision else {
        return None;
    };
    let ifindex = IfIndex(hops.first()?.oif?);
    Some(Device { netns, ifindex })
}

/// What the refusal rests on.
pub fn ask(loss: &Loss<'_>, asked: &mut Asked) {
    let Some((netns, tuple)) = leaving(loss) else {
        return;
    };
    asked.lookup(
        loss.host,
        netns,
        &Query::output(without_source(tuple.dst, &tuple), 0),
    );
    if let Some(device) = way(loss.host, netns, &tuple) {
        let missing = setting(loss.host, device, KEY, Combined::Larger).err();
        asked.extend(missing.into_iter().flatten());
    }
}

/// Routing refused it behind its translation (ip_route_me_harder; __mkroute_output, net/ipv4/route.c), which the kernel tells as
/// a drop of the packet filter.
pub fn refused(loss: &Loss<'_>) -> Option<Candidate> {
    let (netns, tuple) = leaving(loss)?;
    let host = loss.host;
    let out = way(host, netns, &tuple)?;
    let read = setting(host, out, KEY, Combined::Larger).ok()?;
    if read.value != 0 {
        return None;
    }
    let was = loss.event.original.map_or_else(String::new, |before| {
        let (asked, led) = (before.destination(), tuple.destination());
        format!(" ({asked} was translated to {led})")
    });
    let (source, name, setting) = (tuple.src, host.interface(out), sysctl(&read.name));
    Some(
        Candidate::new(
            &ROUTE_MARTIAN,
            loss.place(Some(HOOK)),
            format!(
                "{} may not send from {source} by {name}: {setting} = 0{was}",
                words::namespace(host, netns)
            ),
        )
        .explains(Specificity::Linked)
        .sure(Confidence::Certain)
        .advise(allow(host, out, &read)),
    )
}

/// It may leave, and gets a source that can be answered where no rule sees to that.
fn allow(host: &Host, out: Device, read: &Setting) -> Vec<Remedy> {
    let shell = Shell::of(host, Some(out.netns));
    let name = sysctl(&conf(false, &host.interface(out), KEY.1));
    let set = |value: u8| command!["sysctl -w", format!("{name}={value}")];
    let change = shell
        .change("let what is published on 127.0.0.1 leave by this interface", set(1))
        .scope("the neighbours on this interface can then reach 127.0.0.0/8 of this host, unless a filter keeps them out".to_owned())
        .undone_by(set(0));
    vec![
        shell.look("look first", command!["sysctl", sysctl(&read.name)]),
        change,
    ]
}

/// A source that can be answered, for what leaves an interface from loopback.
#[must_use]
pub fn masqueraded(host: &Host, out: Device, (source, to): (IpAddr, IpAddr)) -> Remedy {
    let flow = Tuple {
        proto: Proto::Other(0),
        src: source,
        sport: 0,
        dst: to,
        dport: 0,
        icmp_id: 0,
    };
    let name = host.interface(out);
    let text =
        format!("translate the source of what leaves by {name}: nobody can answer to {source}");
    nat_commands::masquerade(host, out, &flow, text)
}
