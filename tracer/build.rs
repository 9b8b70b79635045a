//! Compiles the kernel programs of `tracer-ebpf` for the BPF target, for `kernel::load` to embed.
//!
//! The nightly toolchain is named only in tracer-ebpf/rust-toolchain.toml; bpf-linker is taken from
//! target/tools/bin (where `make setup` puts it), else from PATH. A missing tool ends in one line. What the loader
//! does not need is taken out of the object: DWARF is five sixths of it, and the loader would read its relocations. Of a
//! release, so are the line numbers that the verifier quotes (`-vv`): they take two thirds of the rest, and the loader keeps
//! them in memory. A release has what is left packed, to a twentieth: the programs are much alike.

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use aya_build::{Package, Toolchain};
use lzma_rust2::{LzmaOptions, LzmaWriter};
use object::build::elf::{Builder, SectionData};

const PACKAGE: &str = "tracer-ebpf";
/// Its binary, which aya-build puts into OUT_DIR.
const BINARY: &str = "tracer";
/// The end of the packed object's name.
const PACKED: &str = "lzma";
const LZMA_PRESET: u32 = 9;
const LINKER: &str = "bpf-linker";
/// How it is built.
const PROFILE: [(&str, &str); 4] = [
    ("OPT_LEVEL", "3"),
    ("LTO", "thin"),
    ("CODEGEN_UNITS", "4"),
    ("PANIC", "unwind"),
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("cargo::error={problem}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let workspace = workspace()?;
    let programs = workspace.join(PACKAGE);
    let tools = workspace.join("target/tools/bin");
    let inputs = [
        programs.clone(),
        workspace.join("tracer-common"),
        tools.join(LINKER),
    ];
    // A path that does not exist would make cargo run this script every time.
    for input in inputs.iter().filter(|input| input.exists()) {
        println!("cargo::rerun-if-changed={}", input.display());
    }

    let toolchain = toolchain(&programs.join("rust-toolchain.toml"))?;
    check_toolchain(&toolchain)?;
    let path = path_with_linker(&tools)?;
    // SAFETY: a build script has one thread until aya-build starts its own, and nothing reads the
    // environment meanwhile.
    unsafe {
        env::set_var("PATH", path);
        // aya-build repeats all that the inner cargo says as warnings: progress is none.
        env::set_var("CARGO_TERM_QUIET", "true");
        // The kernel's code is built for speed, whatever the workspace wants of a release of its own.
        for (setting, value) in PROFILE {
            env::set_var(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
    }

    let root_dir = programs.to_str().ok_or("the path is not UTF-8")?;
    let package = Package {
        name: PACKAGE,
        root_dir,
        ..Package::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .map_err(|error| format!("{PACKAGE} does not build: {error:#}"))?;
    let built = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join(BINARY);
    strip(&built)
        .and_then(|()| pack(&built))
        .map_err(|error| format!("{}: {error}", built.display()))
}

/// Packs the object for `kernel::object`, beside it.
fn pack(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let object = std::fs::read(path)?;
    let mut options = LzmaOptions::with_preset(LZMA_PRESET);
    // More than the object has would be room that the loader gets and does not use.
    options.dict_size = u32::try_from(object.len().next_power_of_two())?;
    let length = u64::try_from(object.len())?;
    let packed = Vec::new();
    let mut writer = LzmaWriter::new_use_header(packed, &options, Some(length))?;
    writer.write_all(&object)?;
    Ok(std::fs::write(
        path.with_extension(PACKED),
        writer.finish()?,
    )?)
}

/// Removes DWARF from an object, and of a release the line numbers (.BTF.ext); BTF stays.
fn strip(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let data = std::fs::read(path)?;
    let mut builder = Builder::read(data.as_slice())?;
    for section in builder.sections.iter_mut() {
        let name = section.name.as_slice();
        section.delete |= name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
        section.delete |= release && name.ends_with(b".BTF.ext");
    }
    // LLVM keeps the sections' names with those of the symbols; the writer wants them apart.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    builder.delete_orphans();
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(std::fs::write(path, stripped)?)
}

fn workspace() -> Result<PathBuf, String> {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set: build by cargo")?;
    Path::new(&manifest)
        .parent()
        .map(Path::to_path_buf)
        .ok_or_else(|| "the crate lies outside its workspace".to_owned())
}

/// The channel in a rust-toolchain.toml.
fn toolchain(file: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    text.lines()
        .filter_map(|line| line.strip_prefix("channel")?.trim().strip_prefix('='))
        .map(|value| value.trim().trim_matches('"').to_owned())
        .next()
        .ok_or_else(|| format!("{} names no channel", file.display()))
}

/// Says what is missing before cargo says it in a hundred lines. Without rustup, aya-build takes the compiler
/// that is there.
fn check_toolchain(toolchain: &str) -> Result<(), String> {
    let Ok(output) = Command::new("rustup")
        .args(["run", toolchain, "rustc", "--print", "sysroot"])
        .output()
    else {
        return Ok(());
    };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    if !output.status.success() {
        Err(format!(
            "the Rust toolchain {toolchain} is not installed: run `make setup`"
        ))
    } else if !source.exists() {
        Err(format!(
            "the Rust toolchain {toolchain} lacks rust-src: run `make setup`"
        ))
    } else {
        Ok(())
    }
}

/// PATH with the directory of the workspace's own bpf-linker in front.
fn path_with_linker(tools: &Path) -> Result<OsString, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::iter::once(tools.to_path_buf())
        .chain(env::split_paths(&path))
        .collect();
    if !places.iter().any(|place| place.join(LINKER).is_file()) {
        return Err(format!(
            "{LINKER} is neither in {} nor in PATH: run `make setup`",
            tools.display()
        ));
    }
    env::join_paths(places).map_err(|error| error.to_string())
}
