//! Records to events, each fact once.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test may panic")]

use bytes::Bytes;
use tracer_common::event::{FLAG_CLONED, KNOWN_CT, KNOWN_DEV, KNOWN_DST, RawEvent};
use tracer_common::hook::{self, HOOKS};
use tracer_common::tuple::{FAMILY_V4, RawTuple};
use zerocopy::{FromZeros, IntoBytes};

use super::{DecodeError, clean_function, decode};
use crate::host::Host;
use crate::host::facts::{Fact, Link};
use crate::model::{Detail, Device, IfIndex, KtimeNs, Mac, NetNs, Proto, Transport, address_words};

const DEVICE: Device = Device {
    netns: NetNs(100),
    ifindex: IfIndex(2),
};

fn host() -> Host {
    let mut host = Host::default();
    let facts = [
        Fact::Link(Link {
            mtu: 1500,
            up: true,
            carrier: true,
            arp_type: 1,
            ..Link::new(DEVICE, "eth0")
        }),
        Fact::DropReasons(vec![(12, "NETFILTER_DROP".to_owned())]),
        Fact::ResetReasons(vec![(3, "NO_SOCKET".to_owned())]),
        Fact::Symbols(
            [
                (1, "kfree_skb_reason"),
                (2, "nft_do_chain+0x12"),
                (3, "nft_do_chain_ipv4"),
                (4, "nf_hook_slow"),
                (5, "ip_forward.part.0"),
                (6, "__x64_sys_sendto"),
                (7, "kfree_skb_list"),
                (8, "__dev_queue_xmit"),
            ]
            .map(|(at, name)| (at, name.to_owned()))
            .to_vec(),
        ),
    ];
    for fact in facts {
        host.apply(KtimeNs(0), fact);
    }
    host
}

fn raw(hook: u8) -> RawEvent {
    RawEvent {
        hook,
        skb: 0x1000,
        netns: DEVICE.netns.0,
        ifindex: DEVICE.ifindex.0,
        cap_reserved: 16,
        ..RawEvent::new_zeroed()
    }
}

fn record(raw: RawEvent, packet: &[u8], stack: &[u64]) -> Bytes {
    let raw = RawEvent {
        caplen: u16::try_from(packet.len()).unwrap(),
        stack_len: u8::try_from(stack.len()).unwrap(),
        ..raw
    };
    let mut bytes = raw.as_bytes().to_vec();
    bytes.extend(packet);
    bytes.resize(256 + usize::from(raw.cap_reserved), 0);
    bytes.extend(stack.iter().flat_map(|frame| frame.to_ne_bytes()));
    bytes.into()
}

fn v4(src: &str, dst: &str) -> RawTuple {
    RawTuple {
        src: address_words(src.parse().unwrap()),
        dst: address_words(dst.parse().unwrap()),
        family: FAMILY_V4,
        proto: 17,
        ..RawTuple::default()
    }
}

#[test]
fn every_hook_of_the_table_has_a_meaning_and_others_are_unknown() {
    for number in 0..=u8::MAX {
        let event = decode(&record(raw(number), &[], &[]), &host()).unwrap();
        let known = HOOKS.iter().any(|hook| hook.id == number);
        assert_eq!(event.detail != Detail::Unknown, known, "hook {number}");
    }
}

#[test]
fn records_that_end_early_are_errors() {
    let whole = record(raw(hook::KFREE_SKB), &[0; 16], &[1, 2, 3]);
    for length in 0..whole.len() {
        let error = decode(&whole.slice(..length), &host()).unwrap_err();
        assert!(matches!(error, DecodeError::Truncated { have, need } if have < need));
    }
    assert!(decode(&whole, &host()).is_ok());
    let too_much = RawEvent {
        caplen: 17,
        ..raw(0)
    };
    let bytes = Bytes::copy_from_slice(too_much.as_bytes());
    assert!(matches!(
        decode(&bytes, &host()),
        Err(DecodeError::Capture { .. })
    ));
}

#[test]
fn random_records_never_panic() {
    let mut state = 7u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut decoded = 0;
    for _ in 0..20_000 {
        let words: Vec<u8> = (0..60).flat_map(|_| next().to_le_bytes()).collect();
        let mut bytes = words;
        // sizes that can fit, so that the fields behind them are reached
        let sizes = RawEvent::new_zeroed();
        let at = |field: *const u8| field as usize - std::ptr::from_ref(&sizes) as usize;
        let caplen = at(std::ptr::from_ref(&sizes.caplen).cast());
        let reserved = at(std::ptr::from_ref(&sizes.cap_reserved).cast());
        let stack = at(std::ptr::from_ref(&sizes.stack_len));
        bytes.splice(caplen..caplen + 2, 64u16.to_ne_bytes());
        bytes.splice(reserved..reserved + 2, 128u16.to_ne_bytes());
        bytes.splice(stack..=stack, [u8::try_from(next() % 8).unwrap()]);
        decoded += usize::from(decode(&bytes.into(), &host()).is_ok());
    }
    assert!(decoded > 15_000);
}

#[test]
fn a_drop_has_reason_function_and_callers_by_name() {
    let drop = RawEvent {
        reason: 12,
        location: 2,
        known: KNOWN_DST | KNOWN_DEV | KNOWN_CT,
        dst_error: -113,
        dev_state: 0b110,
        dev_flags: 1,
        mtu: 1500,
        ct_status: 0x188,
        qdisc: *b"noqueue\0\0\0\0\0",
        flags: FLAG_CLONED,
        pid: 9,
        comm: *b"ping\x1b\0\0\0\0\0\0\0\0\0\0\0",
        ..raw(hook::KFREE_SKB)
    };
    let event = decode(&record(drop, &[], &[1, 2, 3, 4, 5, 99]), &host()).unwrap();
    let Detail::Drop(info) = &event.detail else {
        panic!("{event:?}");
    };
    assert_eq!(info.reason.as_deref(), Some("NETFILTER_DROP"));
    assert_eq!(info.function.as_deref(), Some("nft_do_chain"));
    let names: Vec<_> = info.stack.iter().map(|f| f.name.as_deref()).collect();
    let callers = [
        Some("nft_do_chain_ipv4"),
        Some("nf_hook_slow"),
        Some("ip_forward"),
        None,
    ];
    assert_eq!(names, callers);
    assert_eq!(info.dst_error, Some(113));
    assert_eq!(info.no_carrier, Some(true));
    assert_eq!(info.device_up, Some(true));
    assert_eq!(info.qdisc.as_deref(), Some("noqueue"));
    assert_eq!(
        (info.ct_status, info.ct_attached),
        (Some(0x188), Some(true))
    );
    assert!(event.cloned);
    // softirq: whoever runs has nothing to do with the packet
    assert_eq!(event.process, None);

    let event = decode(&record(drop, &[], &[2, 4, 6]), &host()).unwrap();
    let process = event.process.unwrap();
    assert_eq!((process.pid, process.comm.as_str()), (9, "ping\u{fffd}"));

    let plain = decode(&record(raw(hook::KFREE_SKB), &[], &[]), &host()).unwrap();
    let Detail::Drop(info) = plain.detail else {
        panic!("{:?}", plain.detail);
    };
    assert_eq!(
        (info.dst_error, info.no_carrier, info.mtu),
        (None, None, None)
    );
    assert_eq!((info.reason, info.ct_status), (None, None));
}

#[test]
fn a_drop_of_a_list_is_that_of_who_freed_the_list() {
    let list = RawEvent {
        location: 7,
        ..raw(hook::KFREE_SKB)
    };
    let one = RawEvent {
        location: 8,
        ..list
    };
    for (raw, stack, listed) in [(list, &[1, 7, 8, 4][..], true), (one, &[1, 8, 4], false)] {
        let event = decode(&record(raw, &[], stack), &host()).unwrap();
        let Detail::Drop(info) = &event.detail else {
            panic!("{event:?}");
        };
        let callers: Vec<_> = info.stack.iter().map(|f| f.name.as_deref()).collect();
        assert_eq!(info.function.as_deref(), Some("__dev_queue_xmit"));
        assert_eq!((info.listed, callers), (listed, vec![Some("nf_hook_slow")]));
    }
}

#[test]
fn a_device_that_nobody_knows_falls_back_on_the_sockets_namespace() {
    let garbage = RawEvent {
        netns: 0xdead,
        ifindex: 0xbeef,
        sk: 1,
        sk_netns: 100,
        ..raw(hook::KFREE_SKB)
    };
    let event = decode(&record(garbage, &[], &[]), &host()).unwrap();
    assert_eq!((event.device, event.netns), (None, Some(NetNs(100))));
    let known = decode(&record(raw(hook::KFREE_SKB), &[], &[]), &host()).unwrap();
    assert_eq!(known.device, Some(DEVICE));
    // a device's own hook is believed before netlink told of the device
    let new = RawEvent {
        netns: 300,
        ..raw(hook::TC_INGRESS)
    };
    let event = decode(&record(new, &[], &[]), &host()).unwrap();
    assert_eq!(event.netns, Some(NetNs(300)));
}

#[test]
fn a_neighbour_update_brings_the_new_mac() {
    let update = RawEvent {
        tuple: v4("0.0.0.0", "10.0.0.9"),
        arg0: 1,
        arg1: 2,
        ..raw(hook::NEIGH_UPDATE)
    };
    let macs = [0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 4, 5, 6, 7, 0, 0];
    let event = decode(&record(update, &macs, &[]), &host()).unwrap();
    let Detail::Neighbor(neighbor) = event.detail else {
        panic!("{:?}", event.detail);
    };
    assert_eq!(neighbor.address, Some("10.0.0.9".parse().unwrap()));
    assert_eq!((neighbor.state, neighbor.new_state), (1, Some(2)));
    assert_eq!(
        (neighbor.mac, neighbor.new_mac),
        (None, Some(Mac([2, 3, 4, 5, 6, 7])))
    );
    assert_eq!(event.packet, None);
}

#[test]
fn a_route_lookup_is_local_only_from_lo_in_a_process() {
    for (iif, pid, local) in [(1, 7, true), (3, 7, false), (1, 0, false)] {
        let lookup = RawEvent {
            tuple: v4("10.0.0.1", "10.0.0.2"),
            netns: 0,
            ifindex: 4,
            skb_iif: iif,
            sk_netns: 100,
            pid,
            arg0: 254,
            arg1: (-11i64).cast_unsigned(),
            ..raw(hook::FIB_TABLE_LOOKUP)
        };
        let event = decode(&record(lookup, &[], &[]), &host()).unwrap();
        let Detail::Fib(fib) = event.detail else {
            panic!("{:?}", event.detail);
        };
        assert_eq!((fib.table, fib.error, fib.iif, fib.oif), (254, 11, iif, 4));
        assert_eq!(fib.local, local);
        assert_eq!(event.netns, local.then_some(NetNs(100)));
        assert_eq!(event.process.is_some(), local);
    }
}

#[test]
fn the_captured_bytes_become_the_packet_and_stay_a_slice_of_the_record() {
    let tuple = RawTuple {
        sport: 5000,
        dport: 53,
        ..v4("10.0.0.1", "10.0.0.2")
    };
    let model = super::tuple(&tuple).unwrap();
    assert_eq!(
        (model.proto, model.sport, model.dport),
        (Proto::Udp, 5000, 53)
    );
    let packet = super::packet::build::ip(
        &model,
        super::packet::build::Ip::default(),
        &super::packet::build::udp(&model, b"hello"),
    );
    let frame = super::packet::build::frame(0x0800, &[], &packet);
    let event = RawEvent {
        tuple,
        l3_offset: 14,
        cap_reserved: 128,
        ..raw(hook::TC_EGRESS)
    };
    let record = record(event, &frame, &[]);
    let event = decode(&record, &host()).unwrap();
    assert_eq!(
        event.packet.unwrap().transport,
        Transport::Udp { payload: 5 }
    );
    assert_eq!(event.bytes.as_ptr(), record.slice(256..).as_ptr());
    assert_eq!(event.bytes.len(), frame.len());
}

#[test]
fn compilers_suffixes_are_no_part_of_a_name() {
    for (name, clean) in [
        ("ip_forward.part.0", "ip_forward"),
        ("br_nf_forward_ip.constprop.0.isra.0", "br_nf_forward_ip"),
        ("tcp_v4_rcv.cold", "tcp_v4_rcv"),
        ("nft_do_chain+0x1f/0x200", "nft_do_chain"),
        (".text", ".text"),
        ("", ""),
    ] {
        assert_eq!(clean_function(name), clean);
    }
}
