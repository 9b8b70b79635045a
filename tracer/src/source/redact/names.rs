//! Pseudonyms of names: a word that tells the kind, and digits that are a keyed hash of the name. The same name has the
//! same digits everywhere, whatever it is the name of.

use std::collections::HashMap;

use super::key::{Hasher, Key};

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Namespace,
    /// A part of the path to a namespace's file.
    File,
    Interface,
    Host,
    Boot,
    Process,
    Program,
    Cgroup,
    Table,
    Chain,
    Set,
    Comment,
    /// Not known.
    Other,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Namespace | Self::File => "ns",
            Self::Interface => "if",
            Self::Host => "host",
            Self::Boot => "boot",
            Self::Process => "proc",
            Self::Program => "prog",
            Self::Cgroup => "cg",
            Self::Table => "table",
            Self::Chain => "chain",
            Self::Set => "set",
            Self::Comment => "comment",
            Self::Other => "name",
        }
    }

    /// Names that every machine has, or that tell nothing of their owner.
    fn is_well_known(self, name: &str) -> bool {
        match self {
            Self::Namespace => name == "host" || is_inode(name),
            Self::File => is_place(name),
            Self::Interface => name == "lo",
            Self::Table => TABLES.contains(&name),
            Self::Chain => CHAINS.contains(&name.to_ascii_uppercase().as_str()),
            Self::Cgroup => MOUNTS.contains(&name),
            _ => false,
        }
    }
}

/// Folders, and process ids, on the way to namespaces (see `host::discovery`).
fn is_place(name: &str) -> bool {
    PLACES.contains(&name) || name.bytes().all(|b| b.is_ascii_digit())
}

/// `netns:4026531840`.
fn is_inode(name: &str) -> bool {
    name.strip_prefix("netns:")
        .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Tables of iptables(8) and ebtables(8).
const TABLES: [&str; 6] = ["filter", "nat", "mangle", "raw", "security", "broute"];
/// Chains named after their hooks.
pub(super) const CHAINS: [&str; 7] = [
    "PREROUTING",
    "INPUT",
    "FORWARD",
    "OUTPUT",
    "POSTROUTING",
    "INGRESS",
    "EGRESS",
];
/// Folders of files of namespaces.
const PLACES: [&str; 9] = [
    "run", "var", "netns", "docker", "proc", "root", "task", "fd", "ns",
];

/// What names of namespaces begin with that tell whose network it is (see `host::discovery`), and what of them is hidden as
/// what.
const WORKLOADS: [(&str, Kind); 4] = [
    ("pod", Kind::Namespace),
    ("container", Kind::Namespace),
    ("unit", Kind::Namespace),
    ("process", Kind::Process),
];

/// Folders of /sys/fs/cgroup.
const MOUNTS: [&str; 4] = ["sys", "fs", "cgroup", "unified"];

/// What names of interfaces begin with by whoever makes them, the kernel, systemd or a program: it tells a kind, and stays.
/// None begins with another, so that `veth*` still means the same interfaces.
const BEGINNINGS: [&str; 27] = [
    "bond", "br", "cali", "cilium", "cni", "docker", "dummy", "eno", "enp", "ens", "enx", "eth",
    "flannel", "gre", "ipvlan", "kube", "lxc", "macvlan", "ovs", "sit", "tap", "team", "tun",
    "veth", "vnet", "vxlan", "wg",
];

fn beginning(interface: &str) -> Option<&'static str> {
    BEGINNINGS
        .into_iter()
        .find(|known| interface.len() > known.len() && interface.starts_with(known))
}

/// Hexadecimal digits of a pseudonym: with the longest word and a dash the kernel's 15 bytes for a name.
const DIGITS: usize = 6;

/// Pseudonyms of names, and back.
pub(super) struct Names {
    hash: Hasher,
    digits: HashMap<String, String>,
    taken: HashMap<String, String>,
    back: HashMap<String, String>,
    /// Names that occurred, as they were first called.
    known: HashMap<String, String>,
    /// Names of interfaces, which patterns stand for.
    interfaces: HashMap<String, String>,
}

impl Names {
    pub(super) fn new(key: &Key) -> Self {
        Self {
            hash: key.hasher(b"name"),
            digits: HashMap::new(),
            taken: HashMap::new(),
            back: HashMap::new(),
            known: HashMap::new(),
            interfaces: HashMap::new(),
        }
    }

    /// The pseudonym of a name; none of none.
    pub(super) fn name(&mut self, kind: Kind, original: &str) -> String {
        if original.is_empty() || kind.is_well_known(original) {
            return original.to_owned();
        }
        if kind == Kind::Namespace
            && let Some(pseudonym) = self.workload(original)
        {
            self.back.insert(pseudonym.clone(), original.to_owned());
            return pseudonym;
        }
        let digits = self.digits(original);
        let word = match kind {
            Kind::Interface => beginning(original).unwrap_or(kind.word()),
            kind => kind.word(),
        };
        let pseudonym = format!("{word}-{digits}");
        self.back.insert(pseudonym.clone(), original.to_owned());
        self.known
            .entry(original.to_owned())
            .or_insert_with(|| pseudonym.clone());
        if kind == Kind::Interface {
            self.interfaces
                .insert(original.to_owned(), pseudonym.clone());
        }
        pseudonym
    }

    /// The pseudonym of `pod shop/cart`, part by part: it is still a pod's. What tells two of one name apart is a number.
    fn workload(&mut self, original: &str) -> Option<String> {
        let (word, rest) = original.split_once(' ')?;
        let (_, kind) = WORKLOADS.into_iter().find(|(known, _)| *known == word)?;
        let (name, number) = match rest.split_once(" (netns:") {
            Some((name, number)) => (name, format!(" (netns:{number}")),
            None => (rest, String::new()),
        };
        let name = self.path(kind, name);
        Some(format!("{word} {name}{number}"))
    }

    /// An interface's name, or a pattern: `NAME*`. `None` for a pattern that no pseudonym can stand for.
    pub(super) fn interface(&mut self, pattern: &str) -> Option<String> {
        let Some(start) = pattern.strip_suffix('*') else {
            return Some(self.name(Kind::Interface, pattern));
        };
        if start.is_empty() || BEGINNINGS.contains(&start) {
            return Some(pattern.to_owned());
        }
        let mut meant = self
            .interfaces
            .iter()
            .filter(|(name, _)| name.starts_with(start));
        match (meant.next(), meant.next()) {
            (Some((_, only)), None) => Some(only.clone()),
            _ => None,
        }
    }

    /// A path, name by name.
    pub(super) fn path(&mut self, kind: Kind, original: &str) -> String {
        let names = original.split('/').map(|name| self.name(kind, name));
        names.collect::<Vec<_>>().join("/")
    }

    /// A sysctl's path below /proc/sys: some hold an interface's name.
    pub(super) fn sysctl(&mut self, original: &str) -> String {
        Self::sysctl_with(original, |name| self.name(Kind::Interface, name))
    }

    /// The sysctl behind a pseudonym.
    pub(super) fn original_sysctl(&self, pseudonym: &str) -> String {
        Self::sysctl_with(pseudonym, |name| self.original(name))
    }

    fn sysctl_with(path: &str, mut interface: impl FnMut(&str) -> String) -> String {
        match path.split('/').collect::<Vec<_>>().as_slice() {
            [net, family, of @ ("conf" | "neigh"), name, rest @ ..]
                if !matches!(*name, "all" | "default") =>
            {
                let name = interface(name);
                let parts = [*net, *family, *of, name.as_str()];
                let parts: Vec<&str> = parts.into_iter().chain(rest.iter().copied()).collect();
                parts.join("/")
            }
            _ => path.to_owned(),
        }
    }

    /// The name behind a pseudonym; what is none stays.
    pub(super) fn original(&self, pseudonym: &str) -> String {
        self.back
            .get(pseudonym)
            .map_or_else(|| pseudonym.to_owned(), Clone::clone)
    }

    /// Pseudonym of a word if it is a name that occurred.
    pub(super) fn known(&self, word: &str) -> Option<String> {
        let interface = self.interfaces.get(word);
        interface.or_else(|| self.known.get(word)).cloned()
    }

    /// Different names never share their digits: who comes second to them gets others.
    fn digits(&mut self, original: &str) -> String {
        if let Some(known) = self.digits.get(original) {
            return known.clone();
        }
        let mut attempt = original.as_bytes().to_vec();
        let digits = loop {
            let hash = format!("{:016x}", self.hash.hash(&attempt));
            let digits = hash.get(..DIGITS).unwrap_or(&hash).to_owned();
            match self.taken.get(&digits) {
                Some(other) if other != original => attempt.push(0),
                _ => break digits,
            }
        };
        self.taken.insert(digits.clone(), original.to_owned());
        self.digits.insert(original.to_owned(), digits.clone());
        digits
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut bytes = [3; 32];
        bytes[31] = 4;
        Names::new(&Key::of(bytes).unwrap())
    }

    #[test]
    fn the_same_name_has_the_same_digits_and_another_has_others() {
        let mut names = names();
        let space = names.name(Kind::Namespace, "web");
        let process = names.name(Kind::Process, "web");
        let (word, digits) = space.split_once('-').unwrap();
        assert_eq!((word, digits.len()), ("ns", DIGITS));
        assert_eq!(process, format!("proc-{digits}"));
        assert_eq!(names.name(Kind::Namespace, "web"), space);
        let mut all = std::collections::BTreeSet::new();
        for n in 0..20_000 {
            assert!(all.insert(names.name(Kind::Process, &format!("p{n}"))));
        }
        assert_eq!(names.original(&space), "web");
    }

    #[test]
    fn names_that_everybody_has_stay() {
        let mut names = names();
        for (kind, name) in [
            (Kind::Namespace, "host"),
            (Kind::Namespace, "netns:4026531840"),
            (Kind::Interface, "lo"),
            (Kind::Table, "filter"),
            (Kind::Chain, "FORWARD"),
            (Kind::Chain, "input"),
            (Kind::Other, ""),
        ] {
            assert_eq!(names.name(kind, name), name);
        }
        assert_eq!(names.path(Kind::Cgroup, "/sys/fs/cgroup"), "/sys/fs/cgroup");
        assert_eq!(names.path(Kind::Cgroup, "/"), "/");
        assert_ne!(names.name(Kind::Namespace, "netns:web"), "netns:web");
    }

    #[test]
    fn a_workload_is_hidden_part_by_part() {
        let mut names = names();
        let (shop, cart) = (
            names.name(Kind::Namespace, "shop"),
            names.name(Kind::Namespace, "cart"),
        );
        let pod = names.name(Kind::Namespace, "pod shop/cart");
        assert_eq!(pod, format!("pod {shop}/{cart}"));
        assert_eq!(names.original(&pod), "pod shop/cart");
        let second = names.name(Kind::Namespace, "container cart (netns:4026532286)");
        assert_eq!(second, format!("container {cart} (netns:4026532286)"));
        let path = names.path(Kind::File, "/proc/1/root/run/netns/cart");
        assert_eq!(path, format!("/proc/1/root/run/netns/{cart}"));
    }

    #[test]
    fn an_interface_keeps_its_kind_and_fits_the_kernel() {
        let mut names = names();
        for (name, word) in [
            ("eth0", "eth-"),
            ("vethab12cd3@if4", "veth-"),
            ("flannel.1", "flannel-"),
            ("docker0", "docker-"),
            ("payments", "if-"),
            // the word alone would be the name
            ("veth", "if-"),
        ] {
            let pseudonym = names.name(Kind::Interface, name);
            assert!(pseudonym.starts_with(word), "{name} became {pseudonym}");
            assert!(pseudonym.len() <= 15, "{pseudonym}");
        }
        for (i, a) in BEGINNINGS.iter().enumerate() {
            for (j, b) in BEGINNINGS.iter().enumerate() {
                assert!(i == j || !a.starts_with(b), "{a} begins with {b}");
            }
        }
    }

    #[test]
    fn a_pattern_means_the_same_interfaces_or_is_given_up() {
        let mut names = names();
        assert_eq!(names.interface("veth*").unwrap(), "veth*");
        assert_eq!(names.interface("*").unwrap(), "*");
        assert_eq!(names.interface("pay*"), None);
        let only = names.name(Kind::Interface, "payments");
        assert_eq!(names.interface("pay*"), Some(only));
        names.name(Kind::Interface, "payroll");
        assert_eq!(names.interface("pay*"), None);
    }

    #[test]
    fn a_sysctl_hides_the_interface_alone() {
        let mut names = names();
        let eth0 = names.name(Kind::Interface, "eth0");
        let hidden = names.sysctl("net/ipv4/conf/eth0/rp_filter");
        assert_eq!(hidden, format!("net/ipv4/conf/{eth0}/rp_filter"));
        assert_eq!(
            names.original_sysctl(&hidden),
            "net/ipv4/conf/eth0/rp_filter"
        );
        for plain in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            assert_eq!(names.sysctl(plain), plain);
        }
    }
}
