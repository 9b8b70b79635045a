//! Frames of the full screen, drawn from recordings of real labs: every view on small, middle and large terminals, and
//! the path of each kind of trace.
//!
//! A snapshot holds the same view at three sizes, one below the other.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use tracer::config::Depth;
use tracer::render::style::{ASCII, UNICODE};
use tracer::session::Session;
use tracer::source::recording::Reader;
use tracer::tui::snapshot::Played;
use tracer::tui::{Effect, Feed, Settings, Snapshot, State, frame, svg};

const SIZES: [(u16, u16); 3] = [(60, 20), (100, 30), (200, 60)];

fn open(recording: &str) -> File {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/recordings")
        .join(format!("{recording}.tracer"));
    File::open(file).unwrap()
}

/// What the screen shows at the end of a recording.
fn snapshot(recording: &str) -> Arc<Snapshot> {
    let mut session = Session::default();
    let mut feed = Feed::new(&session);
    for input in Reader::new(open(recording)).unwrap() {
        let input = input.unwrap();
        feed.input(&input, &session);
        session.input(&input);
    }
    feed.look(&session, false);
    Arc::clone(feed.snapshot())
}

/// The screen after some keys, by their names in the table of keys.
fn screen(
    snapshot: &Arc<Snapshot>,
    size: (u16, u16),
    keys: &str,
    settings: &Settings,
) -> (Terminal<TestBackend>, State) {
    let mut state = State::new(size, UNICODE);
    for key in keys.split_whitespace() {
        state.key(key.parse().unwrap(), &settings.keys, snapshot);
    }
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal
        .draw(|frame| frame::draw(frame, &state, snapshot, settings))
        .unwrap();
    (terminal, state)
}

fn text(frame: &Buffer) -> String {
    let width = usize::from(frame.area.width);
    let mut out = String::new();
    for row in frame.content().chunks(width) {
        // The cell behind a wide character is empty: it takes no column of the text.
        let mut skip = 0;
        let mut line = String::new();
        for cell in row {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            skip = unicode_width::UnicodeWidthStr::width(cell.symbol()).saturating_sub(1);
            line.push_str(cell.symbol());
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The same view at three sizes.
fn frames(recording: &str, keys: &str) -> String {
    let snapshot = snapshot(recording);
    let settings = Settings::plain(Depth::True);
    SIZES
        .iter()
        .map(|size| {
            let (terminal, _) = screen(&snapshot, *size, keys, &settings);
            format!(
                "══ {} × {}\n{}",
                size.0,
                size.1,
                text(terminal.backend().buffer())
            )
        })
        .collect()
}

fn check(name: &str, recording: &str, keys: &str) {
    insta::with_settings!({
        snapshot_path => "frames",
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => format!("{recording}, keys: {keys}"),
    }, {
        insta::assert_snapshot!(name, frames(recording, keys));
    });
}

/// Every view, opened rows, and what lies above the views: of a loss, and of a translation with its answers.
#[test]
fn every_view() {
    const VIEWS: [(&str, &str); 12] = [
        ("path", "1"),
        ("hop", "1 down down enter"),
        ("packets", "2"),
        ("packet", "2 down enter"),
        ("drops", "3"),
        ("drop", "3 down enter"),
        ("interfaces", "4"),
        ("context", "5"),
        ("log", "6"),
        ("evidence", "e"),
        ("considered", "w"),
        ("help", "?"),
    ];
    for (view, keys) in VIEWS {
        check(
            &format!("forward-drop.{view}"),
            "forward-policy-drop.faulty",
            keys,
        );
    }
    for (view, keys) in VIEWS {
        if matches!(
            view,
            "packets" | "packet" | "interfaces" | "context" | "log"
        ) {
            check(&format!("dnat.{view}"), "clusterip-dnat.healthy", keys);
        }
    }
}

/// The path of each kind of trace.
#[test]
fn every_path() {
    for (name, recording, keys) in [
        ("delivered", "forward-policy-drop.healthy", ""),
        ("arp-miss", "arp-unresolved-last-hop.faulty", ""),
        ("dnat-with-reply", "clusterip-dnat.healthy", ""),
        ("vxlan-wrong-mac", "vxlan-wrong-mac.faulty", ""),
        ("two-backends", "one-backend-of-two-dead.faulty", "a"),
        ("loss", "nft-limit-drop.faulty", ""),
        ("not-sent", "no-default-route-sender.faulty", ""),
        ("reply-first", "clusterip-dnat.healthy", "t"),
    ] {
        check(&format!("path.{name}"), recording, keys);
    }
}

/// The screen after steps through a recording: keys of the table, each of which feeds inputs until its step is done.
fn stepped(recording: &str, keys: &str) -> String {
    let settings = Settings::plain(Depth::True);
    let mut state = State::new((100, 30), UNICODE);
    let mut session = Session::default();
    let mut feed = Feed::new(&session);
    feed.played(Played {
        length_ns: Some(snapshot(recording).report.trace.duration_ms * 1_000_000),
        stopped: true,
    });
    let mut inputs = Reader::new(open(recording)).unwrap().map(Result::unwrap);
    for key in keys.split_whitespace() {
        let latest = Arc::clone(feed.snapshot());
        let effect = state.key(key.parse().unwrap(), &settings.keys, &latest);
        let Some(Effect::Step(stride)) = effect else {
            panic!("{key} is no step: {effect:?}");
        };
        let goal = stride.from(&session);
        for input in inputs.by_ref() {
            feed.input(&input, &session);
            session.input(&input);
            if goal.is_reached(&session) {
                break;
            }
        }
        feed.look(&session.as_of_now(), false);
    }
    text(&frame::buffer(
        (100, 30),
        &state,
        feed.snapshot(),
        &settings,
    ))
}

/// A replay stopped at its first event, its second packet, its first and its third drop.
#[test]
fn every_step() {
    for (name, keys) in [
        ("event", "."),
        ("events", ". . . . ."),
        ("packet", "> >"),
        ("drop", "x"),
        ("drops", "x x x"),
    ] {
        insta::with_settings!({
            snapshot_path => "frames",
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => format!("forward-policy-drop.faulty, keys: {keys}"),
        }, {
            insta::assert_snapshot!(format!("step.{name}"), stepped("forward-policy-drop.faulty", keys));
        });
    }
}

/// No size breaks the screen, and no row is wider than it.
#[test]
fn every_size_is_drawn() {
    let settings = Settings::plain(Depth::Ansi);
    for recording in ["forward-policy-drop.faulty", "clusterip-dnat.healthy"] {
        let snapshot = snapshot(recording);
        for keys in [
            "1",
            "2",
            "2 down enter",
            "3",
            "4",
            "5",
            "6",
            "e",
            "?",
            "/ x y",
        ] {
            for size in [
                (1, 1),
                (8, 3),
                (20, 6),
                (59, 19),
                (61, 21),
                (149, 40),
                (300, 100),
            ] {
                screen(&snapshot, size, keys, &settings);
            }
        }
    }
}

/// What was chosen stays chosen when the screen gets another size.
#[test]
fn a_new_size_keeps_the_cursor() {
    let snapshot = snapshot("forward-policy-drop.faulty");
    let settings = Settings::plain(Depth::Mono);
    let (_, mut state) = screen(&snapshot, (200, 60), "down down down", &settings);
    state.resize(60, 20);
    let small = frame::buffer((60, 20), &state, &snapshot, &settings);
    let reversed: Vec<String> = text(&small)
        .lines()
        .zip(small.content().chunks(60))
        .filter(|(_, cells)| {
            let reversed = ratatui::style::Modifier::REVERSED;
            cells.iter().all(|cell| cell.modifier.contains(reversed))
        })
        .map(|(line, _)| line.to_owned())
        .collect();
    // first and last line, and the row of the cursor
    assert_eq!(reversed.len(), 3, "{reversed:?}");
    assert!(reversed.iter().any(|line| line.contains("cni0")));
}

/// Without colours, and without Unicode, the same is told.
#[test]
fn without_colours_and_unicode_nothing_is_lost() {
    let snapshot = snapshot("forward-policy-drop.faulty");
    let settings = Settings::plain(Depth::Mono);
    let state = State::new((100, 30), ASCII);
    let plain = frame::buffer((100, 30), &state, &snapshot, &settings);
    for cell in plain.content() {
        assert!(cell.symbol().is_ascii(), "{}", cell.symbol());
        assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
    }
    insta::with_settings!({
        snapshot_path => "frames",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("ascii", text(&plain));
    });
}

/// The picture on the project's page is the frame of today: `cargo xtask frame` draws it anew.
#[test]
fn the_picture_of_the_readme_is_true() {
    let snapshot = snapshot("forward-policy-drop.faulty");
    let settings = Settings::plain(Depth::True);
    let state = State::new((100, 30), UNICODE);
    let drawn = svg::svg(&frame::buffer((100, 30), &state, &snapshot, &settings));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tui.svg");
    let kept = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(
        drawn == kept,
        "docs/tui.svg is not the frame of today: run `cargo xtask frame`"
    );
    assert!(drawn.len() < 40_000, "{} bytes", drawn.len());
}
