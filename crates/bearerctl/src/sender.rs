//! Who sent a signal (`si_code` of `sigaction(2)`), which the runtime does not tell.

#![allow(unsafe_code)]

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::libc::SI_KERNEL;

/// A bit for each signal that a program has sent since it was last asked for.
static SENT_BY_PROGRAM: AtomicU64 = AtomicU64::new(0);

const fn bit(signal: i32) -> u64 {
    1 << signal
}

/// Has it noted who sends this signal; before the runtime is told to catch it, so that this is noted first.
pub(crate) fn note(signal: i32) -> io::Result<()> {
    let bit = bit(signal);
    let action = move |told: &nix::libc::siginfo_t| {
        if told.si_code != SI_KERNEL {
            SENT_BY_PROGRAM.fetch_or(bit, Ordering::Relaxed);
        }
    };
    // SAFETY: the action changes one atomic number, which is safe within a signal handler (`signal-safety(7)`).
    unsafe { signal_hook_registry::register_sigaction(signal, action) }.map(drop)
}

/// Whether a program sent one of those that have come since the last call; otherwise it was the kernel alone.
pub(crate) fn was_program(signal: i32) -> bool {
    SENT_BY_PROGRAM.fetch_and(!bit(signal), Ordering::Relaxed) & bit(signal) != 0
}
