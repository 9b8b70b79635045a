//! ipsets that rules look packets up in, with their elements (linux/netfilter/ipset/ip_set.h).
//!
//! A rule says only which sides of a packet are looked up (`src,dst`); what these sides are is said by the set's type
//! (`hash:ip,port`). So tests of rules are completed once the sets are read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::bounds;
use crate::host::facts::{Element, Field, Missing, Part, Ruleset, Set, Side, Test, Value};
use crate::host::links::mac_of;
use crate::host::netlink::{
    Message, NFNL_SUBSYS_IPSET, Netlink, Request, address_of, attributes, be32_of, text_of,
};

const IPSET_CMD_LIST: u16 = 7;
/// IPSET_PROTOCOL_MIN: every kernel takes it.
const PROTOCOL: u8 = 6;

const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_TYPENAME: u16 = 3;
const IPSET_ATTR_DATA: u16 = 7;
const IPSET_ATTR_ADT: u16 = 8;

// Of an element, and of a set's header.
const IPSET_ATTR_IP: u16 = 1;
const IPSET_ATTR_IP_TO: u16 = 2;
const IPSET_ATTR_CIDR: u16 = 3;
const IPSET_ATTR_PORT: u16 = 4;
const IPSET_ATTR_PORT_TO: u16 = 5;
const IPSET_ATTR_TIMEOUT: u16 = 6;
const IPSET_ATTR_PROTO: u16 = 7;
const IPSET_ATTR_CADT_FLAGS: u16 = 8;
const IPSET_ATTR_MARK: u16 = 10;
const IPSET_ATTR_MARKMASK: u16 = 11;
const IPSET_ATTR_ETHER: u16 = 17;
const IPSET_ATTR_NAME: u16 = 18;
const IPSET_ATTR_NETMASK: u16 = 20;
const IPSET_ATTR_IP2: u16 = 20;
const IPSET_ATTR_CIDR2: u16 = 21;
const IPSET_ATTR_IP2_TO: u16 = 22;
const IPSET_ATTR_IFACE: u16 = 23;
const IPSET_ATTR_COMMENT: u16 = 26;
const IPSET_FLAG_PHYSDEV: u32 = 1 << 1;
const IPSET_FLAG_NOMATCH: u32 = 1 << 2;
const IPSET_FLAG_IFACE_WILDCARD: u32 = 1 << 7;

/// A set as the kernel lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Listed {
    /// `hash:ip,port`
    kind: String,
    /// Bits of an address that are compared, where not all are.
    netmask: Option<u8>,
    /// Only some bits of a mark are compared.
    masked: bool,
    elements: Vec<Element>,
    /// Of `list:set`: the sets in it.
    members: Vec<String>,
    missing: Missing,
}

/// What is looked up in one place of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dimension {
    Address,
    /// With the protocol before it, but in a bitmap.
    Port {
        with_protocol: bool,
    },
    Mac,
    Interface,
    Mark,
}

/// Reads the ipsets to which rules refer, and completes the rules' tests.
pub(super) fn resolve(ruleset: &mut Ruleset) -> io::Result<()> {
    let mut wanted: Vec<String> = Vec::new();
    let parts = ruleset
        .chains
        .iter()
        .flat_map(|c| &c.rules)
        .flat_map(|r| r.tests());
    for test in parts {
        if let Test::InSet { fields, set, .. } = test
            && sides(fields).is_some()
        {
            wanted.push(set.clone());
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut socket = Netlink::open(NETLINK_NETFILTER)?;
    let mut read: BTreeMap<String, Listed> = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if let Entry::Vacant(place) = read.entry(name) {
            let listed = list(&mut socket, place.key())?;
            wanted.extend(listed.members.iter().cloned());
            place.insert(listed);
        }
    }
    let rules = ruleset.chains.iter_mut().flat_map(|c| &mut c.rules);
    for part in rules.flat_map(|rule| &mut rule.parts) {
        if let Part::Test(test) = part {
            complete(test, &read);
        }
    }
    let found = read.into_iter().map(|(name, listed)| Set {
        family: String::new(),
        table: String::new(),
        name,
        elements: listed.elements,
        missing: listed.missing,
    });
    ruleset.sets.extend(found);
    Ok(())
}

/// The sides of a packet that a rule looks up; `None`: these are fields already.
fn sides(fields: &[Field]) -> Option<Vec<Side>> {
    let side = |field: &Field| match field {
        Field::Other(name) if name == "src" => Some(Side::Source),
        Field::Other(name) if name == "dst" => Some(Side::Destination),
        _ => None,
    };
    fields.iter().map(side).collect()
}

/// Says in a test what is looked up, as far as the set's type tells.
fn complete(test: &mut Test, read: &BTreeMap<String, Listed>) {
    let Test::InSet { fields, set, not } = test else {
        return;
    };
    let (Some(sides), Some(listed)) = (sides(fields), read.get(set)) else {
        return;
    };
    if listed.kind == "list:set" {
        // One of its sets has it; that none has it is no test of one set.
        if !*not {
            let each = listed.members.iter().map(|member| {
                let mut test = Test::InSet {
                    fields: fields.clone(),
                    set: member.clone(),
                    not: false,
                };
                complete(&mut test, read);
                test
            });
            *test = Test::Any(each.collect());
        }
        return;
    }
    if let Some(known) = fields_of(&listed.kind, &sides) {
        *fields = known;
    }
}

/// What a set of this type looks up; `None`: it cannot be told, or the rule gives fewer sides than the set has.
fn fields_of(kind: &str, sides: &[Side]) -> Option<Vec<Field>> {
    let dimensions = dimensions(kind)?;
    if sides.len() < dimensions.len() {
        return None;
    }
    let mut fields = Vec::new();
    for (dimension, side) in dimensions.into_iter().zip(sides) {
        match dimension {
            Dimension::Address => fields.push(Field::Address(*side)),
            Dimension::Port { with_protocol } => {
                if with_protocol {
                    fields.push(Field::Protocol);
                }
                fields.push(Field::Port(*side));
            }
            Dimension::Mac => fields.push(Field::Mac(*side)),
            Dimension::Interface => fields.push(Field::Interface(*side)),
            Dimension::Mark => fields.push(Field::Mark),
        }
    }
    Some(fields)
}

fn dimensions(kind: &str) -> Option<Vec<Dimension>> {
    let (method, dimensions) = kind.split_once(':')?;
    let dimension = |name| match name {
        "ip" | "net" => Some(Dimension::Address),
        "port" => Some(Dimension::Port {
            with_protocol: method != "bitmap",
        }),
        "mac" => Some(Dimension::Mac),
        "iface" => Some(Dimension::Interface),
        "mark" => Some(Dimension::Mark),
        _ => None,
    };
    dimensions.split(',').map(dimension).collect()
}

fn list(socket: &mut Netlink, name: &str) -> io::Result<Listed> {
    // struct nfgenmsg: family (any that is known), version, resource (2)
    let header = [u8::try_from(libc::AF_INET).unwrap_or_default(), 0, 0, 0];
    let request = Request::all(NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST, &header)
        .attribute(IPSET_ATTR_PROTOCOL, &[PROTOCOL])
        .attribute(IPSET_ATTR_SETNAME, &[name.as_bytes(), &[0]].concat());
    let parts = socket.ask(&request, |message: Message<'_>| {
        Some(message.payload.get(4..)?.to_vec())
    })?;
    Ok(of_parts(&parts))
}

/// A set from the attributes of its messages: only the first of them has the type.
fn of_parts(parts: &[Vec<u8>]) -> Listed {
    let mut listed = Listed::default();
    for (kind, value) in parts.iter().flat_map(|part| attributes(part)) {
        match kind {
            IPSET_ATTR_TYPENAME => listed.kind = text_of(value),
            IPSET_ATTR_DATA => listed.read_header(value),
            IPSET_ATTR_ADT => {
                for (_, element) in attributes(value) {
                    listed.read_element(element);
                }
            }
            _ => {}
        }
    }
    listed
}

/// Any payload as the attributes of a set, of each type that is read.
pub(super) fn foreign(payload: &[u8]) {
    of_parts(&[payload.to_vec()]);
}

impl Listed {
    fn read_header(&mut self, header: &[u8]) {
        for (kind, value) in attributes(header) {
            match kind {
                IPSET_ATTR_NETMASK => self.netmask = value.first().copied(),
                IPSET_ATTR_MARKMASK => self.masked = be32_of(value) != Some(u32::MAX),
                _ => {}
            }
        }
    }

    fn read_element(&mut self, bytes: &[u8]) {
        let attribute = |wanted: u16| {
            let mut all = attributes(bytes);
            all.find(|(kind, _)| *kind == wanted)
                .map(|(_, value)| value)
        };
        if self.kind == "list:set" {
            self.members.extend(attribute(IPSET_ATTR_NAME).map(text_of));
            return;
        }
        let flags = attribute(IPSET_ATTR_CADT_FLAGS)
            .and_then(be32_of)
            .unwrap_or(0);
        // An exception, and a port of a bridge in the place of an interface, are no elements as others.
        let plain = flags & (IPSET_FLAG_NOMATCH | IPSET_FLAG_PHYSDEV) == 0 && !self.masked;
        let key = plain
            .then(|| self.key(attribute, flags & IPSET_FLAG_IFACE_WILDCARD != 0))
            .flatten();
        match key {
            Some(key) if self.elements.len() < bounds::ELEMENTS => self.elements.push(Element {
                key,
                verdict: None,
                comment: attribute(IPSET_ATTR_COMMENT).map(text_of),
                remaining_s: attribute(IPSET_ATTR_TIMEOUT)
                    .and_then(be32_of)
                    .filter(|seconds| *seconds > 0)
                    .map(u64::from),
            }),
            _ => self.missing = Missing::Cut,
        }
    }

    /// First and last of each field.
    fn key<'b>(
        &self,
        attribute: impl Fn(u16) -> Option<&'b [u8]>,
        wildcard: bool,
    ) -> Option<Vec<(Value, Value)>> {
        let number = |value: u32| {
            let value = Value::Number(value.into());
            (value.clone(), value)
        };
        let mut addresses = [
            (IPSET_ATTR_IP, IPSET_ATTR_IP_TO, IPSET_ATTR_CIDR),
            (IPSET_ATTR_IP2, IPSET_ATTR_IP2_TO, IPSET_ATTR_CIDR2),
        ]
        .into_iter();
        let mut key = Vec::new();
        for dimension in dimensions(&self.kind)? {
            match dimension {
                Dimension::Address => {
                    let (first, last, bits) = addresses.next()?;
                    let first = address(attribute(first)?)?;
                    let last = attribute(last).and_then(address);
                    let bits = attribute(bits).and_then(|b| b.first().copied());
                    let network = || network(first, bits.or(self.netmask));
                    let (first, last) = last.map_or_else(network, |last| (first, last));
                    key.push((Value::Address(first), Value::Address(last)));
                }
                Dimension::Port { with_protocol } => {
                    if with_protocol {
                        let protocol = attribute(IPSET_ATTR_PROTO)?.first().copied()?;
                        key.push(number(protocol.into()));
                    }
                    let port = |bytes: &[u8]| bytes.first_chunk().map(|b| u16::from_be_bytes(*b));
                    let first = port(attribute(IPSET_ATTR_PORT)?)?;
                    let last = attribute(IPSET_ATTR_PORT_TO)
                        .and_then(port)
                        .unwrap_or(first);
                    key.push((Value::Number(first.into()), Value::Number(last.into())));
                }
                Dimension::Mac => {
                    let mac = Value::Mac(mac_of(attribute(IPSET_ATTR_ETHER)?)?);
                    key.push((mac.clone(), mac));
                }
                Dimension::Interface => {
                    let end = if wildcard { "*" } else { "" };
                    let name = text_of(attribute(IPSET_ATTR_IFACE)?);
                    let name = Value::Name(format!("{name}{end}"));
                    key.push((name.clone(), name));
                }
                Dimension::Mark => key.push(number(be32_of(attribute(IPSET_ATTR_MARK)?)?)),
            }
        }
        Some(key)
    }
}

/// An address as ipset nests it: IPSET_ATTR_IPADDR_IPV4 or _IPV6.
fn address(nest: &[u8]) -> Option<IpAddr> {
    attributes(nest)
        .next()
        .and_then(|(_, value)| address_of(value))
}

/// First and last address of a network.
fn network(address: IpAddr, bits: Option<u8>) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(bits.unwrap_or(32).into()).unwrap_or(0);
            let first = v4.to_bits() & !host;
            let (first, last) = (
                Ipv4Addr::from_bits(first),
                Ipv4Addr::from_bits(first | host),
            );
            (first.into(), last.into())
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX
                .checked_shr(bits.unwrap_or(128).into())
                .unwrap_or(0);
            let first = v6.to_bits() & !host;
            let (first, last) = (
                Ipv6Addr::from_bits(first),
                Ipv6Addr::from_bits(first | host),
            );
            (first.into(), last.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A nest of attributes as a message has it.
    fn nest(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
        Request::attributes_only(attributes)
    }

    fn ip(kind: u16, address: [u8; 4]) -> (u16, Vec<u8>) {
        (kind, nest(&[(1, address.to_vec())]))
    }

    fn listed(kind: &str, header: &[(u16, Vec<u8>)], elements: &[Vec<u8>]) -> Listed {
        let elements: Vec<_> = elements
            .iter()
            .map(|element| (IPSET_ATTR_DATA, element.clone()))
            .collect();
        let first = nest(&[
            (IPSET_ATTR_TYPENAME, [kind.as_bytes(), &[0]].concat()),
            (IPSET_ATTR_DATA, nest(header)),
        ]);
        of_parts(&[first, nest(&[(IPSET_ATTR_ADT, nest(&elements))])])
    }

    fn net(first: [u8; 4], last: [u8; 4]) -> (Value, Value) {
        let value = |address: [u8; 4]| Value::Address(IpAddr::from(address));
        (value(first), value(last))
    }

    fn number(value: u64) -> (Value, Value) {
        (Value::Number(value), Value::Number(value))
    }

    #[test]
    fn an_address_with_a_port_has_the_protocol_between() {
        let element = nest(&[
            ip(IPSET_ATTR_IP, [10, 0, 0, 1]),
            (IPSET_ATTR_PORT, vec![0, 80]),
            (IPSET_ATTR_PROTO, vec![6]),
            (IPSET_ATTR_TIMEOUT, vec![0, 0, 0, 9]),
            (IPSET_ATTR_COMMENT, b"by hand\0".to_vec()),
        ]);
        let set = listed("hash:ip,port", &[], &[element]);
        let told: Vec<_> = set
            .elements
            .iter()
            .map(|e| (e.key.clone(), e.remaining_s, e.comment.as_deref()))
            .collect();
        let key = vec![net([10, 0, 0, 1], [10, 0, 0, 1]), number(6), number(80)];
        assert_eq!(told, [(key, Some(9), Some("by hand"))]);
        assert_eq!(
            fields_of("hash:ip,port", &[Side::Source, Side::Destination]),
            Some(vec![
                Field::Address(Side::Source),
                Field::Protocol,
                Field::Port(Side::Destination)
            ])
        );
        assert_eq!(fields_of("hash:ip,port", &[Side::Source]), None);
        assert_eq!(
            fields_of("bitmap:port", &[Side::Source]),
            Some(vec![Field::Port(Side::Source)])
        );
    }

    #[test]
    fn networks_are_ranges_and_a_mask_makes_them() {
        let cidr = nest(&[
            ip(IPSET_ATTR_IP, [10, 1, 0, 0]),
            (IPSET_ATTR_CIDR, vec![16]),
            ip(IPSET_ATTR_IP2, [10, 2, 0, 7]),
        ]);
        let set = listed("hash:net,net", &[], &[cidr]);
        let keys: Vec<_> = set.elements.into_iter().map(|e| e.key).collect();
        let pair = vec![
            net([10, 1, 0, 0], [10, 1, 255, 255]),
            net([10, 2, 0, 7], [10, 2, 0, 7]),
        ];
        assert_eq!(keys, [pair]);
        let masked = nest(&[ip(IPSET_ATTR_IP, [10, 9, 8, 0])]);
        let set = listed("hash:ip", &[(IPSET_ATTR_NETMASK, vec![24])], &[masked]);
        let keys: Vec<_> = set.elements.into_iter().map(|e| e.key).collect();
        assert_eq!(keys, [vec![net([10, 9, 8, 0], [10, 9, 8, 255])]]);
    }

    #[test]
    fn an_exception_leaves_the_set_incomplete() {
        let except = |flags: u32| {
            nest(&[
                ip(IPSET_ATTR_IP, [10, 1, 2, 3]),
                (IPSET_ATTR_CIDR, vec![32]),
                (IPSET_ATTR_CADT_FLAGS, flags.to_be_bytes().to_vec()),
            ])
        };
        let missing = |flags| listed("hash:net", &[], &[except(flags)]).missing;
        assert_eq!(missing(0), Missing::Nothing);
        assert_eq!(missing(IPSET_FLAG_NOMATCH), Missing::Cut);
    }

    #[test]
    fn a_list_of_sets_is_any_of_them() {
        let member = |name: &str| nest(&[(IPSET_ATTR_NAME, [name.as_bytes(), &[0]].concat())]);
        let list = listed("list:set", &[], &[member("a"), member("b")]);
        let read = BTreeMap::from([
            ("all".to_owned(), list),
            ("a".to_owned(), listed("hash:net", &[], &[])),
            ("b".to_owned(), listed("hash:mac", &[], &[])),
        ]);
        let look = |set: &str, field, not| Test::InSet {
            fields: vec![field],
            set: set.to_owned(),
            not,
        };
        let side = || Field::Other("src".to_owned());
        let mut test = look("all", side(), false);
        complete(&mut test, &read);
        let each = vec![
            look("a", Field::Address(Side::Source), false),
            look("b", Field::Mac(Side::Source), false),
        ];
        assert_eq!(test, Test::Any(each));
        let mut none = look("all", side(), true);
        complete(&mut none, &read);
        assert_eq!(none, look("all", side(), true), "not decided");
    }
}
