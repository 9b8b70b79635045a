//! A language for scenarios. The network first, one cable or device a line:
//!
//! ```text
//! client/eth0 10.0.1.2 = router/ra 10.0.1.1
//! router/eth9 192.0.2.1
//! router/br0 - bridge
//! ```
//! Then events, one a line: microseconds, place (`-` for none), hook, buffer, packet, settings:
//!
//! ```text
//! 10 client/eth0 egress s1 udp 10.0.1.2:5000>10.0.2.2:53 id=7 ttl=64
//! 20 router/ra drop:NETFILTER_DROP@nft_do_chain<nf_hook_slow<ip_forward s1 udp …
//! 30 server ready udp 10.0.2.2:53>0.0.0.0:0
//! ```
//! Hooks: `egress ingress` (tc), `rx queue xmit` (device tracepoints), `drop:REASON@FUNCTION<CALLER…`,
//! `consume@FUNCTION`, `probe`, `ready`, `read:LENGTH`, `copy:LENGTH`, `reset`, `icmp_send:TYPE`, `fib:ERROR`,
//! `neigh:STATE`, `retransmit`. Settings: `id ttl head cpu n` (sequence number of echoes), `pay` (payload bytes),
//! `seq ack`, TCP flags by letters, `frag=OFFSET` (`+` behind it: more follow), `type code` and `quote=TUPLE` of ICMP
//! errors, `vxlan=VNI:TUPLE` (whose packet `frag` is then about), `segs`, `pt` (pkt_type), `clone`, `iif`, `reply` (echo), `aux`, `learned`, `was=TUPLE` (before translation, as conntrack tells). Everything goes through
//! the decoder.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use tracer_common::event::{
    FLAG_BY_SOCKET, FLAG_CLONED, FLAG_MATCH_LEARNED, FLAG_MATCH_ORIGINAL, FLAG_NEIGHBOR_AUX,
    RawEvent,
};
use tracer_common::fingerprint::Parts;
use tracer_common::hook;
use tracer_common::tuple::RawTuple;
use zerocopy::{FromZeros, IntoBytes};

use crate::correlate::{Correlator, Settings, Trace};
use crate::decode::decode;
use crate::decode::packet::build::{self, Ip, Tcp};
use crate::host::Host;
use crate::host::facts::{Fact, InterfaceAddress, Link};
use crate::model::{
    Detail, Device, Direction, DropInfo, Fate, IfIndex, Joined, Journey, KtimeNs, NetNs, Path,
    Proto, Side, Tuple,
};

/// A network and a correlator that is fed by scripts.
pub(super) struct Scene {
    pub(super) host: Host,
    pub(super) correlator: Correlator,
    names: Vec<String>,
    /// Reasons and functions by number, from 1.
    words: Vec<String>,
    last: u64,
}

/// Runs a script and ends the trace a second after its last event.
pub(super) fn run(network: &str, script: &str) -> Scene {
    let mut scene = Scene::new(network);
    scene.play(script);
    scene.end();
    scene
}

impl Scene {
    pub(super) fn new(network: &str) -> Self {
        let mut scene = Self {
            host: Host::default(),
            correlator: Correlator::new(Settings::default()),
            names: Vec::new(),
            words: Vec::new(),
            last: 0,
        };
        for line in lines(network) {
            let ends: Vec<&str> = line.split('=').collect();
            let devices: Vec<Device> = ends.iter().map(|end| scene.end_of_cable(end)).collect();
            for (end, device) in ends.iter().zip(&devices) {
                let peer = devices.iter().copied().find(|other| other != device);
                scene.link(end, *device, peer);
            }
        }
        scene
    }

    pub(super) fn with(mut self, settings: Settings) -> Self {
        self.correlator = Correlator::new(settings);
        self
    }

    fn netns(&mut self, name: &str) -> NetNs {
        let at = self.names.iter().position(|known| known == name);
        let at = at.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        NetNs(100 + u32::try_from(at).unwrap())
    }

    fn end_of_cable(&mut self, end: &str) -> Device {
        let (ns, _) = end.trim().split_once('/').unwrap();
        let netns = self.netns(ns);
        let before = self.host.links().filter(|l| l.device.netns == netns);
        let ifindex = IfIndex(2 + u32::try_from(before.count()).unwrap());
        let device = Device { netns, ifindex };
        self.link(end, device, None);
        device
    }

    fn link(&mut self, end: &str, device: Device, peer: Option<Device>) {
        let mut words = end.split_whitespace();
        let (_, name) = words.next().unwrap().split_once('/').unwrap();
        let address = words.next().and_then(|word| word.parse().ok());
        let kind = words
            .next()
            .unwrap_or(if peer.is_some() { "veth" } else { "" });
        let link = Link {
            kind: kind.to_owned(),
            mtu: 1500,
            up: true,
            carrier: true,
            arp_type: if kind == "loopback" { 772 } else { 1 },
            peer,
            ..Link::new(device, name)
        };
        let addresses = address
            .map(|address| InterfaceAddress {
                address,
                prefix: 24,
                tentative: false,
                dad_failed: false,
                deprecated: false,
                secondary: false,
                scope: 0,
            })
            .into_iter()
            .collect();
        self.host.apply(KtimeNs(0), Fact::Link(link));
        self.host
            .apply(KtimeNs(0), Fact::Addresses(device, addresses));
    }

    /// Feeds events.
    pub(super) fn play(&mut self, script: &str) {
        for line in lines(script) {
            let record = self.record(line);
            let event = decode(&record, &self.host).unwrap();
            self.last = self.last.max(event.at.0);
            self.correlator.event(event, &self.host);
        }
    }

    /// Lets time pass, with ticks, in milliseconds.
    pub(super) fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.last += 100_000_000;
            self.correlator.tick(KtimeNs(self.last), &self.host);
        }
    }

    /// Ends the trace, a second later.
    pub(super) fn end(&mut self) {
        self.correlator
            .finish(KtimeNs(self.last + 1_000_000_000), &self.host);
    }

    pub(super) fn trace(&self) -> &Trace {
        self.correlator.trace()
    }

    /// What the drops of all packets told, in their order.
    pub(super) fn drops(&self) -> Vec<DropInfo> {
        let packets = self.trace().journeys.values();
        let steps = packets.flat_map(|journey| &journey.steps);
        let told = steps.filter_map(|step| match &step.event.detail {
            Detail::Drop(info) => Some(DropInfo::clone(info)),
            _ => None,
        });
        told.collect()
    }

    pub(super) fn device(&self, name: &str) -> Device {
        let (ns, dev) = name.split_once('/').unwrap();
        let at = self.names.iter().position(|known| known == ns).unwrap();
        let netns = NetNs(100 + u32::try_from(at).unwrap());
        let mut links = self.host.links();
        let link = links.find(|l| l.device.netns == netns && l.name == dev);
        link.unwrap().device
    }

    fn word(&mut self, word: &str) -> u64 {
        let at = self.words.iter().position(|known| known == word);
        let at = at.unwrap_or_else(|| {
            self.words.push(word.to_owned());
            self.words.len() - 1
        });
        let number = u64::try_from(at).unwrap() + 1;
        self.host
            .apply(KtimeNs(0), Fact::Symbols(vec![(number, word.to_owned())]));
        let reason = (u32::try_from(number).unwrap(), word.to_owned());
        self.host.apply(KtimeNs(0), Fact::DropReasons(vec![reason]));
        number
    }

    fn record(&mut self, line: &str) -> Bytes {
        let mut words = line.split_whitespace();
        let mut raw = RawEvent {
            ktime_ns: words.next().unwrap().parse::<u64>().unwrap() * 1000,
            cap_reserved: 512,
            l3_offset: 14,
            ..RawEvent::new_zeroed()
        };
        let place = words.next().unwrap().to_owned();
        let mut stack = Vec::new();
        self.hook(words.next().unwrap(), &mut raw, &mut stack);
        let rest: Vec<&str> = words.collect();
        self.place(&place, &mut raw);
        let packet = Spec::read(&rest, &mut raw);
        let bytes = packet.map(|spec| spec.finish(&mut raw)).unwrap_or_default();
        raw.caplen = u16::try_from(bytes.len()).unwrap();
        raw.stack_len = u8::try_from(stack.len()).unwrap();
        let mut record = raw.as_bytes().to_vec();
        record.extend(&bytes);
        record.resize(256 + 512, 0);
        record.extend(stack.iter().flat_map(|frame: &u64| frame.to_ne_bytes()));
        record.into()
    }

    fn place(&mut self, place: &str, raw: &mut RawEvent) {
        match place.split_once('/') {
            Some(_) => {
                let device = self.device(place);
                raw.netns = device.netns.0;
                raw.ifindex = device.ifindex.0;
                raw.sk_netns = device.netns.0;
            }
            None if place != "-" => raw.sk_netns = self.netns(place).0,
            None => {}
        }
    }

    fn hook(&mut self, word: &str, raw: &mut RawEvent, stack: &mut Vec<u64>) {
        let (name, function) = word.split_once('@').unwrap_or((word, ""));
        let (name, arg) = name.split_once(':').unwrap_or((name, "0"));
        let number = arg.parse::<i64>().map_or(0, i64::cast_unsigned);
        raw.arg0 = number;
        raw.hook = match name {
            "egress" => hook::TC_EGRESS,
            "ingress" => hook::TC_INGRESS,
            "rx" => hook::NETIF_RECEIVE_SKB,
            "queue" => hook::NET_DEV_QUEUE,
            "xmit" => hook::NET_DEV_START_XMIT,
            "drop" => {
                raw.reason = u32::try_from(self.word(arg)).unwrap();
                hook::KFREE_SKB
            }
            "consume" => hook::CONSUME_SKB,
            "probe" => hook::TCP_PROBE,
            "ready" => hook::SK_DATA_READY,
            "read" => hook::SOCK_RECV_LENGTH,
            "copy" => hook::SKB_COPY_DATAGRAM_IOVEC,
            "reset" => hook::TCP_SEND_RESET,
            "icmp_send" => hook::ICMP_SEND,
            "neigh" => hook::NEIGH_TIMER_HANDLER,
            "retransmit" => hook::TCP_RETRANSMIT_SKB,
            "fib" => {
                raw.arg0 = 254;
                raw.arg1 = number;
                hook::FIB_TABLE_LOOKUP
            }
            other => panic!("no hook {other}"),
        };
        let mut functions = function.split('<').filter(|f| !f.is_empty());
        if let Some(location) = functions.next() {
            raw.location = self.word(location);
            stack.push(raw.location);
            stack.extend(functions.map(|f| self.word(f)).collect::<Vec<_>>());
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The packet of a line.
struct Spec {
    tuple: Tuple,
    fields: Ip,
    tcp: Tcp,
    seq: u16,
    pay: u16,
    reply: bool,
    icmp: Option<(u8, u8)>,
    quote: Option<Tuple>,
    vxlan: Option<(u32, Tuple)>,
    socket_only: bool,
}

impl Spec {
    fn read(words: &[&str], raw: &mut RawEvent) -> Option<Self> {
        let protos = ["tcp", "udp", "icmp", "icmp6", "arp"];
        let at = words.iter().position(|word| protos.contains(word));
        for word in words.iter().take(at.unwrap_or(words.len())) {
            raw.skb = word.strip_prefix('s').unwrap().parse::<u64>().unwrap() * 0x100;
            raw.head = raw.skb + 1;
        }
        let at = at?;
        let mut spec = Self {
            tuple: tuple(words.get(at)?, words.get(at + 1)?),
            fields: Ip::default(),
            tcp: Tcp::default(),
            seq: 1,
            pay: 0,
            reply: false,
            icmp: None,
            quote: None,
            vxlan: None,
            socket_only: raw.skb == 0,
        };
        for word in words.iter().skip(at + 2) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            spec.set(key, value, raw);
        }
        Some(spec)
    }

    fn set(&mut self, key: &str, value: &str, raw: &mut RawEvent) {
        let number = value.parse::<u32>().unwrap_or(0);
        let short = u16::try_from(number).unwrap_or(u16::MAX);
        let byte = u8::try_from(number).unwrap_or(u8::MAX);
        match key {
            "id" => self.fields.id = number,
            "ttl" => self.fields.ttl = byte,
            "head" => raw.head = u64::from(number),
            "cpu" => raw.cpu = short,
            "n" => self.seq = short,
            "pay" => self.pay = short,
            "seq" => self.tcp.seq = number,
            "ack" => self.tcp.ack = number,
            "type" => self.icmp = Some((byte, self.icmp.map_or(0, |(_, code)| code))),
            "code" => self.icmp = Some((self.icmp.map_or(3, |(kind, _)| kind), byte)),
            "segs" => raw.gso_segs = short,
            "pt" => raw.pkt_type = byte,
            "iif" => raw.skb_iif = number,
            "pid" => raw.pid = number,
            "clone" => raw.flags |= FLAG_CLONED,
            "aux" => raw.flags |= FLAG_NEIGHBOR_AUX,
            "learned" => raw.flags |= FLAG_MATCH_LEARNED,
            "reply" => self.reply = true,
            "was" => {
                let (proto, ends) = value.split_once(',').unwrap();
                raw.sk_tuple = raw_tuple(&tuple(proto, ends), 0);
                raw.flags |= FLAG_MATCH_ORIGINAL;
            }
            "quote" => {
                let (proto, ends) = value.split_once(',').unwrap();
                self.quote = Some(tuple(proto, ends));
            }
            "vxlan" => {
                let (vni, ends) = value.split_once(':').unwrap();
                self.vxlan = Some((vni.parse().unwrap(), tuple("udp", ends)));
            }
            "frag" => {
                let offset = value.trim_end_matches('+').parse().unwrap();
                self.fields.fragment = Some((offset, value.ends_with('+')));
            }
            flags => self.tcp.flags = flags.bytes().map(flag).sum(),
        }
    }

    /// Fills the record's tuple, fingerprint and socket; gives the captured bytes.
    fn finish(self, raw: &mut RawEvent) -> Vec<u8> {
        let later = self.fields.fragment.is_some_and(|(offset, _)| offset > 0);
        let mut tuple = self.tuple;
        if later {
            (tuple.sport, tuple.dport, tuple.icmp_id) = (0, 0, 0);
        }
        let told = raw_tuple(&tuple, self.icmp_type());
        let by_socket = matches!(
            raw.hook,
            hook::SK_DATA_READY | hook::SOCK_RECV_LENGTH | hook::TCP_PROBE | hook::KFREE_SKB
        );
        if by_socket && (self.socket_only || raw.hook == hook::SK_DATA_READY) {
            // a socket's own tuple: the local end first
            raw.sk = 0x5000_0000 + u64::from(self.tuple.sport);
            raw.sk_tuple = told;
            raw.flags |= FLAG_BY_SOCKET;
            // the buffer that the CPU took in last: nothing else is told of it
            raw.head = 0;
            if raw.skb != 0 {
                raw.fingerprint = self.fingerprint(&self.payload());
            }
            return Vec::new();
        }
        raw.tuple = told;
        if self.socket_only {
            return Vec::new();
        }
        if raw.hook == hook::TCP_PROBE {
            raw.sk = 0x5000_0000 + u64::from(self.tuple.dport);
            raw.sk_tuple = raw_tuple(&tuple.reversed(), 0);
        }
        let payload = self.payload();
        raw.fingerprint = self.fingerprint(&payload);
        let bytes = self.bytes(&tuple, &payload);
        raw.len = u32::try_from(bytes.len()).unwrap();
        bytes
    }

    fn payload(&self) -> Vec<u8> {
        let mut payload = self.tcp.seq.to_be_bytes().to_vec();
        payload.resize(usize::from(self.pay), b'x');
        payload
    }

    fn icmp_type(&self) -> u8 {
        let echo = match (self.tuple.proto, self.reply) {
            (Proto::Icmp, false) => 8,
            (Proto::Icmp6, false) => 128,
            (Proto::Icmp6, true) => 129,
            _ => 0,
        };
        self.icmp.map_or(echo, |(kind, _)| kind)
    }

    fn fingerprint(&self, payload: &[u8]) -> u64 {
        let mut first = [0u8; 8];
        for (to, from) in first.iter_mut().zip(payload) {
            *to = *from;
        }
        let offset = self.fields.fragment.map_or(0, |(offset, _)| offset);
        let (kind, one, two) = match self.tuple.proto {
            _ if offset > 0 => (u32::from(offset), 0, 0),
            Proto::Tcp => (u32::from(self.tcp.flags & 0x16), self.tcp.seq, self.tcp.ack),
            Proto::Icmp | Proto::Icmp6 => (u32::from(self.icmp_type()), u32::from(self.seq), 0),
            _ => (0, u32::from(self.pay), 0),
        };
        Parts {
            ip_id: self.fields.id,
            proto: build::number(self.tuple.proto),
            kind,
            first: one,
            second: two,
            payload: u64::from_ne_bytes(first),
        }
        .hash()
    }

    fn bytes(&self, tuple: &Tuple, payload: &[u8]) -> Vec<u8> {
        let ethertype = |t: &Tuple| if t.src.is_ipv4() { 0x0800 } else { 0x86dd };
        if tuple.proto == Proto::Arp {
            return build::frame(0x0806, &[], &build::arp(tuple, self.reply, [2; 6]));
        }
        let later = tuple.sport == 0 && self.fields.fragment.is_some();
        let inside = match (tuple.proto, self.icmp) {
            _ if later => payload.to_vec(),
            (Proto::Tcp, _) => build::tcp(tuple, self.tcp, payload),
            (Proto::Icmp | Proto::Icmp6, None) => build::echo(tuple, self.reply, self.seq, payload),
            (Proto::Icmp | Proto::Icmp6, Some((kind, code))) => {
                let quoted = self.quote.map(|t| {
                    let l4 = match t.proto {
                        Proto::Tcp => build::tcp(&t, Tcp::default(), b""),
                        Proto::Icmp => build::echo(&t, false, 1, b""),
                        _ => build::udp(&t, b""),
                    };
                    build::ip(&t, Ip::default(), &l4)
                });
                build::icmp(kind, code, [0; 4], &quoted.unwrap_or_default())
            }
            _ => build::udp(tuple, payload),
        };
        // inside a tunnel the fragment is the tunnel's packet
        let mut fields = self.fields;
        let carrier = Ip {
            fragment: self.vxlan.and_then(|_| fields.fragment.take()),
            id: self.fields.id,
            ..Ip::default()
        };
        let packet = build::ip(tuple, fields, &inside);
        let frame = build::frame(ethertype(tuple), &[], &packet);
        match self.vxlan {
            Some((vni, outer)) => {
                let datagram = build::udp(&outer, &build::vxlan(vni, &frame));
                build::frame(
                    ethertype(&outer),
                    &[],
                    &build::ip(&outer, carrier, &datagram),
                )
            }
            None => frame,
        }
    }
}

fn flag(letter: u8) -> u8 {
    match letter {
        b'F' => 1,
        b'S' => 2,
        b'R' => 4,
        b'P' => 8,
        b'A' => 16,
        other => panic!("no setting or flag {}", char::from(other)),
    }
}

/// `10.0.0.1:5000>10.0.0.2:53`; of ICMP the "ports" are the echo identifier: `10.0.0.1>10.0.0.2:7`.
pub(super) fn tuple(proto: &str, ends: &str) -> Tuple {
    let (from, to) = ends.split_once('>').unwrap();
    let end = |text: &str| -> (IpAddr, u16) {
        if let Ok(address) = text.parse() {
            return (address, 0);
        }
        let (address, port) = text.rsplit_once(':').unwrap();
        let address = address.trim_matches(['[', ']']);
        (address.parse().unwrap(), port.parse().unwrap())
    };
    let ((src, sport), (dst, dport)) = (end(from), end(to));
    let proto = match proto {
        "tcp" => Proto::Tcp,
        "udp" => Proto::Udp,
        "icmp" => Proto::Icmp,
        "icmp6" => Proto::Icmp6,
        _ => Proto::Arp,
    };
    let echo = matches!(proto, Proto::Icmp | Proto::Icmp6);
    Tuple {
        proto,
        src,
        sport: if echo { 0 } else { sport },
        dst,
        dport: if echo { 0 } else { dport },
        icmp_id: if echo { dport } else { 0 },
    }
}

pub(super) fn raw_tuple(tuple: &Tuple, icmp_type: u8) -> RawTuple {
    let mut raw = tuple.raw();
    if matches!(tuple.proto, Proto::Icmp | Proto::Icmp6) {
        raw.sport = icmp_type.into();
    }
    raw
}

/// What a test compares.
impl Scene {
    /// All journeys, one a line: `1 forward delivered: egress client/eth0, ingress router/ra skb, …`; a branch other
    /// than the first is told by its number.
    pub(super) fn journeys(&self) -> Vec<String> {
        self.trace()
            .journeys
            .values()
            .map(|journey| {
                let steps: Vec<String> = journey.steps.iter().map(|s| self.step(s)).collect();
                let direction = direction(journey.direction);
                let fate = fate(journey);
                format!("{} {direction} {fate}: {}", journey.id.0, steps.join(", "))
            })
            .collect()
    }

    /// Directions and fates only: `forward delivered`.
    pub(super) fn fates(&self) -> Vec<String> {
        self.trace()
            .journeys
            .values()
            .map(|journey| format!("{} {}", direction(journey.direction), fate(journey)))
            .collect()
    }

    fn name(&self, device: Device) -> String {
        let at = usize::try_from(device.netns.0 - 100).unwrap();
        format!(
            "{}/{}",
            self.names.get(at).unwrap(),
            self.host.interface(device)
        )
    }

    fn step(&self, step: &crate::model::Step) -> String {
        let word = match &step.event.detail {
            Detail::Ingress => "in".to_owned(),
            Detail::Egress => "out".to_owned(),
            Detail::Drop(info) => format!("drop@{}", info.function.as_deref().unwrap_or("?")),
            Detail::Consumed { .. } => "consumed".to_owned(),
            Detail::SocketReached => "reached".to_owned(),
            Detail::SocketRead { .. } => "read".to_owned(),
            Detail::IcmpSend { .. } => "icmp_send".to_owned(),
            Detail::ResetSent { .. } => "reset".to_owned(),
            other => format!("{other:?}"),
        };
        let place = step.event.device.map(|d| format!(" {}", self.name(d)));
        let joined = match step.joined {
            Joined::First | Joined::Skb => "",
            Joined::Clone => " clone",
            Joined::Fingerprint => " again",
            Joined::Pieces => " piece",
            Joined::Cpu => " cpu",
        };
        let branch = match step.branch {
            0 => String::new(),
            n => format!(" [{n}]"),
        };
        format!("{word}{}{joined}{branch}", place.unwrap_or_default())
    }

    /// A path, a hop a word: `client/eth0> >router/ra`, with packets when not 1 and losses.
    pub(super) fn path(&self, path: &Path) -> String {
        let words: Vec<String> = path
            .hops
            .iter()
            .map(|hop| {
                let name = self.name(hop.device);
                let place = match hop.side {
                    Side::Egress => format!("{name}>"),
                    Side::Ingress => format!(">{name}"),
                };
                let packets = if hop.packets == 1 {
                    String::new()
                } else {
                    format!("*{}", hop.packets)
                };
                let lost = if hop.lost_after == 0 {
                    String::new()
                } else {
                    format!("-{}", hop.lost_after)
                };
                format!("{place}{packets}{lost}")
            })
            .collect();
        words.join(" ")
    }

    /// Forward and reply path of the first flow.
    pub(super) fn paths(&self) -> (String, String) {
        let flow = self.trace().flows.first().unwrap();
        (self.path(&flow.forward), self.path(&flow.reply))
    }

    /// Rewrites at the hops of a path that have some.
    pub(super) fn rewrites(&self, path: &Path) -> BTreeMap<String, Vec<String>> {
        path.hops
            .iter()
            .filter(|hop| !hop.rewrites.is_empty())
            .map(|hop| {
                let texts = hop.rewrites.iter().map(ToString::to_string).collect();
                (self.name(hop.device), texts)
            })
            .collect()
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Reply => "reply",
        Direction::Error => "error",
    }
}

fn fate(journey: &Journey) -> &'static str {
    match journey.fate {
        Fate::InFlight => "in flight",
        Fate::Delivered => "delivered",
        Fate::Dropped { .. } => "dropped",
        Fate::Left { .. } => "left",
        Fate::Vanished { .. } => "vanished",
        Fate::Consumed { .. } => "consumed",
    }
}
