//! A Debian kernel that a virtual machine can boot: fetched by apt with a state of its own and unpacked below
//! target/kernels.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::apt::Apt;
use crate::command::{output, program, run as run_command};
use crate::dist::Architecture;
use crate::workspace::root;

use super::system;

/// The Debian suites of which at least one has each kernel.
const SUITES: [&str; 4] = [
    "bookworm",
    "trixie-backports",
    "bookworm-security",
    "bullseye-security",
];
/// What reaches the root file system and the console, where it is not built in.
const MODULES: [&str; 5] = [
    "virtio_mmio",
    "virtio_pci",
    "virtiofs",
    "overlay",
    "virtio_console",
];
const INIT: &str = include_str!("init.sh");

/// A kernel with its modules, unpacked and ready.
#[derive(Debug)]
pub(super) struct Image {
    /// Its directory.
    pub(super) folder: PathBuf,
    /// The root file system of the guest; `None`: this machine's.
    pub(super) system: Option<PathBuf>,
    pub(super) architecture: Architecture,
}

impl Image {
    /// The newest kernel of a series such as 6.12; fetched where it is not there. With another processor than this machine's
    /// it gets a root file system of its own.
    pub(super) fn of(version: &str, architecture: Architecture) -> Result<Self> {
        let host = Architecture::host()?;
        let place = match architecture == host {
            true => cache(),
            false => cache().join(architecture.rust),
        };
        let mut image = Self {
            folder: place.join(version),
            system: None,
            architecture,
        };
        let system = place.join("system");
        let complete = architecture == host || system.is_dir();
        // Written last.
        if image.initrd().is_file() && complete {
            image.system = (architecture != host).then_some(system);
            return Ok(image);
        }
        let apt = Apt::ready(place.join("apt"), &SUITES, architecture.debian)?;
        if !image.initrd().is_file() {
            image
                .fetch(&apt, version)
                .with_context(|| format!("cannot get kernel {version}"))?;
        }
        if architecture != host {
            image.system = Some(system::of(&apt, system)?);
        }
        Ok(image)
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    pub(super) fn initrd(&self) -> PathBuf {
        self.folder.join("initrd")
    }

    fn fetch(&self, apt: &Apt, version: &str) -> Result<()> {
        let busybox = own_busybox()?;
        let unpacked = self.folder.join("unpacked");
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&unpacked)?;
        for package in packages(apt, version, self.architecture)? {
            apt.unpack(&package, &unpacked)?;
        }
        let files = files(&unpacked)?;
        // /boot/vmlinuz-RELEASE, or vmlinuz beside the modules (7.x).
        let file = |wanted: &str| {
            files
                .iter()
                .find(|path| {
                    let name = name(path);
                    name == wanted || name.starts_with(&format!("{wanted}-"))
                })
                .with_context(|| format!("the packages have no {wanted}"))
        };
        fs::rename(file("vmlinuz")?, self.kernel())?;
        fs::rename(file("config")?, self.folder.join("config"))?;
        let modules = file("modules.order")?
            .parent()
            .context("modules without a directory")?;
        let release = name(modules);
        let kept = self.folder.join("lib/modules").join(&release);
        fs::create_dir_all(self.folder.join("lib/modules"))?;
        fs::rename(modules, &kept)?;
        fs::remove_dir_all(&unpacked)?;
        decompress(&kept)?;
        let mut depmod = program(&busybox, ["depmod", "-b"]);
        depmod.arg(&self.folder).arg(&release);
        run_command(depmod)?;
        self.make_initrd(&self.busybox(apt)?, &busybox, &kept)
    }

    /// A static busybox for the guest.
    fn busybox(&self, apt: &Apt) -> Result<PathBuf> {
        busybox(apt, &self.folder.with_file_name("apt").join("tools"))
    }

    /// The first root file system: busybox and the modules that reach the second.
    fn make_initrd(&self, busybox: &Path, tool: &Path, modules: &Path) -> Result<()> {
        let folder = self.folder.join("first-root");
        for name in ["bin", "dev", "proc", "sys", "modules"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::copy(busybox, folder.join("bin/busybox"))?;
        let init = folder.join("init");
        fs::write(&init, INIT)?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        let mut order = String::new();
        for module in with_dependencies(&modules.join("modules.dep"))? {
            let file = modules.join(&module);
            fs::copy(&file, folder.join("modules").join(name(&file)))?;
            order += &name(&file);
            order.push('\n');
        }
        fs::write(folder.join("modules/order"), order)?;
        let made = self.folder.join("initrd.part");
        let mut pack = program(
            "sh",
            ["-ec", r#"cd "$1"; find . | "$2" cpio -o -H newc >"$3""#],
        );
        pack.arg("sh").arg(&folder).arg(tool).arg(&made);
        run_command(pack)?;
        fs::remove_dir_all(&folder)?;
        Ok(fs::rename(made, self.initrd())?)
    }
}

/// Where kernels and what runs leave are kept.
pub(super) fn cache() -> PathBuf {
    root().join("target/kernels")
}

/// The packages of the newest kernel of a series, of those for virtual machines, which have all protocols and few drivers.
/// From 7.x on the image is split into several.
fn packages(apt: &Apt, version: &str, architecture: Architecture) -> Result<Vec<String>> {
    let flavour = format!("cloud-{}", architecture.debian);
    let image = format!("linux-image-{version}.");
    let names = output(apt.command("apt-cache", &["pkgnames", &image]))?;
    let foreign = ["unsigned", "-rt-", "deb11"];
    let mut names: Vec<&str> = names
        .lines()
        .filter(|name| name.ends_with(&flavour) && !foreign.iter().any(|word| name.contains(word)))
        .collect();
    names.sort_by_key(|name| numbers(name));
    let newest = names
        .last()
        .with_context(|| format!("no Debian suite that is read has a kernel {version}"))?;
    let release = newest.trim_start_matches("linux-image-");
    let mut packages = vec![(*newest).to_owned()];
    for part in ["binary", "modules", "base"] {
        let package = format!("linux-{part}-{release}");
        let versions = output(apt.command("apt-cache", &["madison", &package]))?;
        if !versions.trim().is_empty() {
            packages.push(package);
        }
    }
    Ok(packages)
}

/// One that this machine can run, for its tools.
fn own_busybox() -> Result<PathBuf> {
    let own = cache().join("apt");
    let tools = own.join("tools");
    match tools.join("bin/busybox") {
        found if found.is_file() => Ok(found),
        _ => busybox(
            &Apt::ready(own, &SUITES, Architecture::host()?.debian)?,
            &tools,
        ),
    }
}

fn busybox(apt: &Apt, tools: &Path) -> Result<PathBuf> {
    let busybox = tools.join("bin/busybox");
    if !busybox.is_file() {
        apt.unpack("busybox-static/bookworm", tools)?;
    }
    ensure!(busybox.is_file(), "busybox-static has no bin/busybox");
    Ok(busybox)
}

/// The numbers in a name, for the order of versions.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// busybox loads plain modules only, and plain ones load faster.
fn decompress(folder: &Path) -> Result<()> {
    for (ending, tool) in [(".ko.xz", ["xz", "-d"]), (".ko.zst", ["zstd", "-dq --rm"])] {
        let script = format!(
            "find \"$1\" -name '*{ending}' -print0 | xargs -0r -n64 {} {}",
            tool[0], tool[1]
        );
        let mut command = program("sh", ["-ec", &script, "sh"]);
        command.arg(folder).stdin(Stdio::null());
        run_command(command)?;
    }
    Ok(())
}

/// [`MODULES`] with what they depend on, dependencies first, as paths below the modules' directory.
fn with_dependencies(table: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(table).with_context(|| table.display().to_string())?;
    let table: BTreeMap<String, (&str, Vec<&str>)> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (stem(file), (file, needs.split_whitespace().collect())))
        .collect();
    let mut order = Vec::new();
    for module in MODULES {
        add(&table, module, &mut order);
    }
    Ok(order)
}

fn add(table: &BTreeMap<String, (&str, Vec<&str>)>, module: &str, order: &mut Vec<String>) {
    // What is not listed is built in.
    let Some((file, needs)) = table.get(module) else {
        return;
    };
    for need in needs {
        add(table, &stem(need), order);
    }
    if !order.iter().any(|known| known == file) {
        order.push((*file).to_owned());
    }
}

/// A module's name as the kernel writes it.
fn stem(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.trim_end_matches(".ko").replace('-', "_")
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// All files below a directory.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(numbers("linux-image-6.1.0-9-cloud") < numbers("linux-image-6.1.0-56-cloud"));
    }

    #[test]
    fn a_module_comes_after_what_it_needs() {
        let table = BTreeMap::from([
            (
                "virtiofs".to_owned(),
                (
                    "fs/virtiofs.ko",
                    vec!["fs/fuse.ko", "drivers/virtio-ring.ko"],
                ),
            ),
            ("fuse".to_owned(), ("fs/fuse.ko", vec![])),
            ("virtio_ring".to_owned(), ("drivers/virtio-ring.ko", vec![])),
        ]);
        let mut order = Vec::new();
        for module in ["overlay", "fuse", "virtiofs"] {
            add(&table, module, &mut order);
        }
        assert_eq!(
            order,
            ["fs/fuse.ko", "drivers/virtio-ring.ko", "fs/virtiofs.ko"]
        );
    }
}
