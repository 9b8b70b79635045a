//! Docker's own record of each container: name, namespace, addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Container, Part, Reader, Workloads, clean, of_labels};

/// Below its data-root, which is this where daemon.json does not say otherwise.
const CONTAINERS: &str = "var/lib/docker/containers";
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

fn record(bytes: &[u8]) -> Option<Vec<Part>> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    let labels = record.config.labels.unwrap_or_default();
    let labelled = of_labels(|name| labels.get(name).map(String::as_str));
    let name = clean(record.name.trim_start_matches('/'));
    let mut container = Container {
        // cri-dockerd's own names (`k8s_web_cart_shop_…`) say what its labels say
        name: if labelled.pod.is_some() { labelled.name } else { name },
        pod: labelled.pod,
        ..Container::default()
    };
    if record.state.running {
        let settings = record.network_settings;
        container.netns = Some(settings.sandbox_key).filter(|path| path.is_absolute());
        let networks = settings.networks.unwrap_or_default();
        let given = networks.values().flatten().flat_map(|e| [&e.v4, &e.v6]);
        container.addresses = given.filter_map(|text| text.parse::<IpAddr>().ok()).collect();
    }
    Some(vec![(record.id, container)])
}
