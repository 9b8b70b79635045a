//! A sample of the labs for machines on which all of them take too long: virtual machines with other kernels.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::lab::{Lab, family_of};

/// Families of which every lab is in the sample: networks without a fault, and what happened to people.
const WHOLE: [&str; 2] = ["healthy", "incident"];

/// Of these labs, the families [`WHOLE`], and for each cause the lab with the shortest file that expects no other: the
/// simplest network that shows it.
///
/// # Errors
/// A lab cannot be read.
pub fn sample(files: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut simplest: BTreeMap<String, (u64, PathBuf)> = BTreeMap::new();
    let mut chosen = Vec::new();
    for file in files {
        if WHOLE.contains(&family_of(&file).as_str()) {
            chosen.push(file);
            continue;
        }
        let size = std::fs::metadata(&file)
            .with_context(|| file.display().to_string())?
            .len();
        if let [cause] = Lab::load(&file)?.expect.cause.0.as_slice() {
            let shortest = simplest
                .entry(cause.clone())
                .or_insert((size, file.clone()));
            if size < shortest.0 {
                *shortest = (size, file);
            }
        }
    }
    chosen.extend(simplest.into_values().map(|(_, file)| file));
    chosen.sort();
    Ok(chosen)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::lab::name_of;

    #[test]
    fn a_sample_has_every_cause_and_few_labs() {
        let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs");
        let all = crate::suite::find(&labs).unwrap();
        let causes = |files: &[PathBuf]| -> BTreeSet<String> {
            let causes = files
                .iter()
                .map(|file| Lab::load(file).unwrap().expect.cause.0);
            causes
                .filter(|causes| causes.len() == 1)
                .flatten()
                .collect()
        };
        let chosen = sample(all.clone()).unwrap();
        assert_eq!(causes(&chosen), causes(&all));
        assert!(chosen.len() * 3 < all.len(), "{} labs", chosen.len());
        let names: BTreeSet<String> = chosen.iter().map(|file| name_of(file)).collect();
        assert_eq!(names.len(), chosen.len(), "a lab stands twice");
    }
}
