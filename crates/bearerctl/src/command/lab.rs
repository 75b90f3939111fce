//! A sandbox for anyone: a machine with access points, for a shell, a command or the tour.

mod around;
pub(super) mod control;
mod shell;
pub(super) mod tour;

use std::time::{Duration, Instant};

use netbearer_lab::{AccessPointPlan, Card, Dhcp, LabBuilder, LabError, Sandbox, Script};

use crate::{
    arguments::{self, LabCommand, LabNamed, LabSlow, LabStart},
    command::Context,
    error::Error,
    exit_code::ExitCode,
};

use control::{Change, Request};

/// Where this process stands to a sandbox.
#[derive(Debug)]
pub(crate) enum Place {
    /// It needs none.
    Elsewhere,
    /// It has just made it.
    Around(Sandbox),
    /// It is its first process.
    Inside,
}

impl Place {
    /// Makes a sandbox if the command needs one. Must be called while the process has one thread only.
    pub(crate) fn take(command: &arguments::Command) -> Result<Self, LabError> {
        let arguments::Command::Lab(lab) = command else { return Ok(Self::Elsewhere) };
        match lab.command {
            None | Some(LabCommand::Tour(_)) if Sandbox::enter()? => Ok(Self::Inside),
            None | Some(LabCommand::Tour(_)) => Ok(Self::Around(Sandbox::enclose()?)),
            Some(_) => Ok(Self::Elsewhere),
        }
    }
}

pub(crate) async fn run(context: &Context, place: Place, arguments: &arguments::Lab) -> Result<ExitCode, Error> {
    if let Place::Around(sandbox) = place {
        if let Some(reason) = sandbox.nameless() {
            context.output.hint(&format!(
                "names do not work in this sandbox, as its /etc/resolv.conf could not be put in the place of the machine's: {reason}"
            ));
        }
        return around::run(&sandbox, arguments.command.is_none()).await;
    }
    let done = match &arguments.command {
        None => return shell::run(context, &arguments.start).await,
        Some(LabCommand::Tour(tour)) => tour::run(context, tour).await,
        Some(LabCommand::Status(which)) => control::ask(context, which.sandbox, &Request::Status),
        Some(LabCommand::Cut(LabNamed { access_point, which })) => {
            let request = Request::Change { access_point: access_point.clone(), change: Change::Cut };
            control::ask(context, which.sandbox, &request)
        }
        Some(LabCommand::Restore(LabNamed { access_point, which })) => {
            let request = Request::Change { access_point: access_point.clone(), change: Change::Restore };
            control::ask(context, which.sandbox, &request)
        }
        Some(LabCommand::Slow(LabSlow { access_point, rate, delay, which })) => {
            let change = Change::Slow { rate: *rate, delay: *delay };
            control::ask(context, which.sandbox, &Request::Change { access_point: access_point.clone(), change })
        }
    };
    done.map(|()| ExitCode::OK)
}

/// A lab, and how long it took to make it. The calling thread, and those it starts, are on the lab's machine from then on.
fn build(start: &LabStart, card: impl Fn(u8) -> Card) -> Result<(netbearer_lab::Lab, Duration), LabError> {
    let began = Instant::now();
    let script = Script::default().rapid_commit(true);
    let plan = |number| {
        let plan = AccessPointPlan::new(format!("ap{number}")).dhcp(Dhcp::Scripted(script.clone()));
        plan.card(card(number)).services()
    };
    let builder = (0..start.access_points).map(plan).fold(netbearer_lab::Lab::builder(), LabBuilder::access_point);
    let lab = builder.without_witnesses().build()?;
    lab.machine().enter()?;
    Sandbox::show_interfaces();
    Ok((lab, began.elapsed()))
}
