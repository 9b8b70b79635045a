//! The plug-in for kubectl, with stubs of kubectl and tracer: what exactly is asked of a cluster, and that what was made is
//! deleted however it ends.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Writes its words into `calls`, one call a line, and what it is given to create into `created`. Pods of the namespace shop
/// are on nodes that their names tell. `$FAILS` is a verb that fails, `exec` ends with status 10.
const KUBECTL: &str = r#"#!/bin/sh
cd "$STUBS"
echo "kubectl $*" >> calls
case " $* " in *" $FAILS "*) echo "no $FAILS" >&2; exit 1 ;; esac
case $* in
    *"get pod "*) for word do case $word in *-on-*) printf %s "${word#*-on-}" ;; esac; done ;;
    *"get pods,"*) echo '{"kind":"List","items":[]}' ;;
    *create*) cat >> created ;;
    *exec*) [ -z "$SLOW" ] || { : > slow; sleep 60; }; exit 10 ;;
esac
"#;
/// Writes its words in the same way.
const TRACER: &str = r#"#!/bin/sh
cd "$STUBS"
echo "tracer" >> calls
for word do echo "  $word" >> calls; done
exit 10
"#;
const EXAMPLE: &str = include_str!("../../docs/examples/tracer.pod.yaml");

struct Stubs(TempDir);

impl Stubs {
    fn new() -> Self {
        let stubs = Self(TempDir::new().unwrap());
        for (name, text) in [("kubectl", KUBECTL), ("tracer", TRACER)] {
            let path = stubs.0.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        stubs
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubernetes/kubectl-tracer");
        let mut command = Command::new("sh");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = vec![PathBuf::from(self.0.path())];
        places.extend(std::env::split_paths(&path));
        command
            .arg(script)
            .args(arguments)
            .env("PATH", std::env::join_paths(places).unwrap())
            .env("STUBS", self.0.path())
            .env("TMPDIR", self.0.path())
            .env("FAILS", "nothing")
            .env_remove("TRACER")
            .env_remove("KUBECTL")
            .env_remove("TRACER_IMAGE")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap_or_default()
    }

    /// The calls, with `RUN` where the name of the run stands, which differs, and `LIST` for the file of names.
    fn calls(&self) -> String {
        let calls = self.read("calls");
        let run = calls.split_whitespace().find_map(|word| {
            let name = word.strip_prefix("pod/").unwrap_or(word);
            let (run, number) = name.rsplit_once('-')?;
            (run.starts_with("tracer-") && number == "0").then_some(run)
        });
        let calls = run.map_or(calls.clone(), |run| calls.replace(run, "RUN"));
        let list = calls
            .lines()
            .find(|line| {
                line.trim()
                    .starts_with(&self.0.path().display().to_string())
            })
            .map(|line| line.trim().to_owned());
        match list {
            Some(list) => {
                assert!(!Path::new(&list).exists(), "{list} is left");
                calls.replace(&list, "LIST")
            }
            None => calls,
        }
    }
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_pod_in_the_expression_says_on_which_node() {
    let stubs = Stubs::new();
    let done = stubs.run(&[
        "--check",
        "pod",
        "shop/cart-on-node7",
        "and",
        "port",
        "5432",
    ]);
    assert_eq!(done.status.code(), Some(10), "{}", words(&done.stderr));
    insta::assert_snapshot!(stubs.calls(), @r#"
    kubectl --namespace shop get pod cart-on-node7 -o jsonpath={.spec.nodeName}
    kubectl create -f -
    kubectl wait --for=condition=Ready --timeout=60s pod RUN-0
    kubectl exec RUN-0 -- /tracer --check pod shop/cart-on-node7 and port 5432
    kubectl delete pod RUN-0 --ignore-not-found --now --wait=false
    "#);
}

#[test]
fn what_is_created_is_the_pod_of_the_examples() {
    let stubs = Stubs::new();
    let done = stubs.run(&["--node", "node7", "--image", "reg.example/tracer:1", "icmp"]);
    assert_eq!(done.status.code(), Some(10), "{}", words(&done.stderr));
    let created = stubs.read("created");
    let name = created
        .lines()
        .find_map(|line| line.trim().strip_prefix("name: "))
        .unwrap();
    let example: Vec<&str> = EXAMPLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let example = format!("{}\n", example.join("\n"))
        .replace("name: tracer\n  namespace: tools", &format!("name: {name}"))
        .replace("NODE", "node7")
        .replace("IMAGE", "reg.example/tracer:1");
    assert_eq!(created, example);
}

#[test]
fn several_nodes_are_one_path_of_the_tracer_here() {
    let stubs = Stubs::new();
    let done = stubs.run(&[
        "--context",
        "it's",
        "-n",
        "tools",
        "--nodes",
        "node1,node2",
        "-o",
        "report.json",
        "--json",
        "icmp",
    ]);
    assert_eq!(done.status.code(), Some(10), "{}", words(&done.stderr));
    insta::assert_snapshot!(stubs.calls(), @r#"
    kubectl --context it's --namespace tools create -f -
    kubectl --context it's --namespace tools create -f -
    kubectl --context it's --namespace tools wait --for=condition=Ready --timeout=60s pod RUN-0 RUN-1
    kubectl --context it's --namespace tools get pods,services,endpointslices,nodes -A -o json
    tracer
      cluster
      --node
      node1='kubectl' --context 'it'\''s' --namespace 'tools' exec -i RUN-0 --
      --node
      node2='kubectl' --context 'it'\''s' --namespace 'tools' exec -i RUN-1 --
      --tracer
      /tracer
      --names
      LIST
      -o
      report.json
      --json
      icmp
    kubectl --context it's --namespace tools delete pod RUN-0 RUN-1 --ignore-not-found --now --wait=false
    "#);
    // what stands behind the second node's `=` is split by tracer as by a shell
    assert_eq!(stubs.read("created").matches("nodeName: node").count(), 2);
}

#[test]
fn pods_on_two_nodes_are_traced_on_both() {
    let stubs = Stubs::new();
    let done = stubs.run(&[
        "(pod shop/a-on-n1 or pod shop/b-on-n2)",
        "and",
        "pod c-on-n1",
    ]);
    assert_eq!(done.status.code(), Some(10), "{}", words(&done.stderr));
    let created = stubs.read("created");
    assert_eq!(created.matches("nodeName: n1").count(), 1, "{created}");
    assert_eq!(created.matches("nodeName: n2").count(), 1, "{created}");
}

#[test]
fn pods_are_deleted_also_when_something_fails() {
    for (verb, said) in [
        ("create", "no pod can be made on node7"),
        ("wait", "the pods did not start"),
    ] {
        let stubs = Stubs::new();
        let mut command = stubs.command(&["--node", "node7", "icmp"]);
        let done = command.env("FAILS", verb).output().unwrap();
        assert_eq!(done.status.code(), Some(1));
        let told = words(&done.stderr);
        assert!(told.contains(said), "{told}");
        let last = stubs.calls().lines().last().unwrap_or_default().to_owned();
        assert!(
            last.starts_with("kubectl delete pod tracer-")
                || last.starts_with("kubectl delete pod RUN-0 "),
            "{last}"
        );
    }
}

#[test]
fn pods_are_deleted_when_it_is_ended() {
    let stubs = Stubs::new();
    let mut command = stubs.command(&["--node", "node7", "icmp"]);
    let mut running = command
        .env("SLOW", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group_of_its_own()
        .spawn()
        .unwrap();
    while !stubs.0.path().join("slow").exists() {
        assert!(running.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // as a terminal does: to the whole group
    let group = nix::unistd::Pid::from_raw(i32::try_from(running.id()).unwrap());
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = running.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(143), None));
    let calls = stubs.calls();
    let last = calls.lines().last().unwrap_or_default();
    assert_eq!(
        last,
        "kubectl delete pod RUN-0 --ignore-not-found --now --wait=false"
    );
}

/// A process group, so that a signal to it does not reach this test.
trait Group {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl Group for Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_asked() {
    let cases: &[&[&str]] = &[
        &["icmp"],
        &["--node"],
        &["--node", "a;b", "icmp"],
        &["--node", "n1", "--image", "a b", "icmp"],
        &["--node", "n1", "--limit", "1h", "icmp"],
        &["--node", "n1", "-o", "report.json", "icmp"],
        &["--node", "n1", "--record", "a.trc", "icmp"],
        &["--node", "n1", "hold", "--save", "d"],
    ];
    let mut told = Vec::new();
    for words_of in cases {
        let stubs = Stubs::new();
        let done = stubs.run(words_of);
        assert_eq!(done.status.code(), Some(2), "{words_of:?}");
        assert_eq!(stubs.calls(), "", "{words_of:?}");
        told.push(format!(
            "$ kubectl tracer {}\n{}",
            words_of.join(" "),
            words(&done.stderr)
        ));
    }
    insta::assert_snapshot!(told.join("\n"));
    let stubs = Stubs::new();
    let done = stubs.run(&["--node", "n1", "--record", "-", "--print", "icmp"]);
    assert_eq!(
        stubs.calls().matches("exec").count(),
        1,
        "{}",
        words(&done.stderr)
    );
}

#[test]
fn the_image_has_the_version_of_tracer() {
    let stubs = Stubs::new();
    let done = stubs.run(&["--node", "n1", "--print", "icmp"]);
    let image = format!("image: tracer:{}\n", env!("CARGO_PKG_VERSION"));
    assert!(
        words(&done.stdout).contains(&image),
        "{}",
        words(&done.stdout)
    );
    assert_eq!(stubs.calls(), "");
}
