//! Whether a packet meets a test. In nf_tables a field that a packet has not ends the rule, whatever it is compared with
//! (NFT_BREAK); most matches of x_tables do the same.

use std::net::IpAddr;

use super::state::State;
use super::{Interface, Packet, Rules, end, has_ports};
use crate::host::facts::{BaseChain, Element, Field, Missing, Set, Side, Test, Value};
use crate::model::{Mac, Proto, Transport, Tuple};

/// What a packet has in a field.
enum Has {
    /// This.
    Is(Value),
    /// Nothing: it has no such field.
    Nothing,
    /// Not known.
    Unknown,
}

/// What a set says of a packet.
pub(super) struct Found<'a> {
    /// Elements that the packet has, or may have.
    pub(super) elements: Vec<&'a Element>,
    /// Of these the packet surely has the only one; or there surely is none.
    pub(super) decided: bool,
    /// There may be others that are not known.
    pub(super) open: bool,
}

/// A packet as a rule of a chain sees it.
pub(super) struct Evaluator<'e, 'a> {
    pub(super) packet: &'e Packet,
    pub(super) state: &'e State,
    pub(super) rules: &'e Rules<'a>,
    pub(super) base: &'e BaseChain,
    /// States of the connection of which it may be one.
    pub(super) states: Option<u32>,
}

impl Evaluator<'_, '_> {
    /// Whether a test holds; `None`: cannot be told.
    pub(super) fn holds(&self, test: &Test) -> Option<bool> {
        match test {
            Test::Address { side, ranges, not } => self.has_address(*side, ranges, *not),
            Test::Port { side, ranges, not } => self.has_port(*side, ranges, *not),
            Test::Protocol { number, not } => match self.protocol()? {
                Some(own) => Some((own == *number) != *not),
                None => Some(false),
            },
            Test::Version { v6, not } => {
                let tuple = self.state.tuple?;
                if tuple.proto == Proto::Arp {
                    return Some(*not);
                }
                Some((tuple.src.is_ipv6() == *v6) != *not)
            }
            Test::Interface { side, name, not } => {
                let own = self.interface(*side)?;
                Some(named(name, own) != *not)
            }
            Test::State { mask, not } => {
                let possible = self.states?;
                match (possible & mask, possible & !mask) {
                    (0, _) => Some(*not),
                    (_, 0) => Some(!not),
                    _ => None,
                }
            }
            Test::IcmpType { number, not } => {
                self.within(&Field::IcmpType, None, &[number_of(*number)], *not)
            }
            Test::Mark { value, mask, not } => Some((self.state.mark? & mask == *value) != *not),
            Test::Is {
                field,
                mask,
                ranges,
                not,
            } => self.within(field, *mask, ranges, *not),
            Test::InSet { fields, set, not } => self.in_set(fields, set, *not),
            Test::Any(tests) => self.any(tests),
            Test::Other(_) => None,
        }
    }

    fn has_address(&self, side: Side, ranges: &[(IpAddr, IpAddr)], not: bool) -> Option<bool> {
        let Some(address) = self.address(side)? else {
            return Some(false);
        };
        let comparable = ranges
            .first()
            .is_none_or(|(a, _)| a.is_ipv4() == address.is_ipv4());
        let within = |(first, last): &(IpAddr, IpAddr)| (*first..=*last).contains(&address);
        Some(comparable && ranges.iter().any(within) != not)
    }

    /// On this side, or on either.
    fn has_port(&self, side: Option<Side>, ranges: &[(u16, u16)], not: bool) -> Option<bool> {
        let within = |port: u16| ranges.iter().any(|(a, b)| (*a..=*b).contains(&port));
        let met = match side {
            Some(side) => match self.port(side)? {
                Some(port) => within(port),
                None => return Some(false),
            },
            None => match (self.port(Side::Source)?, self.port(Side::Destination)?) {
                (Some(a), Some(b)) => within(a) || within(b),
                _ => return Some(false),
            },
        };
        Some(met != not)
    }

    fn any(&self, tests: &[Test]) -> Option<bool> {
        let mut none = Some(false);
        for test in tests {
            match self.holds(test) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => none = None,
            }
        }
        none
    }

    fn within(
        &self,
        field: &Field,
        mask: Option<u64>,
        ranges: &[(Value, Value)],
        not: bool,
    ) -> Option<bool> {
        let value = match (self.has(field), mask) {
            (Has::Nothing, _) => return Some(false),
            (Has::Unknown, _) => return None,
            (Has::Is(Value::Number(number)), Some(mask)) => Value::Number(number & mask),
            (Has::Is(value), _) => value,
        };
        Some(ranges.iter().any(|range| contains(range, &value)) != not)
    }

    fn in_set(&self, fields: &[Field], name: &str, not: bool) -> Option<bool> {
        let set = self.rules.set(self.base, name)?;
        if fields.iter().any(|f| matches!(self.has(f), Has::Nothing)) {
            // To ipset such a packet is in no set (match_set, net/netfilter/xt_set.c).
            return Some(not && set.is_ipset());
        }
        let found = self.find(set, fields);
        match (found.elements.is_empty(), found.decided, found.open) {
            (false, true, _) => Some(!not),
            (true, true, false) => Some(not),
            _ => None,
        }
    }

    /// The elements that the packet has, or may have.
    pub(super) fn find<'s>(&self, set: &'s Set, fields: &[Field]) -> Found<'s> {
        let own: Vec<Has> = fields.iter().map(|field| self.has(field)).collect();
        let open = set.missing != Missing::Nothing;
        let mut found = Found {
            elements: Vec::new(),
            decided: true,
            open,
        };
        if own.iter().any(|has| matches!(has, Has::Nothing)) {
            found.open = false;
            return found;
        }
        let mut otherwise = None;
        for element in &set.elements {
            if element.key.is_empty() {
                otherwise = Some(element);
                continue;
            }
            match self.is_key(element, &own, fields) {
                Some(false) => {}
                Some(true) => {
                    return Found {
                        elements: vec![element],
                        decided: true,
                        open: false,
                    };
                }
                None => {
                    found.decided = false;
                    found.elements.push(element);
                }
            }
        }
        found.elements.extend(otherwise);
        found.decided &= !open;
        found
    }

    /// What the packet has in these fields; `None`: not known, or it has not all of them.
    pub(super) fn key(&self, fields: &[Field]) -> Option<Vec<Value>> {
        let value = |field| match self.has(field) {
            Has::Is(value) => Some(value),
            Has::Nothing | Has::Unknown => None,
        };
        fields.iter().map(value).collect()
    }

    fn is_key(&self, element: &Element, own: &[Has], fields: &[Field]) -> Option<bool> {
        let mut all = Some(element.key.len() == own.len());
        for ((range, has), field) in element.key.iter().zip(own).zip(fields) {
            let fits = match (has, field) {
                (Has::Is(value), _) => Some(contains(range, value)),
                (Has::Nothing, _) => Some(false),
                (Has::Unknown, Field::State) => self.may_be_state(range),
                (Has::Unknown, _) => None,
            };
            match fits {
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }

    /// A state of several that are possible.
    fn may_be_state(&self, range: &(Value, Value)) -> Option<bool> {
        let possible = u64::from(self.states?);
        match range {
            (Value::Number(state), _) if possible & state == 0 => Some(false),
            _ => None,
        }
    }

    fn tuple(&self) -> Option<Tuple> {
        self.state.tuple
    }

    /// `None`: not known; `Some(None)`: it has none.
    fn address(&self, side: Side) -> Option<Option<IpAddr>> {
        let tuple = self.tuple()?;
        if tuple.proto == Proto::Arp {
            return Some(None);
        }
        let known = end(side, self.state.source_known, self.state.destination_known);
        known.then(|| Some(end(side, tuple.src, tuple.dst)))
    }

    fn port(&self, side: Side) -> Option<Option<u16>> {
        let tuple = self.tuple()?;
        let later = self.packet.fragment.is_some_and(|f| f.offset > 0);
        if later {
            return Some(None);
        }
        match tuple.proto {
            proto if has_ports(proto) => {}
            // Bytes of another header stand where ports would.
            Proto::Other(_) | Proto::Icmp | Proto::Icmp6 => return None,
            _ => return Some(None),
        }
        let known = end(side, self.state.source_known, self.state.destination_known);
        known.then(|| Some(end(side, tuple.sport, tuple.dport)))
    }

    fn protocol(&self) -> Option<Option<u8>> {
        Some(self.tuple()?.proto.number())
    }

    /// What follows the header of IPv6: of a packet of which that was not seen, the transport, or that it is a fragment.
    fn next_header(&self) -> Has {
        const FRAGMENT: u8 = 44;
        match (self.tuple(), self.packet.next_header) {
            (Some(tuple), _) if !tuple.src.is_ipv6() => Has::Nothing,
            (_, Some(seen)) => known(Some(seen)),
            (..) if self.packet.fragment.is_some() => known(Some(FRAGMENT)),
            (..) => of(self.protocol(), |number| Value::Number(number.into())),
        }
    }

    /// The name of an interface; empty where the packet has none.
    fn interface(&self, side: Side) -> Option<&str> {
        match end(side, &self.packet.iif, &self.packet.oif) {
            Interface::Unknown => None,
            Interface::Absent => Some(""),
            Interface::Named(name) => Some(name),
        }
    }

    fn bridge_port(&self, side: Side) -> Has {
        match end(side, &self.packet.port_in, &self.packet.port_out) {
            Interface::Unknown => Has::Unknown,
            Interface::Absent => Has::Is(Value::Name(String::new())),
            Interface::Named(name) => Has::Is(Value::Name(name.clone())),
        }
    }

    fn has(&self, field: &Field) -> Has {
        let tuple = self.tuple();
        match field {
            Field::Address(side) => of(self.address(*side), Value::Address),
            Field::Port(side) => of(self.port(*side), |port| Value::Number(port.into())),
            Field::Protocol => of(self.protocol(), |number| Value::Number(number.into())),
            Field::NextHeader => self.next_header(),
            Field::Family => known(tuple.map(|t| if t.src.is_ipv6() { 10_u32 } else { 2 })),
            Field::EtherType => known(tuple.map(|t| match (t.proto, t.src.is_ipv6()) {
                (Proto::Arp, _) => 0x0806_u32,
                (_, false) => 0x0800,
                (_, true) => 0x86dd,
            })),
            // ARPHRD_ETHER, where it has a header of Ethernet
            Field::LinkType(_) => known(self.packet.destination_mac.map(|_| 1_u32)),
            Field::Interface(side) => name(self.interface(*side).map(str::to_owned)),
            Field::BridgePort(side) => self.bridge_port(*side),
            Field::State => match self.states {
                Some(states) if states.is_power_of_two() => Has::Is(Value::Number(states.into())),
                _ => Has::Unknown,
            },
            Field::Status => self.of_connection(self.state.status),
            Field::ConnectionMark => self.of_connection(self.state.connection_mark),
            Field::Mark => known(self.state.mark),
            Field::IcmpType | Field::IcmpCode | Field::TcpFlags => self.transport(field),
            Field::Mac(side) => {
                let mac = end(*side, self.packet.source_mac, self.packet.destination_mac);
                mac.map_or(Has::Unknown, |mac| Has::Is(Value::Mac(mac)))
            }
            Field::PacketType => known(self.packet.packet_type),
            Field::Length => known(self.packet.length),
            Field::Ttl => known(self.packet.ttl),
            Field::Tos => known(self.packet.tos),
            Field::Fragment => match self.packet.fragment {
                None => Has::Unknown,
                Some(fragment) => {
                    let more = if fragment.more { 0x2000 } else { 0 };
                    Has::Is(Value::Number(u64::from((fragment.offset / 8) | more)))
                }
            },
            Field::AddressType(side) => self.address_type(*side),
            Field::ArpOperation => match self.packet.transport {
                Transport::Neighbor { answer, .. } => known(Some(if answer { 2_u8 } else { 1 })),
                _ => Has::Unknown,
            },
            Field::ArpAddress(side) => match tuple {
                Some(tuple) if tuple.proto == Proto::Arp => {
                    Has::Is(Value::Address(end(*side, tuple.src, tuple.dst)))
                }
                Some(_) => Has::Nothing,
                None => Has::Unknown,
            },
            Field::ArpMac(_)
            | Field::ArpHardware
            | Field::ArpHardwareLength
            | Field::ArpProtocolLength => self.arp_header(field),
            Field::User => known(self.packet.user),
            Field::Bridge(_) | Field::Group | Field::Other(_) => Has::Unknown,
        }
    }

    /// A field of the connection: what has none has not that either (nft_ct_get_eval).
    fn of_connection(&self, value: Option<u32>) -> Has {
        use super::states::{INVALID, UNTRACKED};
        match self.states {
            Some(states) if states & !(INVALID | UNTRACKED) == 0 => Has::Nothing,
            Some(states) if states & (INVALID | UNTRACKED) == 0 => known(value),
            _ => Has::Unknown,
        }
    }

    /// What ARP on Ethernet says of itself and of MACs; a request names none as the one that it asks for
    /// (arp_solicit, net/ipv4/arp.c).
    fn arp_header(&self, field: &Field) -> Has {
        let Transport::Neighbor { answer, mac, .. } = self.packet.transport else {
            return Has::Unknown;
        };
        let mac_of = |mac: Option<Mac>| mac.map_or(Has::Unknown, |mac| Has::Is(Value::Mac(mac)));
        match field {
            _ if self.tuple().is_some_and(|t| t.proto != Proto::Arp) => Has::Nothing,
            Field::ArpMac(Side::Source) => mac_of(mac),
            Field::ArpMac(Side::Destination) if answer => mac_of(self.packet.destination_mac),
            Field::ArpMac(Side::Destination) => mac_of(Some(Mac([0; 6]))),
            // ARPHRD_ETHER, with MACs of six bytes and addresses of four.
            Field::ArpHardware => known(Some(1_u8)),
            Field::ArpHardwareLength => known(Some(6_u8)),
            Field::ArpProtocolLength => known(Some(4_u8)),
            _ => Has::Unknown,
        }
    }

    fn transport(&self, field: &Field) -> Has {
        if self.packet.fragment.is_some_and(|f| f.offset > 0) {
            return Has::Nothing;
        }
        let proto = self.tuple().map(|t| t.proto);
        match (field, self.packet.transport) {
            (Field::IcmpType, Transport::Icmp { icmp_type, .. }) => known(Some(icmp_type)),
            (Field::IcmpCode, Transport::Icmp { code, .. }) => known(Some(code)),
            (Field::TcpFlags, Transport::Tcp { flags, .. }) => known(Some(flags)),
            (Field::IcmpType, Transport::Neighbor { answer, .. })
                if proto == Some(Proto::Icmp6) =>
            {
                known(Some(if answer { 136_u8 } else { 135 }))
            }
            (Field::IcmpCode, Transport::Neighbor { .. }) if proto == Some(Proto::Icmp6) => {
                known(Some(0_u8))
            }
            (Field::TcpFlags, _) if proto.is_some_and(|p| p != Proto::Tcp) => Has::Nothing,
            (Field::IcmpType | Field::IcmpCode, _)
                if proto.is_some_and(|p| !matches!(p, Proto::Icmp | Proto::Icmp6)) =>
            {
                Has::Nothing
            }
            _ => Has::Unknown,
        }
    }

    /// RTN_* as far as addresses tell it.
    fn address_type(&self, side: Side) -> Has {
        const UNICAST: u8 = 1;
        const LOCAL: u8 = 2;
        const BROADCAST: u8 = 3;
        const MULTICAST: u8 = 5;
        let address = match self.address(side) {
            None => return Has::Unknown,
            Some(None) => return Has::Nothing,
            Some(Some(address)) => address,
        };
        let everybody = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        if address.is_multicast() {
            return known(Some(MULTICAST));
        }
        if everybody {
            return known(Some(BROADCAST));
        }
        if address.is_loopback() {
            return known(Some(LOCAL));
        }
        match &self.packet.local {
            None => Has::Unknown,
            Some(local) if local.contains(&address) => known(Some(LOCAL)),
            // The broadcast address of a network ends in ones.
            Some(_) if matches!(address, IpAddr::V4(v4) if v4.octets()[3] == 255) => Has::Unknown,
            Some(_) => known(Some(UNICAST)),
        }
    }
}

fn number_of(number: u8) -> (Value, Value) {
    let value = Value::Number(number.into());
    (value.clone(), value)
}

fn known<T: Into<u64>>(value: Option<T>) -> Has {
    value.map_or(Has::Unknown, |value| Has::Is(Value::Number(value.into())))
}

fn name(value: Option<String>) -> Has {
    value.map_or(Has::Unknown, |name| Has::Is(Value::Name(name)))
}

fn of<T>(value: Option<Option<T>>, make: impl Fn(T) -> Value) -> Has {
    match value {
        None => Has::Unknown,
        Some(None) => Has::Nothing,
        Some(Some(value)) => Has::Is(make(value)),
    }
}

/// Whether an interface has a name; `*` at the end stands for anything.
pub(super) fn named(pattern: &str, own: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => own.starts_with(start),
        None => own == pattern,
    }
}

fn contains((first, last): &(Value, Value), value: &Value) -> bool {
    match (first, value) {
        (Value::Name(pattern), Value::Name(own)) => named(pattern, own),
        (Value::Number(first), Value::Number(own)) => match last {
            Value::Number(last) => (*first..=*last).contains(own),
            _ => first == own,
        },
        (Value::Address(first), Value::Address(own)) => match last {
            Value::Address(last) => {
                first.is_ipv4() == own.is_ipv4() && (*first..=*last).contains(own)
            }
            _ => first == own,
        },
        (first, own) => first == own,
    }
}
