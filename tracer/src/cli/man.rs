//! Man pages: one of tracer, one of each subcommand. clap_mangen writes them; what `--help` says after the options is
//! written here, because its examples must stay as they are.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Cli;
use crate::error::Error;

/// What begins a section of its own in the text after the options.
const SECTIONS: [(&str, &str); 2] = [("Examples:", "EXAMPLES"), ("Exit status:", "EXIT STATUS")];

/// The command with all that its pages tell.
fn built() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// Subcommands that have a page.
fn told(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|one| !one.is_hide_set())
}

/// Whether there is a page of this name.
///
/// # Errors
/// There is none.
pub(super) fn check(subcommand: &str) -> Result<(), Error> {
    let command = built();
    if told(&command).any(|one| one.get_name() == subcommand) {
        return Ok(());
    }
    let names: Vec<&str> = told(&command).map(Command::get_name).collect();
    Err(
        Error::usage(format!("there is no subcommand `{subcommand}`"))
            .hint(format!("use one of {}", names.join(", "))),
    )
}

/// Writes the page of tracer, or that of a subcommand.
///
/// # Errors
/// When the writer fails, and where there is no such subcommand.
pub fn man(subcommand: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    let all = built();
    let version = all.get_version().unwrap_or_default().to_owned();
    let command = match subcommand {
        None => Some(&all),
        Some(name) => told(&all).find(|one| one.get_name() == name),
    };
    let command = command.ok_or(io::ErrorKind::NotFound)?;
    let name = command.get_display_name().unwrap_or("tracer").to_owned();
    let page = Man::new(command.clone())
        .title(name.to_uppercase())
        .source(format!("tracer {version}"))
        .manual("tracer");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    if told(command).next().is_some() {
        page.render_subcommands_section(out)?;
    }
    let mut rest = Roff::new();
    if let Some(text) = command.get_after_help() {
        after(&text.to_string(), &mut rest);
    }
    let pages = told(&all).filter_map(Command::get_display_name);
    let others: Vec<String> = std::iter::once("tracer")
        .chain(pages)
        .filter(|page| *page != name)
        .map(|page| format!("{page}(1)"))
        .collect();
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman(others.join(", "))]);
    out.write_all(rest.to_roff().as_bytes())
}

/// The text after the options: paragraphs are filled, lines that are indented stay as they are.
fn after(text: &str, page: &mut Roff) {
    let mut verbatim = false;
    let mut section = "";
    for line in text.lines() {
        let indented = line.strip_prefix("  ");
        if verbatim && indented.is_none() {
            page.control("fi", []);
            page.control("RE", []);
        }
        if !verbatim && indented.is_some() {
            page.control("RS", ["4"]);
            page.control("nf", []);
        }
        verbatim = indented.is_some();
        if let Some(line) = indented {
            page.text([roman(line)]);
            continue;
        }
        if line.is_empty() {
            page.control("PP", []);
            continue;
        }
        let named = SECTIONS
            .iter()
            .find_map(|(start, heading)| Some((line.strip_prefix(start)?.trim_start(), *heading)));
        let (line, heading) = match named {
            Some((line, heading)) => (line, heading),
            None if section.is_empty() => (line, "NOTES"),
            None => (line, section),
        };
        if heading != section {
            page.control("SH", [heading]);
            section = heading;
        }
        if !line.is_empty() {
            page.text([roman(line)]);
        }
    }
    if verbatim {
        page.control("fi", []);
        page.control("RE", []);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::*;

    fn page(subcommand: Option<&str>) -> String {
        let mut page = Vec::new();
        man(subcommand, &mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn each_subcommand_has_a_page() {
        let all = built();
        for command in told(&all) {
            let name = command.get_name();
            check(name).unwrap();
            let page = page(Some(name));
            let title = format!(".TH TRACER-{} 1", name.to_uppercase());
            assert!(page.contains(&title), "{page}");
            let synopsis = format!("\\fBtracer {name}\\fR");
            assert!(page.contains(&synopsis), "{page}");
            assert!(page.contains("tracer(1)"), "{page}");
        }
        assert!(page(None).contains("until\\-verdict"));
    }

    #[test]
    fn what_has_no_page_is_told() {
        let error = check("hold-save").unwrap_err().to_string();
        assert!(error.contains("replay, merge"), "{error}");
    }

    #[test]
    fn examples_are_not_filled() {
        let mut roff = Roff::new();
        let text = "Each file is one.\nTwo.\n\nExamples:\n  tracer a   first\n  .second\n\nExit status: 0 done;\n1 not.";
        after(text, &mut roff);
        insta::assert_snapshot!(roff.to_roff(), @r#"
        .SH NOTES
        Each file is one.
        Two.
        .PP
        .SH EXAMPLES
        .RS 4
        .nf
        tracer a   first
        \&.second
        .fi
        .RE
        .PP
        .SH "EXIT STATUS"
        0 done;
        1 not.
        "#);
    }
}
