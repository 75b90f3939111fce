//! Everything that must hold before a change lands, the quick things first.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
    command::{self, TaskError, cargo, cargo_path, program, root, show},
    install, soak,
};

/// Seconds each fuzz target runs for.
const FUZZING_TIME: &str = "-max_total_time=6";
/// A third of what `cargo xtask soak` takes.
const IDLE_SECONDS: u64 = 20;
/// A tenth of what `cargo xtask soak` runs.
const FAULT_HISTORIES: u64 = 100;
/// A tenth as well.
const KILL_ROUNDS: u64 = 100;
/// And again.
const ROAMS: u64 = 1_000;
const FUZZ_TARGETS: [&str; 6] =
    ["dhcp_client", "dhcp_frame", "dhcp_options", "arp", "router_options", "netlink_messages"];

#[derive(Args)]
pub(crate) struct Arguments {
    /// Run only these steps, by name; see --list
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
    /// List the steps, and do nothing
    #[arg(long)]
    list: bool,
}

struct Step {
    name: &'static str,
    command: Command,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), TaskError> {
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    // The histories are printed, so that what they reached can be read in the log.
    let model = cargo(&["test", "--package", "netbearer-core", "--quiet", "--", "--nocapture"]);
    let mut steps = vec![
        ("format", cargo(&["fmt", "--all", "--check"])),
        ("licences", cargo(&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"])),
        ("lints", cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])),
        // What is only used by the service in the same process may not be missed, or left over, without it.
        ("client", cargo(&["clippy", "--package", "netbearer", "--lib", "--quiet", "--", "-D", "warnings"])),
        ("model", model),
        ("tests", tests()),
        ("socket", scenarios("socket")),
        ("bus", scenarios("bus")),
        ("faults", soak::fault_histories(0, FAULT_HISTORIES)),
        ("kills", soak::kills(0, KILL_ROUNDS)),
        ("roams", soak::roams(0, ROAMS)),
        ("trace", cargo(&["run", "--quiet", "--package", "netbearer-soak", "--", "trace"])),
        ("idle", soak::idle(IDLE_SECONDS)),
        ("documentation", documentation),
    ];
    for target in FUZZ_TARGETS {
        steps.push((target, fuzz(target)?));
    }
    // A machine that tests is too busy to be judged by.
    let bench = "run --release --quiet --package netbearer-bench -- open --rounds 10 --show-only";
    steps.push(("bench", cargo(&bench.split(' ').collect::<Vec<_>>())));
    let daemon = "run --release --quiet --package netbearer-bench -- daemon --rounds 10 --show-only";
    steps.push(("daemon", cargo(&daemon.split(' ').collect::<Vec<_>>())));
    let roam = "run --release --quiet --package netbearer-bench -- roam --rounds 10 --show-only";
    steps.push(("roam", cargo(&roam.split(' ').collect::<Vec<_>>())));
    let peers = "run --release --quiet --package netbearer-bench -- open --peers --rounds 1";
    steps.push(("peers", cargo(&peers.split(' ').collect::<Vec<_>>())));
    run_all(arguments, steps)
}

/// Most tests wait most of the time, so there are more of them at once than a small machine has cores.
///
/// With the signals that a shell without job control has its background programs ignore: programs keep ignored what they
/// find ignored, and here they are to be ended by them.
fn tests() -> Command {
    let mut command = program("env", &["--default-signal=HUP,INT,QUIT"]);
    command.arg(cargo_path()).args(["test", "--workspace", "--exclude", "netbearer-core", "--quiet"]);
    command.args(["--", "--test-threads=4"]);
    command
}

/// The scenarios once more, over a daemon instead of a service in the tests' own process.
fn scenarios(transport: &str) -> Command {
    let mut command = program("env", &["--default-signal=HUP,INT,QUIT"]);
    // Of the whole workspace, so that what its tests have built is used, the daemon and the holder too.
    let arguments = ["test", "--workspace", "--exclude", "netbearer-core", "--test", "scenarios", "--quiet"];
    command.arg(cargo_path()).args(arguments);
    // They wait for timeouts of protocols most of the time.
    command.args(["--", "--test-threads=6"]).env("NETBEARER_TRANSPORT", transport);
    command
}

/// Finds go to a scratch folder; the committed corpus is only read. Without a sanitizer the stable toolchain will do.
fn fuzz(target: &str) -> Result<Command, TaskError> {
    let scratch = root().join("target").join("fuzz-corpus").join(target);
    fs::create_dir_all(&scratch)
        .map_err(|source| TaskError::System { what: "the scratch corpus cannot be made".to_owned(), source })?;
    let corpus = format!("fuzz/corpus/{target}");
    let mut command = cargo(&["fuzz", "run", "--sanitizer", "none", target]);
    command.arg(scratch).args([&corpus, "--", FUZZING_TIME, "-verbosity=0", "-print_final_stats=1"]);
    Ok(command)
}

fn run_all(arguments: &Arguments, steps: Vec<(&'static str, Command)>) -> Result<(), TaskError> {
    let steps: Vec<Step> = steps.into_iter().map(|(name, command)| Step { name, command }).collect();
    if arguments.list {
        for step in &steps {
            println!("{:<12} {}", step.name, show(&step.command));
        }
        return Ok(());
    }
    if let Some(unknown) = arguments.only.iter().find(|wanted| !steps.iter().any(|step| step.name == **wanted)) {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        return Err(TaskError::Wrong(format!("there is no step \"{unknown}\"; there are {}", names.join(", "))));
    }
    install::everything()?;
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for mut step in steps {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|wanted| wanted == step.name) {
            continue;
        }
        println!("== {}: {}", step.name, show(&step.command));
        let started = Instant::now();
        command::run(&mut step.command)?;
        times.push((step.name, started.elapsed()));
    }
    println!("== all passed");
    for (name, time) in times {
        println!("{:>7.1} s  {name}", time.as_secs_f64());
    }
    Ok(())
}
