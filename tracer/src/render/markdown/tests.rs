//! Tickets as they are pasted, and how large they can get.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{LINES, write};
use crate::model::clean::is_hazard;
use crate::render::samples;
use crate::report::{ContextEntry, ProcessReport, Report};
use crate::verdict::{Advice, AdviceKind, Evidence};

fn ticket(report: &Report) -> String {
    let mut out = Vec::new();
    write(&mut out, report).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn tickets() {
    for (name, report) in samples::all() {
        insta::assert_snapshot!(name, ticket(&report));
    }
}

/// A report with a hundred of everything.
fn huge() -> Report {
    let mut report = samples::reply_lost_ipv6();
    let flow = report.flows.first_mut().unwrap();
    for path in &mut flow.paths {
        let hop = path.hops.first().unwrap().clone();
        let last = path.hops.pop().unwrap();
        path.hops.extend(vec![hop; 100]);
        path.hops.push(last);
        for (n, hop) in (1..).zip(&mut path.hops) {
            hop.n = n;
        }
    }
    let evidence = Evidence {
        kind: "route".into(),
        text: "a".into(),
    };
    flow.verdict.evidence = vec![evidence; 100];
    let advice = Advice::new(AdviceKind::Look, "a", Some("b".into()));
    flow.verdict.advice = vec![advice; 100];
    let flow = flow.clone();
    report.flows = vec![flow; 100];
    report.trace.flows_seen = 200;
    let complete = &mut report.trace.completeness;
    complete.lost_events = 1;
    complete.thinned_events = 1;
    complete.map_full = 1;
    complete.decode_errors = 1;
    let mut probe = complete.probes.first().unwrap().clone();
    probe.state = "failed".into();
    complete.probes.extend(vec![probe; 100]);
    let unread = ContextEntry {
        node: None,
        kind: "unread".into(),
        namespace: None,
        text: "x".into(),
        at_ns: None,
    };
    report.context.extend(vec![unread; 100]);
    report
}

#[test]
fn a_ticket_is_never_long() {
    let text = ticket(&huge());
    assert!(text.lines().count() <= LINES, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn names_from_outside_are_only_shown() {
    let bad = "a|b`c\n# d\u{202e}</td>";
    let mut report = samples::forward_drop();
    report.host.hostname = bad.into();
    report.trace.expression = bad.into();
    let flow = report.flows.first_mut().unwrap();
    flow.verdict.summary = bad.into();
    flow.tuples.first_mut().unwrap().text = bad.into();
    flow.owners = vec![samples::owner("10.0.0.1", bad)];
    flow.receiver = Some(ProcessReport {
        pid: 7,
        comm: bad.into(),
        owner: Some(bad.into()),
    });
    let place = flow.verdict.place.as_mut().unwrap();
    place.namespace = Some(bad.into());
    place.interface = Some(bad.into());
    flow.verdict.evidence.first_mut().unwrap().text = bad.into();
    flow.verdict.advice.first_mut().unwrap().command = Some(bad.into());
    let rows = ticket(&report)
        .lines()
        .filter(|line| line.starts_with('|'))
        .count();
    let flow = report.flows.first_mut().unwrap();
    for hop in flow.paths.iter_mut().flat_map(|path| &mut path.hops) {
        hop.namespace = bad.into();
        hop.interface = bad.into();
        hop.hook = bad.into();
        hop.tuple = bad.into();
        hop.rewrites = vec![bad.into()];
    }
    let text = ticket(&report);
    assert!(!text.contains(|c| c != '\n' && is_hazard(c)), "{text:?}");
    let cells: Vec<usize> = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.replace("\\|", "").matches('|').count())
        .collect();
    assert_eq!(cells, vec![8; rows], "{text}");
    insta::assert_snapshot!(text);
}
