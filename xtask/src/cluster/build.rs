//! What the cluster is made of: Debian packages, unpacked; the programs of Kubernetes, which Debian has as a source
//! alone, built with Debian's Go; and images for the pods, of busybox and a program of ours.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::command::{program, run as run_command};
use crate::dist::{self, Architecture};
use crate::workspace::root;

const SUITES: [&str; 2] = ["bookworm", "bookworm-security"];
/// What runs as it is packaged.
const PACKAGES: [&str; 5] = [
    "etcd-server",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "busybox-static",
];
/// What builds the rest, and where it is in the packages.
const GO_PACKAGES: [&str; 2] = ["golang-1.19-go", "golang-1.19-src"];
const GO: &str = "usr/lib/go-1.19";
const BUILD: &str = include_str!("build.sh");
const IMAGES: &str = include_str!("images.sh");
/// The programs that `build.sh` leaves; the last one is linked last.
const PROGRAMS: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "kube-proxy",
];

/// Where all of it is kept, and the state of a cluster that is up.
pub(super) fn cache() -> PathBuf {
    root().join("target/cluster")
}

/// Builds what is not there.
pub(super) fn all() -> Result<()> {
    let (unpacked, bin) = (cache().join("root"), cache().join("bin"));
    let built = PROGRAMS.iter().all(|name| bin.join(name).is_file());
    if !built || !unpacked.is_dir() {
        let apt = Apt::ready(cache().join("apt"), &SUITES, Architecture::host()?.debian)?;
        if !unpacked.is_dir() {
            let part = cache().join("root.part");
            unpack(&apt, &PACKAGES, &part)?;
            fs::rename(part, &unpacked)?;
        }
        if !built {
            build(&apt, &bin).context("cannot build Kubernetes")?;
        }
    }
    images(&unpacked)
}

/// Only what is whole gets its name; the sources and all that was made of them on the way go.
fn build(apt: &Apt, bin: &Path) -> Result<()> {
    let work = cache().join("build");
    let source = work.join("gopath/src/k8s.io/kubernetes");
    if !source.is_dir() {
        fs::create_dir_all(source.parent().unwrap_or(&work))?;
        unpack(apt, &GO_PACKAGES, &work.join("go"))?;
        let part = work.join("source.part");
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        apt.unpack_source("kubernetes", &part)?;
        fs::rename(part, &source)?;
    }
    let (cache, made) = (work.join("cache"), work.join("bin"));
    for folder in [&cache, &made] {
        fs::create_dir_all(folder)?;
    }
    let mut build = program("sh", ["-euc", BUILD, "build.sh"]);
    build.arg(source).arg(work.join("go").join(GO));
    build.arg(cache).arg(&made);
    run_command(build)?;
    fs::create_dir_all(bin)?;
    for name in PROGRAMS {
        fs::rename(made.join(name), bin.join(name))?;
    }
    Ok(fs::remove_dir_all(work)?)
}

fn unpack(apt: &Apt, packages: &[&str], into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    for package in packages {
        apt.unpack(package, into)?;
    }
    Ok(())
}

/// Made anew where the program in them is younger.
fn images(unpacked: &Path) -> Result<()> {
    let pod = dist::build_static("pod")?;
    let images = cache().join("images");
    let age = |file: &Path| fs::metadata(file).and_then(|file| file.modified());
    if age(&images.join("shop.tar")).is_ok_and(|made| age(&pod).is_ok_and(|pod| pod < made)) {
        return Ok(());
    }
    fs::create_dir_all(&images)?;
    let mut make = program("sh", ["-euc", IMAGES, "images.sh"]);
    make.arg(images).arg(unpacked.join("bin/busybox")).arg(pod);
    run_command(make)
}
