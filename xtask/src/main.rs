//! The chores of the workspace: `cargo xtask CHORE`. The Makefile's targets are thin calls of these.

mod apt;
mod bench;
mod check;
mod cluster;
mod command;
mod dist;
mod frame;
mod fuzz;
mod kernels;
mod labs;
mod object;
mod recordings;
mod replays;
mod setup;
mod soak;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about = "The chores of tracer's workspace")]
enum Chore {
    /// Install what is missing to build, check and test: toolchains, bpf-linker, cargo-deny, programs that labs use
    Setup,
    /// Formatting, lints, licences, unit and replayed tests; needs no root
    Check,
    /// Everything that can be tested: check, live tests, labs; needs root
    Test,
    /// Build and run labs
    Lab {
        /// Lab files, or arguments of `lab run`
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run all labs with all their fixes and show how each family fares
    Labs(labs::Wish),
    /// Run labs and keep their recordings where replayed tests find them
    RecordLabs {
        /// Lab files [default: all]
        files: Vec<PathBuf>,
    },
    /// Choose the recordings that are replayed without root, of what `lab run --keep-report DIR --keep-recording DIR` kept
    ChooseRecordings {
        /// DIR
        kept: PathBuf,
    },
    /// A network of namespaces with a fault, and what tracer says about it; installs only what that needs
    Demo {
        /// The lab to show
        #[arg(default_value = "tests/labs/netfilter/forward-policy-drop.toml")]
        file: PathBuf,
    },
    /// Draw the pictures that the README shows, docs/tui.svg and docs/path.svg
    Frame,
    /// What tracer costs a packet and a router, how soon it is ready and answers, memory, size; needs root
    Bench(bench::Wish),
    /// What is handed out, in target/dist: static binaries, packages, container images, man pages, completions, SBOM, checksums
    Dist(dist::Wish),
    /// The container images alone, in target/dist
    Image,
    /// Look for bytes that break one of the readers of what others wrote
    Fuzz(fuzz::Wish),
    /// A busy node, for minutes: no alarm, counters equal, memory and descriptors flat, nothing left; needs root
    Soak(soak::Wish),
    /// Check what the built eBPF object contains
    CheckObject,
    /// Load the kernel programs and run labs on other kernels, in virtual machines; needs root
    Kernels(kernels::Wish),
    /// A Kubernetes of two nodes in namespaces, and what tracer says of what breaks in it; needs root
    Cluster {
        #[command(subcommand)]
        what: Option<cluster::What>,
    },
}

fn main() -> ExitCode {
    let done = match Chore::parse() {
        Chore::Setup => setup::run(),
        Chore::Check => check::run().and_then(test::none_failed),
        Chore::Test => test::run(),
        Chore::Lab { arguments } => labs::run(&arguments),
        Chore::Labs(wish) => labs::scoreboard(&wish),
        Chore::RecordLabs { files } => labs::record(&files),
        Chore::ChooseRecordings { kept } => recordings::choose(&kept),
        Chore::Demo { file } => labs::demo(&file),
        Chore::Frame => frame::run(),
        Chore::Bench(wish) => bench::run(&wish),
        Chore::Dist(wish) => dist::run(&wish),
        Chore::Image => dist::images(),
        Chore::Fuzz(wish) => fuzz::run(&wish),
        Chore::Soak(wish) => soak::run(&wish),
        Chore::CheckObject => object::run(),
        Chore::Kernels(wish) => kernels::run(&wish),
        Chore::Cluster { what } => cluster::run(&what.unwrap_or_default()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
