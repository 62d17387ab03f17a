//! Questions about jobs, which the head answers.

use super::core::Core;
use mobula_protocol::job::Word;
use mobula_protocol::{Incarnation, Message};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// A word for the head, once it has a number.
pub type JobWord = Box<dyn FnOnce(u64) -> Word + Send>;

/// Who waits for the head's answer.
#[derive(Default)]
pub(super) struct Asked {
    questions: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Word>>,
}

impl Core {
    /// The application says something about a job.
    pub(super) fn ask_about_job(&mut self, word: JobWord, reply: oneshot::Sender<Word>) {
        self.jobs.questions += 1;
        let request = self.jobs.questions;
        let word = word(request);
        if !matches!(word, Word::Line { .. }) {
            self.jobs.waiting.insert(request, reply);
        }
        self.send(Incarnation::HEAD, Message::Job(word));
    }

    /// The head answers.
    pub(super) fn job_word(&mut self, from: Incarnation, word: Word) {
        match word {
            Word::Answer { request, .. } | Word::Listed { request, .. } => {
                if let Some(reply) = self.jobs.waiting.remove(&request) {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(word);
                }
            }
            other => self.log("stray", format_args!("{} from {from}: only the head takes that", other.name())),
        }
    }
}
