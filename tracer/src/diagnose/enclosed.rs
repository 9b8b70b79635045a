//! Tunnel devices on a packet's way, with the outer packets that they put around it.

use crate::host::Host;
use crate::host::facts::Link;
use crate::model::{Detail, Step, Tunnel};
use crate::network::tunnel::{is_known, underlay_netns};

/// In the order of the way: the device that the packet was handed to, and the tunnel in which it then left.
pub(super) fn enclosures<'a>(
    host: &'a Host,
    steps: &'a [Step],
) -> impl Iterator<Item = (&'a Link, Tunnel)> {
    let mut inside: Option<&Link> = None;
    let left = steps
        .iter()
        .map(|step| &step.event)
        .filter(|event| matches!(event.detail, Detail::Egress));
    left.filter_map(move |event| {
        let link = host.link(event.device?)?;
        if is_known(link) {
            inside = Some(link);
            return None;
        }
        let around = event.packet.as_ref()?.tunnel?;
        let device = inside.take()?;
        (underlay_netns(device) == link.device.netns).then_some((device, around))
    })
}
