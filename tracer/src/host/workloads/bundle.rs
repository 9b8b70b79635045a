//! Bundles of containers (config.json of the OCI runtime specification): the pod and the container in their annotations, the
//! namespace that they join, and the folder that Docker and Podman keep beside.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{Container, Part, Reader, Workloads, below, docker, of_labels};

/// Where containerd's shims keep bundles: by itself, for k3s, for MicroK8s, for Docker's own containerd.
pub(super) const TASKS: &[&str] = &[
    "run/containerd/io.containerd.runtime.v2.task",
    "run/k3s/containerd/io.containerd.runtime.v2.task",
    "var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task",
    "run/docker/containerd/daemon/io.containerd.runtime.v2.task",
];

/// All bundles of containerd below a root.
pub(super) fn read(reader: &mut Reader, root: &Path, found: &mut Workloads) {
    for tasks in TASKS {
        let tasks = root.join(tasks);
        for namespace in reader.names(&tasks) {
            let namespace = tasks.join(namespace);
            for id in reader.names(&namespace) {
                let file = namespace.join(&id).join("config.json");
                take(reader, root, (&id, &file), found);
            }
        }
    }
}

/// The bundle in a folder, that of a shim whose child is in sight. Its id is the folder's name, of Podman and CRI-O that of the
/// folder above `userdata`.
pub(super) fn of_process(
    reader: &mut Reader,
    root: &Path,
    directory: &Path,
    found: &mut Workloads,
) {
    let Ok(folder) = std::fs::read_link(directory) else {
        return;
    };
    let folder = match folder.parent() {
        Some(above) if folder.ends_with("userdata") => above,
        _ => &folder,
    };
    let Some(id) = folder.file_name().and_then(|name| name.to_str()) else {
        return;
    };
    let known = found.containers.get(id);
    if known.and_then(Container::owner).is_none() {
        take(reader, root, (id, &directory.join("config.json")), found);
    }
}

/// The bundle of another container of the same runtime: a shim, which works in the bundle of the sandbox, has all containers of
/// a pod.
pub(super) fn beside(
    reader: &mut Reader,
    root: &Path,
    (directory, id): (&Path, &str),
    found: &mut Workloads,
) {
    let known = found.containers.get(id);
    if known.and_then(Container::owner).is_some() {
        return;
    }
    let folder = std::fs::read_link(directory);
    let all = folder.as_ref().ok().and_then(|folder| folder.parent());
    if let Some(all) = all {
        let file = below(root, &all.join(id).join("config.json"));
        take(reader, root, (id, &file), found);
    }
}

fn take(reader: &mut Reader, root: &Path, (id, file): (&str, &Path), found: &mut Workloads) {
    let parts = reader.file(file, |bytes| config(id, bytes));
    found.take(root, &parts);
    let folders = parts
        .iter()
        .filter_map(|(_, container)| container.docker.as_ref());
    for folder in folders {
        docker::container(reader, root, &below(root, folder), found);
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    annotations: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    linux: Linux,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
struct Mount {
    destination: PathBuf,
    #[serde(default)]
    source: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Joined>,
}

#[derive(Deserialize)]
struct Joined {
    r#type: String,
    #[serde(default)]
    path: PathBuf,
}

pub(super) fn config(id: &str, bytes: &[u8]) -> Option<Vec<Part>> {
    let config: Config = serde_json::from_slice(bytes).ok()?;
    let annotations = config.annotations.unwrap_or_default();
    let annotation = |name: &str| annotations.get(name).and_then(Value::as_str);
    let mut container = of_labels(annotation);
    // nerdctl's label is an annotation too, by which its hooks find it (pkg/ocihook)
    let own = annotation("nerdctl/name").and_then(super::clean);
    container.name = container.name.or(own);
    let network = config
        .linux
        .namespaces
        .iter()
        .find(|n| n.r#type == "network");
    container.netns = network
        .map(|n| n.path.clone())
        // that of a process is not a file that stays
        .filter(|path| path.is_absolute() && !path.starts_with("/proc"));
    // Docker mounts it from the folder that it has for the container, wherever its data-root is
    let hostname = config
        .mounts
        .iter()
        .find(|m| m.destination == Path::new("/etc/hostname"));
    container.docker = hostname
        .and_then(|mount| mount.source.parent())
        .filter(|folder| folder.ends_with(id))
        .map(Path::to_owned);
    Some(vec![(id.to_owned(), container)])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    fn only(id: &str, bytes: &[u8]) -> Container {
        let mut parts = config(id, bytes).unwrap();
        parts.pop().unwrap().1
    }

    #[test]
    fn a_sandbox_tells_its_pod_and_its_namespace() {
        let sandbox = only("9e38", include_bytes!("fixtures/containerd-sandbox.json"));
        assert_eq!(sandbox.pod.as_deref(), Some("shop/client"));
        assert_eq!(sandbox.name, None);
        assert!(sandbox.netns.unwrap().starts_with("/var/run/netns"));
        let container = only("ef76", include_bytes!("fixtures/containerd-container.json"));
        assert_eq!(container.pod.as_deref(), Some("shop/web-6b74c758f5-4qntv"));
        assert_eq!(container.name.as_deref(), Some("web"));
        assert_eq!(container.netns, None, "that of a process");
    }

    #[test]
    fn of_docker_the_bundle_leads_to_its_record() {
        let id = "6fe917e860a7ccca51cb5479e62d1c9038bb3620b7a69986a68203d90875aedd";
        let container = only(id, include_bytes!("fixtures/docker-bundle.json"));
        let folder = container.docker.unwrap();
        assert_eq!(folder, Path::new("/var/lib/docker/containers").join(id));
        assert_eq!(container.name, None);
    }

    #[test]
    fn what_is_no_bundle_tells_nothing() {
        for bytes in [&b""[..], b"{", b"{\"linux\": 1}"] {
            assert_eq!(config("0a", bytes), None);
        }
        assert_eq!(
            config("0a", b"{}").unwrap(),
            [("0a".into(), Container::default())]
        );
    }
}
