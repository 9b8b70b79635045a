//! Names of kernel functions by address, read when the first one is asked for.
//!
//! Names lose what the compiler added (`.part.0`, `.constprop.0`, `.isra.0`, `.cold`): rules compare functions of the
//! source. Not here: which addresses matter (`source::live` sees the records).

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use object::{Object, ObjectSymbol, ReadCache, SymbolKind};

const KALLSYMS: &str = "/proc/kallsyms";
const CMDLINE: &str = "/proc/cmdline";

/// What the compiler appends to the clones and parts of a function.
const SUFFIXES: [&str; 6] = [
    ".part.",
    ".constprop.",
    ".isra.",
    ".cold",
    ".llvm.",
    ".__uniq.",
];

/// The functions of the running kernel.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Where they are read from, until they are.
    from: Option<Sources>,
    table: Table,
}

/// Opened at once: by the time of the first address the thread may have given up the right to open them, and the kernel looks
/// at who opened it before it shows addresses.
#[derive(Debug)]
struct Sources {
    kallsyms: Option<File>,
    /// The kernel's ELF file, where its addresses are those of the running kernel.
    image: Option<File>,
}

impl Symbols {
    /// `image` is the kernel's ELF file, used when the kernel itself hides its addresses.
    #[must_use]
    pub fn new(image: Option<PathBuf>) -> Self {
        // The image's addresses are those of the running kernel only where it was not moved (KASLR).
        let fixed = fs::read_to_string(CMDLINE)
            .is_ok_and(|line| line.split_whitespace().any(|word| word == "nokaslr"));
        let from = Sources {
            kallsyms: File::open(KALLSYMS).ok(),
            image: image
                .filter(|_| fixed)
                .and_then(|path| File::open(path).ok()),
        };
        Self {
            from: Some(from),
            table: Table::default(),
        }
    }

    /// Names of the functions in which the addresses lie; what has no name is left out.
    pub fn names(&mut self, addresses: &[u64]) -> Vec<(u64, String)> {
        if let Some(from) = self.from.take() {
            self.table = read(from);
        }
        addresses
            .iter()
            .filter_map(|address| Some((*address, self.table.name(*address)?.to_owned())))
            .collect()
    }
}

fn read(from: Sources) -> Table {
    let kallsyms = from
        .kallsyms
        .and_then(|file| kallsyms(BufReader::new(file)).ok());
    let table = kallsyms.unwrap_or_default();
    if !table.functions.is_empty() {
        return table;
    }
    from.image.and_then(image_symbols).unwrap_or_default()
}

/// Functions ordered by address; names lie in one string.
#[derive(Debug, Default)]
struct Table {
    functions: Vec<(u64, u32, u16)>,
    names: String,
}

impl Table {
    fn add(&mut self, address: u64, name: &str) {
        let name = plain(name);
        let start = self.names.len();
        if let (Ok(start), Ok(length)) = (u32::try_from(start), u16::try_from(name.len())) {
            self.names.push_str(name);
            self.functions.push((address, start, length));
        }
    }

    fn sorted(mut self) -> Self {
        // Stable: of several names for one address the first that was listed comes first.
        self.functions.sort_by_key(|(address, ..)| *address);
        self.functions.dedup_by_key(|(address, ..)| *address);
        self.functions.shrink_to_fit();
        self.names.shrink_to_fit();
        self
    }

    /// The function that begins at or before the address. What lies above the last one is none: the table has the
    /// marks of each section's end.
    fn name(&self, address: u64) -> Option<&str> {
        let after = self
            .functions
            .partition_point(|(start, ..)| *start <= address);
        let (_, start, length) = self.functions.get(after.checked_sub(1)?)?;
        let start = *start as usize;
        let name = self.names.get(start..start + usize::from(*length))?;
        let inside = after < self.functions.len() && !END_MARKS.contains(&name);
        inside.then_some(name)
    }
}

/// Symbols at which code ends: what follows belongs to nobody.
const END_MARKS: [&str; 3] = ["_etext", "_einittext", "__end_rodata"];

/// Functions in /proc/kallsyms. All addresses are zero when the kernel hides them (kernel.kptr_restrict): none then.
/// Read line by line, for the whole text takes 10 MB.
fn kallsyms(mut text: impl BufRead) -> io::Result<Table> {
    let mut table = Table::default();
    let mut line = String::new();
    while text.read_line(&mut line)? > 0 {
        let mut words = line.split_ascii_whitespace();
        if let (Some(address), Some("t" | "T" | "w" | "W"), Some(name)) =
            (words.next(), words.next(), words.next())
            && let Ok(address @ 1..) = u64::from_str_radix(address, 16)
        {
            table.add(address, name);
        }
        line.clear();
    }
    Ok(table.sorted())
}

fn image_symbols(file: File) -> Option<Table> {
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).ok()?;
    let mut table = Table::default();
    for symbol in elf.symbols() {
        let mark = symbol.kind() == SymbolKind::Unknown || symbol.kind() == SymbolKind::Label;
        if (symbol.kind() == SymbolKind::Text || mark)
            && symbol.is_definition()
            && let Ok(name) = symbol.name()
            && (!mark || END_MARKS.contains(&name))
        {
            table.add(symbol.address(), name);
        }
    }
    Some(table.sorted())
}

/// The name as the source has it.
fn plain(name: &str) -> &str {
    let ends = SUFFIXES.iter().filter_map(|suffix| name.find(suffix));
    // A name that begins with a dot is all suffix: it stays.
    let end = ends.filter(|end| *end > 0).min().unwrap_or(name.len());
    name.get(..end).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
ffffffff81000000 T _text
ffffffff81000100 t nf_hook_slow
ffffffff81000200 t br_nf_forward_ip.part.0
ffffffff81000200 t alias_of_it
ffffffff81000300 T ip_forward
ffffffff81000400 T _etext
ffffffff82000000 d some_data
ffffffffc0000010 t module_function.constprop.0.isra.0\t[nf_tables]
ffffffffc0000020 t module_last\t[nf_tables]
";

    #[test]
    fn an_address_inside_a_function_has_its_name() {
        let table = kallsyms(TEXT.as_bytes()).expect("memory");
        for (address, name) in [
            (0xffff_ffff_8100_0000, Some("_text")),
            (0xffff_ffff_8100_01ff, Some("nf_hook_slow")),
            (0xffff_ffff_8100_0203, Some("br_nf_forward_ip")),
            (0xffff_ffff_8100_0301, Some("ip_forward")),
            (0xffff_ffff_8100_0401, None),
            (0xffff_ffff_8200_0000, None),
            (0xffff_ffff_c000_0011, Some("module_function")),
            (0xffff_ffff_c000_0fff, None),
            (0x1000, None),
        ] {
            assert_eq!(table.name(address), name, "{address:x}");
        }
    }

    #[test]
    fn hidden_addresses_give_no_names() {
        let text = "0000000000000000 T ip_forward\n0000000000000000 t nf_hook_slow\n";
        let table = kallsyms(text.as_bytes()).expect("memory");
        assert_eq!(table.name(0x1000), None);
    }

    #[test]
    fn names_lose_what_the_compiler_added() {
        for (name, short) in [
            ("ip_rcv_finish_core.isra.0", "ip_rcv_finish_core"),
            ("x.constprop.0.part.1", "x"),
            ("tcp_v4_rcv.cold", "tcp_v4_rcv"),
            ("skb_release_data", "skb_release_data"),
            (".cold", ".cold"),
        ] {
            assert_eq!(plain(name), short);
        }
    }
}
