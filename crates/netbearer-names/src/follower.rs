use netbearer_types::{LinkNames, NamesReport};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Choice, NamesError, NamesSettings, back_end::BackEnd, choose, keep::Keep, note::Note, surroundings::Surroundings,
    system_names::put_back,
};

/// What the follower is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Whom programs shall ask from now on.
    Follow(Vec<LinkNames>),
    /// Answer when all that was told before has been done.
    Settle(oneshot::Sender<()>),
}

/// Keeps what programs ask equal to what is wanted, on a thread of its own: disks and programs may take their time.
#[derive(Debug)]
pub(crate) struct Follower {
    settings: NamesSettings,
    reports: mpsc::UnboundedSender<NamesReport>,
    back_end: Option<BackEnd>,
    keep: Option<Keep>,
    note: Note,
    /// What a killed process has left is to be gone on with, and nothing was done about it yet.
    is_undecided: bool,
    told: NamesReport,
}

impl Follower {
    pub(crate) fn new(settings: NamesSettings, reports: mpsc::UnboundedSender<NamesReport>) -> Self {
        let note = Note::read(&settings.runtime_directory);
        let is_undecided = settings.resumed;
        Self { settings, reports, back_end: None, keep: None, note, is_undecided, told: NamesReport::default() }
    }

    /// Follows until nobody gives orders any more.
    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        if !self.is_undecided {
            self.put_back().await;
        }
        while let Some(order) = orders.recv().await {
            match order {
                Order::Follow(links) if !links.is_empty() => self.stand(links, &mut orders).await,
                Order::Follow(_) if self.is_undecided => self.put_back().await,
                Order::Follow(_) => {}
                Order::Settle(settled) => drop(settled.send(())),
            }
        }
    }

    /// What a killed process has left.
    async fn put_back(&mut self) {
        // Somebody who is alive keeps the name servers: then they are no leftovers.
        if let Err(error) = self.take_keep(None).await
            && !matches!(error, NamesError::KeptElsewhere)
        {
            tracing::warn!("{}", error.with_causes());
        }
        self.keep = None;
    }

    /// As long as servers are wanted.
    async fn stand(&mut self, mut wanted: Vec<LinkNames>, orders: &mut mpsc::UnboundedReceiver<Order>) {
        let mut surroundings = Surroundings::open(&self.settings.places, &self.settings.state_directory);
        while !wanted.is_empty() {
            let outcome = self.apply(&wanted, &mut surroundings).await;
            self.report(&wanted, outcome);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Follow(links)) => {
                        if links.is_empty() {
                            self.withdraw(&wanted, &surroundings).await;
                        }
                        wanted = links;
                    }
                    Some(Order::Settle(settled)) => drop(settled.send(())),
                    // As if killed: the next start puts back what was.
                    None => return,
                },
                () = surroundings.changed() => {}
            }
        }
    }

    /// Has programs ask the servers of these links, through what is there now. Returns what it is.
    async fn apply(&mut self, links: &[LinkNames], surroundings: &mut Surroundings) -> Result<String, NamesError> {
        let (found, resolved) = surroundings.look().await?;
        let choice = choose(&found);
        if self.back_end.as_ref().is_some_and(|back_end| !back_end.is(&choice, resolved.as_ref()))
            && let Err(error) = self.release(surroundings).await
        {
            self.report(links, Err(error));
        }
        if let Choice::Nothing(reason) = choice {
            if self.is_undecided {
                self.put_back().await;
            }
            return Err(NamesError::Nobody(reason));
        }
        self.take_keep(Some(&choice)).await?;
        if self.back_end.is_none() {
            self.back_end = BackEnd::new(&choice, resolved.as_ref(), &self.settings, &self.note);
        }
        if let Some(back_end) = &mut self.back_end {
            back_end.apply(links, surroundings.bus(), &mut self.note).await?;
        }
        Ok(choice.to_string())
    }

    async fn withdraw(&mut self, links: &[LinkNames], surroundings: &Surroundings) {
        if let Err(error) = self.release(surroundings).await {
            self.report(links, Err(error));
        }
        self.keep = None;
        self.told = NamesReport::default();
    }

    async fn release(&mut self, surroundings: &Surroundings) -> Result<(), NamesError> {
        match self.back_end.take() {
            Some(mut back_end) => back_end.release(surroundings.bus(), &mut self.note).await,
            None => Ok(()),
        }
    }

    /// Takes the right to change anything, and puts back what a process that was killed with it has left; not what `choice`
    /// goes on with, if that is to be.
    async fn take_keep(&mut self, choice: Option<&Choice>) -> Result<(), NamesError> {
        if self.keep.is_none() {
            self.keep = Some(Keep::take(&self.settings.state_directory)?);
            self.note = Note::read(&self.settings.runtime_directory);
            let kept = choice.filter(|_| std::mem::take(&mut self.is_undecided));
            self.is_undecided = false;
            let recovered = put_back(&self.settings, &mut self.note, kept).await;
            if !recovered.is_nothing() {
                tracing::warn!(?recovered, "put back what a killed process had left");
            }
        }
        Ok(())
    }

    fn report(&mut self, links: &[LinkNames], outcome: Result<String, NamesError>) {
        let interface_names = links.iter().map(|link| link.interface_name.clone()).collect();
        let report = match outcome {
            Ok(through) => NamesReport { interface_names, through: Some(through), warning: None },
            Err(error) => NamesReport { interface_names, through: None, warning: Some(error.with_causes()) },
        };
        if report != self.told {
            if let Some(warning) = &report.warning {
                tracing::warn!("{warning}");
            }
            self.told = report.clone();
            // Nobody listens any more at the very end.
            let _ = self.reports.send(report);
        }
    }
}
