//! `knarr bench`: what loads a cluster to see what it bears.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use node::hollow::{self, Config};

use crate::meant::Place;
use crate::progress::Progress;
use crate::{cli, log};

pub(crate) fn command() -> Command {
    let flag = |name: &'static str, value: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).default_value(default).help(help)
    };
    let number = |name, value, default, help, most: u32| {
        flag(name, value, default, help).value_parser(value_parser!(u32).range(1..=i64::from(most)))
    };
    Command::new("bench").about("Load a cluster to see what it bears").subcommand_required(true).arg_required_else_help(true).subcommand(
        Command::new("hollow")
            .about("Be many nodes that run nothing: they register, report their pods as running, and go when this stops")
            .arg(number("nodes", "N", "10", "how many nodes", Config::MOST))
            .arg(flag("prefix", "NAME", "hollow", "nodes are called NAME-00000 and so on"))
            .arg(flag("cpu", "QUANTITY", "32", "what each node claims to have"))
            .arg(flag("memory", "QUANTITY", "256Gi", "what each node claims to have"))
            .arg(number("pods", "N", "110", "how many pods each node takes", 10_000))
            .arg(number("zones", "N", "3", "zones that the nodes are spread over", 1000))
            .arg(
                Arg::new("kubeconfig")
                    .long("kubeconfig")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .action(ArgAction::Set)
                    .help("the cluster, and who to be there [default: the admin of this machine's cluster]"),
            )
            .after_help(
                "Examples:\n  knarr bench hollow --nodes 500\n  knarr bench hollow --nodes 5000 --cpu 8 --memory 32Gi --kubeconfig other.yaml\n\n\
                 The nodes have the label node.kubernetes.io/instance-type=hollow.",
            ),
    )
}

pub(crate) fn run(place: &Place, args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let Some(("hollow", args)) = args.subcommand() else { anyhow::bail!("a load is needed; see knarr bench --help") };
    let text = |name: &str| args.get_one::<String>(name).cloned().unwrap_or_default();
    let number = |name: &str| args.get_one::<u32>(name).copied().unwrap_or_default();
    let config = Config {
        nodes: number("nodes"),
        prefix: text("prefix"),
        cpu: text("cpu"),
        memory: text("memory"),
        pods: number("pods"),
        zones: number("zones"),
    };
    let file = args.get_one::<PathBuf>("kubeconfig").cloned().unwrap_or_else(|| place.kubeconfig());
    log::start("warn", &Progress::stdout(false))?;
    let count = config.nodes;
    cli::runtime()?.block_on(async {
        let client = cli::client(&file, "hollow").await?;
        let mut services = tasks::Services::new();
        let mut status = services.start("hollow", move |ctx| hollow::run(client, config, ctx));
        status.ready().await?;
        println!("✓ {count} hollow nodes ready; ctrl-c removes them");
        services.run(crate::up::stop_signal(), std::time::Duration::from_secs(60)).await
    })?;
    Ok(ExitCode::SUCCESS)
}
