use std::{collections::VecDeque, time::Duration};

use netbearer_types::Moment;

/// So often within [`WINDOW`] may something of ours be put back.
const LIMIT: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// Another program may remove again and again what we put back; then it has its way, as the contest would never end.
#[derive(Debug, Default)]
pub(crate) struct Contest {
    /// When something was found missing, not long ago.
    moments: VecDeque<Moment>,
}

impl Contest {
    /// Something is missing again. True if it may be put back once more.
    pub(crate) fn may_go_on(&mut self, now: Moment) -> bool {
        self.moments.retain(|then| now - *then < WINDOW);
        self.moments.push_back(now);
        self.moments.len() <= LIMIT
    }
}
