//! `knarr gateway`: what the gateway serves, and what it would make of manifests.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, value_parser};
use gateway::ingress::check::{Finding, Verdict, check};
use gateway::report::Report;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::networking::v1::Ingress;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::meant::Place;
use crate::{cli, failure};

pub(crate) fn command() -> Command {
    Command::new("gateway")
        .about("What the gateway serves, and what it would make of manifests")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("routes")
                .about("List what is served: from which object, to whom, with which certificate, and what fails")
                .arg(socket())
                .arg(cli::output())
                .after_help("Examples:\n  knarr gateway routes\n  knarr gateway routes -o json | jq '.troubles'"),
        )
        .subcommand(Command::new("metrics").about("Print the gateway's figures, as Prometheus reads them").arg(socket()))
        .subcommand(
            Command::new("check")
                .about("Tell which annotations of ingress-nginx in manifests are honoured, ignored or refused")
                .arg(
                    Arg::new("file").required(true).num_args(1..).value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("manifests, YAML or JSON; - is standard input"),
                )
                .arg(cli::output())
                .after_help("Exit code 1 when something is refused.\n\nExamples:\n  knarr gateway check ingress.yaml\n  kubectl get ingress -A -o yaml | knarr gateway check -"),
        )
}

fn socket() -> Arg {
    Arg::new("gateway-socket")
        .long("gateway-socket")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("the gateway's socket [default: gateway.sock in the cluster's run directory]")
}

/// Carries out `knarr gateway VERB`.
pub(crate) fn run(place: &Place, args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (verb, args) = args.subcommand().context("a gateway command is needed; see knarr gateway --help")?;
    match verb {
        "check" => checked(args),
        verb => {
            let socket = args.get_one::<PathBuf>("gateway-socket").cloned().unwrap_or_else(|| place.gateway_socket());
            let text = cli::runtime()?.block_on(ask(&socket, if verb == "routes" { "/routes" } else { "/metrics" }))?;
            if verb == "metrics" {
                print!("{text}");
                return Ok(ExitCode::SUCCESS);
            }
            routes(&text, cli::format_of(args))
        }
    }
}

/// What the gateway at `socket` answers to GET `path`.
pub(crate) async fn ask(socket: &Path, path: &str) -> anyhow::Result<String> {
    let connected = UnixStream::connect(socket).await;
    let stream = connected
        .with_context(|| format!("no gateway answers at {}", socket.display()))
        .context(failure::Try("knarr up --detach".to_owned()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get(path).header("host", "gateway").body(Empty::<bytes::Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let text = String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?;
        anyhow::ensure!(status.is_success(), "the gateway answered {status}: {text}");
        anyhow::Ok(text)
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => { ended?; anyhow::bail!("the gateway hung up") }
    }
}

fn routes(text: &str, format: &str) -> anyhow::Result<ExitCode> {
    if format != "table" {
        return cli::print(&serde_json::from_str(text)?, format);
    }
    let report: Report = serde_json::from_str(text).context("the gateway's answer is of another version")?;
    let head = ["LISTEN", "HOST", "MATCH", "ROUTE", "TO", "CERTIFICATE"].map(str::to_owned).to_vec();
    let rows = report.routes.iter().map(|row| {
        let mut to = row.to.join(", ");
        let filters = row.filters.join(", ");
        if !filters.is_empty() {
            to = if to.is_empty() { filters } else { format!("{to}; {filters}") };
        }
        let certificate = row.certificate.clone().unwrap_or_else(|| "-".to_owned());
        vec![row.listen.clone(), row.host.clone(), row.wanted.clone(), row.route.clone(), to, certificate]
    });
    table(std::iter::once(head).chain(rows));
    for trouble in &report.troubles {
        println!("✗ {} ({}): {}", trouble.object, trouble.reason, trouble.message);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints rows with columns as wide as what is in them.
fn table(rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

fn checked(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut found = Vec::new();
    let mut ingresses = 0;
    for file in args.get_many::<PathBuf>("file").into_iter().flatten() {
        for ingress in read(file)? {
            ingresses += 1;
            found.extend(check(&ingress));
        }
    }
    let bad = |finding: &Finding| matches!(finding.verdict, Verdict::Refused | Verdict::Closed);
    let refused = found.iter().filter(|finding| bad(finding)).count();
    let format = cli::format_of(args);
    if format == "table" {
        let head = ["INGRESS", "ANNOTATION", "VERDICT", "NOTE"].map(str::to_owned).to_vec();
        let verdict = |verdict: Verdict| serde_json::to_value(verdict).ok().and_then(|v| v.as_str().map(str::to_owned));
        table(std::iter::once(head).chain(found.iter().map(|finding| {
            let verdict = verdict(finding.verdict).unwrap_or_default();
            vec![finding.ingress.clone(), finding.annotation.clone(), verdict, finding.note.clone()]
        })));
        println!("{ingresses} Ingresses, {} annotations, {refused} refused", found.len());
    } else {
        cli::print(&serde_json::to_value(&found)?, format)?;
    }
    Ok(ExitCode::from(if refused == 0 { 0 } else { failure::FAILED }))
}

/// The Ingresses of a file: any number of documents, lists too.
fn read(file: &Path) -> anyhow::Result<Vec<Ingress>> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("{} is neither YAML nor JSON", file.display()))?;
    let mut found = Vec::new();
    for document in documents {
        let items = document.get("items").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![document]);
        for item in items.iter().filter(|item| item["kind"] == "Ingress") {
            let name = item["metadata"]["name"].as_str().unwrap_or("without a name").to_owned();
            let read = Ingress::deserialize(item.clone());
            found.push(read.with_context(|| format!("Ingress {name} in {} is none", file.display()))?);
        }
    }
    Ok(found)
}
