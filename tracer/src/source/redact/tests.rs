//! Inputs in, inputs out.

use super::*;
use crate::decode::decode;
use crate::host::Host;
use crate::host::facts::{
    AddressOwner, ContainerName, Fact, Link, Namespace, Owner, OwnerKind, ProcessOwner, Run,
    TunnelLink,
};
use crate::model::{Detail, Device, IfIndex, KtimeNs, Mac, NetNs};
use tracer_common::hook::{self, Argument, HOOKS};
use zerocopy::{FromZeros, IntoBytes};

pub(super) fn key() -> Key {
    let mut bytes = [9; 32];
    bytes[31] = 7;
    Key::of(bytes).unwrap()
}

pub(super) fn pseudonyms() -> Pseudonyms {
    Redactor::new(&key()).all
}

fn link(ifindex: u32, name: &str) -> Link {
    Link {
        kind: "veth".into(),
        mac: Some(Mac([2, 0, 0, 0, 0, 5])),
        mtu: 1500,
        up: true,
        carrier: true,
        arp_type: 1,
        ..Link::new(
            Device {
                netns: NetNs(7),
                ifindex: IfIndex(ifindex),
            },
            name,
        )
    }
}

fn host(fact: Fact) -> Input {
    Input::Host(KtimeNs(1), fact)
}

#[test]
fn equal_names_and_addresses_have_equal_pseudonyms() {
    let mut redactor = Redactor::new(&key());
    let mut told = |ifindex, name| match redactor.input(host(Fact::Link(link(ifindex, name)))) {
        Some(Input::Host(_, Fact::Link(link))) => (link.name, link.mac),
        other => (format!("{other:?}"), None),
    };
    let (a, b, c) = (told(2, "eth0"), told(3, "eth0"), told(4, "eth1"));
    assert_eq!(a, b);
    assert_ne!(a.0, c.0);
    // and on another machine with the same key
    let mut other = Redactor::new(&key());
    let again = other.input(host(Fact::Namespace(Namespace {
        process: None,
        path: None,
        netns: NetNs(7),
        name: "blue".into(),
        node: None,
    })));
    let here = redactor.input(host(Fact::Namespace(Namespace {
        process: None,
        path: None,
        netns: NetNs(7),
        name: "blue".into(),
        node: None,
    })));
    assert_eq!(again, here);
    assert!(!format!("{here:?}").contains("blue"));
}

#[test]
fn owners_are_hidden_and_keep_their_kind() {
    let mut redactor = Redactor::new(&key());
    let owner = |kind, name: &str| AddressOwner {
        address: "192.0.2.77".parse().unwrap(),
        owner: Owner {
            kind,
            name: name.into(),
            node: Some("rack-12".into()),
        },
    };
    let told = Fact::Owners(vec![
        owner(OwnerKind::Service, "shop/db"),
        owner(OwnerKind::HostName, "db.internal"),
    ]);
    let process = Fact::ProcessOwner(ProcessOwner {
        netns: NetNs(7),
        pid: 4711,
        comm: "shopd".into(),
        container: Some(ContainerName {
            name: Some("web".into()),
            pod: Some("shop/db".into()),
        }),
        unit: Some("shop.service".into()),
    });
    for fact in [told, process] {
        let hidden = format!("{:?}", redactor.input(host(fact)));
        for original in ["shop", "db", "web", "internal", "rack", "192.0.2.77"] {
            assert!(!hidden.contains(original), "{original} in {hidden}");
        }
        assert!(
            hidden.contains("Service") || hidden.contains("4711"),
            "{hidden}"
        );
    }
}

#[test]
fn the_ends_of_a_tunnel_are_hidden_and_its_key_is_not() {
    let ends = ["192.0.2.77", "2001:db8::77"].map(|end| end.parse().ok());
    let told = Link {
        tunnel: Some(Box::new(TunnelLink {
            local: ends[0],
            remote: ends[1],
            input_key: Some(5),
            ..TunnelLink::default()
        })),
        ..link(2, "gre1")
    };
    let Some(Input::Host(_, Fact::Link(hidden))) =
        Redactor::new(&key()).input(host(Fact::Link(told)))
    else {
        panic!("a link stays a link");
    };
    let tunnel = hidden.tunnel.unwrap();
    assert_eq!(tunnel.input_key, Some(5));
    assert!(tunnel.local.is_some() && tunnel.local != ends[0]);
    assert!(tunnel.remote.is_some() && tunnel.remote != ends[1]);
}

#[test]
fn questions_are_asked_about_the_originals() {
    let mut redactor = Redactor::new(&key());
    let device = link(2, "payments").device;
    let Some(Input::Host(_, Fact::Link(hidden))) =
        redactor.input(host(Fact::Link(link(2, "payments"))))
    else {
        panic!("a link stays a link");
    };
    let asked = redactor.question(Question::Sysctl {
        netns: NetNs(7),
        name: format!("net/ipv4/conf/{}/rp_filter", hidden.name),
    });
    let expected = Question::Sysctl {
        netns: NetNs(7),
        name: "net/ipv4/conf/payments/rp_filter".into(),
    };
    assert_eq!(asked, expected);
    let asked = redactor.question(Question::Forwarding {
        device,
        mac: hidden.mac.unwrap(),
    });
    let expected = Question::Forwarding {
        device,
        mac: Mac([2, 0, 0, 0, 0, 5]),
    };
    assert_eq!(asked, expected);
    let towards = "192.0.2.77".parse().unwrap();
    let Some(Input::Host(_, Fact::RoutesTowards(netns, dst, _))) =
        redactor.input(host(Fact::RoutesTowards(NetNs(7), towards, Vec::new())))
    else {
        panic!("routes stay routes");
    };
    assert_ne!(dst, towards);
    assert_eq!(
        redactor.question(Question::RoutesTowards { netns, dst }),
        Question::RoutesTowards {
            netns,
            dst: towards
        }
    );
}

fn record(ifindex: u32, hook: u8, bytes: &[u8]) -> Input {
    let mut raw = RawEvent::new_zeroed();
    raw.netns = 7;
    raw.ifindex = ifindex;
    raw.hook = hook;
    raw.fingerprint = 0x1234_5678_9abc_def1;
    raw.caplen = 16;
    raw.cap_reserved = 32;
    raw.stack_len = 1;
    raw.comm = *b"payments\0left ov";
    let mut record = raw.as_bytes().to_vec();
    record.extend_from_slice(bytes);
    record.extend_from_slice(&42_u64.to_ne_bytes());
    Input::Record(record.into())
}

#[test]
fn a_record_keeps_its_shape_and_nothing_that_was_left_over() {
    let mut redactor = Redactor::new(&key());
    let mut left_over = [0x5a; 32];
    left_over[12..14].copy_from_slice(&[0x88, 0xcc]);
    let input = record(2, hook::TC_EGRESS, &left_over);
    let Some(Input::Record(hidden)) = redactor.input(input) else {
        panic!("a record stays one");
    };
    let (raw, rest) = RawEvent::read_from_prefix(&hidden).unwrap();
    assert_eq!((raw.caplen, raw.cap_reserved, raw.netns), (16, 32, 7));
    assert_ne!(raw.fingerprint, 0x1234_5678_9abc_def1);
    assert!(raw.comm.starts_with(b"proc-") && raw.comm.ends_with(&[0; 5]));
    let (captured, stack) = rest.split_at(32);
    assert_eq!(stack, 42_u64.to_ne_bytes());
    assert!(captured.iter().skip(14).all(|byte| *byte == 0));
}

#[test]
fn a_record_that_cannot_be_read_keeps_its_time_alone() {
    let mut redactor = Redactor::new(&key());
    let Input::Record(whole) = record(2, hook::TC_EGRESS, &[0x5a; 32]) else {
        panic!("a record");
    };
    for length in [0, 5, 100, whole.len() - 1] {
        let cut = whole.slice(..length);
        let hidden = redactor.input(Input::Record(cut.clone()));
        assert_eq!(hidden, Some(Input::Record(cut.slice(..length.min(8)))));
    }
}

#[test]
fn what_the_run_does_not_look_at_is_left_out_here() {
    let mut redactor = Redactor::new(&key());
    let run = Run {
        only_interfaces: vec!["pay*".to_owned()],
        ..Run::default()
    };
    redactor.input(host(Fact::Run(Box::new(run))));
    for (ifindex, name) in [(2, "payments"), (3, "other")] {
        redactor.input(host(Fact::Link(link(ifindex, name))));
    }
    let passes = [
        (2, hook::TC_EGRESS),
        (3, hook::TC_EGRESS),
        (3, hook::KFREE_SKB),
    ]
    .map(|(ifindex, hook)| redactor.input(record(ifindex, hook, &[0; 32])).is_some());
    assert_eq!(passes, [true, false, true]);
}

/// What a record of a hook says, with all bits of its own fields set.
fn told(raw: &RawEvent) -> Detail {
    let record = raw.as_bytes().to_vec().into();
    decode(&record, &Host::default()).unwrap().detail
}

#[test]
fn of_a_hooks_own_fields_what_is_declared_stays_and_the_rest_is_hidden() {
    for row in HOOKS {
        let mut raw = RawEvent::new_zeroed();
        raw.hook = row.id;
        (raw.arg0, raw.arg1) = (0x0a01_0203_0405_0607, 0x0a08_090a_0b0c_0d0e);
        let record = Input::Record(raw.as_bytes().to_vec().into());
        let Some(Input::Record(hidden)) = Redactor::new(&key()).input(record) else {
            panic!("{} is left out", row.name);
        };
        let (hidden, _) = RawEvent::read_from_prefix(&hidden).unwrap();
        let own = [(raw.arg0, hidden.arg0), (raw.arg1, hidden.arg1)];
        for (kind, (before, after)) in row.arguments.into_iter().zip(own) {
            let expected = if kind == Argument::Unused { 0 } else { before };
            assert_eq!(after, expected, "{}", row.name);
        }
        assert_eq!(
            told(&hidden),
            told(&raw),
            "{} reads what it does not declare",
            row.name
        );
    }
}

#[test]
fn an_unknown_hook_says_nothing() {
    let mut raw = RawEvent::new_zeroed();
    raw.hook = u8::try_from(HOOKS.len()).unwrap();
    (raw.arg0, raw.arg1) = (7, 8);
    let record = Input::Record(raw.as_bytes().to_vec().into());
    let Some(Input::Record(hidden)) = Redactor::new(&key()).input(record) else {
        panic!("it is left out");
    };
    let (hidden, _) = RawEvent::read_from_prefix(&hidden).unwrap();
    assert_eq!((hidden.arg0, hidden.arg1), (0, 0));
}
