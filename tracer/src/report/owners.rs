//! Whose addresses are, beside them in a text.

use std::net::{IpAddr, SocketAddr};

use super::{FlowReport, TupleReport};

/// The text with the owner behind each address, where it first stands. Networks (`10.0.0.0/8`) have none.
pub(crate) fn annotate(text: &str, owner: impl Fn(IpAddr) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut told: Vec<IpAddr> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(apart).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word);
        let bare = word.trim_end_matches(['.', ',', ';', ':']);
        // an address may end in a colon
        let (bare, address) = match (address(word), address(bare)) {
            (Some(found), _) => (word, Some(found)),
            (None, found) => (bare, found),
        };
        out.push_str(bare);
        if let Some(found) = address.filter(|found| !told.contains(found)) {
            told.push(found);
            let owner = owner(found).filter(|owner| !text.contains(owner.as_str()));
            out.extend(owner.map(|owner| format!(" ({owner})")));
        }
        out.push_str(word.get(bare.len()..).unwrap_or_default());
        let between = after.find(|c| !apart(c)).unwrap_or(after.len());
        let (between, after) = after.split_at(between);
        out.push_str(between);
        rest = after;
    }
    out
}

/// What cannot be part of an address with or without port or prefix length.
fn apart(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || ".:[]/-_%".contains(c))
}

/// Of an address, an address and port, and `10.96.3.7:5432/tcp`.
fn address(word: &str) -> Option<IpAddr> {
    let word = match word.rsplit_once('/') {
        Some((end, "tcp" | "udp" | "sctp")) => end,
        _ => word,
    };
    let end = || word.parse::<SocketAddr>().ok().map(|end| end.ip());
    word.parse().ok().or_else(end)
}

impl FlowReport {
    /// A text about the flow with the owners of its addresses.
    #[must_use]
    pub fn with_owners(&self, text: &str) -> String {
        annotate(text, |address| {
            let address = address.to_string();
            let mut owners = self.owners.iter();
            let found = owners.find(|owner| owner.address == address);
            found.map(|owner| owner.owner.clone())
        })
    }

    /// The tuple that was asked for, with the owners of its ends.
    #[must_use]
    pub fn title(&self) -> Option<String> {
        let tuple: &TupleReport = self.tuples.first()?;
        Some(self.with_owners(&tuple.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(address: IpAddr) -> Option<String> {
        match address.to_string().as_str() {
            "10.96.3.7" => Some("service shop/db".into()),
            "10.244.2.9" => Some("pod shop/db-0".into()),
            "fd00::9" => Some("pod shop/six".into()),
            _ => None,
        }
    }

    #[test]
    fn owners_stand_behind_addresses() {
        for (text, with) in [
            (
                "tcp 10.0.0.1:5000 > 10.96.3.7:5432",
                "tcp 10.0.0.1:5000 > 10.96.3.7:5432 (service shop/db)",
            ),
            (
                "no answer from 10.244.2.9: asked 10.244.2.9 again",
                "no answer from 10.244.2.9 (pod shop/db-0): asked 10.244.2.9 again",
            ),
            (
                "udp [fd00::9]:53 > fd00::9.",
                "udp [fd00::9]:53 (pod shop/six) > fd00::9.",
            ),
            ("10.244.2.9, 1.2.3", "10.244.2.9 (pod shop/db-0), 1.2.3"),
            (
                "to 10.96.3.7:5432/tcp, -d 10.96.3.7 -j",
                "to 10.96.3.7:5432/tcp (service shop/db), -d 10.96.3.7 -j",
            ),
            // a network, and a longer word
            ("-d 10.96.3.7/32 x10.96.3.7", "-d 10.96.3.7/32 x10.96.3.7"),
            (
                "pod shop/db-0 has 10.244.2.9",
                "pod shop/db-0 has 10.244.2.9",
            ),
            ("", ""),
            ("é 10.96.3.7", "é 10.96.3.7 (service shop/db)"),
        ] {
            assert_eq!(annotate(text, owner), with);
        }
    }
}
