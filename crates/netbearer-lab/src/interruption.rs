use std::io;

/// The outcome of a system call that waits, made again for as long as a signal ends it first.
///
/// A socket with a timeout is interrupted by every signal that is handled, and even by being stopped, whatever `SA_RESTART`
/// says (signal(7), "Interruption of system calls and library functions by signal handlers"). The timeout begins anew.
///
/// # Errors
/// Those of the call, but for [`io::ErrorKind::Interrupted`].
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::uninterrupted;

    #[test]
    fn what_a_signal_interrupts_is_done_again_and_nothing_else_is() {
        let mut outcomes = [Err(io::ErrorKind::Interrupted), Err(io::ErrorKind::Interrupted), Ok(7), Ok(8)].into_iter();
        let mut call = || outcomes.next().expect("it ends").map_err(io::Error::from);
        assert_eq!(uninterrupted(&mut call).expect("the third time"), 7);
        assert_eq!(outcomes.next(), Some(Ok(8)));

        let mut calls = 0;
        let failed = uninterrupted(|| {
            calls += 1;
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        assert_eq!((failed.expect_err("it fails").kind(), calls), (io::ErrorKind::WouldBlock, 1));
    }
}
