use std::io;

use netbearer::{CallError, ManagerError, ResetError};
use netbearer_holder::HolderError;
use netbearer_lab::LabError;

/// Why a history failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SoakError {
    #[error("the lab failed")]
    Lab(#[from] LabError),
    #[error("a file, pipe or thread of the soak failed")]
    System(#[from] io::Error),
    #[error("the service did not start")]
    Manager(#[from] ManagerError),
    #[error("a holder failed")]
    Holder(#[from] HolderError),
    #[error("a call failed")]
    Call(#[from] CallError),
    #[error("what was left could not be reset")]
    Reset(#[from] ResetError),
    #[error("{0}")]
    Wrong(String),
}
