//! `knarr run edge`, a cache in front of any origin, and `knarr cache`, which speaks to it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use base::quantity::Quantity;
use cache::{DiskSettings, Policy, Purge, Settings, What, admin};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use gateway::edge::{Config, Origin};

use crate::failure::Usage;
use crate::meant::Place;
use crate::progress::Progress;
use crate::{cli, log};

/// Where Debian keeps the authorities that everybody trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The socket of a cache, in the data directory.
pub(crate) const SOCKET: &str = "cache.sock";

/// `knarr run edge`.
pub(crate) fn run_command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let path = |name: &'static str, value: &'static str, help: &'static str| {
        text(name, value, help).value_parser(value_parser!(PathBuf))
    };
    Command::new("edge")
        .about("Cache any origin; no cluster is needed")
        .arg(
            text("origin", "[HOST=]URL", "an origin, for one host or for all that have none of their own; may be repeated")
                .required(true)
                .action(ArgAction::Append)
                .value_parser(|text: &str| text.parse::<Origin>()),
        )
        .arg(path("origin-ca", "FILE", "whom certificates of origins must come from [default: the system's authorities]"))
        .arg(text("listen", "IP:PORT", "where it is served").default_value("0.0.0.0:8080").value_parser(value_parser!(std::net::SocketAddr)))
        .arg(path("tls-cert", "FILE", "certificate chain; it is served with TLS then").requires("tls-key"))
        .arg(path("tls-key", "FILE", "its key").requires("tls-cert"))
        .arg(text("cache-memory", "SIZE", "bytes kept in memory").default_value("256Mi").value_parser(size))
        .arg(path("cache-dir", "DIR", "a directory of the cache's own, to keep objects on disk as well"))
        .arg(text("cache-disk", "SIZE", "bytes kept on disk").default_value("4Gi").value_parser(size))
        .arg(path("cache-policy", "FILE", "how responses are cached: the spec of a CachePolicy without its targets"))
        .arg(text("host-header", "NAME", "the Host that origins see [default: the client's]"))
        .arg(path("socket", "FILE", "where `knarr cache` finds it [default: DATA_DIR/cache.sock]"))
        .arg(text("access-log", "FILE", "a line per request; - is standard output").default_value(""))
        .arg(text("log-filter", "FILTER", "what is logged").default_value("info"))
        .after_help("Examples:\n  knarr run edge --origin https://www.example.com\n  knarr run edge --origin a.example=http://10.0.0.1:8000 --origin b.example=https://b.internal \\\n      --cache-dir /var/cache/knarr --cache-disk 50Gi --tls-cert cert.pem --tls-key key.pem --listen 0.0.0.0:443")
}

/// `knarr cache`.
pub(crate) fn cache_command() -> Command {
    let socket = || {
        Arg::new("socket")
            .long("socket")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("the socket of the cache [default: DATA_DIR/cache.sock]")
    };
    let what = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("cache")
        .about("Purge the cache of a gateway or an edge on this machine, or look at it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("purge")
                .about("Take objects out of the cache")
                .arg(what("url", "URL", "all variants of one URL"))
                .arg(what("prefix", "URL", "all URLs that begin so"))
                .arg(what("tag", "TAG", "all that carry this tag"))
                .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("everything"))
                .group(ArgGroup::new("what").args(["url", "prefix", "tag", "all"]).required(true))
                .arg(Arg::new("soft").long("soft").action(ArgAction::SetTrue).help("keep them, but stale: they are validated before they are served again"))
                .arg(socket())
                .after_help("Examples:\n  knarr cache purge --url https://www.example.com/a?b=1\n  knarr cache purge --prefix https://www.example.com/img/ --soft\n  knarr cache purge --tag product-42"),
        )
        .subcommand(Command::new("stats").about("Figures of the cache").arg(cli::output()).arg(socket()))
}

pub(crate) fn size(text: &str) -> Result<u64, String> {
    let read = text.parse::<Quantity>().ok().and_then(|size| u64::try_from(size.value()).ok());
    read.filter(|size| *size > 0).ok_or_else(|| "write a size such as 512Mi or 50Gi".to_owned())
}

/// Carries out `knarr run edge`.
pub(crate) fn run(place: &Place, args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = config(place, args)?;
    let filter = args.get_one::<String>("log-filter").map(String::as_str).unwrap_or_default();
    log::start(filter, &Progress::stdout(false))?;
    cli::runtime()?.block_on(async {
        let listen = config.listen;
        let mut services = tasks::Services::new();
        let mut status = services.start("edge", move |ctx| gateway::edge::run(config, ctx));
        status.ready().await?;
        println!("✓ edge ready at {listen}");
        services.run(crate::up::stop_signal(), crate::up::GRACE).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn config(place: &Place, args: &ArgMatches) -> anyhow::Result<Config> {
    let file = |name: &str| args.get_one::<PathBuf>(name);
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let bytes = |name: &str| *args.get_one::<u64>(name).expect("invariant: it has a default");
    let origins: Vec<Origin> = args.get_many::<Origin>("origin").into_iter().flatten().cloned().collect();
    let authorities = match file("origin-ca") {
        Some(path) => read(path)?,
        None if origins.iter().any(|origin| origin.tls) => read(Path::new(AUTHORITIES))
            .context("the system has no authorities; install ca-certificates or give --origin-ca")?,
        None => Vec::new(),
    };
    let tls = match (file("tls-cert"), file("tls-key")) {
        (Some(chain), Some(key)) => Some((read(chain)?, read(key)?)),
        _ => None,
    };
    let policy = match file("cache-policy") {
        None => Policy::default(),
        Some(path) => {
            let text = String::from_utf8(read(path)?).with_context(|| format!("{} is no text", path.display()))?;
            serde_saphyr::from_str(&text)
                .map_err(|error| anyhow!(Usage(vec![format!("{}: {error}", path.display())])))?
        }
    };
    let socket = socket(place, args);
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    Ok(Config {
        listen: *args.get_one("listen").expect("invariant: it has a default"),
        tls,
        origins,
        authorities,
        host_header: args.get_one::<String>("host-header").cloned(),
        policy,
        cache: Settings {
            memory: bytes("cache-memory"),
            disk: file("cache-dir").map(|dir| DiskSettings { dir: dir.clone(), bytes: bytes("cache-disk") }),
        },
        socket: Some(socket),
        access_log: args.get_one::<String>("access-log").cloned().unwrap_or_default(),
    })
}

fn socket(place: &Place, args: &ArgMatches) -> PathBuf {
    args.get_one::<PathBuf>("socket").cloned().unwrap_or_else(|| place.data_dir.join(SOCKET))
}

/// Carries out `knarr cache VERB`.
pub(crate) async fn cache(place: &Place, args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (verb, args) = args.subcommand().context("a cache command is needed; see knarr cache --help")?;
    let client = admin::Client::new(&socket(place, args));
    if verb == "purge" {
        let text = |name: &str| args.get_one::<String>(name).cloned();
        let what = text("url")
            .map(What::Url)
            .or_else(|| text("prefix").map(What::Prefix))
            .or_else(|| text("tag").map(What::Tag));
        let purge = Purge { what: what.unwrap_or(What::All), soft: args.get_flag("soft") };
        let count = client.purge(&purge).await?;
        println!("✓ purged {count} {}", if count == 1 { "object" } else { "objects" });
        return Ok(ExitCode::SUCCESS);
    }
    let stats = client.stats().await?;
    match cli::format_of(args) {
        "table" => print!("{}", admin::table(&stats)),
        format => return cli::print(&serde_json::to_value(&stats)?, format),
    }
    Ok(ExitCode::SUCCESS)
}
