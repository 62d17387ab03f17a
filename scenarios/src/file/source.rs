//! The text of a scenario file, and errors that point into it.

use std::fmt;

/// A scenario file that says something wrong: the file, the line, what is wrong, and the nearest valid word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The file as the user named it.
    pub file: String,
    /// The line, from 1; none if the file as a whole is meant.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// The result of reading a scenario file.
pub type Result<T, E = FileError> = std::result::Result<T, E>;

/// A file's name and text.
pub(super) struct Source {
    pub file: String,
    pub text: String,
    /// Where the lines of the text end, in order: every value of a file asks for its line.
    ends: Vec<usize>,
}

impl Source {
    /// A file of this name with this text.
    pub fn new(file: &str, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { file: file.to_owned(), text: text.to_owned(), ends }
    }

    /// The line, from 1, of a byte of the text.
    pub fn line(&self, offset: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < offset)
    }

    /// An error at a line.
    pub fn error(&self, line: usize, message: impl Into<String>) -> FileError {
        FileError { file: self.file.clone(), line: Some(line), message: message.into() }
    }
}

/// `; did you mean `x`?` if one of the candidates is close to `word`, else the list of them.
pub(crate) fn hint<'a>(word: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> String {
    match mobula_runtime::nearest(word, candidates.clone()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => {
            let all: Vec<&str> = candidates.collect();
            if all.is_empty() { "; there are none".to_owned() } else { format!("; there are {}", all.join(", ")) }
        }
    }
}
