//! Names from the Kubernetes API, of all nodes, as `kubectl get pods,services,endpointslices,nodes -A -o json` writes them:
//! the file of somebody who may ask the API, so that tracer needs no token, no certificate and no connection.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Deserializer};

use super::discovery::clean;
use super::facts::{AddressOwner, Owner, OwnerKind};

/// Largest file that is read: lists of some 50,000 pods.
const LARGEST: u64 = 512 << 20;

/// What to type for such a file.
pub const HOW: &str =
    "make it by: kubectl get pods,services,endpointslices,nodes -A -o json > names.json";

/// Whose addresses are, by such a file.
///
/// # Errors
/// When it cannot be read, or is no list of Kubernetes' objects.
pub fn read(path: &Path) -> io::Result<BTreeSet<AddressOwner>> {
    let file = File::open(path)?;
    if file.metadata()?.len() > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "more than 512 MiB",
        ));
    }
    owners(BufReader::new(file).take(LARGEST))
}

/// Whose addresses are, by the text of such a file.
///
/// # Errors
/// When it is no list of Kubernetes' objects.
pub(super) fn owners(text: impl Read) -> io::Result<BTreeSet<AddressOwner>> {
    let list: List = serde_json::from_reader(text)?;
    // `kubectl get --raw` leaves the kind to the list: `PodList`.
    let of_all = list.kind.strip_suffix("List").unwrap_or_default();
    let owners = list.items.iter().flat_map(|object| {
        let kind = object.kind.as_deref().unwrap_or(of_all);
        object.owners(kind).unwrap_or_default()
    });
    Ok(owners.collect())
}

#[derive(Deserialize)]
struct List {
    kind: String,
    items: Vec<Object>,
}

/// An object of the core API, or of discovery.k8s.io; only what names need.
#[derive(Deserialize)]
struct Object {
    kind: Option<String>,
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
    /// Of an `EndpointSlice`.
    #[serde(default, deserialize_with = "list")]
    endpoints: Vec<Endpoint>,
    /// Of `Endpoints`.
    #[serde(default, deserialize_with = "list")]
    subsets: Vec<Subset>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    labels: Labels,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "kubernetes.io/service-name")]
    service: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    #[serde(default)]
    host_network: bool,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(default, deserialize_with = "list", rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(default, deserialize_with = "list", rename = "externalIPs")]
    external_ips: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(default, deserialize_with = "list", rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    #[serde(default, deserialize_with = "list")]
    addresses: Vec<NodeAddress>,
    #[serde(default)]
    load_balancer: LoadBalancer,
}

#[derive(Deserialize)]
struct PodIp {
    ip: Option<String>,
}

#[derive(Deserialize)]
struct NodeAddress {
    address: String,
}

#[derive(Default, Deserialize)]
struct LoadBalancer {
    #[serde(default, deserialize_with = "list")]
    ingress: Vec<PodIp>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default, deserialize_with = "list")]
    addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Subset {
    #[serde(default, deserialize_with = "list")]
    addresses: Vec<PodIp>,
}

/// The API writes an empty list as null: the slice of a service without endpoints has `"endpoints": null`.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Object {
    /// Its addresses; `None` of an object whose name cannot be shown.
    fn owners(&self, kind: &str) -> Option<Vec<AddressOwner>> {
        let full = |name: &str| {
            let namespace = clean(self.metadata.namespace.as_deref()?)?;
            Some(format!("{namespace}/{}", clean(name)?))
        };
        let name = &self.metadata.name;
        let owner = |kind, name| Owner {
            kind,
            name,
            node: None,
        };
        let (owner, texts): (Owner, Vec<&String>) = match kind {
            "Pod" if self.lives_in_a_network_of_its_own() => {
                let node = self.spec.node_name.as_deref().and_then(clean);
                let several = self.status.pod_ips.iter().filter_map(|own| own.ip.as_ref());
                let owner = owner(OwnerKind::Pod, full(name)?);
                let addresses = self.status.pod_ip.iter().chain(several).collect();
                (Owner { node, ..owner }, addresses)
            }
            "Service" => {
                let Spec {
                    cluster_ip,
                    cluster_ips,
                    external_ips,
                    ..
                } = &self.spec;
                let balanced = self.status.load_balancer.ingress.iter();
                let given = cluster_ip.iter().chain(cluster_ips).chain(external_ips);
                let addresses = given.chain(balanced.filter_map(|own| own.ip.as_ref()));
                (owner(OwnerKind::Service, full(name)?), addresses.collect())
            }
            "EndpointSlice" => {
                let service = self.metadata.labels.service.as_deref()?;
                let addresses = self.endpoints.iter().flat_map(|own| &own.addresses);
                (
                    owner(OwnerKind::Endpoint, full(service)?),
                    addresses.collect(),
                )
            }
            "Endpoints" => {
                let addresses = self.subsets.iter().flat_map(|subset| &subset.addresses);
                let addresses = addresses.filter_map(|own| own.ip.as_ref());
                (owner(OwnerKind::Endpoint, full(name)?), addresses.collect())
            }
            "Node" => {
                let addresses = self.status.addresses.iter().map(|own| &own.address);
                (owner(OwnerKind::Node, clean(name)?), addresses.collect())
            }
            _ => return None,
        };
        // `None` is the address of a headless service, and nodes have their names among their addresses.
        let addresses = texts.into_iter().filter_map(|text| text.parse().ok());
        Some(
            addresses
                .map(|address: IpAddr| AddressOwner {
                    address,
                    owner: owner.clone(),
                })
                .collect(),
        )
    }

    /// What shares its node's network has the node's addresses; what has ended has none any more.
    fn lives_in_a_network_of_its_own(&self) -> bool {
        let ended = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        !self.spec.host_network && !ended
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let owners = owners(text.as_bytes()).unwrap();
        let line = |own: &AddressOwner| format!("{} {}", own.address, own.owner);
        owners.iter().map(line).collect()
    }

    #[test]
    fn an_empty_list_is_null() {
        let text = r#"{"kind":"List","items":[
          {"kind":"EndpointSlice","metadata":{"name":"db-x7k","namespace":"shop","labels":{"kubernetes.io/service-name":"db"}},
           "addressType":"IPv4","endpoints":null,"ports":null},
          {"kind":"Endpoints","metadata":{"name":"db","namespace":"shop"},"subsets":null},
          {"kind":"Service","metadata":{"name":"db","namespace":"shop"},
           "spec":{"clusterIP":"10.96.3.7","clusterIPs":null,"externalIPs":null},"status":{"loadBalancer":{"ingress":null}}}]}"#;
        assert_eq!(told(text), ["10.96.3.7 service shop/db"]);
    }

    #[test]
    fn objects_of_every_kind_give_their_addresses() {
        let text = r#"{"apiVersion":"v1","kind":"List","items":[
          {"kind":"Pod","metadata":{"name":"db-0","namespace":"shop","labels":{"app":"db"}},
           "spec":{"nodeName":"node2","containers":[{"name":"db"}]},
           "status":{"phase":"Running","podIP":"10.244.2.9","podIPs":[{"ip":"10.244.2.9"},{"ip":"fd00:2::9"}]}},
          {"kind":"Pod","metadata":{"name":"proxy","namespace":"kube-system"},
           "spec":{"nodeName":"node2","hostNetwork":true},"status":{"podIP":"192.0.2.2"}},
          {"kind":"Pod","metadata":{"name":"job","namespace":"shop"},
           "spec":{"nodeName":"node2"},"status":{"phase":"Succeeded","podIP":"10.244.2.8"}},
          {"kind":"Service","metadata":{"name":"db","namespace":"shop"},
           "spec":{"clusterIP":"10.96.3.7","clusterIPs":["10.96.3.7"],"externalIPs":["198.51.100.7"]},
           "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.7"},{"hostname":"lb.example"}]}}},
          {"kind":"Service","metadata":{"name":"all","namespace":"shop"},"spec":{"clusterIP":"None"},"status":{"loadBalancer":{}}},
          {"kind":"EndpointSlice","metadata":{"name":"db-x7k","namespace":"shop","labels":{"kubernetes.io/service-name":"db"}},
           "endpoints":[{"addresses":["10.244.2.9"],"conditions":{"ready":true}}]},
          {"kind":"Endpoints","metadata":{"name":"api","namespace":"shop"},"subsets":[{"addresses":[{"ip":"192.0.2.1"}]}]},
          {"kind":"Node","metadata":{"name":"node2"},
           "status":{"addresses":[{"type":"InternalIP","address":"192.0.2.2"},{"type":"Hostname","address":"node2"}]}}]}"#;
        assert_eq!(
            told(text),
            [
                "10.96.3.7 service shop/db",
                "10.244.2.9 pod shop/db-0 on node2",
                "10.244.2.9 endpoint of service shop/db",
                "192.0.2.1 endpoint of service shop/api",
                "192.0.2.2 node node2",
                "198.51.100.7 service shop/db",
                "203.0.113.7 service shop/db",
                "fd00:2::9 pod shop/db-0 on node2",
            ]
        );
    }

    #[test]
    fn a_list_of_one_kind_tells_it_once() {
        let text = r#"{"kind":"PodList","items":[{"metadata":{"name":"a","namespace":"b"},"status":{"podIP":"10.0.0.9"}}]}"#;
        assert_eq!(told(text), ["10.0.0.9 pod b/a"]);
    }

    #[test]
    fn what_is_no_list_is_refused_and_a_name_that_disturbs_is_left_out() {
        assert!(owners(&b"NAME READY"[..]).is_err());
        assert!(owners(&b"{\"kind\":\"Pod\"}"[..]).is_err());
        let odd = r#"{"kind":"PodList","items":[{"metadata":{"name":"","namespace":"b"},"status":{"podIP":"10.0.0.9"}}]}"#;
        assert!(told(odd).is_empty());
    }
}
