//! The files of a machine, laid out below a root of its own.

use std::os::unix::fs::symlink;

use super::*;

/// A machine's files, gone with the value.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        files
            .iter()
            .for_each(|(path, bytes)| machine.put(path, bytes));
        machine
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// What is told of it alone: by those of its owners that the machine which runs the test does not have.
    fn read(&self, reader: &mut Reader) -> Workloads {
        reader.read(&[])
    }

    fn reader(&self) -> Reader {
        Reader::new(NamePlaces {
            host_root: Some(self.0.path().to_owned()),
            lists: vec![self.0.path().join("names.json")],
        })
    }
}

const SANDBOX: &str = "9e3848ef974a1a4e3d0f77c2a7f05f53254d9253a53e6850441d9bf68ce614c7";
const CONTAINER: &str = "ef768958e4f3eb052df2f13838a65d5579457eb27c9f464a43332adcb6462dcf";

fn group(container: &str) -> Group {
    Group::parse(&format!("0::/kubepods/besteffort/podX/{container}\n"))
}

fn told(workloads: &Workloads, container: &str) -> Option<String> {
    workloads
        .of_group(&group(container))
        .map(|owner| owner.to_string())
}

#[test]
fn parts_of_several_files_are_put_together() {
    let result: &[u8] = include_bytes!("fixtures/cni-result.json");
    let link = format!("var/log/containers/web-6b74c758f5-4qntv_shop_web-{CONTAINER}.log");
    let machine = Machine::new(&[
        (
            &format!("var/lib/cni/results/podnet-{SANDBOX}-eth0"),
            result,
        ),
        ("var/lib/cni/networks/podnet/10.244.1.9", SANDBOX.as_bytes()),
        (&link, b""),
        (
            "etc/hosts",
            b"127.0.0.1 localhost\n192.0.2.9 db.internal db # ours\n",
        ),
    ]);
    let workloads = machine.read(&mut machine.reader());
    assert_eq!(told(&workloads, SANDBOX).unwrap(), "pod shop/client");
    let web = "pod shop/web-6b74c758f5-4qntv";
    assert_eq!(told(&workloads, CONTAINER).unwrap(), web);
    let process = workloads.container(&group(CONTAINER)).unwrap();
    assert_eq!(process.name.as_deref(), Some("web"));
    assert_eq!(process.pod.as_deref(), web.strip_prefix("pod "));
    let owners: Vec<String> = workloads
        .owners()
        .iter()
        .map(|owned| format!("{} {}", owned.address, owned.owner))
        .collect();
    for owner in [
        "10.244.1.2 pod shop/client",
        "10.244.1.9 pod shop/client",
        "192.0.2.9 db.internal",
    ] {
        assert!(owners.contains(&owner.to_owned()), "{owner}: {owners:?}");
    }
    assert!(!owners.iter().any(|owner| owner.starts_with("127.")));
}

#[test]
fn a_list_is_read_again_when_it_has_changed() {
    let list = |pod: &str| {
        format!(
            r#"{{"kind":"PodList","items":[{{"metadata":{{"name":"{pod}","namespace":"shop"}},
                "spec":{{"nodeName":"node2"}},"status":{{"podIP":"192.0.2.19"}}}}]}}"#
        )
    };
    let machine = Machine::new(&[("names.json", list("db-0").as_bytes())]);
    let mut reader = machine.reader();
    let mut told = || {
        let workloads = machine.read(&mut reader);
        let mut owners = workloads.owners().into_iter();
        let own = owners.find(|own| own.address.to_string() == "192.0.2.19");
        (own.map(|own| own.owner.to_string()), workloads.unread)
    };
    assert_eq!(told().0.unwrap(), "pod shop/db-0 on node2");
    machine.put("names.json", b"{\"kind\": \"PodLi");
    let (own, unread) = told();
    assert_eq!(own.unwrap(), "pod shop/db-0 on node2", "half of a file");
    assert_eq!(unread.len(), 1, "{unread:?}");
    machine.put("names.json", list("db-after").as_bytes());
    let (own, unread) = told();
    assert_eq!(own.unwrap(), "pod shop/db-after on node2");
    assert!(unread.is_empty());
}

#[test]
fn a_pod_is_known_by_its_uid_whichever_the_runtime() {
    let uid = "49bf902d-c98a-4317-9ed0-d1c7c834c224";
    let machine = Machine::new(&[(&format!("var/log/pods/shop_web_{uid}/web/0.log"), b"")]);
    let workloads = machine.read(&mut machine.reader());
    let group = Group::parse(&format!("0::/kubepods/pod{uid}/{SANDBOX}\n"));
    assert_eq!(
        workloads.of_group(&group).unwrap().to_string(),
        "pod shop/web"
    );
}

#[test]
fn what_changes_is_read_again_and_what_is_gone_is_forgotten() {
    let path = format!("var/lib/docker/containers/{SANDBOX}/config.v2.json");
    let record = |name: &str| format!(r#"{{"ID":"{SANDBOX}","Name":"/{name}"}}"#).into_bytes();
    let machine = Machine::new(&[(&path, &record("web"))]);
    let mut reader = machine.reader();
    let name = |reader: &mut Reader| told(&machine.read(reader), SANDBOX);
    assert_eq!(name(&mut reader).unwrap(), "container web");
    machine.put(&path, &record("shop-web"));
    assert_eq!(name(&mut reader).unwrap(), "container shop-web");
    fs::remove_file(machine.0.path().join(&path)).unwrap();
    assert_eq!(name(&mut reader), None);
}

#[test]
fn what_is_there_and_cannot_be_read_is_told_with_the_reason() {
    let machine = Machine::new(&[]);
    let tasks = machine
        .0
        .path()
        .join("run/containerd/io.containerd.runtime.v2.task");
    fs::create_dir_all(tasks.parent().unwrap()).unwrap();
    symlink(&tasks, &tasks).unwrap();
    let workloads = machine.read(&mut machine.reader());
    let unread: Vec<_> = workloads.unread().map(|it| it.what).collect();
    assert!(unread.contains(&tasks.display().to_string()), "{unread:?}");
}

#[test]
fn names_that_could_disturb_a_terminal_are_cleaned() {
    let line = host_line("192.0.2.1 a\u{1b}[2Jb").unwrap();
    assert_eq!(line.owner.name, "a\u{fffd}[2Jb");
    assert_eq!(pod_name("shop", "a\nb").unwrap(), "shop/a\u{fffd}b");
    for other in [
        "",
        "# 10.0.0.1 a",
        "10.0.0.1",
        "ff02::1 ip6-allnodes",
        "::1 localhost",
        "x y",
    ] {
        assert_eq!(host_line(other), None, "{other}");
    }
}
