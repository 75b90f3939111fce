//! A program with a chooser: opens a session on a user choice, and answers what its user would be asked with the first choice
//! that is no mobile network.
//!
//! `cargo run -p netbearer --example choose -- CHOICE`, with a file `profiles.d/CHOICE.toml` that has a `[user_choice]`.

use std::error::Error;

use netbearer::{BearerFamily, Chooser, ChooserEvent, Manager, PropertyKey};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let wanted = std::env::args().nth(1).ok_or("which user choice?")?;
    let manager = Manager::embedded().await?;
    let session = manager.session(&manager.find(Some(&wanted)).await?).await?;
    let mut chooser = manager.chooser().await?;
    session.open().await?;
    let opened = tokio::select! {
        opened = session.wait_for_opened(None) => opened?,
        Err(error) = answer(&mut chooser) => return Err(error),
    };
    if !opened {
        return Err(session.error().map_or("closed".to_owned(), |failure| failure.message).into());
    }
    println!("it came to {:?}", session.property(PropertyKey::UserChoiceConfiguration).await?);
    Ok(session.close().await?)
}

/// Nobody is asked if there is one choice only, or none.
async fn answer(chooser: &mut Chooser) -> Result<(), Box<dyn Error>> {
    while let Some(event) = chooser.next().await {
        if let ChooserEvent::Asked(question) = event {
            let cheap = question.choices.iter().find(|one| one.bearer_type.family() != BearerFamily::Mobile);
            chooser.answer(question.number, cheap.map(|one| &one.identifier)).await?;
        }
    }
    Ok(())
}
