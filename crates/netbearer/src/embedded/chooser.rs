use std::sync::Arc;

use netbearer_core::{ChooserId, QuestionNumber};
use netbearer_types::Identifier;

use super::backend::EmbeddedBackend;
use crate::backend::{Answer, ChooserBackend};

/// A chooser of a service in this process.
#[derive(Debug)]
pub(super) struct EmbeddedChooser {
    backend: Arc<EmbeddedBackend>,
    id: ChooserId,
}

impl EmbeddedChooser {
    pub(super) const fn new(backend: Arc<EmbeddedBackend>, id: ChooserId) -> Self {
        Self { backend, id }
    }
}

impl ChooserBackend for EmbeddedChooser {
    fn answer(&self, number: QuestionNumber, choice: Option<Identifier>) -> Answer<'_, ()> {
        let client = self.backend.client;
        Box::pin(async move {
            let answer = move |core: &mut netbearer_core::Core, now| core.answer(client, number, choice.as_ref(), now);
            Ok(self.backend.service.call(answer).await??)
        })
    }
}

impl Drop for EmbeddedChooser {
    fn drop(&mut self) {
        let id = self.id;
        self.backend.service.cast(move |core, now| core.remove_chooser(id, now));
        self.backend.reception.forget_chooser(id);
    }
}
