//! Opens a session on a user choice, and asks at the terminal which of the access points it shall be.
//!
//! `cargo run -p netbearer --example choose -- eth0 wlan0`

use std::{error::Error, io};

use netbearer::{Chooser, ChooserEvent, Embedded, PropertyKey, Question, UserChoiceProfile};
use tokio::task;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let choices: Vec<String> = std::env::args().skip(1).collect();
    let manager = Embedded::default().user_choice("way", UserChoiceProfile { name: None, choices }).start().await?;
    // Without it nobody would be asked, and the most preferred one taken.
    let mut chooser = manager.chooser().await?;

    let session = manager.session(&manager.find(Some("choice-way")).await?).await?;
    session.open().await?;
    // The opening waits for the answer, so somebody has to ask meanwhile.
    let opened = tokio::select! {
        opened = session.wait_for_opened(None) => opened?,
        ended = ask(&mut chooser) => return Err(ended.err().unwrap_or("the service has ended".into())),
    };
    if !opened {
        return Err(session.error().map_or("nothing was opened".to_owned(), |failure| failure.message).into());
    }
    println!("opened: {:?}", session.property(PropertyKey::UserChoiceConfiguration).await?);
    session.close().await?;
    manager.shutdown().await;
    Ok(())
}

/// Puts each question to whoever sits there.
async fn ask(chooser: &mut Chooser) -> Result<(), Box<dyn Error>> {
    while let Some(event) = chooser.next().await {
        match event {
            ChooserEvent::Asked(question) => {
                let number = question.number;
                let choice = task::spawn_blocking(move || at_the_terminal(&question)).await??;
                chooser.answer(number, choice.as_ref()).await?;
            }
            ChooserEvent::Withdrawn(_) => println!("never mind"),
            _ => {}
        }
    }
    Ok(())
}

/// None if the line names none of them.
fn at_the_terminal(question: &Question) -> io::Result<Option<netbearer::Identifier>> {
    println!("which one for {}?", question.configuration.name);
    for (number, choice) in (1..).zip(&question.choices) {
        println!("  {number}  {}, {}", choice.name, choice.state_flags);
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let chosen = line.trim().parse::<usize>().ok().and_then(|number| question.choices.get(number.checked_sub(1)?));
    Ok(chosen.map(|choice| choice.identifier.clone()))
}
