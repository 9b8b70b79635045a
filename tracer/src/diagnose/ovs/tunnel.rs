//! Tunnel ports: the remote end stands in the database of Open vSwitch, not in the kernel's forwarding entries.

use std::net::IpAddr;

use crate::host::Host;
use crate::host::facts::{Link, OvsPort};
use crate::model::{NetNs, Step};

use super::super::candidate::Candidate;
use super::super::remedy::{command, text};
use super::super::routing::holds;
use super::super::words;
use super::Scene;

/// Nobody is at the remote end of a tunnel port by which the packet left.
///
/// # Errors
/// The candidate as it was, where no tunnel port has that remote end.
pub fn wrong_remote(
    host: &Host,
    steps: &[Step],
    (netns, remote): (NetNs, IpAddr),
    candidate: Candidate,
) -> Result<Candidate, Box<Candidate>> {
    let Some(scene) = Scene::of(host, steps, None).filter(|it| it.device.netns == netns) else {
        return Err(Box::new(candidate));
    };
    let to =
        |port: &&OvsPort| port.option("remote_ip").and_then(|end| end.parse().ok()) == Some(remote);
    let mut ports = scene
        .answer
        .bridges
        .iter()
        .flat_map(|bridge| bridge.ports.iter().map(move |port| (bridge, port)));
    let Some((bridge, port)) = ports.find(|(_, port)| to(port)) else {
        return Err(Box::new(candidate));
    };
    let mut candidate = candidate;
    candidate.summary += &format!(
        " (remote_ip of the {} port {} of {})",
        port.kind, port.name, bridge.name
    );
    let shell = scene.shell();
    let candidate = candidate.advise([shell.look(
        "which remote end has the tunnel port?",
        command!["ovs-vsctl get interface", port.name, "options"],
    )]);
    let mut ends: Vec<(IpAddr, &Link)> = host
        .links()
        .filter_map(|link| {
            let back = leads_back(host, link, (netns, port))?;
            Some((end_of(host, link, (netns, back))?, link))
        })
        .filter(|(end, _)| *end != remote)
        .collect();
    ends.sort_by_key(|(end, _)| *end);
    ends.dedup_by_key(|(end, _)| *end);
    let [(end, link)] = ends.as_slice() else {
        return Ok(candidate.advise([text(
            "if that end has moved, name the new one: ovs-vsctl set interface NAME options:remote_ip=ADDRESS",
        )]));
    };
    let set = |end: IpAddr| {
        command![
            "ovs-vsctl set interface",
            port.name,
            format!("options:remote_ip={end}")
        ]
    };
    Ok(candidate
        .because(
            "link",
            format!(
                "{} leads back here, and its end is {end}",
                words::interface(host, link.device)
            ),
        )
        .advise([shell
            .change("name the end whose tunnel leads back here", set(*end))
            .undone_by(set(remote))]))
}

/// The address of this namespace to which a tunnel of another one with the port's key leads.
fn leads_back(host: &Host, link: &Link, (netns, port): (NetNs, &OvsPort)) -> Option<IpAddr> {
    let (remote, key) = match (&link.vxlan, &link.tunnel) {
        (Some(vxlan), _) => (vxlan.remote, Some(vxlan.vni)),
        (None, Some(tunnel)) => (tunnel.remote, tunnel.output_key),
        (None, None) => return None,
    };
    let own = port.option("key").and_then(|key| key.parse().ok());
    let fits = link.device.netns != netns
        && link.kind.starts_with(&port.kind)
        && (own.is_none() || own == key);
    remote.filter(|end| fits && host.is_local(netns, *end))
}

/// The address to which packets for a tunnel device are sent: its own, else the one that its namespace has in the network of
/// the end to which it sends.
fn end_of(host: &Host, link: &Link, (netns, back): (NetNs, IpAddr)) -> Option<IpAddr> {
    let own = match (&link.vxlan, &link.tunnel) {
        (Some(vxlan), _) => vxlan.local,
        (None, Some(tunnel)) => tunnel.local,
        (None, None) => None,
    };
    own.or_else(|| {
        let here = host.addresses_in(netns).find(|own| own.address == back)?;
        let mut far = host.addresses_in(link.device.netns).map(|own| own.address);
        far.find(|end| holds(here.address, here.prefix, *end) && !host.is_local(netns, *end))
    })
}
