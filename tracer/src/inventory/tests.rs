use super::*;
use crate::host::facts::{AddressOwner, InterfaceAddress, Namespace, Owner};
use crate::model::{Device, IfIndex};

const POD: NetNs = NetNs(1);

fn inventory() -> Inventory {
    let mut host = Host::default();
    let mut told = |fact| host.apply(KtimeNs(0), fact);
    for (netns, name, address) in [
        (POD, "pod shop/cart", "10.244.1.7"),
        (NetNs(2), "pod blog/web", "10.244.1.8"),
        (NetNs(3), "pod shop/web", "10.244.1.9"),
        (NetNs(4), "container db", "172.17.0.2"),
        (NetNs(5), "blue", "10.0.0.1"),
    ] {
        told(Fact::Namespace(Namespace {
            netns,
            name: name.to_owned(),
            process: Some(4711),
            path: None,
            node: None,
        }));
        let own = |address: &str| InterfaceAddress {
            address: address.parse().unwrap(),
            prefix: 24,
            tentative: false,
            dad_failed: false,
            deprecated: false,
            secondary: false,
            scope: 0,
        };
        let device = |number| Device {
            netns,
            ifindex: IfIndex(number),
        };
        told(Fact::Addresses(device(1), vec![own("127.0.0.1")]));
        told(Fact::Addresses(
            device(2),
            vec![own(address), own("fe80::1")],
        ));
    }
    let owned = |address: &str, kind, name: &str| AddressOwner {
        address: address.parse().unwrap(),
        owner: Owner {
            kind,
            name: name.to_owned(),
            node: None,
        },
    };
    told(Fact::Owners(vec![
        owned("10.96.3.7", OwnerKind::Service, "shop/db"),
        owned("10.96.3.8", OwnerKind::Service, "shop/idle"),
        owned("10.244.2.9", OwnerKind::Endpoint, "shop/db"),
        owned("10.244.2.9", OwnerKind::Pod, "shop/db-0"),
    ]));
    Inventory { host }
}

#[test]
fn names_stand_for_addresses() {
    let inventory = inventory();
    let found = |named, kind, name| {
        let ends = inventory.ends((named, kind), name);
        ends.map(|ends| {
            ends.iter()
                .filter_map(|end| end.address)
                .map(|a| a.to_string())
                .collect::<Vec<_>>()
        })
    };
    let pod = |name| found(Named::Pod, OwnerKind::Pod, name);
    assert_eq!(pod("shop/cart").unwrap(), ["10.244.1.7"]);
    assert_eq!(
        pod("cart").unwrap(),
        ["10.244.1.7"],
        "the only one of that name"
    );
    assert_eq!(pod("shop/db-0").unwrap(), ["10.244.2.9"], "of another node");
    let container = found(Named::Container, OwnerKind::Container, "db");
    assert_eq!(container.unwrap(), ["172.17.0.2"]);
    let service = found(Named::Service, OwnerKind::Service, "shop/db");
    assert_eq!(service.unwrap(), ["10.96.3.7"]);
    let several = pod("web").unwrap_err();
    assert_eq!(several.message, "2 are called `web`");
    assert!(several.hint.contains("pod blog/web"), "{}", several.hint);
    let none = found(Named::Service, OwnerKind::Service, "nowhere").unwrap_err();
    assert_eq!(none.message, "no service is called `nowhere`");
}

#[test]
fn names_of_lists_stand_for_addresses_where_other_machines_are_traced() {
    let owner = AddressOwner {
        address: "10.244.2.9".parse().unwrap(),
        owner: Owner {
            kind: OwnerKind::Pod,
            name: "shop/db-0".to_owned(),
            node: Some("node2".to_owned()),
        },
    };
    let told = Told::new(vec![owner]);
    let ends = told.find(Named::Pod, "db-0").unwrap();
    assert_eq!(ends, [End::from("10.244.2.9".parse::<IpAddr>().unwrap())]);
    assert!(told.find(Named::Pod, "db-1").is_err());
    let unlisted = told.find(Named::Service, "shop/db").unwrap_err();
    assert!(unlisted.hint.contains("--names"), "{}", unlisted.hint);
}

#[test]
fn a_socket_at_any_address_of_a_pod_is_that_of_the_pod() {
    let inventory = inventory();
    let at = |netns, address: &str| inventory.where_it_listens(netns, address.parse().unwrap());
    let some = |address: &str| Some(address.parse::<IpAddr>().unwrap());
    assert_eq!(at(POD, "0.0.0.0"), [some("10.244.1.7"), some("127.0.0.1")]);
    assert_eq!(at(POD, "127.0.0.1"), [some("127.0.0.1")]);
    assert_eq!(at(NetNs(9), "0.0.0.0"), [None]);
}

#[test]
fn what_there_is_stands_beside_what_to_type() {
    let inventory = inventory();
    let all = list::Listed::ALL.map(|one| inventory.table(one));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_process_without_a_socket_is_refused() {
    let refused = inventory().of_processes(&[u32::MAX], "pid 4294967295");
    let message = refused.unwrap_err().message;
    assert!(
        message.starts_with("the sockets of `pid 4294967295` cannot be read"),
        "{message}"
    );
}
