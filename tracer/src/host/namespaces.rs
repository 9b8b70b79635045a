//! Handles to network namespaces: held, entered and left.
//!
//! Not here: where namespaces are found and how they are called (`discovery`), what is inside them (`links`,
//! `answers`, `firewall`) and how changes are followed (`watch`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;

use crate::model::NetNs;
use crate::sys;

/// The calling thread's own namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace held open. While a handle lives the namespace cannot go away, so handles are given up as
/// soon as nothing else refers to the namespace (see `watch`).
#[derive(Debug)]
pub struct NetnsFd {
    fd: OwnedFd,
    netns: NetNs,
}

impl NetnsFd {
    /// Opens a namespace file (`/proc/PID/ns/net`, `/run/netns/NAME`).
    ///
    /// # Errors
    /// What `open` says; `InvalidInput` when the file is not a network namespace.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_fd(File::open(path)?.into())
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn current() -> io::Result<Self> {
        Self::open(OWN)
    }

    /// Takes a descriptor of a namespace file.
    ///
    /// # Errors
    /// `InvalidInput` when it is not a network namespace.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if sys::namespace_type(&fd).ok() != Some(libc::CLONE_NEWNET) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the file is not a network namespace",
            ));
        }
        // Inodes of namespaces are 32 bits wide (struct ns_common.inum).
        let inode = fstat(&fd)?.st_ino;
        let netns = NetNs(u32::try_from(inode).map_err(io::Error::other)?);
        Ok(Self { fd, netns })
    }

    /// Which namespace it is.
    #[must_use]
    pub fn netns(&self) -> NetNs {
        self.netns
    }

    /// A second handle to the same namespace.
    ///
    /// # Errors
    /// When no more descriptors can be had.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            netns: self.netns,
        })
    }

    /// Runs `f` with the calling thread inside this namespace and brings the thread back, also when `f` panics.
    /// Sockets opened by `f` stay in this namespace for ever; other threads are not moved.
    ///
    /// # Errors
    /// When the thread may not enter (CAP_SYS_ADMIN) or could not be brought back.
    pub fn enter<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        let own = Self::current()?;
        if own.netns == self.netns {
            return Ok(f());
        }
        setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
        let home = Home(Some(own));
        let value = f();
        home.back()?;
        Ok(value)
    }
}

impl AsFd for NetnsFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Handles to the namespaces that are known and alive.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(BTreeMap<NetNs, Arc<NetnsFd>>);

impl Namespaces {
    /// Takes a handle in.
    pub fn insert(&mut self, handle: Arc<NetnsFd>) {
        self.0.insert(handle.netns, handle);
    }

    /// Gives a handle up; the namespace may go away when it was the last one.
    pub fn remove(&mut self, netns: NetNs) {
        self.0.remove(&netns);
    }

    /// The handle to a namespace.
    #[must_use]
    pub fn get(&self, netns: NetNs) -> Option<&NetnsFd> {
        self.0.get(&netns).map(Arc::as_ref)
    }

    /// All handles, by number.
    pub fn iter(&self) -> impl Iterator<Item = &NetnsFd> {
        self.0.values().map(Arc::as_ref)
    }
}

/// The namespace to which the thread goes back.
struct Home(Option<NetnsFd>);

impl Home {
    fn back(mut self) -> io::Result<()> {
        match self.0.take() {
            Some(own) => Ok(setns(&own.fd, CloneFlags::CLONE_NEWNET)?),
            None => Ok(()),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(own) = self.0.take() {
            // Only while unwinding: there is nobody left to tell, and the panic says more.
            let _ = setns(&own.fd, CloneFlags::CLONE_NEWNET);
        }
    }
}

/// The inode in `net:[4026531840]`.
pub(crate) fn inode_of(name: &str) -> Option<NetNs> {
    let number = name.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok().map(NetNs)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed setup fails the test")]
mod tests {
    use super::*;

    #[test]
    fn only_network_namespaces_have_a_handle() {
        let own = NetnsFd::current().unwrap();
        assert_ne!(own.netns(), NetNs(0));
        assert_eq!(own.try_clone().unwrap().netns(), own.netns());
        for other in ["/proc/self/ns/mnt", "/proc/self/status"] {
            let error = NetnsFd::open(other).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{other}");
        }
    }

    #[test]
    fn the_own_namespace_is_entered_without_rights() {
        let own = NetnsFd::current().unwrap();
        let inside = own.enter(|| NetnsFd::current().unwrap().netns()).unwrap();
        assert_eq!(inside, own.netns());
    }

    #[test]
    fn names_of_nsfs_are_read() {
        assert_eq!(inode_of("net:[4026531840]"), Some(NetNs(4_026_531_840)));
        for other in ["mnt:[4026531840]", "net:[x]", "net:[1", "/etc/hosts", ""] {
            assert_eq!(inode_of(other), None, "{other}");
        }
    }
}
