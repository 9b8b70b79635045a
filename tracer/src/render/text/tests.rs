//! Pages as a person sees them, at three widths.
#![expect(clippy::unwrap_used, reason = "tests")]

use unicode_width::UnicodeWidthStr;

use super::{TextStyle, write};
use crate::model::clean::is_hazard;
use crate::render::samples;
use crate::report::Report;

fn text(report: &Report, style: TextStyle) -> String {
    let mut out = Vec::new();
    write(&mut out, report, &style).unwrap();
    String::from_utf8(out).unwrap()
}

fn wide(width: usize) -> TextStyle {
    TextStyle {
        width,
        ..TextStyle::default()
    }
}

#[test]
fn pages() {
    for (name, report) in samples::all() {
        for width in [60, 80, 120] {
            insta::assert_snapshot!(format!("{name}_{width}"), text(&report, wide(width)));
        }
    }
}

#[test]
fn colors_lead_to_the_loss_and_change_no_text() {
    for (name, report) in samples::all() {
        let colored = text(
            &report,
            TextStyle {
                color: true,
                ..wide(80)
            },
        );
        insta::assert_snapshot!(format!("{name}_color"), colored.replace('\x1b', "␛"));
        assert_eq!(without_colors(&colored), text(&report, wide(80)), "{name}");
    }
}

fn without_colors(text: &str) -> String {
    let mut pieces = text.split('\x1b');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |out, piece| {
        out + piece.split_once('m').unwrap_or_default().1
    })
}

#[test]
fn nothing_but_commands_and_names_goes_over_the_edge() {
    for (name, report) in samples::all() {
        let flows = report.flows.iter().map(|flow| &flow.verdict);
        let commands: Vec<&str> = flows
            .chain([&report.verdict])
            .flat_map(|verdict| &verdict.advice)
            .filter_map(|advice| advice.command.as_deref())
            .collect();
        for width in [60, 80, 120] {
            for line in text(&report, wide(width)).lines() {
                let command = commands.contains(&line.trim_start());
                assert!(
                    command || line.width() <= width,
                    "{name} at {width}: {line}"
                );
                assert_eq!(line.trim_end(), line, "{name}");
            }
        }
    }
}

#[test]
fn commands_stay_whole() {
    let command = format!("iptables -A FORWARD {}-j ACCEPT", "-m comment ".repeat(20));
    let mut report = samples::forward_drop();
    for verdict in report.flows.iter_mut().map(|flow| &mut flow.verdict) {
        verdict.advice.first_mut().unwrap().command = Some(command.clone());
    }
    let text = text(&report, wide(60));
    assert!(text.lines().any(|line| line.trim_start() == command));
}

#[test]
fn names_from_outside_cannot_command_the_terminal() {
    let bad = "\x1b]0;x\x07\u{202e}\n\u{9b}2J";
    let mut report = samples::forward_drop();
    report.trace.expression = bad.into();
    report.host.hostname = bad.into();
    report.verdict.summary = bad.into();
    let flow = report.flows.first_mut().unwrap();
    flow.tuples.first_mut().unwrap().text = bad.into();
    flow.verdict.summary = bad.into();
    flow.verdict.cause = Some(bad.into());
    flow.verdict.evidence.first_mut().unwrap().text = bad.into();
    flow.verdict.evidence.first_mut().unwrap().kind = bad.into();
    flow.verdict.advice.first_mut().unwrap().command = Some(bad.into());
    flow.verdict.advice.first_mut().unwrap().text = bad.into();
    for hop in flow.paths.iter_mut().flat_map(|path| &mut path.hops) {
        hop.namespace = bad.into();
        hop.interface = bad.into();
        hop.hook = bad.into();
        hop.tuple = bad.into();
        hop.rewrites = vec![bad.into()];
    }
    let probe = report.trace.completeness.probes.first_mut().unwrap();
    (probe.name, probe.state, probe.detail) = (bad.into(), "failed".into(), bad.into());
    for width in [0, 60, 80, 200] {
        let text = text(&report, wide(width));
        assert!(!text.contains(|c| c != '\n' && is_hazard(c)), "{text:?}");
    }
}

#[test]
fn ascii_pages_have_marks_of_their_own() {
    let style = TextStyle {
        ascii: true,
        ..wide(80)
    };
    let mut report = samples::delivered_dnat();
    assert!(text(&report, style).is_ascii());
    report = samples::reply_lost_ipv6();
    assert!(text(&report, style).is_ascii());
    insta::assert_snapshot!(text(&report, style));
}

#[test]
fn a_loop_is_shown_to_a_bound_with_its_end() {
    let mut report = samples::forward_drop();
    let path = report.flows.first_mut().unwrap().paths.first_mut().unwrap();
    let first = path.hops.first().unwrap().clone();
    let last = path.hops.pop().unwrap();
    path.hops.extend(vec![first; 200]);
    path.hops.push(last);
    let text = text(&report, wide(80));
    assert!(text.contains("more hops are in the JSON report"), "{text}");
    assert!(text.contains("DROPPED at nft_do_chain"), "{text}");
    assert!(text.lines().count() < 100);
}

#[test]
fn flows_with_one_story_are_told_once() {
    let (_, mut report) = samples::all()
        .into_iter()
        .find(|(_, report)| report.flows.len() == 1)
        .unwrap();
    let flow = report.flows.first().cloned().unwrap();
    report.flows = vec![flow; 60];
    let page = text(&report, wide(80));
    let summary = &report.verdict.summary;
    let start: String = summary.chars().take(20).collect();
    // the headline, and the one verdict
    assert_eq!(page.matches(start.as_str()).count(), 2, "{page}");
    assert!(
        page.contains("and 59 more flows with the same verdict"),
        "{page}"
    );
    assert!(!page.contains("are in the JSON report"), "{page}");
}
