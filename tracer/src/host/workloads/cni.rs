//! Results that CNI plugins left: the pod for which an interface was made, its namespace and its addresses.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Container, Part, Reader, Workloads, pod_name};

/// Where libcni keeps results (CacheDir of libcni/api.go), and host-local the addresses that it gave
/// (defaultDataDir of plugins/ipam/host-local/backend/disk).
pub(super) const RESULTS: &str = "var/lib/cni/results";
pub(super) const NETWORKS: &str = "var/lib/cni/networks";
/// The sandbox's own loopback interface is made by CNI too.
const LOOPBACK: &str = "lo";

pub(super) fn read(reader: &mut Reader, root: &Path, found: &mut Workloads) {
    let results = root.join(RESULTS);
    for name in reader.names(&results) {
        let parts = reader.file(&results.join(name), result);
        found.take(root, &parts);
    }
    let networks = root.join(NETWORKS);
    for network in reader.names(&networks) {
        let network = networks.join(network);
        for name in reader.names(&network) {
            let Ok(address) = name.parse::<IpAddr>() else {
                continue;
            };
            let parts = reader.file(&network.join(name), |bytes| reservation(address, bytes));
            found.take(root, &parts);
        }
    }
}

/// What libcni keeps of a call (cachedInfo of libcni/api.go). Results before 0.3 have their addresses elsewhere, and are told by
/// the file of the reservation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    container_id: String,
    #[serde(default)]
    if_name: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    result: Outcome,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Outcome {
    interfaces: Vec<Interface>,
    ips: Vec<Given>,
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    sandbox: String,
}

#[derive(Deserialize)]
struct Given {
    address: String,
    #[serde(default)]
    interface: Option<usize>,
}

pub(super) fn result(bytes: &[u8]) -> Option<Vec<Part>> {
    let kept: Kept = serde_json::from_slice(bytes).ok()?;
    let arg = |name: &str| {
        let mut args = kept.cni_args.iter();
        args.find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let sandbox = |interface: &Interface| !interface.sandbox.is_empty();
    let inside = |given: &&Given| {
        let interface = given.interface.and_then(|n| kept.result.interfaces.get(n));
        interface.is_none_or(sandbox) && kept.if_name != LOOPBACK
    };
    let addresses = kept.result.ips.iter().filter(inside);
    let container = Container {
        pod: arg("K8S_POD_NAMESPACE")
            .zip(arg("K8S_POD_NAME"))
            .and_then(|(namespace, name)| pod_name(namespace, name)),
        netns: kept
            .result
            .interfaces
            .iter()
            .find(|interface| sandbox(interface))
            .map(|interface| PathBuf::from(&interface.sandbox)),
        addresses: addresses
            .filter_map(|given| given.address.split('/').next()?.parse().ok())
            .collect(),
        ..Container::default()
    };
    Some(vec![(kept.container_id, container)])
}

/// A file named after an address that was given, which holds the container's id and the interface's name.
pub(super) fn reservation(address: IpAddr, bytes: &[u8]) -> Option<Vec<Part>> {
    let id = str::from_utf8(bytes).ok()?.lines().next()?.trim();
    let container = Container {
        addresses: vec![address],
        ..Container::default()
    };
    (!id.is_empty()).then(|| vec![(id.to_owned(), container)])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn a_result_names_the_pod_its_namespace_and_its_address() {
        let parts = result(include_bytes!("fixtures/cni-result.json")).unwrap();
        let [(id, container)] = parts.as_slice() else {
            unreachable!("{parts:?}")
        };
        assert!(id.starts_with("9e38"), "{id}");
        assert_eq!(container.pod.as_deref(), Some("shop/client"));
        let netns = container.netns.as_ref().unwrap();
        assert!(netns.starts_with("/var/run/netns"), "{netns:?}");
        assert_eq!(
            container.addresses,
            ["10.244.1.2".parse::<IpAddr>().unwrap()]
        );
    }

    #[test]
    fn a_reservation_names_the_container() {
        let address = "10.244.1.7".parse().unwrap();
        let parts = reservation(address, b"0a1b\r\neth0").unwrap();
        let [(id, container)] = parts.as_slice() else {
            unreachable!("{parts:?}")
        };
        assert_eq!(
            (id.as_str(), container.addresses.as_slice()),
            ("0a1b", &[address][..])
        );
        assert_eq!(reservation(address, b""), None);
    }
}
