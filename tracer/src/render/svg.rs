//! What pictures have in common: text and numbers as SVG has them.

use crate::model::clean::clean;

/// Text that is nothing but text, in content and in attributes: no markup, no control characters (XML has none).
#[must_use]
pub fn escape(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The beginning of a document of its own, in pixels.
#[must_use]
pub fn head(width: f32, height: f32) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\">\n"
    )
}

/// Fonts with columns of one width, the reader's own first.
pub const FONT: &str = "ui-monospace,\"DejaVu Sans Mono\",Menlo,Consolas,monospace";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        assert_eq!(
            escape("a<b & \"c\">\u{1b}\u{202e}"),
            "a&lt;b &amp; &quot;c&quot;&gt;\\u{1b}\\u{202e}"
        );
    }
}
