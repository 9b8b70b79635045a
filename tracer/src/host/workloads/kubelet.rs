//! What the kubelet's folders of logs are called: every pod by its UID, and every container by its id, whichever the runtime.

use std::path::Path;

use super::{Container, Part, Reader, Workloads, clean, pod_name};

/// Folders `NAMESPACE_POD_UID` and links `POD_NAMESPACE_CONTAINER-ID.log` (pkg/kubelet/kuberuntime/helpers.go and legacy.go).
pub(super) const PODS: &str = "var/log/pods";
pub(super) const CONTAINERS: &str = "var/log/containers";

pub(super) fn read(reader: &mut Reader, root: &Path, found: &mut Workloads) {
    let pods = reader.names(&root.join(PODS));
    found.pods.extend(pods.iter().filter_map(|name| pod(name)));
    let links = reader.names(&root.join(CONTAINERS));
    let parts: Vec<Part> = links.iter().filter_map(|name| container(name)).collect();
    found.take(root, &parts);
}

/// UID and name.
fn pod(folder: &str) -> Option<(String, String)> {
    let mut parts = folder.split('_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    Some((uid.to_owned(), pod_name(namespace, name)?))
}

fn container(link: &str) -> Option<Part> {
    let mut parts = link.strip_suffix(".log")?.split('_');
    let (pod, namespace, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (name, id) = rest.rsplit_once('-')?;
    let container = Container {
        pod: pod_name(namespace, pod),
        name: clean(name),
        ..Container::default()
    };
    Some((id.to_owned(), container))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    #[test]
    fn pods_and_containers_by_their_logs() {
        let uid = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
        let told = pod(&format!("shop_cart-5f6d_{uid}"));
        assert_eq!(told, Some((uid.into(), "shop/cart-5f6d".into())));
        let (id, told) = container("cart-5f6d_shop_web-server-0a1b.log").unwrap();
        assert_eq!(id, "0a1b");
        assert_eq!(told.pod.as_deref(), Some("shop/cart-5f6d"));
        assert_eq!(told.name.as_deref(), Some("web-server"));
        assert_eq!(pod("lost+found"), None);
        assert_eq!(container("kern.log"), None);
    }
}
