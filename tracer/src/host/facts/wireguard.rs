//! WireGuard devices as facts: what decides to whom a packet goes and from whom one is taken.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::host::prefix::holds;

/// A public key; written as wg(8) does, in base64.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct WireGuardKey(pub [u8; 32]);

impl fmt::Display for WireGuardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64Display::new(&self.0, &STANDARD).fmt(f)
    }
}

impl fmt::Debug for WireGuardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<WireGuardKey> for String {
    fn from(key: WireGuardKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for WireGuardKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = STANDARD.decode(text).ok();
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Self).ok_or("no key of 32 bytes in base64")
    }
}

/// A WireGuard device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WireGuard {
    /// Its own public key; `None` without a private one.
    pub key: Option<WireGuardKey>,
    /// UDP port at which it listens.
    pub port: u16,
    /// With whom it speaks.
    pub peers: Vec<WireGuardPeer>,
}

/// A peer of a WireGuard device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireGuardPeer {
    /// Its public key.
    pub key: WireGuardKey,
    /// Where it was last heard of, or is said to be.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between packets that are sent without need; zero: none.
    pub keepalive: u16,
    /// There was a handshake.
    pub handshake: bool,
    /// It also has a preshared key.
    pub preshared: bool,
    /// Addresses inside the tunnel that are its.
    pub allowed: Vec<AllowedNet>,
}

/// A network of addresses inside the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedNet {
    /// Its first address.
    pub address: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
}

impl fmt::Display for AllowedNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl WireGuard {
    /// The peer whose an address inside the tunnel is: to whom it is sent, and from whom alone it is taken (the longest
    /// prefix, drivers/net/wireguard/allowedips.c).
    #[must_use]
    pub fn peer_for(&self, address: IpAddr) -> Option<&WireGuardPeer> {
        let all = self.peers.iter();
        all.filter_map(|peer| Some((peer.allows(address)?, peer)))
            .max_by_key(|(length, _)| *length)
            .map(|(_, peer)| peer)
    }

    /// The peer with this key.
    #[must_use]
    pub fn peer(&self, key: WireGuardKey) -> Option<&WireGuardPeer> {
        self.peers.iter().find(|peer| peer.key == key)
    }
}

impl WireGuardPeer {
    /// The longest prefix of its that holds an address.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> Option<u8> {
        let nets = self.allowed.iter();
        nets.filter(|net| holds(net.address, net.prefix, address))
            .map(|net| net.prefix)
            .max()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_wg_does() {
        let key = WireGuardKey(std::array::from_fn(|n| n.try_into().unwrap()));
        // base64 of the bytes 0 to 31
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(key.to_string(), text);
        assert_eq!(WireGuardKey::try_from(text.to_owned()), Ok(key));
        assert!(WireGuardKey::try_from("AAEC".to_owned()).is_err());
    }
}
