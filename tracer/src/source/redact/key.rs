//! The secret behind the pseudonyms: random for each run, or read from a file that several runs share.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ipcrypt_rs::IpcryptPfx;
use siphasher::sip::SipHasher24;

use crate::error::Error;

const SIZE: usize = IpcryptPfx::KEY_BYTES;
/// Longest key file that is read: 64 digits and what an editor adds.
const MOST: u64 = 256;

/// 32 secret bytes. Who knows them can find out the originals.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; SIZE]);

impl Key {
    /// A new one, from the kernel's random numbers.
    ///
    /// # Errors
    /// When there are none.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; SIZE];
        let read = |bytes: &mut [u8]| File::open("/dev/urandom")?.read_exact(bytes);
        loop {
            read(&mut bytes).map_err(|error| Error::io("read /dev/urandom", error))?;
            if let Some(key) = Self::of(bytes) {
                return Ok(key);
            }
        }
    }

    /// The key in a file: 64 hexadecimal digits.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut text = Vec::new();
        let read = |text: &mut Vec<u8>| -> io::Result<usize> {
            File::open(path)?.take(MOST).read_to_end(text)
        };
        read(&mut text)
            .map_err(|error| Error::io(format_args!("read {}", path.display()), error))?;
        Self::parse(text.trim_ascii()).ok_or_else(|| {
            Error::usage(format!(
                "{} does not hold a key: 64 hexadecimal digits, the two halves not the same",
                path.display()
            ))
            .hint("make one: (umask 077; head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' > redact.key)")
        })
    }

    fn parse(digits: &[u8]) -> Option<Self> {
        let digit = |c: u8| u8::try_from(char::from(c).to_digit(16)?).ok();
        let (pairs, rest) = digits.as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
            .collect();
        Self::of(bytes?.try_into().ok().filter(|_| rest.is_empty())?)
    }

    /// The cipher wants two different halves.
    pub(crate) fn of(bytes: [u8; SIZE]) -> Option<Self> {
        let (first, second) = bytes.split_at(SIZE / 2);
        (first != second).then_some(Self(bytes))
    }

    /// The prefix-preserving cipher of addresses.
    pub(super) fn cipher(&self) -> IpcryptPfx {
        IpcryptPfx::new(self.0)
    }

    /// A keyed hash for one purpose, with a key of its own.
    pub(super) fn hasher(&self, purpose: &[u8]) -> Hasher {
        let half = |of: u8| {
            let mut label = self.0.to_vec();
            label.push(of);
            label.extend_from_slice(purpose);
            let [low @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = self.0;
            SipHasher24::new_with_key(&low).hash(&label)
        };
        Hasher(SipHasher24::new_with_keys(half(0), half(1)))
    }
}

/// Never shows what it is.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// A keyed hash (SipHash-2-4): without the key nobody can try names out.
#[derive(Clone, Copy)]
pub(super) struct Hasher(SipHasher24);

impl Hasher {
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        self.0.hash(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_digits_of_two_different_halves() {
        let digits = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F";
        assert!(Key::parse(digits.as_bytes()).is_some());
        for bad in [
            "",
            "00",
            &digits[1..],
            &format!("{digits}00"),
            &digits.replace('a', "g"),
            &"07".repeat(SIZE),
        ] {
            assert!(Key::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn random_keys_differ_and_do_not_show_themselves() {
        let (a, b) = (Key::random(), Key::random());
        assert!(a.is_ok_and(|a| b.is_ok_and(|b| a != b)));
        assert_eq!(format!("{:?}", Key([7; SIZE])), "Key(secret)");
    }

    #[test]
    fn each_purpose_has_a_hash_of_its_own() {
        let key = Key([7; SIZE]);
        assert_ne!(key.hasher(b"a").hash(b"x"), key.hasher(b"b").hash(b"x"));
        assert_eq!(key.hasher(b"a").hash(b"x"), key.hasher(b"a").hash(b"x"));
    }
}
