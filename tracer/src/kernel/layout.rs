//! Fills [`Layout`] from BTF: the walk along the paths of [`FIELDS`].
//!
//! Structs and tracepoints of subsystems that a kernel may build as modules are looked for in the modules' own
//! BTF too. Not here: names of reasons (`reasons`), reading BTF (`btf`).

use std::path::Path;
use std::sync::Arc;

use tracer_common::layout::{ABSENT, FIELDS, Layout};
use zerocopy::{FromBytes, IntoBytes};

use super::btf::{Btf, BtfError, Kind, Type};

/// Modules that hold what a kernel without them built in lacks: connection tracking, IPv6, Open vSwitch.
const MODULES: &[&str] = &["nf_conntrack", "ipv6", "openvswitch"];

/// How deep members are searched through anonymous structs and unions.
const MAX_DEPTH: u32 = 8;

/// Why a layout could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// BTF cannot be read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// This kernel lacks what tracer cannot do without.
    #[error("this kernel's BTF lacks {}", .0.join(", "))]
    Missing(Vec<&'static str>),
}

/// The types of one kernel: its own and those of the modules that matter.
#[derive(Debug)]
pub struct Types {
    vmlinux: Arc<Btf>,
    modules: Vec<Btf>,
    running: bool,
}

impl Types {
    /// Reads the running kernel's BTF, or that of `file`.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn read(file: Option<&Path>) -> Result<Self, BtfError> {
        let (vmlinux, running) = match file {
            Some(path) => (Btf::file(path)?, false),
            None => (Btf::running()?, true),
        };
        let mut types = Self {
            vmlinux: Arc::new(vmlinux),
            modules: Vec::new(),
            running,
        };
        for name in MODULES {
            types.add_module(name)?;
        }
        Ok(types)
    }

    /// Types from raw BTF.
    #[cfg(test)]
    pub(super) fn of(data: Vec<u8>) -> Self {
        Self {
            vmlinux: Arc::new(Btf::parse(data, None).expect("valid")),
            modules: Vec::new(),
            running: false,
        }
    }

    /// Takes a module's types in, if the kernel runs here and has loaded it.
    pub(super) fn add_module(&mut self, name: &str) -> Result<(), BtfError> {
        if self.running {
            self.modules.extend(Btf::module(name, &self.vmlinux)?);
        }
        Ok(())
    }

    /// The first type of this kind and name, of the kernel or of a module.
    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<Type<'_>> {
        self.vmlinux.find(kind, name).or_else(|| {
            self.modules
                .iter()
                .find_map(|module| module.find(kind, name))
        })
    }

    /// All enums, the kernel's first.
    pub(super) fn enums(&self) -> impl Iterator<Item = Type<'_>> {
        std::iter::once(&*self.vmlinux)
            .chain(&self.modules)
            .flat_map(|btf| btf.all(Kind::Enum))
    }

    /// Whether the kernel has this tracepoint, and whether it is built in (only then tp_btf finds it).
    #[must_use]
    pub fn tracepoint(&self, name: &str) -> Tracepoint {
        // Each tracepoint has a typedef of its prototype since 5.5 (e8c423fb31fa, bpf: Add typecast to raw_tracepoints).
        let typedef = format!("btf_trace_{name}");
        if self.vmlinux.find(Kind::Typedef, &typedef).is_some() {
            Tracepoint::BuiltIn
        } else if self.find(Kind::Typedef, &typedef).is_some() {
            Tracepoint::InModule
        } else {
            Tracepoint::Missing
        }
    }

    /// Types of a tracepoint's arguments as C writes them, the hidden data pointer left out.
    fn arguments(&self, tracepoint: &str) -> Option<Vec<String>> {
        let ty = self.find(Kind::Typedef, &format!("btf_trace_{tracepoint}"))?;
        let prototype = ty.pointed_to()?;
        let written = |argument: Option<Type<'_>>| {
            argument.map_or_else(|| "void".to_owned(), |ty| ty.written())
        };
        Some(prototype.arguments().skip(1).map(written).collect())
    }

    /// One fact, by the path language of [`FIELDS`].
    fn lookup(&self, path: &str) -> Option<u32> {
        if let Some(tracepoint) = path.strip_prefix('#') {
            return u32::try_from(self.arguments(tracepoint)?.len()).ok();
        }
        if let Some(rest) = path.strip_prefix('@') {
            let (tracepoint, wanted) = rest.split_once(':')?;
            let arguments = self.arguments(tracepoint)?;
            let number = arguments.iter().position(|argument| argument == wanted)?;
            return u32::try_from(number).ok();
        }
        let mut steps = path.split('.');
        let mut ty = self.find(Kind::Struct, steps.next()?)?;
        let mut bits = 0;
        for step in steps {
            let (offset, next) = member(ty, step, MAX_DEPTH)?;
            bits += offset;
            ty = next.bare();
        }
        Some(bits / 8)
    }

    /// The layout of this kernel.
    ///
    /// # Errors
    /// When it lacks a field that is not optional.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut values = [ABSENT; FIELDS.len()];
        let mut missing = Vec::new();
        for (value, (path, optional)) in values.iter_mut().zip(FIELDS) {
            match self.lookup(path) {
                Some(found) => *value = found,
                None if *optional => {}
                None => missing.push(*path),
            }
        }
        match Layout::read_from_bytes(values.as_bytes()) {
            Ok(layout) if missing.is_empty() => Ok(layout),
            _ => Err(LayoutError::Missing(missing)),
        }
    }
}

/// Where a tracepoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracepoint {
    /// In the kernel itself.
    BuiltIn,
    /// In a module.
    InModule,
    /// Nowhere.
    Missing,
}

/// Offset in bits and type of a member, searched also in anonymous members.
fn member<'a>(ty: Type<'a>, name: &str, depth: u32) -> Option<(u32, Type<'a>)> {
    let direct = ty.members().find(|member| member.name == name);
    if let Some(found) = direct {
        return Some((found.bits, found.ty()?));
    }
    if depth == 0 {
        return None;
    }
    let anonymous = ty.members().filter(|member| member.name.is_empty());
    anonymous
        .filter_map(|outer| {
            let inner = outer.ty()?.bare();
            let (bits, found) = member(inner, name, depth - 1)?;
            Some((outer.bits + bits, found))
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::super::btf::tests::Writer;
    use super::*;

    fn types(writer: Writer) -> Types {
        Types::of(writer.finish())
    }

    #[test]
    fn members_are_found_through_anonymous_ones_typedefs_and_bit_fields() {
        let mut writer = Writer::default();
        let int = writer.int("int");
        let net = writer.record("", false, &[("net", int, 64)]);
        let possible = writer.refer(8, "possible_net_t", net);
        let constant = writer.refer(10, "", possible);
        let inner = writer.record("", false, &[("deep", int, 32)]);
        let union = writer.record("", false, &[("first", int, 0), ("", inner, 32)]);
        let bits = 3 << 24 | 200;
        writer.record(
            "device",
            true,
            &[
                ("", union, 64),
                ("nd_net", constant, 128),
                ("bits", int, bits),
            ],
        );
        let types = types(writer);
        for (path, offset) in [
            ("device.first", Some(8)),
            ("device.deep", Some(16)),
            ("device.nd_net.net", Some(24)),
            ("device.bits", Some(25)),
            ("device.other", None),
            ("device.first.further", None),
            ("other.first", None),
        ] {
            assert_eq!(types.lookup(path), offset, "{path}");
        }
    }

    #[test]
    fn arguments_of_tracepoints_are_found_by_type() {
        let mut writer = Writer::default();
        let void = writer.refer(2, "", 0);
        let skb = writer.record("sk_buff", false, &[]);
        let skb = writer.refer(2, "", skb);
        let reason = writer.choice("skb_drop_reason", &[]);
        let prototype = writer.prototype(&[void, skb, void, reason]);
        let pointer = writer.refer(2, "", prototype);
        writer.refer(8, "btf_trace_kfree_skb", pointer);
        let types = types(writer);
        for (path, value) in [
            ("#kfree_skb", Some(3)),
            ("@kfree_skb:struct sk_buff *", Some(0)),
            ("@kfree_skb:enum skb_drop_reason", Some(2)),
            ("@kfree_skb:struct sock *", None),
            ("#consume_skb", None),
        ] {
            assert_eq!(types.lookup(path), value, "{path}");
        }
        assert_eq!(types.tracepoint("kfree_skb"), Tracepoint::BuiltIn);
        assert_eq!(types.tracepoint("consume_skb"), Tracepoint::Missing);
    }

    #[test]
    fn what_is_missing_and_needed_is_named() {
        let mut writer = Writer::default();
        writer.int("int");
        let error = types(writer).layout().expect_err("nothing is there");
        let LayoutError::Missing(paths) = error else {
            unreachable!("BTF was read");
        };
        assert!(paths.contains(&"sk_buff.len"));
        assert!(!paths.contains(&"sk_buff.mark"), "optional");
    }

    /// On a machine that shows its BTF, which every one is that tracer runs on.
    #[test]
    fn this_kernel_has_all_that_is_needed() {
        let Ok(types) = Types::read(None) else { return };
        let layout = types.layout().expect("a kernel of 5.8 or newer");
        assert_ne!(layout.skb_len, layout.skb_head);
        assert_eq!(types.tracepoint("kfree_skb"), Tracepoint::BuiltIn);
    }
}
