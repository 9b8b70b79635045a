//! Container images without a daemon: a tar file that is an OCI image layout, and has the list that `docker load` of older
//! versions reads. In the image are the binary, its licences and an empty /tmp.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Architecture, VERSION};
use crate::workspace::root;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Writes tracer-VERSION-ARCH.oci.tar from the binary that was made before.
pub(super) fn write(architecture: Architecture, folder: &Path, epoch: u64) -> Result<()> {
    let binary = folder.join(architecture.file());
    let binary = fs::read(&binary).with_context(|| binary.display().to_string())?;
    let mut licences = BTreeMap::new();
    for name in LICENCES {
        licences.insert(name, fs::read(root().join(name))?);
    }
    let name = format!("tracer-{VERSION}-{}.oci.tar", architecture.debian);
    let path = folder.join(&name);
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    let content = Content {
        architecture: architecture.debian,
        binary: &binary,
        licences: &licences,
        epoch,
    };
    content.write(file)?;
    println!(
        "target/dist/{name}: ctr image import, docker load; docker.io/library/tracer:{VERSION}"
    );
    Ok(())
}

/// What an image is made of.
struct Content<'a> {
    architecture: &'a str,
    binary: &'a [u8],
    licences: &'a BTreeMap<&'a str, Vec<u8>>,
    epoch: u64,
}

/// Files of an image layout, by their digest.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Keeps bytes, and gives how a document refers to them.
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let size = bytes.len();
        self.0.insert(path(&digest), bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

/// Where the bytes of a digest lie in a layout.
fn path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

impl Content<'_> {
    fn write(&self, to: impl Write) -> Result<()> {
        let layer = self.layer()?;
        let unpacked = digest(&layer);
        let mut blobs = Blobs::default();
        let mut packed = GzBuilder::new().write(Vec::new(), Compression::best());
        packed.write_all(&layer)?;
        let layer = blobs.add(LAYER, packed.finish()?);
        let config = blobs.add(CONFIG, serde_json::to_vec(&self.config(&unpacked)?)?);
        let place = |descriptor: &Value| {
            let digest = descriptor.get("digest").and_then(Value::as_str);
            path(digest.unwrap_or_default())
        };
        let docker = json!([{
            "Config": place(&config),
            "RepoTags": [format!("tracer:{VERSION}")],
            "Layers": [place(&layer)],
        }]);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
        });
        let mut manifest = blobs.add(MANIFEST, serde_json::to_vec(&manifest)?);
        if let Some(manifest) = manifest.as_object_mut() {
            let platform = json!({"architecture": self.architecture, "os": "linux"});
            manifest.insert("platform".to_owned(), platform);
            // The first is read by containerd, the second by others.
            let names = json!({
                "io.containerd.image.name": format!("docker.io/library/tracer:{VERSION}"),
                "org.opencontainers.image.ref.name": VERSION,
            });
            manifest.insert("annotations".to_owned(), names);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
        let mut files = blobs.0;
        let layout = json!({"imageLayoutVersion": "1.0.0"});
        for (name, document) in [
            ("oci-layout", layout),
            ("index.json", index),
            ("manifest.json", docker),
        ] {
            files.insert(name.to_owned(), serde_json::to_vec(&document)?);
        }
        let mut archive = Builder::new(to);
        for folder in ["blobs/", "blobs/sha256/"] {
            self.append(&mut archive, folder, Entry::folder(0o755))?;
        }
        for (name, bytes) in &files {
            self.append(&mut archive, name, Entry::file(bytes, 0o644))?;
        }
        archive.into_inner()?.flush()?;
        Ok(())
    }

    /// The file system, not compressed.
    fn layer(&self) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        self.append(&mut archive, "tracer", Entry::file(self.binary, 0o755))?;
        self.append(&mut archive, "licenses/", Entry::folder(0o755))?;
        for (name, text) in self.licences {
            let name = format!("licenses/{name}");
            self.append(&mut archive, &name, Entry::file(text, 0o644))?;
        }
        // Recordings and reports of relative names go there.
        self.append(&mut archive, "tmp/", Entry::folder(0o1777))?;
        Ok(archive.into_inner()?)
    }

    fn config(&self, layer: &str) -> Result<Value> {
        let seconds = i64::try_from(self.epoch)?;
        let created = OffsetDateTime::from_unix_timestamp(seconds)?.format(&Rfc3339)?;
        Ok(json!({
            "created": created,
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "Entrypoint": ["/tracer"],
                "Env": ["PATH=/"],
                "WorkingDir": "/tmp",
                "Labels": {
                    "org.opencontainers.image.title": "tracer",
                    "org.opencontainers.image.version": VERSION,
                    "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
                },
            },
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created": created, "created_by": "cargo xtask image"}],
        }))
    }

    fn append<W: Write>(
        &self,
        archive: &mut Builder<W>,
        name: &str,
        entry: Entry<'_>,
    ) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_size(entry.bytes.len() as u64);
        header.set_mtime(self.epoch);
        header.set_uid(0);
        header.set_gid(0);
        archive
            .append_data(&mut header, name, entry.bytes)
            .with_context(|| format!("cannot add {name}"))
    }
}

/// A file or a directory in an archive.
struct Entry<'a> {
    kind: EntryType,
    bytes: &'a [u8],
    mode: u32,
}

impl<'a> Entry<'a> {
    const fn file(bytes: &'a [u8], mode: u32) -> Self {
        Self {
            kind: EntryType::Regular,
            bytes,
            mode,
        }
    }

    const fn folder(mode: u32) -> Self {
        Self {
            kind: EntryType::Directory,
            bytes: &[],
            mode,
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;

    fn image() -> Vec<u8> {
        let licences = BTreeMap::from([("LICENSE-MIT", b"free".to_vec())]);
        let content = Content {
            architecture: "arm64",
            binary: b"a program",
            licences: &licences,
            epoch: 1_700_000_000,
        };
        let mut written = Vec::new();
        content.write(&mut written).unwrap();
        written
    }

    /// Name, mode and bytes of all files.
    fn entries(archive: impl Read) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut archive = Archive::new(archive);
        let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mode = entry.header().mode().unwrap();
            let mut bytes = Vec::new();
            Read::read_to_end(&mut entry, &mut bytes).unwrap();
            (name, (mode, bytes))
        };
        archive.entries().unwrap().map(read).collect()
    }

    /// The bytes that a descriptor names, of the size and with the digest that it tells.
    fn named<'a>(files: &'a BTreeMap<String, (u32, Vec<u8>)>, descriptor: &Value) -> &'a [u8] {
        let told = descriptor["digest"].as_str().unwrap();
        let (_, bytes) = &files[&path(told)];
        assert_eq!(digest(bytes), told);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn the_layout_leads_from_the_index_to_the_program() {
        let files = entries(image().as_slice());
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        assert_eq!(json(&files["oci-layout"].1)["imageLayoutVersion"], "1.0.0");
        let index = json(&files["index.json"].1);
        let descriptor = &index["manifests"][0];
        assert_eq!(descriptor["platform"]["architecture"], "arm64");
        let manifest = json(named(&files, descriptor));
        let config = json(named(&files, &manifest["config"]));
        assert_eq!(config["architecture"], "arm64");
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        let mut layer = Vec::new();
        GzDecoder::new(named(&files, &manifest["layers"][0]))
            .read_to_end(&mut layer)
            .unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer).as_str());
        let inside = entries(layer.as_slice());
        assert_eq!(inside["tracer"], (0o755, b"a program".to_vec()));
        assert_eq!(inside["tmp/"].0, 0o1777);
        let docker = json(&files["manifest.json"].1);
        let config = manifest["config"]["digest"].as_str().unwrap();
        assert_eq!(docker[0]["Config"], path(config));
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        assert_eq!(docker[0]["Layers"][0], path(layer));
    }

    #[test]
    fn the_same_content_is_the_same_file() {
        assert!(image() == image());
    }
}
