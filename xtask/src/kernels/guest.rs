//! A virtual machine with another kernel over this machine's root file system, or over one for its processor: it sees all files
//! that are there, and what it writes stays in its memory, but for one directory. Emulated, so that it needs no rights and no particular
//! processor: 5 to 30 times slower than this machine.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::image::Image;
use crate::command::{program, run_lines};
use crate::dist::Architecture;
use crate::workspace::root;

const ROOT: &str = include_str!("root.sh");
/// What serves the root file system; where Debian has it, the older place first.
const VIRTIOFSD: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];
const MEMORY_MB: u32 = 2048;
const PROCESSORS: u32 = 2;

/// What is run in a guest.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    /// Its kernel.
    pub(super) image: &'a Image,
    /// The directory that both sides can write.
    pub(super) shared: &'a Path,
    /// Until it is ended.
    pub(super) limit: Duration,
}

impl Guest<'_> {
    /// Boots and runs a bash script in the workspace's directory as root, showing what it writes. Gives its status.
    ///
    /// # Errors
    /// The guest cannot be started, or ends without a status.
    pub(super) fn run(&self, script: &str) -> Result<i32> {
        let command = format!("cd {:?}\n{script}\n", root());
        fs::write(self.shared.join("command"), command)?;
        let stage = self.shared.join("root.sh");
        fs::write(&stage, ROOT)?;
        fs::set_permissions(&stage, fs::Permissions::from_mode(0o755))?;
        let status = self.shared.join("status");
        if status.exists() {
            fs::remove_file(&status)?;
        }
        let _files = FileServer::start(self.shared)?;
        run_lines(self.machine(), |_| ())?;
        let status = fs::read_to_string(status).with_context(|| {
            format!(
                "the guest ended early, or after {} s without an end",
                self.limit.as_secs()
            )
        })?;
        status
            .trim()
            .parse()
            .context("the guest's status is no number")
    }

    fn machine(&self) -> Command {
        let seconds = self.limit.as_secs().to_string();
        let emulated = Emulated::of(self.image.architecture);
        let mut command = program("timeout", ["-k", "5", &seconds, &emulated.program()]);
        let machine = format!("{},memory-backend=memory", emulated.machine);
        command.args(["-M", &machine, "-cpu", emulated.processor]);
        command.args(["-accel", "tcg,thread=multi,tb-size=256"]);
        command.args([
            "-smp",
            &PROCESSORS.to_string(),
            "-m",
            &MEMORY_MB.to_string(),
        ]);
        let backend = format!("memory-backend-memfd,id=memory,size={MEMORY_MB}M,share=on");
        command.args(["-object", &backend]);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        command.args([
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ]);
        let socket = format!("socket,id=files,path={}", socket(self.shared).display());
        command.args(["-chardev", &socket]);
        command.args([
            "-device",
            "vhost-user-fs-pci,chardev=files,tag=host,queue-size=512",
        ]);
        command.arg("-kernel").arg(self.image.kernel());
        command.arg("-initrd").arg(self.image.initrd());
        // An emulated clock lags when the machine is busy. The kernel would then stop trusting it and patch its own code
        // while it runs, which the emulator does not always survive.
        // What a real machine needs against its processor's faults, and against what is left in memory, is a quarter of
        // the time of an emulated one.
        let mut words = format!(
            "console={} panic=-1 mitigations=off init_on_alloc=0 nowatchdog quiet loglevel=1 tracer.shared={} tracer.image={}",
            emulated.words,
            self.shared.display(),
            self.image.folder.display()
        );
        if let Some(system) = &self.image.system {
            words += &format!(
                " tracer.root={} tracer.work={}",
                system.display(),
                root().display()
            );
        }
        command.args(["-append", &words]);
        command.stdin(std::process::Stdio::null());
        command
    }
}

/// What the emulator is told of a processor, and the kernel of what is emulated.
struct Emulated {
    rust: &'static str,
    machine: &'static str,
    processor: &'static str,
    /// The kernel's console and what else it is told.
    words: &'static str,
}

impl Emulated {
    fn of(architecture: Architecture) -> Self {
        match architecture.rust {
            // Pointer authentication as the processor does it is most of the time of an emulated one.
            "aarch64" => Self {
                rust: architecture.rust,
                machine: "virt",
                processor: "max,pauth-impdef=on",
                words: "ttyAMA0",
            },
            _ => Self {
                rust: architecture.rust,
                machine: "q35",
                processor: "max",
                words: "ttyS0 no_timer_check tsc=reliable",
            },
        }
    }

    fn program(&self) -> String {
        emulator(self.rust)
    }
}

/// The emulator's program for a processor.
pub(super) fn emulator(processor: &str) -> String {
    format!("qemu-system-{processor}")
}

fn socket(shared: &Path) -> PathBuf {
    shared.join("files.socket")
}

/// Serves this machine's root file system to one guest; ended when dropped.
struct FileServer(Child);

impl FileServer {
    fn start(shared: &Path) -> Result<Self> {
        let server = VIRTIOFSD
            .iter()
            .find(|path| Path::new(path).is_file())
            .context("virtiofsd is missing: apt-get install qemu-system-common, or virtiofsd")?;
        let socket = socket(shared);
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        let log = File::create(shared.join("virtiofsd.log"))?;
        let mut command = program(
            server,
            ["-o", "source=/,cache=always,sandbox=chroot,no_posix_lock"],
        );
        command.arg(format!("--socket-path={}", socket.display()));
        let server = command
            .args(["--thread-pool-size=4"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start virtiofsd")?;
        let mut server = Self(server);
        let end = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            ensure!(Instant::now() < end, "virtiofsd made no socket in 10 s");
            if let Some(status) = server.0.try_wait()? {
                bail!(
                    "virtiofsd ended with {status}: see {}",
                    shared.join("virtiofsd.log").display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        // It ends with its guest, unless that never connected.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
