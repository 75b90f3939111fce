//! What is asked of users, and what clients ask to be told.

use std::{collections::HashMap, fs};

use netbearer_dbus::{CHOOSER_INTERFACE, ConfigurationProperties, MANAGER_INTERFACE, MANAGER_PATH};
use zbus::OwnedObjectPath;

use crate::{
    client::Client,
    stage::{AP0, Stage},
};

const CHOICE: &str = "choice-where";
const NETWORK: &str = "service-uplink";

/// A user choice between the access point and a service network of it.
fn stage() -> Stage {
    let stage = Stage::new();
    let profiles = stage.directory().join("configuration/profiles.d");
    fs::create_dir_all(&profiles).unwrap();
    fs::write(profiles.join("uplink.toml"), "[service_network]\nmembers = [\"ap0\"]\n").unwrap();
    fs::write(profiles.join("where.toml"), "[user_choice]\nchoices = [\"ap0\", \"uplink\"]\n").unwrap();
    stage
}

fn register(client: &mut Client) -> String {
    let path: OwnedObjectPath = client.manage("RegisterChooser", &()).unwrap();
    path.to_string()
}

/// The number of the next question, and the choices.
fn question(client: &mut Client, chooser: &str) -> (u64, Vec<String>) {
    let asked = client.wait_for(chooser, "Asked");
    let body = asked.body();
    type Asked = (u64, ConfigurationProperties, Vec<ConfigurationProperties>);
    let (number, configuration, choices): Asked = body.deserialize().unwrap();
    assert_eq!(configuration.identifier.as_deref(), Some(CHOICE));
    (number, choices.into_iter().filter_map(|choice| choice.identifier).collect())
}

#[test]
fn a_chooser_is_asked_and_its_answer_is_opened() {
    let stage = stage();
    let daemon = stage.start();
    let (mut asking, mut opening, mut other) = (stage.connect(), stage.connect(), stage.connect());
    let choices: HashMap<String, ConfigurationProperties> = opening.manage("ListUserChoices", &()).unwrap();
    assert_eq!(choices.keys().collect::<Vec<_>>(), [CHOICE]);
    let chooser = register(&mut asking);
    let (session, _) = opening.create(CHOICE);
    let _hold = opening.open(&session).unwrap();
    let (number, choices) = question(&mut asking, &chooser);
    assert_eq!(choices, [AP0, NETWORK]);

    let refused = other.call(&chooser, CHOOSER_INTERFACE, "Answer", &(number, AP0)).unwrap_err();
    assert_eq!(refused.short(), "UnknownObject", "it is another's");
    let wrong = asking.call(&chooser, CHOOSER_INTERFACE, "Answer", &(number, "nowhere")).unwrap_err();
    assert_eq!(wrong.short(), "NotAsked");
    asking.call(&chooser, CHOOSER_INTERFACE, "Answer", &(number, NETWORK)).unwrap();
    opening.wait_for(&session, "Opened");
    let key = "UserChoiceConfiguration";
    let resolved = opening.call(&session, "org.netbearer.Session1", "GetProperty", &key).unwrap();
    let resolved: Vec<zbus::OwnedVariant> = resolved.body().deserialize().unwrap();
    assert_eq!(*resolved[0], zbus::Variant::from(NETWORK));
    let again = asking.call(&chooser, CHOOSER_INTERFACE, "Answer", &(number, AP0)).unwrap_err();
    assert_eq!(again.short(), "NotAsked");
    daemon.end();
}

#[test]
fn a_question_that_nobody_wants_answered_is_withdrawn_and_a_chooser_that_leaves_aborts_it() {
    let stage = stage();
    let daemon = stage.start();
    let (mut asking, mut opening) = (stage.connect(), stage.connect());
    let chooser = register(&mut asking);
    let (session, _) = opening.create(CHOICE);
    let hold = opening.open(&session).unwrap();
    let (number, _) = question(&mut asking, &chooser);
    drop(hold);
    let withdrawn: u64 = asking.wait_for(&chooser, "Withdrawn").body().deserialize().unwrap();
    assert_eq!(withdrawn, number);

    let _hold = opening.open(&session).unwrap();
    question(&mut asking, &chooser);
    asking.leave();
    let failure: (netbearer_dbus::FailureValue,) = opening.wait_for(&session, "Error").body().deserialize().unwrap();
    assert_eq!((failure.0.0, failure.0.1.as_str()), (1, "NotChosen"));
    daemon.end();
}

#[test]
fn a_chooser_that_is_unregistered_is_no_more_and_there_are_not_too_many() {
    let stage = stage();
    let daemon = stage.start();
    let mut client = stage.connect();
    let chooser = register(&mut client);
    client.call(&chooser, CHOOSER_INTERFACE, "Unregister", &()).unwrap();
    let gone = client.call(&chooser, CHOOSER_INTERFACE, "Unregister", &()).unwrap_err();
    assert_eq!(gone.short(), "UnknownObject");
    for _ in 0..16 {
        register(&mut client);
    }
    let refused = client.manage::<_, OwnedObjectPath>("RegisterChooser", &()).unwrap_err();
    assert_eq!(refused.short(), "LimitsExceeded");
    daemon.end();
}

#[test]
fn steps_and_news_are_told_to_whom_they_are_a_topic() {
    let stage = Stage::new();
    let daemon = stage.start();
    let (mut watching, mut opening) = (stage.connect(), stage.connect());
    watching.manage::<_, ()>("Subscribe", &["steps"].as_slice()).unwrap();
    let (session, _) = opening.create(AP0);
    let hold = opening.open_and_wait(&session);
    let told = watching.wait_for(MANAGER_PATH, "StepsChanged");
    let steps: HashMap<String, String> = told.body().deserialize().unwrap();
    assert_eq!(steps.keys().collect::<Vec<_>>(), [AP0]);
    loop {
        let told = watching.wait_for(MANAGER_PATH, "StepsChanged");
        if told.body().deserialize::<HashMap<String, String>>().unwrap().is_empty() {
            break;
        }
    }
    let now: HashMap<String, String> = opening.manage("GetSteps", &()).unwrap();
    assert!(now.is_empty());

    watching.manage::<_, ()>("Subscribe", &["news"].as_slice()).unwrap();
    drop(hold);
    watching.wait_for(MANAGER_PATH, "News");
    daemon.end();
}

#[test]
fn each_request_for_an_update_is_answered_once_and_to_whom_made_it() {
    let stage = Stage::new();
    let daemon = stage.start();
    let (mut client, mut other) = (stage.connect(), stage.connect());
    for _ in 0..2 {
        client.manage::<_, ()>("UpdateConfigurations", &()).unwrap();
    }
    for _ in 0..2 {
        client.wait_for(MANAGER_PATH, "UpdateCompleted");
    }
    client.ping();
    other.ping();
    assert!(client.take_signals().is_empty() && other.take_signals().is_empty());
    daemon.end();
}

#[test]
fn what_everybody_may_ask_is_answered() {
    let stage = stage();
    let daemon = stage.start();
    let mut client = stage.connect();
    type Configurations = HashMap<String, ConfigurationProperties>;
    let identifiers = |configurations: Configurations| {
        let mut identifiers: Vec<String> = configurations.into_keys().collect();
        identifiers.sort();
        identifiers
    };
    let all = client.manage::<_, Configurations>("ListConfigurations", &0_u32).unwrap();
    assert_eq!(identifiers(all), [AP0, NETWORK]);
    let active = client.manage::<_, Configurations>("ListConfigurations", &0xe_u32).unwrap();
    assert!(active.is_empty());
    let wrong = client.manage::<_, Configurations>("ListConfigurations", &0x10_u32).unwrap_err();
    assert_eq!(wrong.short(), "InvalidArgs");
    let network: ConfigurationProperties = client.manage("GetConfiguration", &NETWORK).unwrap();
    assert_eq!(network.children, Some(vec![AP0.to_owned()]));
    let nothing: ConfigurationProperties = client.manage("GetConfiguration", &"nowhere").unwrap();
    assert_eq!(nothing.kind.as_deref(), Some("Invalid"));
    assert_eq!(client.manage::<_, String>("GetDefaultConfiguration", &()).unwrap(), AP0);
    type Resolved = (Vec<String>, Vec<String>, String);
    let (referred, names, default): Resolved = client.manage("ResolveName", &"uplink").unwrap();
    assert_eq!((referred, default.as_str()), (vec![NETWORK.to_owned()], ""));
    assert!(names.contains(&"ap0".to_owned()));
    let interface: netbearer_dbus::InterfaceValue = client.manage("GetInterface", &AP0).unwrap();
    assert_eq!(interface.name.as_deref(), Some("ap0"));
    assert!(client.manage::<_, Vec<String>>("GetExclusive", &AP0).unwrap().is_empty());
    let steering: String = client.manage("DescribeSteering", &AP0).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&steering).unwrap().is_object());
    assert_eq!(client.manage::<_, String>("DescribeSteering", &"nowhere").unwrap(), "");

    let (session, _) = client.create(AP0);
    let _hold = client.open_and_wait(&session);
    let answer = client.ask(&session, "GetTraffic").unwrap();
    let (received, written): (u64, u64) = answer.body().deserialize().unwrap();
    let decisions: String = client.manage("DescribeDecisions", &()).unwrap();
    let decisions: Vec<serde_json::Value> = serde_json::from_str(&decisions).unwrap();
    assert!(decisions.iter().any(|decision| decision["subject"].to_string().contains(AP0)), "{decisions:?}");
    let sessions = client.sessions();
    let [only] = sessions.as_slice() else { panic!("{sessions:?}") };
    assert_eq!((&only["configuration"], &only["active"], &only["user"]), (&AP0.into(), &AP0.into(), &0.into()));
    assert_eq!(only["program"]["process"], std::process::id());
    assert!(only["program"]["name"].as_str().unwrap().starts_with("daemon"), "{only}");
    let carried = only["traffic"]["received"].as_u64().unwrap();
    assert!(carried >= received && written <= only["traffic"]["written"].as_u64().unwrap(), "{only}");
    let wrong = client.call(MANAGER_PATH, MANAGER_INTERFACE, "ListConfigurations", &"all").unwrap_err();
    assert_eq!(wrong.short(), "InvalidArgs");
    daemon.end();
}
