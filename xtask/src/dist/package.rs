//! Debian packages: what they hold stands in tracer/Cargo.toml.

use std::path::Path;

use anyhow::Result;

use super::{Architecture, VERSION};
use crate::command::{cargo, run as run_command};
use crate::setup::install_tool;

/// Writes tracer_VERSION_ARCH.deb from the binary and the pages that were made before.
pub(super) fn write(architecture: Architecture, folder: &Path, epoch: u64) -> Result<()> {
    install_tool("cargo-deb", "3.8.0", &["--debug"])?;
    let file = folder.join(format!("tracer_{VERSION}_{}.deb", architecture.debian));
    let mut command = cargo(["deb", "--package", "tracer", "--no-build", "--no-strip"]);
    command.args(["--target", &architecture.triple(), "--deb-revision", ""]);
    command.arg("--output").arg(file);
    command.env("SOURCE_DATE_EPOCH", epoch.to_string());
    run_command(command)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use crate::workspace::root;

    #[test]
    fn what_a_package_holds_is_there() {
        let manifest = root().join("tracer/Cargo.toml");
        let manifest: toml::Table = std::fs::read_to_string(manifest).unwrap().parse().unwrap();
        let assets = manifest
            .get("package")
            .and_then(|table| table.get("metadata")?.get("deb")?.get("assets")?.as_array())
            .unwrap();
        let mut looked_at = 0;
        for asset in assets {
            let from = asset.get(0).and_then(toml::Value::as_str).unwrap();
            if !from.contains("target/") {
                assert!(root().join("tracer").join(from).is_file(), "{from}");
                looked_at += 1;
            }
        }
        assert!(looked_at > 0);
    }
}
