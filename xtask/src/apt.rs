//! Debian packages without installing them: fetched by apt with a state of its own, so that the system's packages and
//! sources are neither changed nor asked, and unpacked into a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{exists, output, program, run as run_command};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with its own sources, lists and cache.
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Writes its configuration into a folder of its own and reads the lists of these Debian suites, for an architecture as
    /// Debian calls it. The mirrors are those of the system's own sources.
    pub(crate) fn ready(folder: PathBuf, suites: &[&str], architecture: &str) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "debs", "empty"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let sites = output(program(
            "apt-get",
            [
                "indextargets",
                "--format",
                "$(SITE)",
                "Created-By: Packages",
            ],
        ))?;
        let mirror = |security: bool| {
            sites
                .lines()
                .filter(|site| site.contains("debian"))
                .find(|site| site.contains("security") == security)
                .map(|site| site.trim_end_matches('/'))
                .context(
                    "apt knows no Debian mirror: add one to its sources and run apt-get update",
                )
        };
        let mut sources = String::new();
        for suite in suites {
            let mirror = mirror(suite.contains("security"))?;
            for kind in ["deb", "deb-src"] {
                sources += &format!("{kind} [signed-by={KEYRING}] {mirror} {suite} main\n");
            }
        }
        fs::write(folder.join("sources.list"), sources)?;
        let at = folder.display();
        let configuration = format!(
            "Dir::Etc::sourcelist \"{at}/sources.list\";\n\
             Dir::Etc::sourceparts \"{at}/empty\";\n\
             Dir::Etc::preferencesparts \"{at}/empty\";\n\
             Dir::State::lists \"{at}/lists\";\n\
             Dir::State::status \"/var/lib/dpkg/status\";\n\
             Dir::Cache \"{at}/cache\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             APT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Sandbox::User \"root\";\n"
        );
        fs::write(folder.join("apt.conf"), configuration)?;
        let apt = Self { folder };
        run_command(apt.command("apt-get", &["update", "-qq"]))?;
        Ok(apt)
    }

    /// One of apt's programs, with this state.
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = program(name, arguments);
        command.env("APT_CONFIG", self.folder.join("apt.conf"));
        command.current_dir(self.debs());
        command
    }

    /// Downloads a package and unpacks it into a directory; nothing is installed.
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        self.download("download", package)?;
        let mut unpack = program("dpkg", ["-x"]);
        unpack.arg(self.downloaded("deb")?).arg(into);
        run_command(unpack)
    }

    /// Downloads packages with all that they depend on, and unpacks them into a directory as a system of its own: no script of
    /// theirs is run.
    pub(crate) fn unpack_system(&self, packages: &[&str], into: &Path) -> Result<()> {
        let nothing = self.folder.join("nothing-installed");
        fs::write(&nothing, "")?;
        let archives = self.folder.join("cache/archives");
        let status = format!("Dir::State::status={}", nothing.display());
        let mut get = vec![
            "install",
            "-qq",
            "-y",
            "--download-only",
            "--no-install-recommends",
        ];
        get.extend(["-o", &status]);
        get.extend(packages);
        run_command(self.command("apt-get", &get))?;
        // What packages put into /bin and its like belongs below /usr.
        for name in ["bin", "sbin", "lib"] {
            fs::create_dir_all(into.join("usr").join(name))?;
            let link = into.join(name);
            if fs::symlink_metadata(&link).is_err() {
                std::os::unix::fs::symlink(Path::new("usr").join(name), link)?;
            }
        }
        for entry in fs::read_dir(&archives)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "deb") {
                let mut unpack = program("dpkg", ["-x"]);
                unpack.arg(path).arg(into);
                run_command(unpack)?;
            }
        }
        Ok(())
    }

    /// Downloads the source of a package and unpacks it, with Debian's patches, as a directory that is not there yet.
    pub(crate) fn unpack_source(&self, package: &str, into: &Path) -> Result<()> {
        ensure!(
            exists("dpkg-source"),
            "dpkg-source is missing: apt-get install dpkg-dev"
        );
        self.download("source --download-only", package)?;
        let mut unpack = program("dpkg-source", ["--no-check", "-x"]);
        unpack.arg(self.downloaded("dsc")?).arg(into);
        run_command(unpack)
    }

    /// Leaves nothing but what this downloads.
    fn download(&self, how: &str, package: &str) -> Result<()> {
        fs::remove_dir_all(self.debs())?;
        fs::create_dir(self.debs())?;
        let mut words: Vec<&str> = how.split(' ').collect();
        words.extend(["-qq", package]);
        run_command(self.command("apt-get", &words))
    }

    fn downloaded(&self, ending: &str) -> Result<PathBuf> {
        for entry in fs::read_dir(self.debs())? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == ending) {
                return Ok(path);
            }
        }
        Err(anyhow::anyhow!("apt-get left no .{ending} file"))
    }

    fn debs(&self) -> PathBuf {
        self.folder.join("debs")
    }
}
