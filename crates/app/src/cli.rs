//! The command line. Flags for settings come from the settings table.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::failure::{self, Usage};
use crate::meant::{Place, Settings};
use crate::progress::Progress;
use crate::settings::{Fault, ROWS, Row, Written};
use crate::{bench, detach, down, edge, gateway_cli, host, image, log, roles, status, up};

/// The version people see.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

fn command() -> Command {
    Command::new("knarr")
        .about("A whole production Kubernetes infrastructure in one binary")
        .version(VERSION)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args([
            Arg::new("name").long("name").global(true).value_name("NAME").help("name of the cluster [default: knarr]"),
            Arg::new("data-dir").long("data-dir").global(true).value_name("DIR").value_parser(value_parser!(PathBuf))
                .help("where the cluster keeps its data [default: /var/lib/knarr, or /var/lib/knarr-NAME]"),
        ])
        .subcommand(up_command())
        .subcommand(
            Command::new("down").about("Stop the cluster and its pods; data is kept unless --purge is given")
                .arg(Arg::new("purge").long("purge").action(ArgAction::SetTrue).help("also delete the data directory"))
                .after_help("Examples:\n  knarr down                stop, keep the data\n  knarr down --purge        leave nothing behind"),
        )
        .subcommand(
            Command::new("status").about("Tell whether the cluster is well; exit code 4 when it is not").arg(output())
                .after_help("Examples:\n  knarr status\n  knarr status -o json"),
        )
        .subcommand(
            Command::new("kubeconfig").about("Print the admin's kubeconfig")
                .arg(Arg::new("path").long("path").action(ArgAction::SetTrue).help("print its path instead"))
                .after_help("Examples:\n  export KUBECONFIG=$(knarr kubeconfig --path)\n  knarr kubeconfig > ~/.kube/config"),
        )
        .subcommand(image_command())
        .subcommand(gateway_cli::command())
        .subcommand(run_command())
        .subcommand(edge::cache_command())
        .subcommand(bench::command())
        .subcommand(Command::new("config").about("Print the settings in force").args(setting_args(|row| row.up)).arg(config_file()).arg(output()))
        .subcommand(Command::new("version").about("Print the version").arg(output()))
        .subcommand(
            Command::new("completion").about("Print shell completion")
                .arg(Arg::new("shell").required(true).value_parser(value_parser!(clap_complete::Shell)))
                .after_help("Example:\n  source <(knarr completion bash)"),
        )
}

fn up_command() -> Command {
    Command::new("up")
        .about("Start a cluster on this machine, and adopt the pods that still run")
        .arg(Arg::new("detach").long("detach").short('d').action(ArgAction::SetTrue).help("return when the cluster is ready and leave it running"))
        .arg(config_file())
        .arg(Arg::new("output").long("output").short('o').value_parser(["text", "json"]).default_value("text").help("how progress is shown"))
        .arg(Arg::new(detach::FLAG).long(detach::FLAG).hide(true).value_parser(value_parser!(i32)))
        .args(setting_args(|row| row.up))
        .after_help("Examples:\n  knarr up                              in the foreground, until ctrl-c\n  knarr up --detach                     in the background\n  knarr up -d --name blue               a second cluster beside the first, on free ports\n  knarr up --http-port 8080 --https-port 8443")
}

fn image_command() -> Command {
    let reference = || Arg::new("reference").required(true).num_args(1..).value_name("IMAGE");
    Command::new("image")
        .about("Images on this node")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("load")
                .about("Load OCI or docker archives")
                .arg(
                    Arg::new("file")
                        .required(true)
                        .num_args(1..)
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("archives; - is standard input"),
                )
                .after_help("Example:\n  docker save app:1 | knarr image load -"),
        )
        .subcommand(
            Command::new("pull")
                .about("Pull images from a registry")
                .arg(reference())
                .arg(insecure())
                .after_help("Example:\n  knarr image pull registry.example.com/app:1"),
        )
        .subcommand(Command::new("list").about("List the images").arg(output()))
        .subcommand(Command::new("remove").about("Remove images").arg(reference()))
}

fn insecure() -> Arg {
    Arg::new("insecure-registries")
        .long("insecure-registries")
        .value_name("HOST,..")
        .default_value("")
        .help("registries reached over plain HTTP")
}

fn run_command() -> Command {
    let mut command = Command::new("run")
        .about("Run one role against any conformant cluster")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help("Example:\n  knarr run gateway --kubeconfig ~/.kube/config --http-port 8080 --https-port 8443")
        .subcommand(edge::run_command());
    for role in roles::ROLES {
        command = command.subcommand(
            Command::new(role.name)
                .about(role.help)
                .arg(
                    Arg::new("kubeconfig")
                        .long("kubeconfig")
                        .required(true)
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("the cluster, and who to be there"),
                )
                .args(
                    setting_args(|row| row.roles.contains(&role.name)).into_iter().map(|arg| shortened(arg, role.name)),
                ),
        );
    }
    command
}

/// `--scheduler-config` may be called `--config` where only the scheduler is meant.
fn shortened(arg: Arg, role: &str) -> Arg {
    let row = ROWS.iter().find(|row| arg.get_id() == row.flag);
    match row.and_then(|row| row.flag.strip_prefix(role)?.strip_prefix('-')) {
        Some(short) => arg.visible_alias(short),
        None => arg,
    }
}

fn setting_args(wanted: impl Fn(&Row) -> bool) -> Vec<Arg> {
    let rows = ROWS.iter().filter(|row| wanted(row));
    rows.map(|row| {
        let help = if row.default.is_empty() {
            row.help.to_owned()
        } else {
            format!("{} [default: {}]", row.help, row.default)
        };
        Arg::new(row.flag).long(row.flag).value_name(row.value).help(help).help_heading("Settings")
    })
    .collect()
}

fn config_file() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("settings file [default: /etc/knarr/knarr.yaml when it exists]")
}

pub(crate) fn output() -> Arg {
    Arg::new("output")
        .long("output")
        .short('o')
        .value_parser(["table", "json", "yaml"])
        .default_value("table")
        .help("how the answer is printed")
}

/// Parses and carries out `arguments`.
pub(crate) fn run(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let matches = match command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => {
            error.print().context("cannot print")?;
            return Ok(ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 }));
        }
    };
    let (verb, args) = matches.subcommand().context("a command is needed; see knarr --help")?;
    let place = Place::new(matches_name(args), args.get_one::<PathBuf>("data-dir").cloned()).map_err(usage)?;
    match verb {
        "up" => start(place, args, &arguments),
        "down" => runtime()?.block_on(down::run(&place, args.get_flag("purge"))),
        "status" => runtime()?.block_on(status::run(&place, format_of(args))),
        "kubeconfig" => kubeconfig(&place, args.get_flag("path")),
        "image" => runtime()?.block_on(image::run(&place, args)),
        "gateway" => gateway_cli::run(&place, args),
        "run" => run_role(&place, args),
        "cache" => runtime()?.block_on(edge::cache(&place, args)),
        "bench" => bench::run(&place, args),
        "config" => {
            let settings = settings(place, args)?.1;
            print(&settings.effective(), format_of(args))
        }
        "version" => print(&serde_json::json!({ "knarr": VERSION, "kubernetes": "v1.36.0" }), format_of(args)),
        "completion" => {
            let shell = *args.get_one::<clap_complete::Shell>("shell").expect("invariant: required");
            clap_complete::generate(shell, &mut command(), "knarr", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        other => Err(anyhow!("unknown command {other}")),
    }
}

fn start(place: Place, args: &ArgMatches, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let json = args.get_one::<String>("output").is_some_and(|output| output == "json");
    let parent = args.get_one::<i32>(detach::FLAG);
    let progress = parent.map_or_else(|| Progress::stdout(json), |fd| detach::to_parent(*fd));
    if args.get_flag("detach") {
        settings(place.clone(), args)?; // faults are told here, not in the log of a process nobody sees
        host::privileged()?;
        let passed: Vec<String> =
            arguments.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
        let skip = |argument: &&String| !matches!(argument.as_str(), "up" | "-d" | "--detach");
        let passed: Vec<String> = passed.iter().filter(skip).cloned().collect();
        return detach::up(&place, &passed, &progress);
    }
    let (written, settings) = settings(place, args)?;
    host::privileged()?;
    log::start(written.get("log.filter").0, &progress)?;
    match runtime()?.block_on(up::run(settings, &progress)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if parent.is_some() => {
            tracing::error!("{error:#}");
            progress.show(&crate::progress::Event::Failed { lines: failure::lines(&error) });
            Ok(ExitCode::from(failure::FAILED))
        }
        Err(error) => Err(error),
    }
}

fn run_role(place: &Place, args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (name, args) = args.subcommand().context("a role is needed; see knarr run --help")?;
    if name == "edge" {
        return edge::run(place, args);
    }
    let role = roles::ROLES.iter().find(|role| role.name == name).context("invariant: roles come from the table")?;
    let file = args.get_one::<PathBuf>("kubeconfig").expect("invariant: required");
    let mut written = Written::default();
    flags(args, &mut written);
    log::start(written.get("log.filter").0, &Progress::stdout(false))?;
    runtime()?.block_on(async { roles::run(role, &config(file, role.name).await?, &written).await })?;
    Ok(ExitCode::SUCCESS)
}

/// A client for the cluster of a kubeconfig file. What it writes belongs to `program`.
pub(crate) async fn client(file: &std::path::Path, program: &'static str) -> anyhow::Result<kube::Client> {
    kube::Client::try_from(config(file, program).await?).with_context(|| format!("cannot use {}", file.display()))
}

async fn config(file: &std::path::Path, program: &'static str) -> anyhow::Result<kube::Config> {
    let kubeconfig =
        kube::config::Kubeconfig::read_from(file).with_context(|| format!("cannot read {}", file.display()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await;
    let mut config = config.with_context(|| format!("cannot use {}", file.display()))?;
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(program)));
    Ok(config)
}

fn settings(place: Place, args: &ArgMatches) -> anyhow::Result<(Written, Settings)> {
    let standard = PathBuf::from("/etc/knarr/knarr.yaml");
    let file = args.get_one::<PathBuf>("config").cloned().or_else(|| standard.exists().then_some(standard));
    let mut written = match file {
        None => Written::default(),
        Some(file) => {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read the settings file {}", file.display()))?;
            Written::from_yaml(&text, &file.display().to_string()).map_err(usages)?
        }
    };
    flags(args, &mut written);
    let settings = Settings::resolve(place, &written).map_err(usages)?;
    Ok((written, settings))
}

fn flags(args: &ArgMatches, written: &mut Written) {
    for row in ROWS {
        if let Ok(Some(text)) = args.try_get_one::<String>(row.flag) {
            written.set(row, text.clone());
        }
    }
}

fn kubeconfig(place: &Place, path: bool) -> anyhow::Result<ExitCode> {
    let file = place.kubeconfig();
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cluster {} has no kubeconfig yet ({})", place.name, file.display()))
        .context(failure::Try("knarr up --detach".to_owned()))?;
    if path {
        println!("{}", file.display());
    } else {
        print!("{text}");
    }
    Ok(ExitCode::SUCCESS)
}

fn matches_name(args: &ArgMatches) -> Option<String> {
    args.get_one::<String>("name").cloned()
}

/// The `--output` of a command.
pub(crate) fn format_of(args: &ArgMatches) -> &str {
    args.get_one::<String>("output").map_or("table", String::as_str)
}

/// Prints a value: JSON, YAML, or as lines of key and value.
pub(crate) fn print(value: &serde_json::Value, format: &str) -> anyhow::Result<ExitCode> {
    match format {
        "json" => println!("{}", serde_json::to_string_pretty(value)?),
        "yaml" => print!("{}", serde_saphyr::to_string(value)?),
        _ => lines("", value),
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(prefix: &str, value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                lines(&if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") }, value);
            }
        }
        serde_json::Value::String(text) => println!("{prefix:<28} {text}"),
        serde_json::Value::Array(items) => {
            let items: Vec<String> =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect();
            println!("{prefix:<28} {}", items.join(","));
        }
        other => println!("{prefix:<28} {other}"),
    }
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")
}

fn usage(fault: Fault) -> anyhow::Error {
    usages(vec![fault])
}

fn usages(faults: Vec<Fault>) -> anyhow::Error {
    anyhow!(Usage(faults.iter().map(ToString::to_string).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }
}
