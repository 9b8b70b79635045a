//! What the user reads when tracer cannot go on: one kind (the exit status), one line, the causes behind it, and
//! what to do about it.
//!
//! Every stage has an error type of its own; at the top they all become an [`Error`]. What became of the traced
//! flow is never an error: that is the report's.

mod near;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

pub use near::near;

/// What sort of failure it is; decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Something failed while running.
    Runtime,
    /// The command line asks for what cannot be.
    Usage,
    /// Rights or kernel support are missing.
    Unsupported,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Runtime, Self::Usage, Self::Unsupported];

    /// The process's exit status.
    #[must_use]
    pub const fn exit_status(self) -> ExitStatus {
        match self {
            Self::Runtime => ExitStatus::Failed,
            Self::Usage => ExitStatus::Usage,
            Self::Unsupported => ExitStatus::Unsupported,
        }
    }
}

/// All exit statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// The trace is done, whatever its verdict.
    Done,
    /// Something failed while running.
    Failed,
    /// Bad usage.
    Usage,
    /// Rights or kernel support are missing.
    Unsupported,
    /// With `--check`: the outcome is not `delivered`.
    NotDelivered,
}

impl ExitStatus {
    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unsupported => 3,
            Self::NotDelivered => 10,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// An error as the user reads it. `Display` gives all of it: `error: …` in one line with its causes, an excerpt if
/// there is one, then a line `hint: …` for each thing to do. It does not end in a line break.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    excerpt: Option<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    hints: Vec<String>,
}

impl Error {
    /// An error of this kind. `message` has no full stop and does not begin with a capital.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            excerpt: None,
            cause: None,
            hints: Vec::new(),
        }
    }

    /// Something failed while running.
    #[must_use]
    pub fn runtime(message: impl Into<String>) -> Self {
        Self::new(Kind::Runtime, message)
    }

    /// The command line asks for what cannot be.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Rights or kernel support are missing.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, message)
    }

    /// Adds what led to it.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds something to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds lines that show the place, between message and hints.
    #[must_use]
    pub fn excerpt(mut self, excerpt: impl Into<String>) -> Self {
        self.excerpt = Some(excerpt.into());
        self
    }

    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message alone, without causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Things to do.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Whether the reader of our output has gone (`tracer … | head`): that is success and says nothing.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        self.causes().any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        })
    }

    /// The process's exit status.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        if self.is_broken_pipe() {
            ExitStatus::Done
        } else {
            self.kind.exit_status()
        }
    }

    /// Message and causes in one line, without hints.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut line = self.message.clone();
        for cause in self.causes() {
            let text = cause.to_string();
            // many error types repeat their cause in their own words
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
        }
        printable(&line)
    }

    /// What to do about a limit of this process, whoever met it.
    fn way_out(&self) -> Option<&'static str> {
        let errors = self
            .causes()
            .filter_map(|cause| cause.downcast_ref::<io::Error>());
        errors
            .filter_map(io::Error::raw_os_error)
            .find_map(|error| match error {
                libc::EMFILE | libc::ENFILE => {
                    Some("allow it more open files, one for each interface: `ulimit -n 65536`, or LimitNOFILE= of a unit")
                }
                libc::ENOMEM => Some(MORE_MEMORY),
                libc::EAGAIN => {
                    Some("allow it more threads (`ulimit -u`, pids of the container) or more memory (`ulimit -v`)")
                }
                _ => None,
            })
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        std::iter::successors(self.source(), |&cause| cause.source())
    }
}

/// Errors that more than one stage meets.
impl Error {
    /// A file, stream or system call; `act` says what was tried: `write /tmp/report.json`.
    #[must_use]
    pub fn io(act: impl fmt::Display, error: io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => Some("check the path"),
            io::ErrorKind::PermissionDenied => Some("check the file's owner and mode"),
            io::ErrorKind::StorageFull => Some("make room, or name a file on another file system"),
            io::ErrorKind::IsADirectory => Some("name a file in that directory"),
            _ => None,
        };
        let wrapped = Self::runtime(format!("cannot {act}")).caused_by(error);
        match hint {
            Some(hint) => wrapped.hint(hint),
            None => wrapped,
        }
    }

    /// There can be no further thread.
    #[must_use]
    pub fn no_thread(error: io::Error) -> Self {
        let refused = error.kind() == io::ErrorKind::PermissionDenied;
        let told = Self::runtime("cannot start a thread").caused_by(error);
        if refused {
            told.hint("a seccomp profile of the container may forbid clone3: run it without one (seccomp=unconfined)")
        } else {
            told
        }
    }

    /// The process lacks capabilities (`CAP_BPF` …).
    #[must_use]
    pub fn missing_capabilities(missing: &[&str]) -> Self {
        Self::unsupported(format!("tracing needs {}", missing.join(", ")))
            .hint("run it as root: sudo tracer …")
            .hint(
                "in a container: a privileged one, with the host's PID namespace (kubectl debug node/NAME \
                 --profile=sysadmin)",
            )
    }

    /// The kernel's type information cannot be read.
    #[must_use]
    pub fn no_btf(path: &Path, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::unsupported(format!(
            "no type information (BTF) of this kernel at {}",
            path.display()
        ))
        .caused_by(error)
        .hint("kernels built with CONFIG_DEBUG_INFO_BTF=y have it; or give a BTF file of this very kernel: --btf FILE")
    }

    /// The kernel's lockdown or another policy refuses what tracer needs.
    #[must_use]
    pub fn locked_down(what: &str, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::unsupported(format!("the kernel refuses {what} to every process"))
            .caused_by(error)
            .hint("see /sys/kernel/security/lockdown: tracer needs `none` or `integrity`; `confidentiality` forbids to read kernel memory")
    }

    /// No interface matches `--interface`; `known` are those that exist.
    #[must_use]
    pub fn no_such_interface(glob: &str, known: &[String]) -> Self {
        Self::no_such("interface", glob, known, "ip -brief link")
    }

    /// No namespace has the name given to `--netns`; `known` are those that exist.
    #[must_use]
    pub fn no_such_namespace(name: &str, known: &[String]) -> Self {
        Self::no_such("network namespace", name, known, "ip netns list")
    }

    fn no_such(what: &str, name: &str, known: &[String], lister: &str) -> Self {
        let error = Self::usage(format!("no {what} is called `{name}`"));
        let close = near(name, known);
        if close.is_empty() {
            error.hint(format!("`{lister}` lists them"))
        } else {
            error.hint(format!("there is `{}`", close.join("`, `")))
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause
            .as_deref()
            .map(|cause| cause as &(dyn StdError + 'static))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", shortened(&self.one_line()))?;
        for row in self.excerpt.iter().flat_map(|excerpt| excerpt.lines()) {
            write!(f, "\n  {}", printable(row))?;
        }
        for hint in self.hints.iter().map(String::as_str).chain(self.way_out()) {
            write!(f, "\nhint: {}", shortened(&printable(hint)))?;
        }
        Ok(())
    }
}

/// What to do where memory does not suffice.
const MORE_MEMORY: &str =
    "allow it more memory (`ulimit -v`, memory of the container), or ask for fewer flows";

/// Most characters of a message or a hint, and how many of them are of its beginning.
const MOST: usize = 400;
const HEAD: usize = 280;

/// The text without its middle, where somebody typed a very long word.
fn shortened(text: &str) -> Cow<'_, str> {
    let length = text.chars().count();
    if length <= MOST {
        return Cow::Borrowed(text);
    }
    let head: String = text.chars().take(HEAD).collect();
    let tail: String = text.chars().skip(length - (MOST - HEAD)).collect();
    Cow::Owned(format!("{head} … {tail}"))
}

/// One line without control characters: names come from outside, and the terminal obeys them.
pub(crate) fn printable(text: &str) -> String {
    text.trim_end()
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Error, ExitStatus, Kind};
    use std::io;
    use std::path::Path;

    #[test]
    fn each_kind_has_its_own_exit_status() {
        let statuses = Kind::ALL.map(|kind| kind.exit_status().code());
        assert_eq!(statuses, [1, 2, 3]);
        assert_eq!(ExitStatus::Done.code(), 0);
        assert_eq!(ExitStatus::NotDelivered.code(), 10);
        assert_eq!(Error::usage("x").exit_status(), ExitStatus::Usage);
        let missing = Error::missing_capabilities(&["CAP_BPF"]);
        assert_eq!(missing.exit_status(), ExitStatus::Unsupported);
    }

    #[test]
    fn causes_stand_in_the_first_line() {
        let error = Error::io(
            "write /tmp/x",
            io::Error::new(io::ErrorKind::PermissionDenied, "no"),
        );
        insta::assert_snapshot!(error, @"
        error: cannot write /tmp/x: no
        hint: check the file's owner and mode
        ");
    }

    #[test]
    fn a_cause_that_is_already_told_is_not_repeated() {
        let error = Error::runtime("cannot read it: no").caused_by(io::Error::other("no"));
        assert_eq!(error.to_string(), "error: cannot read it: no");
    }

    #[test]
    fn a_broken_pipe_is_success() {
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(
            Error::io("write the report", pipe).exit_status(),
            ExitStatus::Done
        );
        let wrapped = Error::runtime("a")
            .caused_by(Error::runtime("b").caused_by(io::Error::from(io::ErrorKind::BrokenPipe)));
        assert_eq!(wrapped.exit_status(), ExitStatus::Done);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let error = Error::no_such_namespace("a\x1b[2Jb", &[]);
        assert!(!error.to_string().contains('\x1b'));
    }

    #[test]
    fn what_is_too_long_is_quoted_shortened() {
        let long = "x".repeat(100_000);
        let error = Error::usage(format!("`{long}` is nothing")).hint(format!("not `{long}`"));
        let told = error.to_string();
        assert!(told.len() < 900, "{}", told.len());
        assert!(
            told.starts_with("error: `xxx")
                && told.contains(" … ")
                && told.contains("` is nothing\n")
        );
    }

    #[test]
    fn limits_of_the_process_have_a_way_out() {
        for (number, way) in [
            (libc::EMFILE, "ulimit -n"),
            (libc::ENOMEM, "more memory"),
            (libc::EAGAIN, "ulimit -u"),
        ] {
            let error = Error::io("start", io::Error::from_raw_os_error(number));
            assert!(error.to_string().contains(way), "{error}");
        }
    }

    #[test]
    fn near_names_are_offered() {
        let known = ["eth0", "docker0", "flannel.1"].map(String::from);
        insta::assert_snapshot!(Error::no_such_interface("ethO", &known), @"
        error: no interface is called `ethO`
        hint: there is `eth0`
        ");
        insta::assert_snapshot!(Error::no_such_interface("wlp3s0", &known), @"
        error: no interface is called `wlp3s0`
        hint: `ip -brief link` lists them
        ");
    }

    #[test]
    fn missing_support_says_the_way_out() {
        let missing = io::Error::from_raw_os_error(2);
        insta::assert_snapshot!(Error::no_btf(Path::new("/sys/kernel/btf/vmlinux"), missing), @"
        error: no type information (BTF) of this kernel at /sys/kernel/btf/vmlinux: No such file or directory (os error 2)
        hint: kernels built with CONFIG_DEBUG_INFO_BTF=y have it; or give a BTF file of this very kernel: --btf FILE
        ");
    }
}
