//! `--redact` and `--names`: the one place through which inputs pass before anything uses them, and questions on their way back.

use crate::config::Redaction;
use crate::error::Error;
use crate::filter::{self, Compiled, Directory, Request};
use crate::host::facts::{AddressOwner, Fact, Question};
use crate::model::KtimeNs;
use crate::session::Session;
use crate::source::Input;
use crate::source::redact::{Key, Redactor};

/// Passes everything unchanged, or with pseudonyms.
#[derive(Default)]
pub(super) struct RedactionStage {
    redactor: Option<(Key, Redactor)>,
    /// Whose addresses are, beside what the inputs tell.
    names: Vec<AddressOwner>,
}

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
        Ok(Self {
            redactor: key.transpose()?.map(redactor),
            names: Vec::new(),
        })
    }

    /// With names that are known beforehand.
    pub(super) fn with_names(self, names: Vec<AddressOwner>) -> Self {
        Self { names, ..self }
    }

    /// A trace that has seen no input, and knows the names.
    pub(super) fn session(&mut self) -> Session {
        let mut session = Session::default();
        let names = Input::Host(KtimeNs(0), Fact::Owners(self.names.clone()));
        if let Some(names) = self.input(names).filter(|_| !self.names.is_empty()) {
            session.input(&names);
        }
        session
    }

    /// Whether it makes pseudonyms at all.
    pub(super) fn hides(&self) -> bool {
        self.redactor.is_some()
    }

    /// One that makes the same pseudonyms, for the same inputs once more.
    pub(super) fn afresh(&self) -> Self {
        Self {
            redactor: self.redactor.as_ref().map(|(key, _)| redactor(*key)),
            names: self.names.clone(),
        }
    }

    /// The redacted input; `None` where nothing is left of it.
    pub(super) fn input(&mut self, input: Input) -> Option<Input> {
        match &mut self.redactor {
            Some((_, redactor)) => redactor.input(input),
            None => Some(input),
        }
    }

    /// Questions with the original addresses and names.
    pub(super) fn questions(&self, questions: Vec<Question>) -> Vec<Question> {
        match &self.redactor {
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
        let Some((_, redactor)) = &mut self.redactor else {
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
