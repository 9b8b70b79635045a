//! BTF, the kernel's description of its own types: found, indexed and looked up by name.
//!
//! A reader of our own: `btf` 0.5 and `btfparse` 1.3 build every type of the kernel before the first answer
//! (160 ms and more for 126,000 types); one pass over the headers answers all that is asked here in a few
//! milliseconds. Not here: what is asked (`layout`, `reasons`).
//!
//! The format is Documentation/bpf/btf.rst of the kernel.

use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::{Object, ObjectSection, ReadCache};

/// Where the running kernel shows its BTF, one file for the kernel and one for each module.
pub const RUNNING: &str = "/sys/kernel/btf";

/// Why BTF could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is neither BTF nor an ELF file.
    #[error("{path} is neither BTF nor an ELF kernel image", path = .0.display())]
    NotBtf(PathBuf),
    /// The ELF file has no `.BTF` section.
    #[error("{path} has no .BTF section", path = .0.display())]
    NoSection(PathBuf),
    /// The data contradicts itself.
    #[error("BTF is malformed: {0}")]
    Malformed(&'static str),
    /// A kind of type that came after this reader.
    #[error("BTF has a kind of type, {0}, that is not known")]
    UnknownKind(u32),
}

/// Number of a type; zero is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TypeId(u32);

/// Kinds of types (BTF_KIND_*), as far as they are told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Integer or float.
    Number,
    /// Pointer.
    Pointer,
    /// Array.
    Array,
    /// Struct or union, whole.
    Struct,
    /// Enum of 32-bit values.
    Enum,
    /// Enum of 64-bit values.
    Enum64,
    /// Struct or union that is only named.
    Forward,
    /// Typedef.
    Typedef,
    /// const, volatile, restrict or a tag.
    Modifier,
    /// Prototype of a function.
    Prototype,
    /// Functions, variables, sections and tags.
    Other,
}

/// Most pointers and modifiers of one type that are written.
const MOST_POINTERS: usize = 32;

/// One type: its header, and where its members begin.
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    btf: &'a Btf,
    at: usize,
    name: u32,
    info: u32,
    /// Size in bytes, or the type referred to.
    target: u32,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Empty for an anonymous struct or union.
    pub name: &'a str,
    /// Distance from the begin of the struct.
    pub bits: u32,
    target: TypeId,
    btf: &'a Btf,
}

impl<'a> Member<'a> {
    /// Its type.
    #[must_use]
    pub fn ty(&self) -> Option<Type<'a>> {
        self.btf.get(self.target)
    }
}

/// The types of the kernel, or of one module on top of the kernel's.
#[derive(Debug)]
pub struct Btf {
    base: Option<Arc<Btf>>,
    data: Vec<u8>,
    strings: Range<usize>,
    /// Place of each type in `data`; the first has number `first_type`.
    places: Vec<u32>,
    first_type: u32,
    first_string: u32,
    /// Structs, enums and typedefs by hash of kind and name; the first of each name.
    named: HashMap<u64, TypeId>,
    hasher: RandomState,
}

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 12;

impl Btf {
    /// BTF of the running kernel.
    ///
    /// # Errors
    /// When the kernel shows none, or shows what this reader does not know.
    pub fn running() -> Result<Self, BtfError> {
        let path = Path::new(RUNNING).join("vmlinux");
        let data = fs::read(&path).map_err(|error| BtfError::Unreadable { path, error })?;
        Self::parse(data, None)
    }

    /// BTF of a loaded module, whose types refer to those of `base`; `None` when there is no such module or it
    /// has no BTF of its own.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn module(name: &str, base: &Arc<Self>) -> Result<Option<Self>, BtfError> {
        match fs::read(Path::new(RUNNING).join(name)) {
            Ok(data) => Self::parse(data, Some(Arc::clone(base))).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// BTF from a file: raw, or the `.BTF` section of an ELF file.
    ///
    /// # Errors
    /// When it holds neither.
    pub fn file(path: &Path) -> Result<Self, BtfError> {
        let unreadable = |error| BtfError::Unreadable {
            path: path.to_path_buf(),
            error,
        };
        let mut file = fs::File::open(path).map_err(unreadable)?;
        let mut magic = [0; 2];
        file.read_exact(&mut magic).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        if u16::from_ne_bytes(magic) == MAGIC {
            let mut data = Vec::new();
            file.read_to_end(&mut data).map_err(unreadable)?;
            return Self::parse(data, None);
        }
        // An image with debug information is large: only what is asked for is read.
        let cache = ReadCache::new(file);
        let elf = object::File::parse(&cache).map_err(|_| BtfError::NotBtf(path.to_path_buf()))?;
        let section = elf
            .section_by_name(".BTF")
            .ok_or_else(|| BtfError::NoSection(path.to_path_buf()))?;
        let data = section
            .data()
            .map_err(|_| BtfError::Malformed("the .BTF section lies outside the file"))?;
        Self::parse(data.to_vec(), None)
    }

    /// Indexes raw BTF of this machine's byte order.
    ///
    /// # Errors
    /// When the data is not BTF, contradicts itself or has unknown kinds.
    pub fn parse(data: Vec<u8>, base: Option<Arc<Self>>) -> Result<Self, BtfError> {
        let short = BtfError::Malformed("the header is cut short");
        let header = (|| {
            let magic = u16::from_ne_bytes(*data.first_chunk()?);
            let length = word(&data, 4)? as usize;
            let at = |offset| length.checked_add(word(&data, offset)? as usize);
            let (types, strings) = (at(8)?, at(16)?);
            let types = types..types.checked_add(word(&data, 12)? as usize)?;
            let strings = strings..strings.checked_add(word(&data, 20)? as usize)?;
            Some((magic, types, strings))
        })();
        let (magic, types, strings) = header.ok_or(short)?;
        if magic != MAGIC {
            return Err(BtfError::Malformed("the magic number is another"));
        }
        if types.end > data.len() || strings.end > data.len() {
            return Err(BtfError::Malformed("a section lies outside the data"));
        }
        let (first_type, first_string) = base.as_ref().map_or((1, 0), |base| {
            (
                base.first_type + base.places.len() as u32,
                base.first_string + base.strings.len() as u32,
            )
        });
        let mut btf = Self {
            base,
            data,
            strings,
            places: Vec::new(),
            first_type,
            first_string,
            named: HashMap::new(),
            hasher: RandomState::new(),
        };
        btf.index(types)?;
        Ok(btf)
    }

    fn index(&mut self, types: Range<usize>) -> Result<(), BtfError> {
        // Types take 20 bytes or more on the average.
        let mut places = Vec::with_capacity(types.len() / 20);
        let mut named = HashMap::with_capacity(types.len() / 128);
        let mut at = types.start;
        while at < types.end {
            let ty = self
                .type_at(at)
                .ok_or(BtfError::Malformed("a type is cut short"))?;
            let kind = ty.kind();
            let asked = matches!(
                kind,
                Kind::Struct | Kind::Enum | Kind::Enum64 | Kind::Typedef
            );
            if asked && ty.name != 0 {
                let id = TypeId(self.first_type + places.len() as u32);
                let hash = self.hasher.hash_one((kind, ty.name()));
                named.entry(hash).or_insert(id);
            }
            places.push(at as u32);
            at += HEADER + ty.extra()?;
        }
        self.places = places;
        self.named = named;
        Ok(())
    }

    fn type_at(&self, at: usize) -> Option<Type<'_>> {
        Some(Type {
            btf: self,
            at,
            name: word(&self.data, at)?,
            info: word(&self.data, at + 4)?,
            target: word(&self.data, at + 8)?,
        })
    }

    /// The first type of this kind and name, in this module or else its base.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<Type<'_>> {
        let found = self.named.get(&self.hasher.hash_one((kind, name)));
        found
            .and_then(|id| self.get(*id))
            .filter(|ty| ty.kind() == kind && ty.name() == name)
            .or_else(|| self.base.as_ref()?.find(kind, name))
    }

    /// All types of this kind; those of the base are left out.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = Type<'_>> {
        self.places
            .iter()
            .filter_map(|at| self.type_at(*at as usize))
            .filter(move |ty| ty.kind() == kind)
    }

    /// The type with a number; `None` for void and for numbers that do not exist.
    fn get(&self, id: TypeId) -> Option<Type<'_>> {
        match id.0.checked_sub(self.first_type) {
            Some(place) => self.type_at(*self.places.get(place as usize)? as usize),
            None => self.base.as_ref()?.get(id),
        }
    }

    fn string(&self, offset: u32) -> &str {
        let Some(offset) = offset.checked_sub(self.first_string) else {
            return self.base.as_ref().map_or("", |base| base.string(offset));
        };
        self.data
            .get(self.strings.clone())
            .and_then(|strings| strings.get(offset as usize..))
            .and_then(|rest| rest.split(|byte| *byte == 0).next())
            .and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or("")
    }
}

impl<'a> Type<'a> {
    /// What kind of type it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.kind_number() {
            1 | 16 => Kind::Number,
            2 => Kind::Pointer,
            3 => Kind::Array,
            4 | 5 => Kind::Struct,
            6 => Kind::Enum,
            19 => Kind::Enum64,
            7 => Kind::Forward,
            8 => Kind::Typedef,
            9..=11 | 18 => Kind::Modifier,
            13 => Kind::Prototype,
            _ => Kind::Other,
        }
    }

    fn kind_number(&self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    fn length(&self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// Bytes that follow the header.
    fn extra(&self) -> Result<usize, BtfError> {
        let each = match self.kind_number() {
            1 | 14 | 17 => return Ok(4),
            3 => return Ok(12),
            4 | 5 | 15 | 19 => 12,
            6 | 13 => 8,
            2 | 7..=12 | 16 | 18 => 0,
            unknown => return Err(BtfError::UnknownKind(unknown)),
        };
        Ok(self.length() * each)
    }

    /// Its name; empty for an anonymous type.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.btf.string(self.name)
    }

    /// The type that a pointer, typedef or modifier refers to.
    fn target(&self) -> Option<Self> {
        self.btf.get(TypeId(self.target))
    }

    /// What a pointer points to, or a typedef of a pointer.
    #[must_use]
    pub fn pointed_to(self) -> Option<Self> {
        let pointer = self.bare();
        let target = (pointer.kind() == Kind::Pointer).then(|| pointer.target())??;
        Some(target.bare())
    }

    /// Typedefs and modifiers taken off.
    #[must_use]
    pub fn bare(self) -> Self {
        let mut ty = self;
        // A chain longer than this is a circle.
        for _ in 0..32 {
            if !matches!(ty.kind(), Kind::Typedef | Kind::Modifier) {
                break;
            }
            match ty.target() {
                Some(next) => ty = next,
                None => break,
            }
        }
        ty
    }

    fn entries(self, size: usize) -> impl Iterator<Item = &'a [u8]> {
        let start = self.at + HEADER;
        let bytes = self.btf.data.get(start..start + self.length() * size);
        bytes.unwrap_or(&[]).chunks_exact(size)
    }

    /// Members of a struct or union, in order.
    pub fn members(self) -> impl Iterator<Item = Member<'a>> {
        // With kind_flag the upper byte holds the width of a bit field.
        let mask = if self.info >> 31 == 1 {
            0x00ff_ffff
        } else {
            u32::MAX
        };
        let btf = self.btf;
        self.entries(12).filter_map(move |entry| {
            Some(Member {
                name: btf.string(word(entry, 0)?),
                bits: word(entry, 8)? & mask,
                target: TypeId(word(entry, 4)?),
                btf,
            })
        })
    }

    /// Names and values of an enum of 32 bits.
    pub fn values(self) -> impl Iterator<Item = (&'a str, u32)> {
        let btf = self.btf;
        self.entries(8)
            .filter_map(move |entry| Some((btf.string(word(entry, 0)?), word(entry, 4)?)))
    }

    /// Types of the arguments of a prototype; `None` is void.
    pub fn arguments(self) -> impl Iterator<Item = Option<Type<'a>>> {
        let btf = self.btf;
        self.entries(8)
            .map(move |entry| btf.get(TypeId(word(entry, 4)?)))
    }

    /// The type as C writes it, `const` and the like left out: `struct sk_buff *`.
    #[must_use]
    pub fn written(&self) -> String {
        self.written_to(MOST_POINTERS)
    }

    /// The same for what so many pointers and modifiers lead to: more are a circle, which a file can hold.
    fn written_to(&self, depth: usize) -> String {
        let inner = || match (self.target(), depth.checked_sub(1)) {
            (None, _) => "void".to_owned(),
            (Some(ty), Some(depth)) => ty.written_to(depth),
            (Some(_), None) => "…".to_owned(),
        };
        match self.kind() {
            Kind::Pointer => {
                let pointee = inner();
                let space = if pointee.ends_with('*') { "" } else { " " };
                format!("{pointee}{space}*")
            }
            Kind::Modifier => inner(),
            Kind::Struct if self.kind_number() == 5 => format!("union {}", self.name()),
            Kind::Forward if self.info >> 31 == 1 => format!("union {}", self.name()),
            Kind::Struct | Kind::Forward => format!("struct {}", self.name()),
            Kind::Enum | Kind::Enum64 => format!("enum {}", self.name()),
            _ => self.name().to_owned(),
        }
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes BTF, as much of it as the tests need.
    #[derive(Default)]
    pub(in crate::kernel) struct Writer {
        strings: Vec<u8>,
        types: Vec<u8>,
        count: u32,
        /// Where numbers and strings begin when there is a base.
        base: (u32, u32),
    }

    impl Writer {
        pub(in crate::kernel) fn on(base: &Btf) -> Self {
            let types = base.places.len() as u32;
            Self {
                base: (types, base.strings.len() as u32),
                ..Self::default()
            }
        }

        fn string(&mut self, name: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if name.is_empty() {
                return 0;
            }
            let at = self.base.1 + self.strings.len() as u32;
            self.strings.extend(name.as_bytes());
            self.strings.push(0);
            at
        }

        fn words(&mut self, words: &[u32]) {
            let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
            self.types.extend(bytes);
        }

        fn add(&mut self, kind: u32, name: &str, length: usize, target: u32) -> u32 {
            let name = self.string(name);
            self.words(&[name, kind << 24 | length as u32, target]);
            self.count += 1;
            self.base.0 + self.count
        }

        pub(in crate::kernel) fn int(&mut self, name: &str) -> u32 {
            let id = self.add(1, name, 0, 4);
            self.words(&[32]);
            id
        }

        pub(in crate::kernel) fn refer(&mut self, kind: u32, name: &str, target: u32) -> u32 {
            self.add(kind, name, 0, target)
        }

        /// `flag` is kind_flag: bit fields carry their width in the upper byte.
        pub(in crate::kernel) fn record(
            &mut self,
            name: &str,
            flag: bool,
            members: &[(&str, u32, u32)],
        ) -> u32 {
            let kind = 4 | u32::from(flag) << 7;
            let id = self.add(kind, name, members.len(), 64);
            for (name, target, bits) in members {
                let name = self.string(name);
                self.words(&[name, *target, *bits]);
            }
            id
        }

        pub(in crate::kernel) fn choice(&mut self, name: &str, values: &[(&str, u32)]) -> u32 {
            let id = self.add(6, name, values.len(), 4);
            for (name, value) in values {
                let name = self.string(name);
                self.words(&[name, *value]);
            }
            id
        }

        pub(in crate::kernel) fn prototype(&mut self, arguments: &[u32]) -> u32 {
            let id = self.add(13, "", arguments.len(), 0);
            for argument in arguments {
                self.words(&[0, *argument]);
            }
            id
        }

        pub(in crate::kernel) fn finish(mut self) -> Vec<u8> {
            self.string("");
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            let mut data = MAGIC.to_ne_bytes().to_vec();
            data.extend([1, 0]);
            for word in [24, 0, types, types, strings] {
                data.extend(u32::to_ne_bytes(word));
            }
            data.extend(self.types);
            data.extend(self.strings);
            data
        }
    }

    #[test]
    fn types_are_written_as_c_writes_them() {
        let mut writer = Writer::default();
        let sock = writer.record("sock", false, &[]);
        let constant = writer.refer(10, "", sock);
        let pointer = writer.refer(2, "", constant);
        let double = writer.refer(2, "", pointer);
        let void = writer.refer(2, "", 0);
        let reason = writer.choice("skb_drop_reason", &[]);
        let forward = writer.refer(7, "net", 0);
        let prototype = writer.prototype(&[pointer, double, void, reason, forward, 0]);
        writer.refer(8, "f", prototype);
        let btf = Btf::parse(writer.finish(), None).expect("valid");
        let prototype = btf.find(Kind::Typedef, "f").expect("named").bare();
        let written: Vec<_> = prototype
            .arguments()
            .map(|argument| argument.map(|ty| ty.written()))
            .collect();
        let expected = [
            Some("struct sock *"),
            Some("struct sock **"),
            Some("void *"),
            Some("enum skb_drop_reason"),
            Some("struct net"),
            None,
        ];
        assert_eq!(written, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn damaged_data_is_an_error() {
        let mut writer = Writer::default();
        let int = writer.int("int");
        writer.record("s", false, &[("a", int, 0), ("b", int, 32)]);
        let whole = writer.finish();
        assert!(Btf::parse(whole.clone(), None).is_ok());
        for end in 0..whole.len() {
            let cut = whole.get(..end).expect("shorter").to_vec();
            assert!(Btf::parse(cut, None).is_err(), "{end} bytes");
        }
        let mut writer = Writer::default();
        writer.refer(31, "new", 0);
        let unknown = Btf::parse(writer.finish(), None);
        assert!(matches!(unknown, Err(BtfError::UnknownKind(31))));
    }

    #[test]
    fn a_circle_of_typedefs_ends() {
        let mut writer = Writer::default();
        writer.refer(8, "a", 2);
        writer.refer(8, "b", 1);
        let btf = Btf::parse(writer.finish(), None).expect("valid");
        assert!(
            btf.find(Kind::Typedef, "a")
                .expect("named")
                .pointed_to()
                .is_none()
        );
    }

    #[test]
    fn a_module_refers_to_its_base() {
        let mut writer = Writer::default();
        let int = writer.int("int");
        writer.record("in_kernel", false, &[("x", int, 0)]);
        let base = Arc::new(Btf::parse(writer.finish(), None).expect("valid"));
        let mut writer = Writer::on(&base);
        writer.record("in_module", false, &[("y", int, 32)]);
        let module = Btf::parse(writer.finish(), Some(base)).expect("valid");
        let own = module.find(Kind::Struct, "in_module").expect("its own");
        let member = own.members().next().expect("one");
        assert_eq!((member.name, member.bits), ("y", 32));
        assert_eq!(member.ty().map(|ty| ty.name()), Some("int"));
        assert!(module.find(Kind::Struct, "in_kernel").is_some());
        assert!(module.find(Kind::Struct, "nowhere").is_none());
    }
}
