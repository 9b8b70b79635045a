//! A question that a VXLAN device floods to some ends of its overlay, and not to the one behind which the owner is: its forwarding
//! database has no entry for all MACs that names that end.

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::Mac;
use crate::network::bridging::{bridge_of, ports};
use crate::network::links::peer_of;
use crate::network::tunnel::{flooded_to, underlay_netns};

use super::super::super::overlay;
use super::super::super::remedy::{Remedy, Shell};
use super::super::super::words;
use super::Unresolved;

/// The entry for all MACs.
const ALL: Mac = Mac([0; 6]);

/// VXLAN devices that are ports of the bridge to which an interface, or the other end of its cable, belongs.
fn beside<'a>(host: &'a Host, link: &Link) -> impl Iterator<Item = &'a Link> {
    let near = [
        Some(link.device),
        peer_of(host, link.device).map(|l| l.device),
    ];
    let bridges = near
        .into_iter()
        .flatten()
        .filter_map(|device| bridge_of(host, device));
    bridges
        .flat_map(|bridge| ports(host, bridge))
        .filter(|port| port.vxlan.is_some())
}

/// What the story is, as the end of the summary, and the entry.
pub(super) fn told(host: &Host, who: Unresolved) -> Option<(String, Remedy)> {
    let asker = host.link(who.device)?;
    let id = |link: &Link| link.vxlan.as_ref().map(|v| (v.vni, v.port));
    let owners = || {
        host.owners(who.address)
            .filter(|owner| !host.is_gone(*owner))
    };
    let (near, far, owner) = beside(host, asker).find_map(|near| {
        owners().find_map(|owner| {
            let link = host.link(owner)?;
            let far = beside(host, link)
                .find(|far| far.device != near.device && id(far) == id(near) && far.up)?;
            Some((near, far, owner))
        })
    })?;
    let end = overlay::end_of(host, far, underlay_netns(near))?;
    let known = flooded_to(host, near).ok()?;
    if known
        .iter()
        .any(|remote| remote.address == end || remote.address.is_multicast())
    {
        return None;
    }
    let said = format!(
        "; {} floods to {} other {} and not to {end} ({}), behind which {} has it",
        words::interface(host, near.device),
        known.len(),
        if known.len() == 1 { "end" } else { "ends" },
        words::interface(host, far.device),
        words::interface(host, owner),
    );
    let entry = |verb: &'static str| overlay::entry(verb, ALL, &near.name, end);
    let change = Shell::of(host, Some(near.device.netns))
        .change("let it flood to that end too".to_owned(), entry("append"))
        .undone_by(entry("del"));
    Some((said, change))
}
