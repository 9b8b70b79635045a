//! What the path of a control group says of its processes: container, pod, unit.

use std::fs;

/// Digits of a container's id.
const CONTAINER_ID: usize = 64;

/// A process's control group, as far as runtimes and systemd name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::host) struct Group {
    /// The container's id.
    pub(in crate::host) container: Option<String>,
    /// UID of the pod.
    pub(in crate::host) pod: Option<String>,
    /// Unit of systemd.
    pub(in crate::host) unit: Option<String>,
}

impl Group {
    /// Of a process; of none where it has ended.
    pub(in crate::host) fn of(process: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
        Self::parse(&text)
    }

    /// Of the lines of /proc/PID/cgroup, in version 1 one for each hierarchy. The innermost container and pod count: runtimes run
    /// within containers too.
    pub(super) fn parse(text: &str) -> Self {
        let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        let mut found = Self::default();
        for path in paths {
            let parts: Vec<&str> = path.split('/').rev().collect();
            let first = |of: fn(&str) -> Option<String>| parts.iter().find_map(|part| of(part));
            found.container = found.container.or_else(|| first(container));
            found.pod = found.pod.or_else(|| first(pod));
            found.unit = found.unit.or_else(|| first(unit));
        }
        found
    }
}

/// The id that runtimes put into the name of a container's group: 64 hexadecimal digits, alone or with a runtime's prefix and
/// `.scope` (`docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `kubepods-…:cri-containerd:ID`).
fn container(part: &str) -> Option<String> {
    // conmon's own group is named after the container
    if part.starts_with("crio-conmon-") || part.starts_with("libpod-conmon-") {
        return None;
    }
    part.split(['-', '.', ':'])
        .find(|word| word.len() == CONTAINER_ID && word.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_owned)
}

/// The pod's UID: `pod1b4e28ba-…` (cgroupfs driver), `kubepods-burstable-pod1b4e28ba_….slice` (systemd driver, which writes
/// dashes as underscores; GetPodContainerName of pkg/kubelet/cm).
fn pod(part: &str) -> Option<String> {
    let name = part.split(':').next()?;
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let uid = match name.strip_prefix("kubepods") {
        Some(rest) => rest.rsplit_once("-pod")?.1,
        None => name.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let hexadecimal = |c: char| c.is_ascii_hexdigit() || c == '-';
    (uid.len() >= 32 && uid.chars().all(hexadecimal)).then_some(uid)
}

/// A service; `user@1000.service` runs all services of a user and says nothing of them.
fn unit(part: &str) -> Option<String> {
    (part.ends_with(".service") && !part.starts_with("user@")).then(|| part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Group;

    #[test]
    fn runtimes_and_drivers_name_groups_in_their_ways() {
        let id = "8c7d".repeat(16);
        let uid = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
        let under = uid.replace('-', "_");
        for (cgroup, pod) in [
            (format!("0::/system.slice/docker-{id}.scope\n"), None),
            (format!("0::/docker/{id}\n"), None),
            (
                format!("0::/machine.slice/libpod-{id}.scope/container\n"),
                None,
            ),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{id}.scope\n"
                ),
                Some(uid),
            ),
            (
                format!("0::/kubepods.slice/kubepods-pod{under}.slice/crio-{id}.scope\n"),
                Some(uid),
            ),
            (
                format!("12:pids:/kubepods/burstable/pod{uid}/{id}\n11:cpu:/\n"),
                Some(uid),
            ),
            (
                format!(
                    "9:devices:/\n8:pids:/system.slice/containerd.service/kubepods-besteffort-pod{under}.slice:cri-containerd:{id}\n"
                ),
                Some(uid),
            ),
        ] {
            let group = Group::parse(&cgroup);
            assert_eq!(group.container.as_deref(), Some(id.as_str()), "{cgroup}");
            assert_eq!(group.pod.as_deref(), pod, "{cgroup}");
        }
    }

    #[test]
    fn what_is_in_no_container_has_its_unit() {
        let unit = |text| Group::parse(text).unit;
        assert_eq!(
            unit("0::/system.slice/nginx.service\n").as_deref(),
            Some("nginx.service")
        );
        assert_eq!(
            unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n")
                .as_deref(),
            Some("web.service")
        );
        assert_eq!(
            unit("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n"),
            None
        );
        let conmon = format!(
            "0::/machine.slice/libpod-conmon-{}.scope\n",
            "ab".repeat(32)
        );
        assert_eq!(Group::parse(&conmon), Group::default());
    }
}
