//! Man pages and completions: the binary itself writes them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Architecture;
use crate::command::{output, program};

/// Shells, and how they call a file of completions for tracer.
const SHELLS: [(&str, &str); 5] = [
    ("bash", "tracer"),
    ("elvish", "tracer.elv"),
    ("fish", "tracer.fish"),
    ("powershell", "_tracer.ps1"),
    ("zsh", "_tracer"),
];

/// Writes man/*.1 and completions/SHELL/FILE.
pub(super) fn write(folder: &Path) -> Result<()> {
    let tracer = folder.join(Architecture::host()?.file());
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    let page = output(program(&tracer, ["man"]))?;
    // `tracer-replay(1)`, one for each subcommand
    let mut names: Vec<&str> = page
        .split(|letter: char| letter.is_whitespace() || letter == ',')
        .filter_map(|word| word.strip_suffix("(1)"))
        .collect();
    names.sort_unstable();
    names.dedup();
    ensure!(!names.is_empty(), "the man page names no subcommand");
    fs::write(man.join("tracer.1"), &page)?;
    for name in names {
        // in roff a dash is escaped
        let name = name.replace('\\', "");
        let subcommand = name.strip_prefix("tracer-").context(name.clone())?;
        let page = output(program(&tracer, ["man", subcommand]))?;
        fs::write(man.join(format!("{name}.1")), page)?;
    }
    for (shell, file) in SHELLS {
        let place = folder.join("completions").join(shell);
        fs::create_dir_all(&place)?;
        let text = output(program(&tracer, ["completions", shell]))?;
        fs::write(place.join(file), text)?;
    }
    Ok(())
}
