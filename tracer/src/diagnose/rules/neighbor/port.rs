//! An address on a port of a bridge: questions and answers that come in there go to the bridge, which does not have it.

use crate::host::Host;
use crate::host::facts::InterfaceAddress;
use crate::model::Device;
use crate::network::bridging::bridge_of;
use crate::network::neighbour::owners;

use super::super::super::remedy::{Remedy, Shell, command, ip};
use super::super::super::words;
use super::Unresolved;

/// Of who asks, else of who should answer: with the change that moves its addresses to the bridge.
pub(super) fn told(host: &Host, who: Unresolved) -> Option<(String, Remedy)> {
    let owners = owners(host, who.device, who.address);
    let owners = owners.into_iter().map(|link| link.device);
    std::iter::once(who.device)
        .chain(owners)
        .find_map(|device| on_a_port(host, who, device))
}

fn on_a_port(host: &Host, who: Unresolved, device: Device) -> Option<(String, Remedy)> {
    let link = host.link(device)?;
    let bridge = bridge_of(host, device).filter(|bridge| bridge.device != device)?;
    let own = host.addresses(device).iter();
    let own: Vec<_> = own
        .filter(|a| a.address.is_ipv4() == who.address.is_ipv4() && a.scope == 0)
        .collect();
    let act = |act: &'static str, name: &str, own: &InterfaceAddress| {
        let full = format!("{}/{}", own.address, own.prefix);
        let nodad = (act == "add" && own.address.is_ipv6()).then_some("nodad");
        command![
            ..ip(own.address.is_ipv6()),
            "addr",
            act,
            full,
            "dev",
            name,
            ..nodad
        ]
    };
    let (first, others) = own.split_first()?;
    let shell = Shell::of(host, Some(device.netns));
    let text = format!("move the address to {}", bridge.name);
    let mut change =
        shell
            .change(text, act("del", &link.name, first))
            .and(act("add", &bridge.name, first));
    for own in others {
        change = change
            .and(act("del", &link.name, own))
            .and(act("add", &bridge.name, own));
    }
    for own in own.iter().rev() {
        change = change
            .undone_by(act("del", &bridge.name, own))
            .undone_by(act("add", &link.name, own));
    }
    let words = format!(
        "; {} is a port of {}, to which all goes that comes in there, and the address is on the port",
        words::interface(host, device),
        bridge.name
    );
    let scope = format!(
        "routes through gateways behind {} go with its address, and have to be set anew through {}",
        link.name, bridge.name
    );
    Some((words, change.scope(scope)))
}
