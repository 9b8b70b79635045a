//! Other kernels than the running one, in virtual machines: the kernel programs are loaded there and labs are run, with
//! the static tracer and over this machine's file system. Where there is no other wish, the labs are a sample: all
//! healthy ones, all incidents, and one for each cause.

mod guest;
mod image;
mod system;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::command::{cargo, cargo_messages, exists, is_root, run as run_command};
use crate::dist::Architecture;
use crate::workspace::{built, root};
use crate::{dist, labs, recordings};
use guest::Guest;
use image::{Image, cache};
use table::Table;

/// Those that tracer promises to work on, beside the kernel that the labs usually run on.
const VERSIONS: [&str; 4] = ["5.10", "6.1", "6.12", "7.2"];
/// Those of another processor than this machine's, for which a few labs are enough: what differs is what programs are made of.
const FOREIGN_VERSIONS: [&str; 1] = ["6.1"];
const FOREIGN_LABS: [&str; 12] = [
    "bridge/isolated-ports.toml",
    "conntrack/invalid-after-flush.toml",
    "healthy/gso-vxlan.toml",
    "healthy/nat-masq.toml",
    "mtu/df-too-big.toml",
    "nat/clusterip-dnat.toml",
    "neighbour/arp-unresolved-last-hop.toml",
    "netfilter/forward-policy-drop.toml",
    "netfilter/input-drop.toml",
    "route/forwarding-off.toml",
    "socket/tcp-closed-port.toml",
    "tunnel/vni-mismatch.toml",
];
/// The live tests that load and attach every program.
const LOADING: &str = "load";
/// For all that is done in one guest.
const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// An emulated machine is some ten times slower, and most of a lab is waiting.
const SLOWNESS: &str = "3";
const BEGIN: &str = "<!-- kernels -->";
const END: &str = "<!-- end of kernels -->";

/// What to run on which kernels.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Kernels [default: 5.10, 6.1, 6.12 and 7.2]
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,
    /// Processor, as Rust calls it: x86_64 or aarch64. With another one than this machine's: 6.1, and a few labs
    #[arg(long, default_value = std::env::consts::ARCH)]
    arch: String,
    /// Labs of which advice is typed in: all, quarter or none
    #[arg(long, default_value = "quarter")]
    fixes: String,
    /// Labs that run at the same time
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Put the table of the last whole run on each kernel into docs/labs.md
    #[arg(long)]
    write: bool,
    /// Keep the recordings of labs that pass where replayed tests find them
    #[arg(long)]
    record: bool,
    /// tracer's executable [default: the static release build]
    #[arg(long, value_name = "FILE")]
    tracer: Option<PathBuf>,
    /// Lab files or directories, all of them [default: loading tests and the sample]
    files: Vec<PathBuf>,
}

/// Runs on each kernel; on all of them, whatever fails.
pub(crate) fn run(wish: &Wish) -> Result<()> {
    ensure!(
        is_root(),
        "the guest reads this machine's whole file system: run as root"
    );
    let architecture = Architecture::named(&wish.arch)?;
    let foreign = architecture != Architecture::host()?;
    let emulator = guest::emulator(architecture.rust);
    ensure!(
        exists(&emulator),
        "{emulator} is missing: apt-get install qemu-system-x86 qemu-system-arm"
    );
    ensure!(
        !(foreign && (wish.write || wish.record)),
        "--write and --record are of this machine's processor: leave --arch out"
    );
    let programs = match foreign {
        true => Programs::build_for(architecture, wish.tracer.as_deref())?,
        false => Programs::build(wish.tracer.as_deref())?,
    };
    let kernels: Vec<&str> = match wish.kernels.as_slice() {
        [] if foreign => FOREIGN_VERSIONS.to_vec(),
        [] => VERSIONS.to_vec(),
        named => named.iter().map(String::as_str).collect(),
    };
    let mut failed = Vec::new();
    for kernel in kernels {
        match run_on((kernel, architecture), wish, &programs) {
            Ok(0) => println!("{kernel}: as expected"),
            Ok(_) => failed.push(kernel.to_owned()),
            Err(error) => failed.push(format!("{kernel} ({error:#})")),
        }
    }
    if foreign {
        ensure!(
            failed.is_empty(),
            "not as expected on {}",
            failed.join(", ")
        );
        return Ok(());
    }
    let table = last_results()?.to_string();
    println!("\n{table}");
    if wish.write {
        labs::write_between(BEGIN, END, &table)?;
    }
    ensure!(
        failed.is_empty(),
        "not as expected on {}",
        failed.join(", ")
    );
    Ok(())
}

/// What is run in a guest.
struct Programs {
    tracer: PathBuf,
    lab: PathBuf,
    loading: PathBuf,
}

impl Programs {
    fn build(tracer: Option<&Path>) -> Result<Self> {
        run_command(cargo(["build", "--package", "tests", "--bins"]))?;
        Ok(Self {
            tracer: match tracer {
                Some(tracer) => std::path::absolute(tracer)?,
                None => dist::build()?,
            },
            lab: built("lab"),
            loading: loading_tests(&[])?,
        })
    }

    /// Static ones for another processor.
    fn build_for(architecture: Architecture, tracer: Option<&Path>) -> Result<Self> {
        let options = dist::static_options(architecture)?;
        let mut labs = cargo(["build", "--package", "tests", "--bin", "lab"]);
        labs.args(&options);
        run_command(labs)?;
        let folder = root().join("target").join(architecture.triple());
        Ok(Self {
            tracer: match tracer {
                Some(tracer) => std::path::absolute(tracer)?,
                None => dist::build_for(architecture, "tracer")?,
            },
            lab: folder.join("debug/lab"),
            loading: loading_tests(&options)?,
        })
    }
}

/// All that is to be done on a kernel. Gives the worst status.
fn run_on(
    (kernel, architecture): (&str, Architecture),
    wish: &Wish,
    programs: &Programs,
) -> Result<i32> {
    let image = Image::of(kernel, architecture)?;
    let foreign = image.system.is_some();
    let shared = match foreign {
        true => cache().join("runs").join(architecture.rust).join(kernel),
        false => cache().join("runs").join(kernel),
    };
    if shared.exists() {
        fs::remove_dir_all(&shared)?;
    }
    let kept = shared.join("kept");
    fs::create_dir_all(&kept)?;
    let results = shared.join("results.jsonl");
    let guest = Guest {
        image: &image,
        shared: &shared,
        limit: LIMIT,
    };
    let labs = format!(
        "{:?} run --tracer {:?} --slowness {SLOWNESS} --jobs {} --again --fixes {:?} --json {results:?} --resume \
         --keep-report {kept:?} --keep-recording {kept:?} {} || worst=$?",
        programs.lab,
        programs.tracer,
        wish.jobs,
        wish.fixes,
        files(&wish.files, foreign)
    );
    let not_loaded = shared.join("not-loaded");
    let mut loading = String::new();
    if wish.files.is_empty() {
        loading = format!(
            "{:?} --include-ignored --test-threads 1 || {{ worst=$?; touch {not_loaded:?}; }}",
            programs.loading
        );
    }
    let mut status = run_in_guests(&guest, &loading, &labs, &results)?;
    // The last guest knows nothing of what others ran.
    if not_loaded.exists() || !named(&results, "fail")?.is_empty() {
        status = status.max(1);
    }
    if wish.files.is_empty() && !foreign {
        fs::copy(&results, last(kernel)?)?;
    }
    if wish.record {
        recordings::keep(kernel, &kept, &named(&results, "pass")?)?;
    }
    Ok(status)
}

/// Both parts in one guest. The emulator does not survive everything: where a guest ends early, what it told of labs stands
/// and another one runs the others, as long as each tells of some.
fn run_in_guests(guest: &Guest<'_>, loading: &str, labs: &str, results: &Path) -> Result<i32> {
    let mut told = 0;
    let mut first = loading;
    loop {
        let status = guest.run(&format!("worst=0\n{first}\n{labs}\nexit $worst"));
        let tells = count(results);
        match status {
            Err(error) if tells > told => {
                println!(
                    "{error:#}; another one runs the labs after the {tells} that were told of"
                );
                told = tells;
                first = "";
            }
            status => return status,
        }
    }
}

/// The labs as arguments of `lab run`.
fn files(files: &[PathBuf], foreign: bool) -> String {
    if files.is_empty() && foreign {
        let path = |name| format!("{}/{name}", labs::LABS);
        return FOREIGN_LABS.map(path).join(" ");
    }
    if files.is_empty() {
        return format!("--sample {}", labs::LABS);
    }
    let words: Vec<String> = files.iter().map(|file| format!("{file:?}")).collect();
    words.join(" ")
}

/// Where the results of the last whole run on a kernel are.
fn last(kernel: &str) -> Result<PathBuf> {
    let folder = cache().join("results");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{kernel}.jsonl")))
}

/// The last whole runs, of all kernels that had one.
fn last_results() -> Result<Table> {
    let mut table = Table::default();
    for kernel in VERSIONS {
        if let Ok(results) = fs::read_to_string(last(kernel)?) {
            table.add(kernel, &results)?;
        }
    }
    Ok(table)
}

/// How many labs are told of.
fn count(results: &Path) -> usize {
    fs::read_to_string(results).map_or(0, |text| text.lines().count())
}

/// Names of the labs that ended so.
fn named(results: &Path, end: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(results).with_context(|| results.display().to_string())?;
    let mut names = Vec::new();
    for line in text.lines() {
        let lab: Value = serde_json::from_str(line)?;
        let word = |key| lab.get(key).and_then(Value::as_str).unwrap_or_default();
        if word("result") == end {
            names.push(word("name").to_owned());
        }
    }
    Ok(names)
}

/// The executable of the loading tests.
fn loading_tests(options: &[String]) -> Result<PathBuf> {
    let build = ["test", "--package", "tests", "--test", LOADING, "--no-run"];
    cargo_messages(build.into_iter().chain(options.iter().map(String::as_str)))?
        .iter()
        .filter(|message| {
            message
                .pointer("/target/name")
                .is_some_and(|name| name == LOADING)
        })
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .with_context(|| {
            format!(
                "cargo did not say where the loading tests of {} are",
                root().display()
            )
        })
}
