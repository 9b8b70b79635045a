//! Pictures of the samples, their size, and what they do with names from outside.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::svg;
use crate::model::clean::is_hazard;
use crate::render::samples;

/// Markup has tags in pairs and no text outside of them that could be one.
fn is_sound(picture: &str) -> bool {
    let opened = picture.matches("<text").count();
    let closed = picture.matches("</text>").count();
    let markup = picture
        .lines()
        .skip_while(|line| *line != "</style>")
        .skip(1)
        .all(|line| line.starts_with('<') && line.ends_with('>'));
    opened == closed && markup && picture.ends_with("</svg>\n")
}

#[test]
fn pictures() {
    for (name, report) in samples::all() {
        let picture = svg(&report);
        assert!(is_sound(&picture), "{name}: {picture}");
        assert!(picture.len() < 20_000, "{name}: {} bytes", picture.len());
    }
    insta::assert_snapshot!("delivered_dnat", svg(&samples::delivered_dnat()));
}

/// A number of an element's attribute.
fn attribute(element: &str, name: &str) -> f32 {
    let (_, rest) = element.split_once(&format!(" {name}=\"")).unwrap();
    rest.split('"').next().unwrap().parse().unwrap()
}

#[test]
fn all_text_is_on_the_picture() {
    let mut all = samples::all();
    let mut long = samples::forward_drop();
    let flow = long.flows.first_mut().unwrap();
    flow.verdict.summary = "word ".repeat(60) + &"x".repeat(300);
    for hop in flow.paths.iter_mut().flat_map(|path| &mut path.hops) {
        hop.namespace = "n".repeat(300);
        hop.interface = "i".repeat(300);
        hop.hook = "h".repeat(300);
        hop.rewrites = vec![format!("dnat {} > {}", "a".repeat(300), "b".repeat(300))];
    }
    all.push(("long", long));
    for (name, report) in all {
        let picture = svg(&report);
        let width = attribute(picture.lines().next().unwrap(), "width");
        for element in picture.lines().filter(|line| line.starts_with("<text")) {
            let (_, text) = element.split_once('>').unwrap();
            let text = text.trim_end_matches("</text>");
            let text = text
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&");
            let long = super::canvas::width(crate::render::page::columns(&text));
            let x = attribute(element, "x");
            let inside = match element.contains("text-anchor=\"end\"") {
                true => x <= width && long <= x,
                false => x + long <= width,
            };
            assert!(inside, "{name}, {width} wide: {element}");
        }
    }
}

#[test]
fn what_became_of_packets_is_told_by_word_and_symbol() {
    for (name, report) in samples::all() {
        let picture = svg(&report);
        let word = crate::render::style::Face::of(report.verdict.outcome).word;
        assert!(picture.contains(&format!(">{word}")), "{name}");
        assert!(picture.contains("class=\"sign\""), "{name}");
    }
}

#[test]
fn names_from_outside_are_only_text() {
    let bad = "</text><script>alert(\"1\")</script>\u{1b}\u{202e}\u{0}&";
    let mut report = samples::forward_drop();
    report.host.hostname = bad.into();
    report.trace.expression = bad.into();
    let flow = report.flows.first_mut().unwrap();
    flow.verdict.summary = bad.into();
    flow.verdict.cause = Some(bad.into());
    for hop in flow.paths.iter_mut().flat_map(|path| &mut path.hops) {
        hop.namespace = bad.into();
        hop.interface = bad.into();
        hop.hook = bad.into();
        hop.tuple = bad.into();
        hop.rewrites = vec![bad.into()];
    }
    let picture = svg(&report);
    assert!(is_sound(&picture), "{picture}");
    assert!(!picture.contains("<script"), "{picture}");
    assert!(
        !picture.contains(|c| c != '\n' && is_hazard(c)),
        "{picture}"
    );
}

#[test]
fn a_loop_is_drawn_to_a_bound() {
    let mut report = samples::forward_drop();
    let path = report.flows.first_mut().unwrap().paths.first_mut().unwrap();
    let hop = path.hops.first().unwrap().clone();
    let last = path.hops.pop().unwrap();
    path.hops.extend(vec![hop; 200]);
    path.hops.push(last);
    for (n, hop) in (1..).zip(&mut path.hops) {
        hop.n = n;
    }
    let picture = svg(&report);
    assert!(picture.contains("more hops"), "{picture}");
    assert!(picture.len() < 30_000, "{} bytes", picture.len());
}
