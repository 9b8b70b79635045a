//! Draws one frame of a recording as SVG on the standard output, after some keys: how the pictures of this project's
//! pages are made (`cargo xtask frame`).
//!
//! `cargo run -p tracer --example frame -- RECORDING 100x30 [KEY...]`

use std::fs::File;
use std::process::ExitCode;

use tracer::config::Depth;
use tracer::render::style::UNICODE;
use tracer::session::Session;
use tracer::source::recording::Reader;
use tracer::tui::{Feed, Settings, State, frame, svg};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (Some(file), Some(size)) = (words.next(), words.next()) else {
        eprintln!("usage: frame RECORDING COLUMNSxROWS [KEY...]");
        return ExitCode::from(2);
    };
    match draw(&file, &size, words) {
        Ok(svg) => {
            print!("{svg}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("frame: {error}");
            ExitCode::FAILURE
        }
    }
}

fn draw(file: &str, size: &str, keys: impl Iterator<Item = String>) -> Result<String, String> {
    let number = |text: &str| {
        text.parse::<u16>()
            .map_err(|error| format!("{size}: {error}"))
    };
    let (columns, rows) = size.split_once('x').ok_or("a size is COLUMNSxROWS")?;
    let size = (number(columns)?, number(rows)?);

    let mut session = Session::default();
    let mut feed = Feed::new(&session);
    let read = File::open(file).map_err(|error| format!("{file}: {error}"))?;
    for input in Reader::new(read).map_err(|error| format!("{file}: {error}"))? {
        let input = input.map_err(|error| format!("{file}: {error}"))?;
        feed.input(&input, &session);
        session.input(&input);
    }
    feed.look(&session, false);

    let settings = Settings::plain(Depth::True);
    let mut state = State::new(size, UNICODE);
    for key in keys {
        state.key(key.parse()?, &settings.keys, feed.snapshot());
    }
    let frame = frame::buffer(size, &state, feed.snapshot(), &settings);
    Ok(svg::svg(&frame))
}
