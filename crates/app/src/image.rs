//! `knarr image`: the node's images, through the same files the node uses. Works with the cluster
//! up or down; the store's own lock keeps the two from tearing each other's work.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ArgMatches;
use node::image::{Image, Progress, PullOptions, Store};

use crate::cli;
use crate::meant::Place;

/// Carries out `knarr image VERB`.
pub(crate) async fn run(place: &Place, args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let dir = place.data_dir.join("images");
    let (verb, args) = args.subcommand().context("an image command is needed; see knarr image --help")?;
    let store = Store::open(&dir).with_context(|| format!("cannot open the image store {}", dir.display()))?;
    match verb {
        "load" => load(&store, args)?,
        "pull" => pull(&store, args).await?,
        "remove" => remove(&store, args)?,
        _ => return list(&store, args),
    }
    Ok(ExitCode::SUCCESS)
}

fn load(store: &Store, args: &ArgMatches) -> anyhow::Result<()> {
    for file in args.get_many::<PathBuf>("file").into_iter().flatten() {
        let images = if file.as_os_str() == "-" {
            store.load_reader("standard input", std::io::stdin())
        } else {
            store.load_archive(file)
        };
        for image in images.with_context(|| format!("cannot load {}", file.display()))? {
            println!("✓ loaded {}", name(&image));
        }
    }
    Ok(())
}

async fn pull(store: &Store, args: &ArgMatches) -> anyhow::Result<()> {
    let insecure = args.get_one::<String>("insecure-registries").map(String::as_str).unwrap_or_default();
    let insecure: Vec<String> =
        insecure.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect();
    for reference in args.get_many::<String>("reference").into_iter().flatten() {
        let options = PullOptions { insecure: insecure.clone(), ..PullOptions::default() };
        let shown = reference.clone();
        let told = move |progress: Progress| {
            tracing::debug!(image = %shown, layers = progress.layers_done, of = progress.layers, bytes = progress.bytes_done, "pulling");
        };
        let image = store.pull(reference, &options, told).await.with_context(|| format!("cannot pull {reference}"))?;
        println!("✓ pulled {}", name(&image));
    }
    Ok(())
}

fn remove(store: &Store, args: &ArgMatches) -> anyhow::Result<()> {
    for reference in args.get_many::<String>("reference").into_iter().flatten() {
        let removed = store.remove(reference).with_context(|| format!("cannot remove {reference}"))?;
        anyhow::ensure!(removed, "image {reference} is not on this node; see knarr image list");
        println!("✓ removed {reference}");
    }
    Ok(())
}

fn list(store: &Store, args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let images = store.list().context("cannot list the images")?;
    let format = cli::format_of(args);
    if format != "table" {
        return cli::print(&serde_json::to_value(&images)?, format);
    }
    println!("{:<48} {:<14} {:>10}", "IMAGE", "ID", "SIZE");
    for image in &images {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        println!("{:<48} {id:<14} {:>7} MB", name(image), image.size / 1_000_000);
    }
    Ok(ExitCode::SUCCESS)
}

fn name(image: &Image) -> &str {
    image.repo_tags.first().or(image.repo_digests.first()).unwrap_or(&image.id)
}
