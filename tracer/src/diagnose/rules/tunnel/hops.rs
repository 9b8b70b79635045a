//! The TTL of outer packets, where the tunnel device that made them sets it: what is inside may have hops left, and those on
//! the way to the other end do not see it.

use crate::host::facts::Link;
use crate::model::Tunnel;
use crate::network::tunnel::{output_key, ttl};

use super::super::super::enclosed::enclosures;
use super::super::super::loss::Loss;
use super::super::super::remedy::{Command, Remedy, Shell, command, text};
use super::super::super::words;

/// As many hops as the kernel gives what it sends itself (IPDEFTTL).
const ENOUGH: u8 = 64;

/// What is known of the TTL of an outer packet that died for want of it.
pub(in super::super) struct Hops<'a> {
    tunnel: Tunnel,
    /// The device that made it, where it was seen.
    device: Option<&'a Link>,
}

impl<'a> Hops<'a> {
    /// Of a packet that died in a tunnel.
    pub(in super::super) fn of(loss: &Loss<'a>) -> Option<Self> {
        let tunnel = loss.tunnel()?;
        let ends = |t: Tunnel| (t.outer.src, t.outer.dst);
        let made = enclosures(loss.host, loss.steps()).filter(|(_, t)| ends(*t) == ends(tunnel));
        let device = made.last().map(|(link, _)| link);
        Some(Self { tunnel, device })
    }

    /// The device, and the TTL that it is set to.
    fn set(&self) -> Option<(&'a Link, u8)> {
        let device = self.device?;
        Some((device, ttl(device)?))
    }

    /// As the end of the summary.
    pub(in super::super) fn words(&self, loss: &Loss<'_>) -> String {
        let to = self.tunnel.outer.dst;
        match (self.set(), self.device) {
            (Some((link, ttl)), _) => format!(
                "{} sends its outer packets with TTL {ttl}, too few hops to reach {to}",
                words::interface(loss.host, link.device)
            ),
            (None, Some(link)) => format!(
                "the outer packet of {} came with too few hops left to reach {to}",
                words::interface(loss.host, link.device)
            ),
            (None, None) => {
                format!(
                    "the outer packet ({}) came with too few hops left to reach {to}",
                    self.tunnel
                )
            }
        }
    }

    /// What to look at, and to set.
    pub(in super::super) fn advice(&self, loss: &Loss<'_>) -> Vec<Remedy> {
        let Some(link) = self.device else {
            return vec![text(format!(
                "raise the TTL that the tunnel device at {} sets, or look for a loop outside this host",
                self.tunnel.outer.src
            ))];
        };
        let shell = Shell::of(loss.host, Some(link.device.netns));
        let look = shell.look(
            "look first: the TTL that the tunnel sets",
            command!["ip -d link show dev", link.name],
        );
        let change = self.set().map(|(link, ttl)| {
            shell
                .change("let it send with more hops", command(link, ENOUGH))
                .undone_by(command(link, ttl))
        });
        let otherwise = change.is_none().then(|| {
            text("the outer packet has the TTL of the packet inside, or the default (sysctl net.ipv4.ip_default_ttl): raise that, or look for a loop")
        });
        [look].into_iter().chain(change).chain(otherwise).collect()
    }
}

/// The TTL set. Devices with a VNI are told by it which they are.
fn command(link: &Link, ttl: u8) -> Command {
    let id = match link.kind.as_str() {
        "vxlan" | "geneve" => output_key(link).map(|id| ["id".to_owned(), id.to_string()]),
        _ => None,
    };
    command![
        "ip link set dev",
        link.name,
        "type",
        link.kind,
        ..id.into_iter().flatten(),
        "ttl",
        ttl
    ]
}
