//! Docker's own record of each container: name, namespace, addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Container, Part, Reader, Workloads, clean, of_labels};

/// Below its data-root, which is this where daemon.json does not say otherwise.
pub(super) const CONTAINERS: &str = "var/lib/docker/containers";
const RECORD: &str = "config.v2.json";

pub(super) fn read(reader: &mut Reader, root: &Path, found: &mut Workloads) {
    let containers = root.join(CONTAINERS);
    for id in reader.names(&containers) {
        container(reader, root, &containers.join(id), found);
    }
}

/// The record in a container's folder.
pub(super) fn container(reader: &mut Reader, root: &Path, folder: &Path, found: &mut Workloads) {
    let parts = reader.file(&folder.join(RECORD), record);
    found.take(root, &parts);
}

/// `container.Container` of moby's daemon, as it is written down.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    #[serde(default)]
    state: State,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    running: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    sandbox_key: PathBuf,
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "IPAddress")]
    v4: String,
    #[serde(rename = "GlobalIPv6Address")]
    v6: String,
}

pub(super) fn record(bytes: &[u8]) -> Option<Vec<Part>> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    let labels = record.config.labels.unwrap_or_default();
    let labelled = of_labels(|name| labels.get(name).map(String::as_str));
    let name = clean(record.name.trim_start_matches('/'));
    let mut container = Container {
        // cri-dockerd's own names (`k8s_web_cart_shop_…`) say what its labels say
        name: if labelled.pod.is_some() {
            labelled.name
        } else {
            name
        },
        pod: labelled.pod,
        ..Container::default()
    };
    if record.state.running {
        let settings = record.network_settings;
        container.netns = Some(settings.sandbox_key).filter(|path| path.is_absolute());
        let networks = settings.networks.unwrap_or_default();
        let given = networks.values().flatten().flat_map(|e| [&e.v4, &e.v6]);
        container.addresses = given
            .filter_map(|text| text.parse::<IpAddr>().ok())
            .collect();
    }
    Some(vec![(record.id, container)])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_name_namespace_and_addresses() {
        let bytes = include_bytes!("fixtures/docker-container.json");
        let (id, container) = record(bytes).unwrap().pop().unwrap();
        assert!(id.starts_with("6fe9"), "{id}");
        assert_eq!(container.name.as_deref(), Some("web"));
        let netns = Path::new("/var/run/docker/netns/aabeb120f212");
        assert_eq!(container.netns.as_deref(), Some(netns));
        assert_eq!(
            container.addresses,
            ["172.18.0.2".parse::<IpAddr>().unwrap()]
        );
    }

    #[test]
    fn one_that_has_ended_has_a_name_and_no_address() {
        let text = include_str!("fixtures/docker-container.json");
        let ended = text.replace("\"Running\": true", "\"Running\": false");
        let (_, container) = record(ended.as_bytes()).unwrap().pop().unwrap();
        assert_eq!(container.name.as_deref(), Some("web"));
        assert!(container.netns.is_none() && container.addresses.is_empty());
    }

    #[test]
    fn cri_dockerd_labels_its_containers() {
        let labels = r#"{"io.kubernetes.pod.name":"cart","io.kubernetes.pod.namespace":"shop","io.kubernetes.container.name":"POD"}"#;
        let text = format!(
            r#"{{"ID":"0a","Name":"/k8s_POD_cart_shop_1_0","Config":{{"Labels":{labels}}}}}"#
        );
        let (_, sandbox) = record(text.as_bytes()).unwrap().pop().unwrap();
        assert_eq!(sandbox.pod.as_deref(), Some("shop/cart"));
        assert_eq!(sandbox.name, None);
    }
}
