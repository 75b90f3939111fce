use tokio::sync::watch;

use crate::CallError;

/// That something which can be asked may be different now, whatever it is: for what no event tells of, such as
/// [`crate::Manager::steering`], [`crate::Manager::capabilities`] and [`crate::Manager::decisions`].
///
/// What is done by calls does not count, so whoever asks each time there is news does not wake himself.
///
/// ```no_run
/// # async fn example(manager: netbearer::Manager) -> Result<(), netbearer::CallError> {
/// let mut news = manager.news();
/// loop {
///     println!("{:?}", manager.capabilities().await?);
///     news.changed().await?;
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct News(watch::Receiver<u64>);

impl News {
    pub(crate) const fn new(count: watch::Receiver<u64>) -> Self {
        Self(count)
    }

    /// Returns as soon as there is any since this was called last, or since it was got. Several may be told as one.
    ///
    /// # Errors
    /// [`CallError::ServiceGone`].
    pub async fn changed(&mut self) -> Result<(), CallError> {
        self.0.changed().await.map_err(|_| CallError::ServiceGone)
    }
}
