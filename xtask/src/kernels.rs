//! Loads the kernel programs on other kernels than the running one, in virtual machines. The machines are not part
//! of the workspace: a folder with the scripts `vmkernel VERSION…` (fetches kernels) and `vmrun -k VERSION -- COMMAND`
//! (runs a command there, over this machine's file system) is looked for in $TRACER_VM, else in ./vm.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo_messages, exists, program, run as run_command};
use crate::workspace::root;

/// Those that tracer promises to load on.
pub(crate) const VERSIONS: [&str; 4] = ["5.10", "6.1", "6.12", "7.2"];

/// The live tests that load and attach every program.
const TEST: &str = "load";

/// Runs the loading tests on each kernel; all of them, whatever fails.
pub(crate) fn run(versions: &[String]) -> Result<()> {
    let folder = folder()?;
    ensure!(
        exists("qemu-system-x86_64"),
        "qemu-system-x86_64 is missing: apt-get install qemu-system-x86"
    );
    let test = test_binary()?;
    let mut failed = Vec::new();
    for version in versions {
        let run_there = |arguments: &[&str]| {
            let mut command = program(folder.join("vmrun"), ["-k", version, "-t", "600", "--"]);
            command.args(arguments);
            command
        };
        // Fetched once: a kernel that is there boots in seconds.
        if !run_there(&["true"])
            .status()
            .is_ok_and(|status| status.success())
        {
            run_command(program(folder.join("vmkernel"), [version]))?;
        }
        let mut command = run_there(&[]);
        command
            .arg(&test)
            .args(["--include-ignored", "--nocapture", "--test-threads", "1"]);
        match run_command(command) {
            Ok(()) => println!("{version}: loads"),
            Err(error) => {
                println!("{version}: {error:#}");
                failed.push(version.as_str());
            }
        }
    }
    ensure!(failed.is_empty(), "does not load on {}", failed.join(", "));
    Ok(())
}

fn folder() -> Result<PathBuf> {
    let folder = std::env::var_os("TRACER_VM").map_or_else(|| root().join("vm"), PathBuf::from);
    for script in ["vmkernel", "vmrun"] {
        ensure!(
            folder.join(script).is_file(),
            "there is no {script} in {}: set TRACER_VM to a folder with scripts that run a command on another kernel",
            folder.display()
        );
    }
    Ok(folder)
}

/// The executable of the loading tests.
fn test_binary() -> Result<PathBuf> {
    cargo_messages(["test", "--package", "tests", "--test", TEST, "--no-run"])?
        .iter()
        .filter(|message| {
            message
                .pointer("/target/name")
                .is_some_and(|name| name == TEST)
        })
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .context("cargo did not say where the loading tests are")
}
