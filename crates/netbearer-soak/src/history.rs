use std::{net::Ipv4Addr, time::Duration};

use netbearer_lab::{ClientState, Fault};

use crate::{
    choice::Choice,
    operation::{Operation, Place},
};

/// Seats for sessions in this process; the first ones on the first access point, and so on in turn.
pub(crate) const SEATS: usize = 4;
/// The interface index an access point has at first, without its number.
const FIRST_INDEX: u32 = 500;

/// The server behind an access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Dnsmasq,
    /// The lab's own, with leases this long.
    Scripted(Duration),
}

/// What a seed makes happen. The same seed makes the same history; what comes of it also depends on the kernel's timing.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The access points: how they lease, and whether their cards resemble real ones.
    pub(crate) places: Vec<(Server, bool)>,
    pub(crate) linger: Duration,
    pub(crate) release: bool,
    pub(crate) operations: Vec<Operation>,
}

/// What the generator knows of the world, so that most operations make sense. What it cannot know, such as how far a
/// bring-up is, the operations must bear.
#[derive(Clone, Debug, Default)]
struct PlaceState {
    unplugged: bool,
    cut: bool,
    renamed: bool,
    enslaved: bool,
    foreign_address: bool,
}

impl History {
    pub(crate) fn random(seed: u64) -> Self {
        let mut choice = Choice::seeded(seed);
        let count = 1 + usize::try_from(choice.below(2)).unwrap_or_default();
        let places = (0..count).map(|_| (server(&mut choice), choice.once_in(3))).collect::<Vec<_>>();
        let linger = choice.of([Duration::ZERO, Duration::ZERO, Duration::from_millis(150)]);
        let release = choice.once_in(4);
        let length = 8 + choice.below(20);
        let mut states = vec![PlaceState::default(); count];
        let mut holder = false;
        // Something is open, so that the faults have something to hit.
        let mut operations = vec![if choice.once_in(4) {
            holder = true;
            Operation::StartHolder(0)
        } else {
            Operation::Open(0)
        }];
        while operations.len() < usize::try_from(length).unwrap_or_default() {
            let place = usize::try_from(choice.below(count as u64)).unwrap_or_default();
            let Some(state) = states.get_mut(place) else { break };
            let Some((server, _)) = places.get(place) else { break };
            operations.push(operation(&mut choice, place, state, *server, &mut holder));
            match choice.below(4) {
                0 => operations.push(Operation::Pause(Duration::from_millis(choice.of([1, 3, 10, 30, 300])))),
                1 => operations.push(Operation::NextEvent(Duration::from_millis(100))),
                _ => {}
            }
        }
        Self { places, linger, release, operations }
    }
}

fn server(choice: &mut Choice) -> Server {
    let seconds = |seconds| Server::Scripted(Duration::from_secs(seconds));
    choice.of([Server::Dnsmasq, seconds(2), seconds(4), seconds(3_600)])
}

fn operation(
    choice: &mut Choice,
    place: Place,
    state: &mut PlaceState,
    server: Server,
    holder: &mut bool,
) -> Operation {
    let seat = usize::try_from(choice.below(SEATS as u64)).unwrap_or_default();
    match choice.below(20) {
        0..4 => Operation::Open(seat),
        4 | 5 => Operation::Close(seat),
        6 => Operation::Stop(seat),
        7 => Operation::Replace(seat, choice.once_in(3)),
        8 | 9 => hold(choice, place, holder),
        10..13 => cable(choice, place, state),
        13 | 14 => hotplug(choice, place, state),
        15..17 => interfere(choice, place, state),
        17 | 18 => match server {
            Server::Scripted(_) => misbehave(choice, place),
            Server::Dnsmasq => Operation::Open(seat),
        },
        _ if *holder && choice.once_in(2) => Operation::FloodSleepingHolder(6_000),
        _ => Operation::Flood(u32::try_from(100 + choice.below(1_500)).unwrap_or(100)),
    }
}

fn hold(choice: &mut Choice, place: Place, holder: &mut bool) -> Operation {
    if !*holder {
        *holder = true;
        return Operation::StartHolder(place);
    }
    match choice.below(4) {
        0 => {
            *holder = false;
            Operation::EndHolder
        }
        1 => Operation::StartHolder(place),
        _ => {
            *holder = false;
            Operation::KillHolder
        }
    }
}

fn cable(choice: &mut Choice, place: Place, state: &mut PlaceState) -> Operation {
    if state.unplugged {
        state.unplugged = false;
        return Operation::Plug(place, None);
    }
    if state.cut {
        state.cut = false;
        return Operation::Restore(place);
    }
    if choice.once_in(2) {
        return Operation::Flap(place, u32::try_from(1 + choice.below(5)).unwrap_or(1));
    }
    state.cut = true;
    Operation::Cut(place)
}

fn hotplug(choice: &mut Choice, place: Place, state: &mut PlaceState) -> Operation {
    let another_index = || FIRST_INDEX + 100 + u32::try_from(place).unwrap_or_default();
    if state.unplugged {
        state.unplugged = false;
        let index = choice.once_in(2).then(another_index);
        return Operation::Plug(place, index);
    }
    match choice.below(4) {
        0 if !state.renamed => {
            state.renamed = true;
            Operation::Rename(place)
        }
        0 => {
            state.renamed = false;
            Operation::RenameBack(place)
        }
        1 => {
            state.enslaved = !state.enslaved;
            if state.enslaved { Operation::Enslave(place) } else { Operation::Release(place) }
        }
        _ => {
            // What is plugged in is a new interface under the old name.
            *state = PlaceState { unplugged: true, ..PlaceState::default() };
            Operation::Unplug(place)
        }
    }
}

fn interfere(choice: &mut Choice, place: Place, state: &mut PlaceState) -> Operation {
    match choice.below(7) {
        0 => Operation::SetUp(place, false),
        1 => Operation::SetUp(place, true),
        2 | 3 => {
            state.foreign_address = !state.foreign_address;
            if state.foreign_address {
                Operation::AddForeignAddress(place)
            } else {
                Operation::RemoveForeignAddress(place)
            }
        }
        4 => Operation::FlushAddresses(place),
        5 => Operation::FlushOurRoutes,
        _ => Operation::DeleteRule(choice.of([5_100, 5_110, 5_111, 5_120])),
    }
}

fn misbehave(choice: &mut Choice, place: Place) -> Operation {
    let address = Ipv4Addr::new(10, 10, u8::try_from(place).unwrap_or_default(), choice.of([150, 151, 152]));
    let fault = choice.of([
        Fault::Silent,
        Fault::Delay(Duration::from_millis(20)),
        Fault::Delay(Duration::from_millis(700)),
        Fault::Nak,
        Fault::NakWhile(ClientState::Renewing),
        Fault::OtherAddress(address),
        Fault::WrongTransaction,
        Fault::Garbage,
    ]);
    match choice.below(6) {
        0 => Operation::Fail(place, fault),
        1 | 2 => Operation::FailNext(place, 1 + usize::try_from(choice.below(3)).unwrap_or_default(), fault),
        3 => Operation::Offer(place, address),
        _ => Operation::Heal(place),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_history_again_and_another_one_another() {
        let [one, same, other] = [7, 7, 8].map(|seed| History::random(seed).operations);
        assert_eq!(one, same);
        assert_ne!(one, other);
    }

    #[test]
    fn a_hundred_histories_hold_every_kind_of_operation() {
        let all = (0..100).flat_map(|seed| History::random(seed).operations);
        let kinds: BTreeSet<String> =
            all.map(|operation| format!("{operation:?}").split('(').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(kinds.len(), 30, "{kinds:?}");
    }
}
