//! A short text that is put together on the stack: addresses are written for every event, and `write!` takes longer to
//! write one byte of them than this takes for all.

/// Up to `MOST` characters of ASCII; more are left out.
pub(super) struct Short<const MOST: usize> {
    bytes: [u8; MOST],
    length: usize,
}

const DIGITS: [u8; 16] = *b"0123456789abcdef";

impl<const MOST: usize> Short<MOST> {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; MOST],
            length: 0,
        }
    }

    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn digit(&mut self, digit: u16) {
        self.push(DIGITS.get(usize::from(digit)).copied().unwrap_or(b'?'));
    }

    /// Two hexadecimal digits.
    pub(super) fn hex(&mut self, byte: u8) {
        self.digit(u16::from(byte >> 4));
        self.digit(u16::from(byte & 0xf));
    }

    /// A decimal number.
    pub(super) fn number(&mut self, number: u16) {
        let mut place = 10_000;
        while place > 1 && number < place {
            place /= 10;
        }
        while place > 0 {
            self.digit(number / place % 10);
            place /= 10;
        }
    }

    pub(super) fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.length);
        text.and_then(|text| str::from_utf8(text).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Mac;
    use super::super::words::Endpoint;

    proptest! {
        #[test]
        fn texts_are_those_of_the_standard_library(address: [u8; 4], port: u16, mac: [u8; 6]) {
            let v4 = std::net::Ipv4Addr::from(address);
            let end = |port| Endpoint { address: v4.into(), port }.to_string();
            prop_assert_eq!(end(0), v4.to_string());
            let with_port = if port == 0 { v4.to_string() } else { format!("{v4}:{port}") };
            prop_assert_eq!(end(port), with_port);
            let [a, b, c, d, e, g] = mac;
            let text = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}");
            prop_assert_eq!(Mac(mac).to_string(), text);
        }
    }
}
