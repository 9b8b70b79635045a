//! Expressions of a rule of nf_tables, one after the other: what is loaded into which register, what it is compared
//! with, and what the rule does. What is not understood stays a condition in words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::values::{self, Bound, Layout};
use super::super::xt::{self, Matched};
use super::drawn::{self, Says};
use super::rules::TableId;
use super::sets::Kinds;
use super::statement;
use super::verdict;
use crate::host::facts::{Field, NewTtl, NewValue, Part, Side, Statement, Test, Value};
use crate::host::links::mac_of;
use crate::host::netlink::{attributes, be32_of, text_of, u32_of};
use crate::model::Mac;

/// NFPROTO_*.
const FAMILY_IP: u8 = 2;
const FAMILY_ARP: u8 = 3;
const FAMILY_IP6: u8 = 10;
/// Slots of four bytes that all registers share.
const SLOT: usize = 4;

/// What a register holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Field(Field),
    Constant(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(super) struct Register {
    pub(super) content: Content,
    length: usize,
    mask: Option<Vec<u8>>,
    xor: Option<Vec<u8>>,
    layout: Layout,
    /// Loaded from a header of IPv6.
    v6: bool,
    /// How values are written, of what is no field of the model.
    says: Option<Says>,
    /// The fields that were loaded in one piece, with their lengths in bytes; empty for one field.
    pieces: Vec<(Field, usize)>,
}

impl Register {
    /// A field of four bytes.
    pub(super) fn of(field: Field) -> Self {
        Self::field(field, SLOT)
    }

    /// What is no field of the model, in words.
    pub(super) fn worded(name: String, length: usize, layout: Layout, says: Says) -> Self {
        Self {
            layout,
            says: Some(says),
            ..Self::field(Field::Other(name), length)
        }
    }

    fn field(field: Field, length: usize) -> Self {
        Self {
            content: Content::Field(field),
            length,
            mask: None,
            xor: None,
            layout: Layout::default(),
            v6: false,
            says: None,
            pieces: Vec::new(),
        }
    }

    fn unknown(text: impl Into<String>) -> Self {
        Self::field(Field::Other(text.into()), SLOT)
    }
}

/// A set that a rule looks into, and what its keys are.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) set: String,
    pub(super) fields: Vec<(Field, Layout, usize)>,
}

/// A rule as far as it has been read.
pub(super) struct Reading<'a> {
    pub(super) table: &'a TableId,
    kinds: &'a Kinds,
    registers: BTreeMap<u32, Register>,
    pub(super) parts: Vec<Part>,
    pub(super) uses: Vec<Use>,
    pub(super) packets: Option<u64>,
    pub(super) comment: Option<String>,
}

/// The attributes of an expression by number.
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Attributes<'a> {
    pub(super) fn get(&self, wanted: u16) -> Option<&'a [u8]> {
        attributes(self.0)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    }

    pub(super) fn number(&self, wanted: u16) -> Option<u32> {
        self.get(wanted).and_then(be32_of)
    }

    pub(super) fn long(&self, wanted: u16) -> Option<u64> {
        let value = self.get(wanted)?.first_chunk()?;
        Some(u64::from_be_bytes(*value))
    }

    /// NFTA_DATA_VALUE in a nest.
    fn value(&self, wanted: u16) -> Option<&'a [u8]> {
        Attributes(self.get(wanted)?).get(1)
    }
}

/// The first slot of a register: NFT_REG_1 to NFT_REG_4 are of 16 bytes, NFT_REG32_00 and so on (from 8) of four.
fn slot(register: u32) -> u32 {
    match register {
        1..=4 => (register - 1) * 4,
        other => other.saturating_sub(8),
    }
}

impl<'a> Reading<'a> {
    pub(super) fn new(table: &'a TableId, kinds: &'a Kinds) -> Self {
        Self {
            table,
            kinds,
            registers: BTreeMap::new(),
            parts: Vec::new(),
            uses: Vec::new(),
            packets: None,
            comment: None,
        }
    }

    pub(super) fn test(&mut self, test: Test) {
        self.parts.push(Part::Test(test));
    }

    pub(super) fn act(&mut self, statement: Statement) {
        self.parts.push(Part::Do(statement));
    }

    /// Whether only packets of IPv6 come to the next part: by the table, or by what was tested before.
    fn is_of_ipv6(&self) -> bool {
        let tested = |part: &Part| {
            matches!(
                part,
                Part::Test(Test::Version {
                    v6: true,
                    not: false
                })
            )
        };
        self.table.0 == FAMILY_IP6 || self.parts.iter().any(tested)
    }

    fn note(&mut self, text: impl Into<String>) {
        self.act(Statement::Note(text.into()));
    }

    fn other(&mut self, text: impl Into<String>) {
        self.test(Test::Other(text.into()));
    }

    /// Takes the next expression.
    pub(super) fn take(&mut self, name: &str, data: &[u8]) {
        let read = Attributes(data);
        match name {
            "meta" if read.get(3).is_some() => self.set_meta(&read),
            "meta" => self.load(&read, 1, meta(&read)),
            "payload" if read.get(5).is_some() => self.write(&read),
            "payload" => self.load(&read, 1, self.payload(&read)),
            "ct" if read.get(4).is_some() => self.set_connection(&read),
            "ct" => self.load(&read, 1, Some(connection(&read))),
            "fib" => self.load(&read, 1, Some(fib(&read))),
            "numgen" => self.load(&read, 1, Some(drawn::generator(&read))),
            // With a register to read from (NFTA_EXTHDR_SREG) it writes.
            "exthdr" if read.get(7).is_some() => {
                let value = self.written(&read, 7);
                self.note(drawn::written(&read, value));
            }
            "exthdr" => self.load(&read, 1, Some(drawn::extension(&read))),
            "rt" => self.load(&read, 1, Some(drawn::route(&read))),
            "osf" | "xfrm" => {
                self.load(&read, 1, Some(Register::unknown(format!("{name} …"))));
            }
            "hash" | "socket" | "tunnel" => {
                self.load(&read, 2, Some(Register::unknown(format!("{name} …"))));
            }
            "bitwise" => self.bitwise(&read),
            "byteorder" => self.swapped(&read),
            "cmp" => self.compare(&read),
            "range" => self.range(&read),
            "lookup" => self.look_up(&read),
            "immediate" => self.immediate(&read),
            "counter" => self.packets = read.long(2),
            "match" => self.matched(&read),
            "target" => self.target(&read),
            "reject" => self.act(statement::reject(&read, self.is_of_ipv6())),
            "queue" => self.act(statement::queue(&read)),
            "masq" | "nat" | "redir" => {
                let made = statement::translation(name, &read, |r| self.constant(r));
                self.act(Statement::Translate(made));
            }
            "notrack" => self.act(Statement::NoTrack),
            "limit" => self.other(statement::limit(&read)),
            "connlimit" => self.other(statement::connlimit(&read)),
            "log" => self.note(statement::log(&read)),
            // With an expression of its own it is a limit too.
            "dynset" if read.get(7).is_none() && read.get(10).is_none() => {
                let set = read.get(1).map(text_of).unwrap_or_default();
                self.note(format!("add @{set} …"));
            }
            "dynset" => self.other(self.updated(&read)),
            // They tell of the packet or make another one, and let it go on.
            "objref" | "dup" | "last" => self.note(format!("{name} …")),
            other => self.other(format!("{other} …")),
        }
    }

    /// A set that is given an element, with an expression that the element has for itself: a limit for each address.
    fn updated(&self, read: &Attributes<'_>) -> String {
        /// NFT_DYNSET_OP_UPDATE.
        const UPDATE: u32 = 1;
        let verb = match read.number(3) {
            Some(UPDATE) => "update",
            _ => "add",
        };
        let set = read.get(1).map(text_of).unwrap_or_default();
        let key = match self.register(read, 4) {
            Some(Register {
                content: Content::Field(field),
                mask: None,
                v6,
                ..
            }) => super::super::words::field_of(&field, v6),
            _ => "…".to_owned(),
        };
        let own = read.get(7).map(Attributes).map(|own| {
            let data = Attributes(own.get(2).unwrap_or_default());
            match own.get(1).map(text_of).as_deref() {
                Some("limit") => statement::limit(&data),
                Some("connlimit") => statement::connlimit(&data),
                _ => "…".to_owned(),
            }
        });
        let timeout = read.long(6).filter(|milliseconds| *milliseconds != 0);
        let timeout = timeout.map_or_else(String::new, |ms| format!("timeout {}s ", ms / 1000));
        // several expressions
        let rest = if own.is_none() { " …" } else { "" };
        let set = super::super::words::nft_name(&set);
        format!(
            "{verb} @{set} {{ {key} {timeout}{}{rest} }}",
            own.unwrap_or_default()
        )
    }

    /// Remembers what is loaded.
    fn load(&mut self, read: &Attributes<'_>, attribute: u16, what: Option<Register>) {
        if let (Some(register), Some(loaded)) = (read.number(attribute), what) {
            self.registers.insert(slot(register), loaded);
        }
    }

    /// Writes into a header.
    fn write(&mut self, read: &Attributes<'_>) {
        let mac = self.set_mac(read).map(|(s, mac)| Statement::SetMac(s, mac));
        match mac.or_else(|| self.set_ttl(read)) {
            Some(statement) => self.act(statement),
            None => self.note("@… set …"),
        }
    }

    /// A constant that is written over a TTL: alone, or (nft writes two bytes where there is a checksum) with the byte beside
    /// it as it was.
    fn set_ttl(&self, read: &Attributes<'_>) -> Option<Statement> {
        let (base, offset) = (read.number(2)?, read.number(3)?);
        let length = read.number(4)?;
        let at = (0..length).find(|at| self.field(base, offset + at, 1) == Some(Field::Ttl))?;
        let at = usize::try_from(at).ok()?;
        let value = match length {
            1 => *self.constant(read.number(5)?)?.first()?,
            2 => {
                let register = self.register(read, 5)?;
                let (mask, xor) = (register.mask.as_ref()?, register.xor.as_ref()?);
                let beside = 1 - at;
                let kept = mask.get(beside) == Some(&0xff) && xor.get(beside) == Some(&0);
                let written = kept && mask.get(at) == Some(&0);
                *xor.get(at).filter(|_| written)?
            }
            _ => return None,
        };
        Some(Statement::SetTtl {
            v6: self.is_v6(),
            to: NewTtl::Is(value),
        })
    }

    /// A constant that is written over a MAC.
    fn set_mac(&self, read: &Attributes<'_>) -> Option<(Side, Mac)> {
        let length = usize::try_from(read.number(4)?).ok()?;
        let Field::Mac(side) = self.field(read.number(2)?, read.number(3)?, length)? else {
            return None;
        };
        let value = self.constant(read.number(5)?)?;
        Some((side, mac_of(value.get(..6)?)?))
    }

    fn set_meta(&mut self, read: &Attributes<'_>) {
        /// NFT_META_MARK.
        const MARK: u32 = 3;
        if read.number(2) == Some(MARK) {
            let value = self.new_value(read, 3, &Field::Mark);
            self.act(Statement::SetMark(value));
        } else {
            self.note("meta … set …");
        }
    }

    fn set_connection(&mut self, read: &Attributes<'_>) {
        /// NFT_CT_MARK and NFT_CT_ZONE.
        const MARK: u32 = 3;
        const ZONE: u32 = 17;
        match read.number(2) {
            Some(ZONE) => {
                let zone = self.zone(read).filter(|_| read.get(3).is_none());
                self.act(Statement::SetZone(zone));
            }
            Some(MARK) => {
                let value = self.new_value(read, 4, &Field::ConnectionMark);
                self.act(Statement::SetConnectionMark(value));
            }
            Some(key) => self.note(format!("ct {key} set …")),
            None => {}
        }
    }

    /// The zone in a register, where that is a constant.
    fn zone(&self, read: &Attributes<'_>) -> Option<u16> {
        match self.register(read, 4)?.content {
            Content::Constant(bytes) => bytes.first_chunk().map(|b| u16::from_ne_bytes(*b)),
            Content::Field(_) => None,
        }
    }

    /// What a register gives to an option, in words.
    fn written(&self, read: &Attributes<'_>, attribute: u16) -> Option<String> {
        let register = self.register(read, attribute)?;
        match &register.content {
            Content::Constant(bytes) => drawn::number(Layout::default(), bytes),
            Content::Field(_) if register.mask.is_some() => None,
            Content::Field(field) => Some(super::super::words::field(field)),
        }
    }

    /// What a register gives to a mark.
    fn new_value(&self, read: &Attributes<'_>, attribute: u16, own: &Field) -> NewValue {
        let unknown = || NewValue {
            keep: 0,
            from: Some((Field::Other("…".to_owned()), u32::MAX)),
            xor: 0,
        };
        let Some(register) = self.register(read, attribute) else {
            return unknown();
        };
        let bits = |bytes: &Option<Vec<u8>>| bytes.as_deref().and_then(u32_of);
        let (mask, xor) = (
            bits(&register.mask).unwrap_or(u32::MAX),
            bits(&register.xor).unwrap_or(0),
        );
        match register.content {
            Content::Constant(bytes) => match u32_of(&bytes) {
                Some(value) => NewValue {
                    keep: 0,
                    from: None,
                    xor: (value & mask) ^ xor,
                },
                None => unknown(),
            },
            Content::Field(field) if field == *own => NewValue {
                keep: mask,
                from: None,
                xor,
            },
            Content::Field(field @ (Field::Mark | Field::ConnectionMark)) => NewValue {
                keep: 0,
                from: Some((field, mask)),
                xor,
            },
            Content::Field(_) => unknown(),
        }
    }

    fn constant(&self, register: u32) -> Option<Vec<u8>> {
        match &self.registers.get(&slot(register))?.content {
            Content::Constant(bytes) => Some(bytes.clone()),
            Content::Field(_) => None,
        }
    }

    /// Tests so far.
    fn tests(&self) -> impl DoubleEndedIterator<Item = &Test> {
        self.parts.iter().filter_map(|part| match part {
            Part::Test(test) => Some(test),
            Part::Do(_) => None,
        })
    }

    fn is_arp(&self) -> bool {
        let asked = |test: &Test| match test {
            Test::Is {
                field: Field::EtherType,
                ranges,
                not: false,
                ..
            } => ranges.as_slice() == [(Value::Number(0x0806), Value::Number(0x0806))],
            _ => false,
        };
        self.table.0 == FAMILY_ARP || self.tests().any(asked)
    }

    fn is_v6(&self) -> bool {
        let asked = self.tests().rev().find_map(|test| match test {
            Test::Version { v6, not } => Some(v6 != not),
            _ => None,
        });
        match self.table.0 {
            FAMILY_IP => false,
            FAMILY_IP6 => true,
            _ => asked == Some(true),
        }
    }

    fn payload(&self, read: &Attributes<'_>) -> Option<Register> {
        let base = read.number(2)?;
        let (offset, length) = (read.number(3)?, usize::try_from(read.number(4)?).ok()?);
        let known = self.field(base, offset, length);
        let pieces = match known {
            Some(_) => Vec::new(),
            None => self.pieces(base, offset, length).unwrap_or_default(),
        };
        let field = known.unwrap_or_else(|| {
            let words = ["ll", "nh", "th"];
            let base = usize::try_from(base).ok().and_then(|b| words.get(b));
            Field::Other(format!(
                "@{},{},{}",
                base.unwrap_or(&"…"),
                u64::from(offset) * 8,
                length * 8
            ))
        });
        Some(Register {
            v6: self.is_v6(),
            pieces,
            ..Register::field(field, length)
        })
    }

    /// The field of a header that lies there.
    fn field(&self, base: u32, offset: u32, length: usize) -> Option<Field> {
        const LINK: u32 = 0;
        const NETWORK: u32 = 1;
        const TRANSPORT: u32 = 2;
        match base {
            NETWORK if self.is_arp() => arp(offset, length),
            NETWORK if self.is_v6() => ipv6(offset, length),
            NETWORK => ipv4(offset, length),
            TRANSPORT => self.transport(offset, length),
            LINK => ethernet(offset, length),
            _ => None,
        }
    }

    /// The fields that fill a stretch of a header: nft and iptables-nft load neighbours that are compared in one piece.
    fn pieces(&self, base: u32, offset: u32, length: usize) -> Option<Vec<(Field, usize)>> {
        /// Of a MAC, an IPv4 address, a port, a protocol.
        const LENGTHS: [usize; 4] = [6, 4, 2, 1];
        let (mut pieces, mut taken) = (Vec::new(), 0);
        while taken < length {
            let at = offset + u32::try_from(taken).ok()?;
            let piece = LENGTHS
                .into_iter()
                .filter(|piece| *piece <= length - taken)
                .find_map(|piece| Some((self.field(base, at, piece)?, piece)))?;
            taken += piece.1;
            pieces.push(piece);
        }
        Some(pieces)
    }

    fn transport(&self, offset: u32, length: usize) -> Option<Field> {
        let asked = self.tests().rev().find_map(|test| match test {
            Test::Protocol { number, not: false } => Some(*number),
            // as older versions of nft(8) say it
            Test::Is {
                field: Field::NextHeader,
                mask: None,
                ranges,
                not: false,
            } => match ranges.as_slice() {
                [(Value::Number(a), Value::Number(b))] if a == b => u8::try_from(*a).ok(),
                _ => None,
            },
            _ => None,
        });
        let icmp = matches!(asked, Some(1 | 58));
        Some(match (offset, length) {
            (0, 1) if icmp => Field::IcmpType,
            (1, 1) if icmp => Field::IcmpCode,
            (0, 2) if !icmp => Field::Port(Side::Source),
            (2, 2) if !icmp => Field::Port(Side::Destination),
            (13, 1) if asked == Some(6) => Field::TcpFlags,
            _ => return None,
        })
    }

    fn bitwise(&mut self, read: &Attributes<'_>) {
        let Some(to) = read.number(2) else {
            return;
        };
        let Some(mut source) = self.register(read, 1) else {
            return;
        };
        // NFT_BITWISE_BOOL (also NFT_BITWISE_MASK_XOR), and no second operand.
        let plain = read.number(6).unwrap_or_default() == 0 && source.mask.is_none();
        if plain {
            source.mask = read.value(4).map(<[u8]>::to_vec);
            source.xor = read
                .value(5)
                .filter(|xor| xor.iter().any(|byte| *byte != 0))
                .map(<[u8]>::to_vec);
        } else {
            source = Register::unknown(format!("{} …", field_words(&source)));
        }
        self.registers.insert(slot(to), source);
    }

    fn swapped(&mut self, read: &Attributes<'_>) {
        if let (Some(mut source), Some(to)) = (self.register(read, 1), read.number(2)) {
            source.layout.host = !source.layout.host;
            if let Some(mask) = &mut source.mask {
                mask.reverse();
            }
            self.registers.insert(slot(to), source);
        }
    }

    fn compare(&mut self, read: &Attributes<'_>) {
        /// NFT_CMP_EQ and the others.
        const BOUNDS: [(u32, Bound, &str); 4] = [
            (2, Bound::Less, "< "),
            (3, Bound::AtMost, "<= "),
            (4, Bound::Greater, "> "),
            (5, Bound::AtLeast, ">= "),
        ];
        let (Some(register), Some(operation), Some(value)) =
            (self.register(read, 1), read.number(2), read.value(3))
        else {
            return self.other("…");
        };
        let bound = BOUNDS.iter().find(|(number, ..)| *number == operation);
        let not = operation == 1;
        if bound.is_none()
            && !not
            && let Some(tests) = equal_pieces(&register, value)
        {
            return tests.into_iter().for_each(|test| self.test(test));
        }
        let test = match bound {
            None => equal(&register, value, not),
            Some((_, bound, _)) => bounded(&register, value, *bound),
        };
        // A range is loaded as two bounds.
        if bound.is_some()
            && let (Some(Part::Test(before)), Some(test)) = (self.parts.last_mut(), &test)
            && let Some(both) = overlap(before, test)
        {
            *before = both;
            return;
        }
        self.test(test.unwrap_or_else(|| {
            let said = bound.map_or(if not { "!= " } else { "" }, |(.., said)| said);
            Test::Other(unequal_words(&register, said, value))
        }));
    }

    fn range(&mut self, read: &Attributes<'_>) {
        let (Some(register), Some(operation)) = (self.register(read, 1), read.number(2)) else {
            return self.other("…");
        };
        let test = in_range(&register, (read.value(3), read.value(4)), operation == 1);
        let words = field_words(&register);
        let unless = if operation == 1 { "!= " } else { "" };
        let ends = said(&register, read.value(3)).zip(said(&register, read.value(4)));
        let ends = ends.map_or_else(|| "…".to_owned(), |(from, to)| format!("{from}-{to}"));
        self.test(test.unwrap_or_else(|| Test::Other(format!("{words} {unless}{ends}"))));
    }

    /// The fields of a key that begins at a register.
    fn key(&self, read: &Attributes<'_>, set: &str) -> Option<Vec<(Field, Layout, usize)>> {
        let first = slot(read.number(2)?);
        let kind = self.kinds.get(&(self.table.clone(), set.to_owned()))?;
        let mut fields = Vec::new();
        let (mut at, mut taken) = (first, 0);
        while taken < kind.key {
            let register = self.registers.get(&at)?;
            let masked = register.mask.is_some() || register.xor.is_some();
            let field = match &register.content {
                Content::Field(field) if !masked => field.clone(),
                _ => Field::Other(field_words(register)),
            };
            let length = match register.length {
                0 => return None,
                length => length,
            };
            fields.push((field, register.layout, length));
            let padded = length.next_multiple_of(SLOT);
            taken += padded;
            at += u32::try_from(padded / SLOT).ok()?;
        }
        Some(fields)
    }

    fn look_up(&mut self, read: &Attributes<'_>) {
        /// NFT_LOOKUP_F_INV.
        const INVERTED: u32 = 1;
        let set = read.get(1).map(text_of).unwrap_or_default();
        let not = read.number(5).is_some_and(|flags| flags & INVERTED != 0);
        let key = self.key(read, &set);
        let fields: Vec<Field> = match &key {
            Some(key) => key.iter().map(|(field, ..)| field.clone()).collect(),
            None => vec![Field::Other("…".to_owned())],
        };
        if let Some(key) = key {
            self.uses.push(Use {
                set: set.clone(),
                fields: key,
            });
        }
        match read.number(3) {
            None => self.test(Test::InSet { fields, set, not }),
            // NFT_REG_VERDICT
            Some(0) => self.act(Statement::Map { fields, map: set }),
            Some(to) => {
                // A map that has no element for the packet ends the rule.
                let not = false;
                self.test(Test::InSet { fields, set, not });
                self.registers.insert(slot(to), Register::unknown("map …"));
            }
        }
    }

    fn immediate(&mut self, read: &Attributes<'_>) {
        match (read.get(2).and_then(verdict::of_data), read.number(1)) {
            (Some(verdict), _) => self.act(Statement::Verdict(verdict)),
            (None, Some(to)) => {
                let bytes = read.value(2).unwrap_or_default().to_vec();
                let register = Register {
                    content: Content::Constant(bytes.clone()),
                    ..Register::field(Field::Other(String::new()), bytes.len())
                };
                self.registers.insert(slot(to), register);
            }
            (None, None) => {}
        }
    }

    /// A match of x_tables.
    fn matched(&mut self, read: &Attributes<'_>) {
        let name = read.get(1).map(text_of).unwrap_or_default();
        let revision = read.number(2).unwrap_or_default();
        let v6 = self.table.0 == FAMILY_IP6;
        match xt::matched((&name, revision), read.get(3).unwrap_or_default(), v6) {
            Matched::Tests(tests) => self.parts.extend(tests.into_iter().map(Part::Test)),
            Matched::Comment(text) => self.comment = Some(text),
        }
    }

    /// A target of x_tables.
    fn target(&mut self, read: &Attributes<'_>) {
        let name = read.get(1).map(text_of).unwrap_or_default();
        let revision = read.number(2).unwrap_or_default();
        let v6 = self.table.0 == FAMILY_IP6;
        let data = read.get(3).unwrap_or_default();
        self.parts.extend(xt::target((&name, revision), data, v6));
    }

    fn register(&self, read: &Attributes<'_>, attribute: u16) -> Option<Register> {
        self.registers.get(&slot(read.number(attribute)?)).cloned()
    }
}

/// struct arphdr, and what follows it where MACs have six bytes and addresses four.
fn arp(offset: u32, length: usize) -> Option<Field> {
    Some(match (offset, length) {
        (0, 2) => Field::ArpHardware,
        (4, 1) => Field::ArpHardwareLength,
        (5, 1) => Field::ArpProtocolLength,
        (8, 6) => Field::ArpMac(Side::Source),
        (18, 6) => Field::ArpMac(Side::Destination),
        (6, 2) => Field::ArpOperation,
        (14, 4) => Field::ArpAddress(Side::Source),
        (24, 4) => Field::ArpAddress(Side::Destination),
        _ => return None,
    })
}

/// struct iphdr; a network of whole bytes is loaded as so many of them.
fn ipv4(offset: u32, length: usize) -> Option<Field> {
    Some(match (offset, length) {
        (12, 1..=4) => Field::Address(Side::Source),
        (16, 1..=4) => Field::Address(Side::Destination),
        (9, 1) => Field::Protocol,
        (8, 1) => Field::Ttl,
        (1, 1) => Field::Tos,
        (6, 2) => Field::Fragment,
        (2, 2) => Field::Length,
        // Where no test told the version.
        (8 | 24, 16) => return ipv6(offset, length),
        _ => return None,
    })
}

/// struct ipv6hdr.
fn ipv6(offset: u32, length: usize) -> Option<Field> {
    Some(match (offset, length) {
        (8, 1..=16) => Field::Address(Side::Source),
        (24, 1..=16) => Field::Address(Side::Destination),
        (6, 1) => Field::NextHeader,
        (7, 1) => Field::Ttl,
        _ => return None,
    })
}

fn ethernet(offset: u32, length: usize) -> Option<Field> {
    Some(match (offset, length) {
        (12, 2) => Field::EtherType,
        (0, 6) => Field::Mac(Side::Destination),
        (6, 6) => Field::Mac(Side::Source),
        _ => return None,
    })
}

fn meta(read: &Attributes<'_>) -> Option<Register> {
    /// NFT_META_* by number, bytes, and whether in the order of this machine's bytes.
    static KEYS: [(u32, Field, usize, bool); 18] = [
        (0, Field::Length, 4, true),
        (1, Field::EtherType, 2, false),
        (3, Field::Mark, 4, true),
        (4, Field::Interface(Side::Source), 4, true),
        (5, Field::Interface(Side::Destination), 4, true),
        (6, Field::Interface(Side::Source), 16, false),
        (7, Field::Interface(Side::Destination), 16, false),
        (8, Field::LinkType(Side::Source), 2, true),
        (9, Field::LinkType(Side::Destination), 2, true),
        (10, Field::User, 4, true),
        (11, Field::Group, 4, true),
        (15, Field::Family, 1, false),
        (16, Field::Protocol, 1, false),
        (17, Field::Bridge(Side::Source), 16, false),
        (18, Field::Bridge(Side::Destination), 16, false),
        (19, Field::PacketType, 1, false),
        (29, Field::Other(String::new()), 16, false),
        (30, Field::Other(String::new()), 16, false),
    ];
    /// Numbers of which nothing is known of a packet, as nft names them.
    const NUMBERS: [(u32, &str); 5] = [
        // skb->len counts the link's header in some families.
        (0, "length"),
        (20, "cpu"),
        (21, "iifgroup"),
        (22, "oifgroup"),
        (23, "cgroup"),
    ];
    /// What nft takes in other words than the kernel has it.
    const NAMES: [(u32, &str); 7] = [
        (2, "priority"),
        (24, "random"),
        (25, "ipsec"),
        (26, "iifkind"),
        (27, "oifkind"),
        (30, "time"),
        (31, "day"),
    ];
    /// NFT_META_TIME_HOUR: seconds of the day.
    const HOUR: u32 = 32;
    let key = read.number(2)?;
    let named = |names: &[(u32, &str)]| {
        let mut names = names.iter();
        Some(format!(
            "meta {}",
            names.find(|(number, _)| *number == key)?.1
        ))
    };
    if let Some(name) = named(&NUMBERS) {
        return Some(number(name, 4, drawn::number));
    }
    if key == HOUR {
        return Some(number("meta hour".to_owned(), 4, drawn::hour));
    }
    let known = KEYS.iter().find(|(number, ..)| *number == key);
    Some(match known {
        None | Some((_, Field::Other(_), ..)) => {
            let name = named(&NAMES).unwrap_or_else(|| format!("meta {key}"));
            Register::unknown(format!("{name} …"))
        }
        Some((_, field, length, host)) => Register {
            layout: Layout {
                host: *host,
                index: *host && matches!(field, Field::Interface(_)),
            },
            ..Register::field(field.clone(), *length)
        },
    })
}

/// A number of which nothing is known, in the order of this machine's bytes.
fn number(name: String, length: usize, says: Says) -> Register {
    let layout = Layout {
        host: true,
        index: false,
    };
    Register::worded(name, length, layout, says)
}

/// NFT_CT_* that count what a connection carried, as nft names them; of one direction, or of both.
fn counted(read: &Attributes<'_>) -> Option<Register> {
    const COUNTS: [(u32, &str); 3] = [(14, "packets"), (15, "bytes"), (17, "avgpkt")];
    let key = read.number(2)?;
    let (_, name) = COUNTS.iter().find(|(number, _)| *number == key)?;
    let direction = match read.get(3).and_then(<[u8]>::first) {
        Some(0) => "original ",
        Some(_) => "reply ",
        None => "",
    };
    let name = format!("ct {direction}{name}");
    Some(number(name, 8, drawn::number))
}

fn connection(read: &Attributes<'_>) -> Register {
    if let Some(counted) = counted(read) {
        return counted;
    }
    let field = match read.number(2) {
        Some(0) => Field::State,
        Some(2) => Field::Status,
        Some(3) => Field::ConnectionMark,
        Some(1) => Field::Other("ct direction".to_owned()),
        Some(key) => Field::Other(format!("ct {key} …")),
        None => Field::Other("ct …".to_owned()),
    };
    Register {
        layout: Layout {
            host: true,
            index: false,
        },
        ..Register::field(field, 4)
    }
}

fn fib(read: &Attributes<'_>) -> Register {
    const FLAGS: [(u32, &str); 5] = [
        (1, "saddr"),
        (2, "daddr"),
        (4, "mark"),
        (8, "iif"),
        (16, "oif"),
    ];
    const RESULTS: [(u32, &str); 3] = [(1, "oif"), (2, "oifname"), (3, "type")];
    /// NFT_FIB_RESULT_ADDRTYPE.
    const TYPE: u32 = 3;
    /// NFTA_FIB_F_PRESENT: zero or one.
    const PRESENT: u32 = 32;
    let (result, flags) = (read.number(2), read.number(3).unwrap_or_default());
    let side = match (result, flags) {
        (Some(TYPE), 1) => Some(Side::Source),
        (Some(TYPE), 2) => Some(Side::Destination),
        _ => None,
    };
    let by: Vec<_> = FLAGS
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    let what = RESULTS
        .iter()
        .find(|(number, _)| Some(*number) == result)
        .map_or("…", |(_, name)| name);
    let words = || Field::Other(format!("fib {} {what}", by.join(" . ")));
    let field = side.map_or_else(words, Field::AddressType);
    let length = if flags & PRESENT != 0 { 1 } else { 4 };
    Register {
        layout: Layout {
            host: true,
            index: false,
        },
        ..Register::field(field, length)
    }
}

/// An address whose missing bytes are all `fill`: of IPv6 where the register's field is longer than IPv4's.
fn padded(value: &[u8], v6: bool, fill: u8) -> Option<IpAddr> {
    let length = if v6 { 16 } else { 4 };
    let mut bytes = value.get(..value.len().min(length))?.to_vec();
    bytes.resize(length, fill);
    crate::host::netlink::address_of(&bytes)
}

/// First and last address that agree with a value where the register's mask, or its length, says so.
fn network(register: &Register, value: &[u8], v6: bool) -> Option<(Value, Value)> {
    let (first, last) = match &register.mask {
        None => {
            let value = value.get(..value.len().min(register.length))?;
            (padded(value, v6, 0)?, padded(value, v6, 0xff)?)
        }
        Some(mask) => {
            // Only a prefix is a range: ones, then zeros.
            let inverse = mask.iter().map(|m| !m);
            let host = inverse.fold(0_u128, |sum, byte| sum << 8 | u128::from(byte));
            if host & host.wrapping_add(1) != 0 {
                return None;
            }
            let last: Vec<u8> = value.iter().zip(mask).map(|(v, m)| v | !m).collect();
            (padded(value, v6, 0)?, padded(&last, v6, 0xff)?)
        }
    };
    Some((Value::Address(first), Value::Address(last)))
}

fn turned(value: &[u8], xor: Option<&Vec<u8>>) -> Vec<u8> {
    match xor {
        Some(xor) => value.iter().zip(xor).map(|(a, b)| a ^ b).collect(),
        None => value.to_vec(),
    }
}

/// Whether a register loads an address of IPv6.
fn long(register: &Register) -> bool {
    register.v6 || register.length > 4
}

/// The register equals a value.
fn equal(register: &Register, value: &[u8], not: bool) -> Option<Test> {
    let Content::Field(field) = &register.content else {
        return None;
    };
    let value = turned(value, register.xor.as_ref());
    let range = match field {
        Field::Address(_) | Field::ArpAddress(_) => network(register, &value, long(register))?,
        _ => {
            let value = values::value(field, register.layout, &value)?;
            (value.clone(), value)
        }
    };
    let mask = match (&register.mask, field) {
        (Some(_), Field::Address(_) | Field::ArpAddress(_)) | (None, _) => None,
        (Some(mask), _) => Some(values::number(register.layout, mask)?),
    };
    Some(values::test(field, mask, vec![range], not)).filter(known)
}

/// A test for each of the fields that were loaded in one piece.
fn equal_pieces(register: &Register, value: &[u8]) -> Option<Vec<Test>> {
    if register.pieces.is_empty() || register.mask.is_some() || register.xor.is_some() {
        return None;
    }
    let mut rest = value;
    let mut tests = Vec::new();
    for (field, length) in &register.pieces {
        let (own, others) = rest.split_at_checked(*length)?;
        rest = others;
        let piece = Register {
            v6: register.v6,
            ..Register::field(field.clone(), *length)
        };
        tests.push(equal(&piece, own, false)?);
    }
    Some(tests)
}

fn known(test: &Test) -> bool {
    !matches!(test, Test::Other(_))
}

fn bounded(register: &Register, value: &[u8], bound: Bound) -> Option<Test> {
    let Content::Field(field) = &register.content else {
        return None;
    };
    // Bytes are compared as they stand.
    if register.mask.is_some() || register.layout.host && register.length > 1 {
        return None;
    }
    let value = values::value(field, register.layout, value)?;
    let bits = u32::try_from(register.length * 8).ok()?;
    let ranges = values::half(value, bound, bits)?;
    Some(values::test(field, None, ranges, false)).filter(known)
}

/// What is within the one range of each of two tests of the same field.
fn overlap(one: &Test, other: &Test) -> Option<Test> {
    fn within<T: Ord + Clone>(one: &[(T, T)], other: &[(T, T)]) -> Option<Vec<(T, T)>> {
        let ([(a, b)], [(c, d)]) = (one, other) else {
            return None;
        };
        let (first, last) = (a.max(c), b.min(d));
        (first <= last).then(|| vec![(first.clone(), last.clone())])
    }
    fn numbers(ranges: &[(Value, Value)]) -> Option<Vec<(u64, u64)>> {
        let number = |range: &(Value, Value)| match range {
            (Value::Number(first), Value::Number(last)) => Some((*first, *last)),
            _ => None,
        };
        ranges.iter().map(number).collect()
    }
    match (one, other) {
        (
            Test::Port {
                side,
                ranges,
                not: false,
            },
            Test::Port {
                side: other_side,
                ranges: others,
                not: false,
            },
        ) if side == other_side => Some(Test::Port {
            side: *side,
            ranges: within(ranges, others)?,
            not: false,
        }),
        (
            Test::Address {
                side,
                ranges,
                not: false,
            },
            Test::Address {
                side: other_side,
                ranges: others,
                not: false,
            },
        ) if side == other_side => Some(Test::Address {
            side: *side,
            ranges: within(ranges, others)?,
            not: false,
        }),
        (
            Test::Is {
                field,
                mask: None,
                ranges,
                not: false,
            },
            Test::Is {
                field: other_field,
                mask: None,
                ranges: others,
                not: false,
            },
        ) if field == other_field => {
            let both = within(&numbers(ranges)?, &numbers(others)?)?;
            let range = |(first, last)| (Value::Number(first), Value::Number(last));
            Some(Test::Is {
                field: field.clone(),
                mask: None,
                ranges: both.into_iter().map(range).collect(),
                not: false,
            })
        }
        _ => None,
    }
}

fn in_range(register: &Register, ends: (Option<&[u8]>, Option<&[u8]>), not: bool) -> Option<Test> {
    let Content::Field(field) = &register.content else {
        return None;
    };
    if register.mask.is_some() || register.layout.host && register.length > 1 {
        return None;
    }
    let (from, to) = (ends.0?, ends.1?);
    let range = match field {
        Field::Address(_) | Field::ArpAddress(_) => (
            Value::Address(padded(from, long(register), 0)?),
            Value::Address(padded(to, long(register), 0xff)?),
        ),
        _ => values::range(field, register.layout, (from, to))?,
    };
    Some(values::test(field, None, vec![range], not)).filter(known)
}

fn field_words(register: &Register) -> String {
    match &register.content {
        Content::Field(field) => super::super::words::field(field),
        Content::Constant(_) => "…".to_owned(),
    }
}

/// A comparison that is no test of its own, as far as its value can be told.
fn unequal_words(register: &Register, said: &str, value: &[u8]) -> String {
    let what = field_words(register);
    let missing = what.starts_with("fib ") && value.iter().all(|byte| *byte == 0);
    if missing && said.is_empty() {
        return format!("{what} missing");
    }
    let value = self::said(register, Some(value)).unwrap_or_else(|| "…".to_owned());
    format!("{what} {said}{value}")
}

/// A value of what is no field of the model, as far as it can be told.
fn said(register: &Register, value: Option<&[u8]>) -> Option<String> {
    let plain = register.mask.is_none() && register.xor.is_none();
    register.says.filter(|_| plain)?(register.layout, value?)
}
