//! What `s` of the full screen saves: the file's ending says what.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::display::Display;
use super::kept::KeptInputs;
use super::output::{Output, fold};
use crate::config::OutputFormat;
use crate::error::Error;
use crate::source::recording::RecordingError;

/// Endings and what they mean. `.tracer` is the recording.
const ENDINGS: [(&str, OutputFormat); 6] = [
    ("json", OutputFormat::Json),
    ("txt", OutputFormat::Text),
    ("md", OutputFormat::Markdown),
    ("svg", OutputFormat::Svg),
    ("ndjson", OutputFormat::Ndjson),
    ("pcapng", OutputFormat::Pcapng),
];

/// Saves what the file's ending asks for. Gives what to say.
pub(super) fn save(
    path: &Path,
    display: &Display<'_>,
    kept: &mut KeptInputs,
) -> Result<String, Error> {
    let ending = path.extension().and_then(OsStr::to_str);
    if ending == Some("tracer") {
        return kept.save(path);
    }
    let format = ENDINGS.iter().find(|(name, _)| Some(*name) == ending);
    let Some((_, format)) = format else {
        let names = ENDINGS.map(|(name, _)| format!(".{name}"));
        return Err(Error::usage(format!(
            "the extension selects the format: it must be {} or .tracer",
            names.join(", ")
        )));
    };
    let file = kept.files().create(path);
    let file = file.map_err(|error| cannot_save(path, error))?;
    let mut output = Output::to_file(file, *format);
    let what = match format {
        OutputFormat::Ndjson => {
            let session = fold(kept.inputs()?, |input, seen, session| {
                output.event(input, seen, session);
            });
            output.report(&session.map_err(unreadable)?.report())?;
            "events"
        }
        OutputFormat::Pcapng => {
            let session = fold(kept.inputs()?, |_, _, _| {}).map_err(unreadable)?;
            output.packets(&session, kept.inputs()?)?;
            "packets"
        }
        _ => {
            let snapshot = display
                .snapshot()
                .ok_or_else(|| Error::runtime("there is nothing to save"))?;
            output.report(&snapshot.report)?;
            "report"
        }
    };
    let note = match what {
        "report" => "",
        _ => kept.note(),
    };
    Ok(format!("{what} saved: {}{note}", path.display()))
}

/// Why a file cannot be saved: who draws may not write everywhere ([`super::files`]).
pub(super) fn cannot_save(path: &Path, error: io::Error) -> Error {
    let path = path.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Error::runtime(format!(
            "cannot write {path}: files are saved below the directory in which tracer was started, or that for temporary files"
        ))
        .caused_by(error);
    }
    Error::io(format_args!("write {path}"), error)
}

fn unreadable(error: RecordingError) -> Error {
    Error::runtime("cannot read the trace again").caused_by(error)
}
