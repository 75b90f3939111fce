use std::{fmt, ops::Range};

use proptest::prelude::{Strategy, any};

/// What can happen in a history, with its weight among the others.
macro_rules! kinds {
    ($($(#[$meaning:meta])* $name:ident: $weight:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind { $($(#[$meaning])* $name,)* }

        impl Kind {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            const fn weight(self) -> u32 {
                match self { $(Self::$name => $weight,)* }
            }
        }
    };
}

kinds! {
    // What clients do.
    Create: 10,
    Drop: 3,
    Open: 30,
    /// An open, and the engine does all it can for it.
    BringUp: 70,
    Close: 14,
    /// Every session on an access point is closed.
    Leave: 14,
    Stop: 5,
    SetReconnect: 10,
    UnsetReconnect: 4,
    KillClient: 3,
    /// A descriptor is asked for, to be passed on.
    PassOn: 8,
    /// The last copy of a descriptor is closed.
    CloseDescriptor: 8,
    ChangeRights: 4,
    /// A client that was away is back.
    Return: 30,
    KillService: 4,
    RequestUpdate: 5,
    // What the world does.
    PullCable: 6,
    PushCable: 20,
    /// The carrier goes and comes back unseen; only the count of losses tells.
    Flap: 5,
    Unplug: 4,
    /// Under another index.
    Replug: 25,
    /// Out and back in under another index, unseen.
    Replace: 3,
    AddForeignAddress: 8,
    RemoveForeignAddress: 7,
    SetUp: 16,
    SetDown: 7,
    ChangeGateway: 6,
    LosePrivilege: 4,
    GainPrivilege: 12,
    // What engines do.
    Step: 50,
    Reach: 40,
    FailStep: 10,
    LoseLease: 40,
    RegainSameLease: 10,
    RegainOtherLease: 10,
    ExpireLease: 6,
    /// Nothing changed, and yet it is told.
    Repeat: 4,
    /// Told with the progress of an overtaken command.
    RepeatStale: 14,
    RemoveAndAdd: 2,
    Remove: 2,
    Add: 25,
    Enumerate: 3,
    Refresh: 8,
    Ignore: 1,
    FailEngine: 1,
    // Time passes.
    PassLittle: 12,
    PassToDeadline: 14,
    PassLong: 4,
    Shutdown: 1,
}

/// One thing that happens. The numbers pick whom it happens to, and a variant of it.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) place: u8,
    pub(crate) pick: u8,
    pub(crate) twist: u8,
}

impl Operation {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let total = Kind::ALL.iter().map(|kind| kind.weight()).sum();
        (0..total, any::<[u8; 3]>()).prop_map(|(lot, [place, pick, twist])| Self {
            kind: drawn(lot),
            place,
            pick,
            twist,
        })
    }

    /// Half of the operations go where histories seldom come.
    pub(crate) const fn seeks_the_rare(self) -> bool {
        self.place >= 128
    }

    /// Changes of the world may stay unseen until the next report.
    pub(crate) const fn is_seen(self) -> bool {
        self.twist % 4 != 3
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}({}, {}, {})", self.kind, self.place, self.pick, self.twist)
    }
}

fn drawn(lot: u32) -> Kind {
    let mut range: Range<u32> = 0..0;
    for kind in Kind::ALL {
        range = range.end..range.end + kind.weight();
        if range.contains(&lot) {
            return *kind;
        }
    }
    Kind::Repeat
}
