//! A bond (8) of two slaves (9, 10), each a veth whose other end (19, 20) is in another namespace.

use super::*;
use crate::host::facts::{BondLink, BondSlave};

const BOND: Device = device(8);
const SLAVES: [(Device, &str); 2] = [(device(9), "eth1"), (device(10), "eth2")];
const ACTIVE: BondSlave = BondSlave {
    active: true,
    up: true,
};
const BACKUP: BondSlave = BondSlave {
    active: false,
    up: true,
};

const fn far(ifindex: u32) -> Device {
    Device {
        netns: NetNs(2),
        ifindex: IfIndex(ifindex),
    }
}

fn net(mode: &str, active: Option<u32>, states: [BondSlave; 2]) -> Net {
    let mut net = Net::new();
    net.fact(Fact::Link(Link {
        bond: Some(Box::new(BondLink {
            mode: Some(mode.into()),
            active,
        })),
        ..link(BOND, "bond0", "bond")
    }));
    for ((device, name), state) in SLAVES.into_iter().zip(states) {
        let peer = far(device.ifindex.0 + 10);
        net.fact(Fact::Link(Link {
            master: Some(BOND.ifindex.0),
            slave: Some(state),
            peer: Some(peer),
            ..link(device, name, "veth")
        }));
        net.fact(Fact::Link(Link {
            peer: Some(device),
            ..link(peer, name, "veth")
        }));
    }
    net
}

impl Net {
    fn change(&mut self, device: Device, change: impl FnOnce(&mut Link)) {
        let mut link = self.0.link(device).unwrap().clone();
        change(&mut link);
        self.fact(Fact::Link(link));
    }

    /// The other ends are ports of one bridge.
    fn switched(&mut self) {
        let switch = far(30);
        self.fact(Fact::Link(Link {
            bridge: Some(BridgeLink::default()),
            ..link(switch, "sw", "bridge")
        }));
        for ifindex in [19, 20] {
            self.change(far(ifindex), |link| {
                link.master = Some(switch.ifindex.0);
                link.port = Some(BridgePort::default());
            });
        }
    }
}

/// Out of the bond by this slave, or not seen again.
fn out_by(slave: Option<Device>) -> Leg {
    Leg {
        entry: Entry::Bond(BOND),
        exit: match slave {
            Some(_) => Exit::Out,
            None => Exit::Unknown,
        },
        out: slave,
        ..leg()
    }
}

fn in_at((slave, _): (Device, &str), exit: Exit) -> Leg {
    Leg {
        entry: Entry::Device(slave),
        exit,
        out: None,
        ..leg()
    }
}

#[test]
fn an_active_slave_alone_sends() {
    let mut net = net("active-backup", Some(9), [ACTIVE, BACKUP]);
    let sends = "bond bond0 (active-backup) sends by eth1 → forward";
    assert_eq!(net.walk(&out_by(Some(SLAVES[0].0))), [sends]);
    assert_eq!(net.walk(&out_by(None)), [sends]);
    let changed = format!("{sends} (changed-since)");
    assert_eq!(net.walk(&out_by(Some(SLAVES[1].0))), [changed]);
    // also where nobody watches its link
    net.change(SLAVES[0].0, |link| link.carrier = false);
    let dead = "bond bond0 (active-backup) sends by eth1: eth1 has no carrier → forward";
    assert_eq!(net.walk(&out_by(None)), [dead]);
}

#[test]
fn one_of_several_makes_a_difference_where_they_lead_elsewhere() {
    let mut net = net("balance-xor", None, [ACTIVE, ACTIVE]);
    let sends = "bond bond0 (balance-xor) sends by one of eth1, eth2 → forward";
    let apart = format!("{sends} (slave)");
    assert_eq!(net.walk(&out_by(None)), [apart]);
    assert_eq!(net.walk(&out_by(Some(SLAVES[1].0))), [sends]);
    net.switched();
    assert_eq!(net.walk(&out_by(None)), [sends]);
    net.change(SLAVES[0].0, |link| link.carrier = false);
    let left = "bond bond0 (balance-xor) sends by eth2 → forward";
    assert_eq!(net.walk(&out_by(None)), [left]);
}

#[test]
fn a_bond_without_a_slave_that_sends_sends_nothing() {
    let mut empty = net("active-backup", None, [BACKUP, BACKUP]);
    empty.change(SLAVES[0].0, |link| link.up = false);
    let nobody = "bond bond0 (active-backup) has no slave that sends: eth1 is down, eth2 is a backup → no-slave";
    assert_eq!(empty.walk(&out_by(None)), [nobody]);
    let mut net = net("802.3ad", None, [ACTIVE, ACTIVE]);
    for (slave, _) in SLAVES {
        net.change(slave, |link| link.master = None);
    }
    let none = "bond bond0 (802.3ad) has no slave that sends: it has none → no-slave";
    assert_eq!(net.walk(&out_by(None)), [none]);
}

#[test]
fn a_backup_takes_nothing_in() {
    let net = net("active-backup", Some(9), [ACTIVE, BACKUP]);
    let up = "bond eth1 is a slave of bond0 (active-backup) → up";
    assert_eq!(net.walk(&in_at(SLAVES[0], Exit::Upper)), [up]);
    let kept = "bond eth2 is a backup of bond0 (active-backup), which takes nothing there → drop";
    let died = in_at(SLAVES[1], Exit::Stage(Stage::Bond));
    assert_eq!(net.walk(&died), [kept]);
}

#[test]
fn what_a_vlan_device_gets_is_not_routed_below_it() {
    let net = Net::new();
    let mut leg = leg();
    leg.exit = Exit::Upper;
    assert_eq!(net.walk(&leg), Vec::<String>::new());
}
