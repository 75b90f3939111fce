use netbearer_types::LinkNames;
use zbus::names::OwnedUniqueName;

use crate::{
    Choice, NamesError, NamesSettings, bus::Bus, note::Note, resolv_conf::ResolvConfFile, resolvconf::Resolvconf,
    resolved::Resolved,
};

/// By what programs are told, with what it was told so far.
#[derive(Debug)]
pub(crate) enum BackEnd {
    Resolved(Resolved),
    Resolvconf(Resolvconf),
    File(ResolvConfFile),
}

impl BackEnd {
    /// None for a choice that needs a systemd-resolved that is not there, or nothing. What is noted was told by a process that
    /// is gone, and is gone on with.
    pub(crate) fn new(
        choice: &Choice,
        resolved: Option<&OwnedUniqueName>,
        settings: &NamesSettings,
        note: &Note,
    ) -> Option<Self> {
        match choice {
            Choice::Resolved => Some(Self::Resolved(Resolved::new(resolved?.clone(), note.resolved()))),
            Choice::Resolvconf(program) => Some(Self::Resolvconf(Resolvconf::new(program.clone(), note.resolvconf()))),
            Choice::File => {
                let file = ResolvConfFile::new(&settings.places.resolv_conf, &settings.state_directory);
                Some(Self::File(file))
            }
            Choice::Nothing(_) => None,
        }
    }

    /// True if it is the one chosen, and has not been started anew since.
    pub(crate) fn is(&self, choice: &Choice, resolved: Option<&OwnedUniqueName>) -> bool {
        match (self, choice) {
            (Self::Resolved(told), Choice::Resolved) => resolved.is_some_and(|owner| told.is(owner)),
            (Self::Resolvconf(_), Choice::Resolvconf(_)) | (Self::File(_), Choice::File) => true,
            _ => false,
        }
    }

    /// Has programs ask the servers of these links, and of no others of ours.
    pub(crate) async fn apply(
        &mut self,
        links: &[LinkNames],
        bus: Option<&Bus>,
        note: &mut Note,
    ) -> Result<(), NamesError> {
        // Where there is one list for all names, only those servers are in it that are for all names.
        let for_all: Vec<&LinkNames> = links.iter().filter(|link| link.default_route).collect();
        match (self, bus) {
            (Self::Resolved(resolved), Some(bus)) => resolved.apply(bus.connection(), links, note).await,
            (Self::Resolved(_), None) => Ok(()),
            (Self::Resolvconf(resolvconf), _) => resolvconf.apply(&for_all, note),
            (Self::File(file), _) if for_all.is_empty() => file.release().map(|_| ()),
            (Self::File(file), _) => file.apply(&for_all),
        }
    }

    /// Takes everything back.
    pub(crate) async fn release(&mut self, bus: Option<&Bus>, note: &mut Note) -> Result<(), NamesError> {
        match self {
            Self::Resolved(resolved) => {
                let owner = match bus {
                    Some(bus) => bus.resolved().await.ok().flatten(),
                    None => None,
                };
                match (bus, owner.filter(|owner| resolved.is(owner))) {
                    (Some(bus), Some(_)) => resolved.release(bus.connection(), note).await,
                    // It is not there any more, and neither is what it was told.
                    _ => note.forget_resolved(),
                }
            }
            Self::Resolvconf(resolvconf) => resolvconf.release(note),
            Self::File(file) => file.release().map(|_| ()),
        }
    }
}
