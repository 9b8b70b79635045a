//! Where things are in the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Where bpf-linker and cargo-deny are installed: within the workspace, not in the user's cargo folder.
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// An executable of the dev profile.
pub(crate) fn built(name: &str) -> PathBuf {
    root().join("target/debug").join(name)
}

/// A rust-toolchain.toml.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// Its channel.
    pub(crate) channel: String,
    /// Components beside the profile's.
    pub(crate) components: Vec<String>,
}

impl Toolchain {
    /// The toolchain that builds everything but the kernel programs.
    pub(crate) fn host() -> Result<Self> {
        Self::read(&root().join("rust-toolchain.toml"))
    }

    /// The toolchain of the kernel programs.
    pub(crate) fn ebpf() -> Result<Self> {
        Self::read(&root().join("tracer-ebpf/rust-toolchain.toml"))
    }

    fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let table: toml::Table = text.parse().with_context(|| file.display().to_string())?;
        let toolchain = table.get("toolchain").context("no [toolchain]")?;
        let channel = toolchain.get("channel").and_then(toml::Value::as_str);
        let components = toolchain.get("components").and_then(toml::Value::as_array);
        Ok(Self {
            channel: channel
                .with_context(|| format!("{} names no channel", file.display()))?
                .to_owned(),
            components: components
                .into_iter()
                .flatten()
                .filter_map(|component| component.as_str().map(str::to_owned))
                .collect(),
        })
    }
}
