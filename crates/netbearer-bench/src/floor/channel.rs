use std::{
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

/// A thread that sends back what it is sent: the least that asking another thread can take.
pub(crate) struct EchoThread {
    questions: Sender<()>,
    answers: Receiver<()>,
}

impl EchoThread {
    /// The thread ends when this value is dropped.
    pub(crate) fn start() -> Self {
        let (questions, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        thread::spawn(move || asked.into_iter().try_for_each(|question| answer.send(question)));
        Self { questions, answers }
    }

    /// How long one question and its answer take.
    pub(crate) fn round_trip(&self) -> Duration {
        let start = Instant::now();
        // The thread ends after this value.
        let _ = self.questions.send(());
        let _ = self.answers.recv();
        start.elapsed()
    }
}
