//! Runs other programs in the workspace's folder, and says which one failed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::workspace::{root, tools};

/// A program with arguments, to be run in the workspace's folder with the workspace's tools first in PATH.
pub(crate) fn program<A: AsRef<OsStr>>(
    name: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(tools().join("bin")).chain(std::env::split_paths(&path));
    if let Ok(path) = std::env::join_paths(places) {
        command.env("PATH", path);
    }
    command
}

/// cargo of the workspace's toolchain.
pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    program(
        std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        arguments,
    )
}

/// Whether a program can be found.
pub(crate) fn exists(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(
            ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(|place| Path::new(place).to_path_buf()),
        )
        .chain([tools().join("bin")])
        .any(|place| place.join(name).is_file())
}

/// Whether this process may make namespaces and load programs into the kernel.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs a command that must succeed, showing what it says.
pub(crate) fn run(mut command: Command) -> Result<()> {
    announce(&command);
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", line(&command)))?;
    ensure!(status.success(), "`{}` ended with {status}", line(&command));
    Ok(())
}

/// Runs a command, showing and handing on each line of its stdout. Gives whether it succeeded.
pub(crate) fn run_lines(mut command: Command, mut each: impl FnMut(&str)) -> Result<bool> {
    announce(&command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", line(&command)))?;
    let stdout = child.stdout.take().context("no stdout")?;
    for text in BufReader::new(stdout).split(b'\n') {
        let text = text?;
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        each(&text);
    }
    Ok(child.wait()?.success())
}

/// What a command writes to stdout; it must succeed.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", line(&command)))?;
    ensure!(
        output.status.success(),
        "`{}` ended with {}",
        line(&command),
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The messages of a cargo build, as it gives them to programs.
pub(crate) fn cargo_messages<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<serde_json::Value>> {
    let messages = output(cargo(
        arguments.into_iter().chain(["--message-format", "json"]),
    ))?;
    messages
        .lines()
        .map(|line| serde_json::from_str(line).context("cargo wrote a line that is no JSON"))
        .collect()
}

fn announce(command: &Command) {
    eprintln!("+ {}", line(command));
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
