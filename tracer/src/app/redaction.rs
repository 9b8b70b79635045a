//! `--redact`: the one place through which inputs pass before anything uses them, and questions on their way back.

use crate::config::Redaction;
use crate::error::Error;
use crate::filter::{self, Compiled, Directory, Request};
use crate::host::facts::Question;
use crate::source::Input;
use crate::source::redact::{Key, Redactor};

/// Passes everything unchanged, or with pseudonyms.
#[derive(Default)]
pub(super) struct RedactionStage(Option<(Key, Redactor)>);

impl RedactionStage {
    /// As configured.
    ///
    /// # Errors
    /// When the key cannot be read or made.
    pub(super) fn new(redaction: Option<&Redaction>) -> Result<Self, Error> {
        let key = redaction.map(|redaction| match &redaction.key_file {
            Some(path) => Key::read(path),
            None => Key::random(),
        });
        Ok(Self(key.transpose()?.map(redactor)))
    }

    /// Whether it makes pseudonyms at all.
    pub(super) fn hides(&self) -> bool {
        self.0.is_some()
    }

    /// One that makes the same pseudonyms, for the same inputs once more.
    pub(super) fn afresh(&self) -> Self {
        Self(self.0.as_ref().map(|(key, _)| redactor(*key)))
    }

    /// The redacted input; `None` where nothing is left of it.
    pub(super) fn input(&mut self, input: Input) -> Option<Input> {
        match &mut self.0 {
            Some((_, redactor)) => redactor.input(input),
            None => Some(input),
        }
    }

    /// Questions with the original addresses and names.
    pub(super) fn questions(&self, questions: Vec<Question>) -> Vec<Question> {
        match &self.0 {
            Some((_, redactor)) => questions
                .into_iter()
                .map(|q| redactor.question(q))
                .collect(),
            None => questions,
        }
    }

    /// Compiles an expression that was typed over what is shown. Gives also what may be said of it.
    pub(super) fn compile(
        &mut self,
        text: &str,
        one_way: bool,
        directory: &dyn Directory,
    ) -> Result<(Compiled, String), Error> {
        let compile = |text: String| {
            let request = Request {
                expr: text,
                one_way,
                ..Request::default()
            };
            filter::compile_with(&request, directory)
        };
        let Some((_, redactor)) = &mut self.0 else {
            let typed = compile(text.to_owned())?;
            let shown = typed.expression.clone();
            return Ok((typed, shown));
        };
        match compile(redactor.meant(text)) {
            Ok(meant) => {
                let shown = redactor.expression(&meant.expression);
                Ok((meant, shown))
            }
            // errors refer to the text as it was typed
            Err(error) => Err(compile(text.to_owned()).err().unwrap_or(error).into()),
        }
    }
}

fn redactor(key: Key) -> (Key, Redactor) {
    (key, Redactor::new(&key))
}
