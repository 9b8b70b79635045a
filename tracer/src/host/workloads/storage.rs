//! Containers of Podman and CRI-O, as containers/storage lists them.

use std::path::Path;

use serde::Deserialize;

use super::{Container, Part, Reader, Workloads, clean, pod_name};

/// With the overlay driver, which both take (store.go of containers/storage).
pub(super) const LIST: &str = "var/lib/containers/storage/overlay-containers/containers.json";

pub(super) fn read(reader: &mut Reader, root: &Path, found: &mut Workloads) {
    let parts = reader.file(&root.join(LIST), list);
    found.take(root, &parts);
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

pub(super) fn list(bytes: &[u8]) -> Option<Vec<Part>> {
    let listed: Vec<Listed> = serde_json::from_slice(bytes).ok()?;
    let parts = listed.into_iter().filter_map(|Listed { id, names }| {
        let name = names.first()?;
        let container = of_kubernetes(name).unwrap_or_else(|| Container {
            name: clean(name),
            ..Container::default()
        });
        Some((id, container))
    });
    Some(parts.collect())
}

/// CRI-O's names: `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`, of a sandbox with `POD` (internal/factory of CRI-O). No name in it
/// can have an underscore (RFC 1123).
fn of_kubernetes(name: &str) -> Option<Container> {
    let parts: Vec<&str> = name.split('_').collect();
    let ["k8s", container, pod, namespace, _, _] = parts.as_slice() else {
        return None;
    };
    Some(Container {
        pod: pod_name(namespace, pod),
        name: clean(container).filter(|name| name != "POD"),
        ..Container::default()
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn names_of_podman_and_of_cri_o() {
        let listed = br#"[
            {"id":"0a","names":["web"],"image":"1","layer":"2","metadata":"{}","created":"2026-01-01T00:00:00Z"},
            {"id":"0b","names":["k8s_POD_cart-5f6d_shop_1b4e28ba-2fa1-11d2-883f-0016d3cca427_0"]},
            {"id":"0c","names":["k8s_nginx_cart-5f6d_shop_1b4e28ba-2fa1-11d2-883f-0016d3cca427_3"]},
            {"id":"0d"}]"#;
        let told: Vec<_> = list(listed)
            .unwrap()
            .into_iter()
            .map(|(id, c)| (id, c.pod, c.name))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                ("0a".to_owned(), None, some("web")),
                ("0b".to_owned(), some("shop/cart-5f6d"), None),
                ("0c".to_owned(), some("shop/cart-5f6d"), some("nginx")),
            ]
        );
    }
}
