//! What a WireGuard device is set to and knows of its peers, by generic netlink as wg(8) reads it. Private and preshared
//! keys, which the kernel tells too, are not kept.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::facts::{AllowedNet, WireGuard, WireGuardKey, WireGuardPeer};
use super::generic;
use super::netlink::{Message, Request, address_of, attributes, u16_of};
use crate::model::Device;

// Of linux/wireguard.h.
const WG_CMD_GET_DEVICE: u8 = 0;
const WGDEVICE_A_IFINDEX: u16 = 1;
const WGDEVICE_A_PUBLIC_KEY: u16 = 4;
const WGDEVICE_A_LISTEN_PORT: u16 = 6;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_PRESHARED_KEY: u16 = 2;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: u16 = 5;
const WGPEER_A_LAST_HANDSHAKE_TIME: u16 = 6;
const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;

/// The device's settings and peers, in the calling thread's namespace.
///
/// # Errors
/// Those of netlink; ENODEV or EOPNOTSUPP where it is no WireGuard device.
pub(super) fn read(device: Device) -> io::Result<WireGuard> {
    let (mut socket, [family]) = generic::open(["wireguard"])?.ok_or(io::ErrorKind::NotFound)?;
    let request = Request::all(family, &[WG_CMD_GET_DEVICE, 1, 0, 0])
        .attribute(WGDEVICE_A_IFINDEX, &device.ifindex.0.to_ne_bytes());
    let mut parts = socket.ask(&request, device_of)?.into_iter();
    let mut whole = parts.next().unwrap_or_default();
    for part in parts {
        for peer in part.peers {
            // A peer with many networks comes in pieces, the later ones with its key alone.
            match whole.peers.last_mut().filter(|last| last.key == peer.key) {
                Some(last) => last.allowed.extend(peer.allowed),
                None => whole.peers.push(peer),
            }
        }
    }
    Ok(whole)
}

/// Reads an answer to WG_CMD_GET_DEVICE.
pub(super) fn device_of(message: Message<'_>) -> Option<WireGuard> {
    let mut device = WireGuard::default();
    for (kind, value) in attributes(message.payload.get(generic::HEADER..)?) {
        match kind {
            WGDEVICE_A_PUBLIC_KEY => device.key = key_of(value),
            WGDEVICE_A_LISTEN_PORT => device.port = u16_of(value).unwrap_or_default(),
            WGDEVICE_A_PEERS => {
                device.peers = attributes(value)
                    .filter_map(|(_, peer)| peer_of(peer))
                    .collect();
            }
            _ => {}
        }
    }
    Some(device)
}

fn peer_of(bytes: &[u8]) -> Option<WireGuardPeer> {
    let mut peer = WireGuardPeer {
        key: WireGuardKey([0; 32]),
        endpoint: None,
        keepalive: 0,
        handshake: false,
        preshared: false,
        allowed: Vec::new(),
    };
    for (kind, value) in attributes(bytes) {
        match kind {
            WGPEER_A_PUBLIC_KEY => peer.key = key_of(value)?,
            // all zero where there is none
            WGPEER_A_PRESHARED_KEY => peer.preshared = value.iter().any(|byte| *byte != 0),
            WGPEER_A_ENDPOINT => peer.endpoint = endpoint_of(value),
            WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL => {
                peer.keepalive = u16_of(value).unwrap_or_default();
            }
            // struct __kernel_timespec: all zero where there was none
            WGPEER_A_LAST_HANDSHAKE_TIME => peer.handshake = value.iter().any(|byte| *byte != 0),
            WGPEER_A_ALLOWEDIPS => {
                let nets = attributes(value).filter_map(|(_, net)| net_of(net));
                peer.allowed.extend(nets);
            }
            _ => {}
        }
    }
    Some(peer)
}

fn key_of(value: &[u8]) -> Option<WireGuardKey> {
    value.try_into().ok().map(WireGuardKey)
}

/// A struct sockaddr_in or sockaddr_in6.
fn endpoint_of(value: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16_of(value)?);
    let port = u16::from_be_bytes(value.get(2..4)?.try_into().ok()?);
    let address = match family {
        libc::AF_INET => address_of(value.get(4..8)?)?,
        libc::AF_INET6 => address_of(value.get(8..24)?)?,
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

fn net_of(bytes: &[u8]) -> Option<AllowedNet> {
    let (mut address, mut prefix): (Option<IpAddr>, Option<u8>) = (None, None);
    for (kind, value) in attributes(bytes) {
        match kind {
            WGALLOWEDIP_A_IPADDR => address = address_of(value),
            WGALLOWEDIP_A_CIDR_MASK => prefix = value.first().copied(),
            _ => {}
        }
    }
    Some(AllowedNet {
        address: address?,
        prefix: prefix?,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;
    use crate::host::netlink::messages;

    #[test]
    fn a_device_tells_its_peers_and_no_private_key_is_kept() {
        let net = Request::attributes_only(&[
            (1, vec![2, 0]),
            (WGALLOWEDIP_A_IPADDR, vec![10, 7, 0, 0]),
            (WGALLOWEDIP_A_CIDR_MASK, vec![16]),
        ]);
        let endpoint = vec![2, 0, 0xca, 0x6c, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0];
        let peer = Request::attributes_only(&[
            (WGPEER_A_PUBLIC_KEY, vec![3; 32]),
            (2, vec![9; 32]),
            (WGPEER_A_ENDPOINT, endpoint),
            (WGPEER_A_LAST_HANDSHAKE_TIME, vec![0; 16]),
            (WGPEER_A_ALLOWEDIPS, Request::attributes_only(&[(0, net)])),
        ]);
        let peers = Request::attributes_only(&[(0, peer)]);
        let bytes = Request::one(0x20, &[0, 1, 0, 0])
            .attribute(3, &[9; 32])
            .attribute(WGDEVICE_A_PUBLIC_KEY, &[1; 32])
            .attribute(WGDEVICE_A_LISTEN_PORT, &51820u16.to_ne_bytes())
            .attribute(WGDEVICE_A_PEERS, &peers)
            .bytes();
        let device = device_of(messages(&bytes).next().unwrap()).unwrap();
        assert_eq!(
            (device.key, device.port),
            (Some(WireGuardKey([1; 32])), 51820)
        );
        let peer = device.peers.first().unwrap();
        assert_eq!(peer.key, WireGuardKey([3; 32]));
        assert_eq!(peer.endpoint, Some("192.0.2.9:51820".parse().unwrap()));
        assert!(!peer.handshake);
        assert!(peer.allows("10.7.1.1".parse().unwrap()).is_some());
        assert!(peer.allows("10.8.1.1".parse().unwrap()).is_none());
        let told = serde_json::to_string(&device).unwrap();
        assert!(!told.contains("CQkJ"), "a secret in {told}");
    }
}
