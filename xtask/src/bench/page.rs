//! The figures as a page, as the lines that the README shows, and as JSON. The page and the README keep what others wrote
//! around the part between the two marks.

use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use super::alone::PROCESSES;
use super::figure::Figure;
use crate::command::{output, program};
use crate::workspace::root;

/// Around the part that is written here.
const MARKS: [&str; 2] = ["<!-- make bench: begin -->", "<!-- make bench: end -->"];
/// A page without a part yet.
const EMPTY: &str = "# Performance\n\n<!-- make bench: begin -->\n<!-- make bench: end -->\n";
/// All that was measured, and where.
pub(super) struct Page {
    /// Row by row: its name, its figures.
    pub(super) rows: Vec<(&'static str, Vec<Figure>)>,
    /// The machine.
    pub(super) machine: Machine,
}

/// Where it was measured, and when.
pub(super) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    virtual_machine: bool,
    memory_gib: f64,
    load: String,
    date: String,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Result<Self> {
        let read = |path| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let processors = read("/proc/cpuinfo")?;
        let value = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_matches([' ', '\t', ':']).to_owned())
        };
        let memory = value(&read("/proc/meminfo")?, "MemTotal:");
        let kib = memory.and_then(|text| text.trim_end_matches(" kB").parse::<f64>().ok());
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processor: value(&processors, "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: std::thread::available_parallelism()?.get(),
            virtual_machine: value(&processors, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory_gib: kib.unwrap_or_default() / f64::from(1 << 20),
            load: read("/proc/loadavg")?
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            date: output(program("date", ["-u", "+%F"]))?.trim().to_owned(),
        })
    }

    fn text(&self) -> String {
        let kind = if self.virtual_machine {
            "virtual machine"
        } else {
            "machine"
        };
        format!(
            "{}, Linux {}, {kind} with {} cores ({}) and {:.0} GiB of memory; load before the first measurement: {}",
            self.date, self.kernel, self.processors, self.processor, self.memory_gib, self.load
        )
    }
}

impl Page {
    /// For programs.
    pub(super) fn json(&self) -> String {
        let figures = self.figures().map(|(row, figure)| figure.json(row));
        let machine = &self.machine;
        let document = json!({
            "date": machine.date, "kernel": machine.kernel, "processor": machine.processor,
            "processors": machine.processors, "virtual_machine": machine.virtual_machine,
            "memory_gib": machine.memory_gib, "load": machine.load,
            "figures": figures.collect::<Vec<_>>(),
        });
        format!("{document:#}\n")
    }

    /// Writes docs/performance.md and the README's part.
    pub(super) fn write(&self) -> Result<()> {
        let page = root().join("docs/performance.md");
        let text = fs::read_to_string(&page).unwrap_or_else(|_| EMPTY.to_owned());
        fs::write(&page, replaced(&text, &self.markdown())?)?;
        let readme = root().join("README.md");
        let text = fs::read_to_string(&readme)?;
        fs::write(&readme, replaced(&text, &self.headlines())?)?;
        println!("written: docs/performance.md, README.md");
        Ok(())
    }

    fn figures(&self) -> impl Iterator<Item = (&'static str, &Figure)> {
        let rows = self.rows.iter();
        rows.flat_map(|(row, figures)| figures.iter().map(|figure| (*row, figure)))
    }

    fn markdown(&self) -> String {
        let table: String = self
            .figures()
            .map(|(row, figure)| {
                format!(
                    "| `{row}` | {} | {} | {} | {} | {} |\n",
                    figure.question.what,
                    figure.text(),
                    figure.spread(),
                    figure.target(),
                    figure.question.method
                )
            })
            .collect();
        let details: String = self
            .figures()
            .filter(|(_, figure)| !figure.details.is_empty())
            .map(|(_, figure)| {
                let lines = figure.details.iter().map(|line| format!("- {line}\n"));
                format!(
                    "\n### {}\n\n{}",
                    figure.question.what,
                    lines.collect::<String>()
                )
            })
            .collect();
        format!(
            "Measured {}.\n\n\
             `make bench` measures all rows and writes this part; `make bench ROWS=cost,ready` measures some and only prints \
             them. It works in mount, PID and network namespaces of its own, with {PROCESSES} other processes that do nothing. \
             A figure is the median of its rounds. \"Missed\" says that it is not within its target.\n\n\
             | row | what | figure | spread | target | method |\n|---|---|---|---|---|---|\n{table}\n\
             ## In detail\n{details}",
            self.machine.text()
        )
    }

    fn headlines(&self) -> String {
        let rows = self
            .figures()
            .filter(|(_, figure)| figure.question.headline)
            .map(|(_, figure)| {
                let question = figure.question.what;
                format!("| {question} | {} | {} |\n", figure.text(), figure.target())
            });
        format!(
            "| what | figure | target |\n|---|---|---|\n{}\nMeasured {}.\n",
            rows.collect::<String>(),
            self.machine.text()
        )
    }
}

/// A text with its marked part replaced.
fn replaced(text: &str, part: &str) -> Result<String> {
    let [begin, end] = MARKS;
    let (before, rest) = text
        .split_once(begin)
        .context("no mark where the part begins")?;
    let (_, after) = rest
        .split_once(end)
        .context("no mark where the part ends")?;
    Ok(format!(
        "{before}{begin}\n{}\n{end}{after}",
        part.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::{EMPTY, replaced};

    #[test]
    fn only_the_part_between_the_marks_is_replaced() {
        let once = replaced(EMPTY, "one\n").ok();
        let twice = once.as_deref().and_then(|text| replaced(text, "two").ok());
        let expected = EMPTY.replace("begin -->\n", "begin -->\ntwo\n");
        assert_eq!(twice, Some(expected));
        assert!(replaced("no marks", "").is_err());
    }
}
