//! What a trace of several nodes is to do: which commands run there.

use std::path::{Path, PathBuf};

use super::Config;
use crate::host::facts::AddressOwner;

/// A live trace of several nodes.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The nodes, one or more.
    pub nodes: Vec<NodeCommand>,
    /// Whose addresses are, beside what the nodes tell.
    pub names: Vec<AddressOwner>,
    /// Where their recordings are kept.
    pub keep: Option<PathBuf>,
    /// What is traced, and what is made of it here.
    pub trace: Config,
}

/// A node and what traces there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCommand {
    /// Its name.
    pub name: String,
    /// Program and arguments.
    pub words: Vec<String>,
}

impl NodeCommand {
    /// Where its recording is kept in a directory.
    #[must_use]
    pub fn recording(&self, keep: &Path) -> PathBuf {
        keep.join(&self.name).with_added_extension("tracer")
    }
}
