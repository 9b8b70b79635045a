use super::{Examination, Hindrance, Scope, chosen, state_of};
use crate::host::NameSource;
use crate::host::facts::{Probe, ProbeState};
use crate::kernel::preflight::Conditions;

fn conditions() -> Conditions {
    Conditions {
        root: true,
        capabilities: None,
        release: "6.1.0-30-amd64".to_owned(),
        lockdown: "none [integrity] confidentiality\n".to_owned(),
        btf: true,
        proc: true,
        users_of_the_machine: true,
        memory: None,
        refused_setns: None,
        ring_buffer: Ok(true),
    }
}

fn names() -> Vec<NameSource> {
    let source = |of, path: &str, readable| NameSource {
        of,
        path: path.into(),
        readable,
    };
    vec![
        source("containerd", "/run/containerd/tasks", Some(true)),
        source("Docker", "/var/lib/docker/containers", Some(false)),
        source("the kubelet", "/var/log/pods", None),
    ]
}

fn probe(state: ProbeState, detail: &str) -> Probe {
    Probe {
        name: "tcp_probe".to_owned(),
        state,
        detail: detail.to_owned(),
    }
}

#[test]
fn a_machine_on_which_it_works_with_gaps() {
    let mut found = Examination::before(&conditions(), &[], &names(), 20_000);
    found.works = true;
    let gives = "delivery of segments";
    found.hooks = vec![
        state_of(
            "kfree_skb",
            "drops",
            Some(&probe(ProbeState::Attached, "tp_btf")),
        ),
        state_of("tcp_probe", gives, Some(&probe(ProbeState::Missing, ""))),
        state_of(
            "net_dev_xmit",
            "failures",
            Some(&probe(ProbeState::Failed, "EPERM")),
        ),
    ];
    found.scope = Some(Scope {
        namespaces: 3,
        interfaces: 8,
        interfaces_total: 9,
        unwatched: vec!["tc shop/eth0: \u{1b}[31mno\n".to_owned()],
        ready_ms: 412,
    });
    found.sample.state = "followed".to_owned();
    found.sample.detail = "3 datagrams".to_owned();
    insta::assert_snapshot!(found.text());
}

#[test]
fn a_machine_on_which_nothing_can_be_loaded() {
    let mut found = Examination::before(&conditions(), &[], &[], 20_000);
    found.problems.push(Hindrance {
        what: "privileges are missing: CAP_BPF".to_owned(),
        hints: vec!["run it as root, for example with sudo".to_owned()],
    });
    insta::assert_snapshot!(found.text());
}

#[test]
fn the_mode_of_lockdown_is_the_one_in_brackets() {
    assert_eq!(chosen("none [integrity] confidentiality\n"), "integrity");
    assert_eq!(chosen("[none] integrity confidentiality"), "none");
    assert_eq!(chosen(""), "");
}

#[test]
fn the_committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.schema.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == super::schema(),
        "run `tracer schema doctor > docs/doctor.schema.json`"
    );
}
