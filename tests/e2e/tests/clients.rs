//! A program's view: the tour of kube-rs, typed and dynamic, with watches, logs and exec.
//!
//! The client runs on a thread that has entered the cluster's network, so it needs nothing of the host's.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, ensure};
use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use knarr_e2e::{Cluster, PATIENCE};
use kube::api::{
    Api, ApiResource, AttachParams, DeleteParams, DynamicObject, GroupVersionKind, ListParams, LogParams, Patch,
    PatchParams, PostParams,
};
use kube::runtime::{WatchStreamExt as _, wait, watcher};
use kube::{Client, ResourceExt as _, discovery};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

#[test]
fn a_program_with_kube_rs_does_all_it_does_elsewhere() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-clients", &["busybox"])?;
    std::thread::scope(|scope| {
        let tour = scope.spawn(|| -> anyhow::Result<()> {
            let network = std::fs::File::open(format!("/run/netns/{}", cluster.name))?;
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::time::timeout(PATIENCE, tour(&cluster)).await.context("the tour takes too long")?
            })
        });
        tour.join().map_err(|_| anyhow::anyhow!("the tour panicked"))?
    })
}

async fn tour(cluster: &Cluster) -> anyhow::Result<()> {
    let kubeconfig = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    ensure!(client.apiserver_version().await?.minor.starts_with("36"));
    objects(client.clone()).await.context("objects")?;
    dynamic(client.clone()).await.context("dynamic objects")?;
    watching(client.clone()).await.context("watching")?;
    pods(client).await.context("pods")
}

fn map(name: &str, text: &str) -> ConfigMap {
    let labels = [("part".to_owned(), "tour".to_owned())].into();
    let metadata = kube::core::ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..Default::default() };
    ConfigMap { metadata, data: Some([("text".to_owned(), text.to_owned())].into()), ..Default::default() }
}

async fn objects(client: Client) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let made = maps.create(&PostParams::default(), &map("a", "one")).await?;
    ensure!(made.uid().is_some() && made.creation_timestamp().is_some());
    let again = maps.create(&PostParams::default(), &map("a", "one")).await;
    ensure!(
        matches!(&again, Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists"),
        "{again:?}"
    );
    let mut newer = made.clone();
    newer.data = Some([("text".to_owned(), "two".to_owned())].into());
    maps.replace("a", &PostParams::default(), &newer).await?;
    let stale = maps.replace("a", &PostParams::default(), &made).await;
    ensure!(
        matches!(&stale, Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "Conflict"),
        "{stale:?}"
    );
    let patched = maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"text": "three"}}))).await?;
    ensure!(patched.data.unwrap_or_default()["text"] == "three");
    let patched = maps
        .patch("a", &PatchParams::default(), &Patch::Strategic(json!({"metadata": {"labels": {"more": "yes"}}})))
        .await?;
    ensure!(patched.labels().len() == 2);
    ensure!(maps.get_opt("absent").await?.is_none());
    let dry = maps.create(&PostParams { dry_run: true, ..Default::default() }, &map("dry", "x")).await?;
    ensure!(dry.uid().is_some() && maps.get_opt("dry").await?.is_none(), "a dry run leaves nothing");

    for number in 0..7 {
        maps.create(&PostParams::default(), &map(&format!("many-{number}"), "x")).await?;
    }
    let mut params = ListParams::default().labels("part=tour").limit(3);
    let (mut pages, mut names) = (0, Vec::new());
    loop {
        let page = maps.list(&params).await?;
        pages += 1;
        names.extend(page.items.iter().map(|item| item.name_any()));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    names.sort();
    names.dedup();
    ensure!(pages == 3 && names.len() == 8, "{pages} pages: {names:?}");
    let named = maps.list_metadata(&ListParams::default().fields("metadata.name=a")).await?;
    ensure!(named.items.len() == 1 && named.items[0].metadata.labels.is_some());

    let gone = DeleteParams {
        preconditions: Some(kube::api::Preconditions { uid: Some("another".to_owned()), resource_version: None }),
        ..Default::default()
    };
    ensure!(maps.delete("a", &gone).await.is_err(), "a precondition holds");
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("part=tour")).await?;
    ensure!(maps.list(&ListParams::default().labels("part=tour")).await?.items.is_empty());
    Ok(())
}

async fn dynamic(client: Client) -> anyhow::Result<()> {
    let found = discovery::Discovery::new(client.clone()).run_aggregated().await?;
    let (ingress, _) =
        found.resolve_gvk(&GroupVersionKind::gvk("networking.k8s.io", "v1", "Ingress")).context("it is discovered")?;
    ensure!(ingress.plural == "ingresses");
    let found = discovery::group(&client, "apps").await?;
    ensure!(found.recommended_kind("Deployment").is_some());

    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
    let deployments: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    let spec = json!({"spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "dynamic"}},
        "template": {"metadata": {"labels": {"app": "dynamic"}}, "spec": {"containers": [{"name": "c", "image": "knarr.local/busybox:bookworm"}]}},
    }});
    let object = DynamicObject::new("dynamic", &resource).data(spec);
    let made = deployments.create(&PostParams::default(), &object).await?;
    ensure!(made.data["spec"]["strategy"]["type"] == "RollingUpdate", "defaults are filled in");
    let scale = deployments
        .patch_scale("dynamic", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 0}})))
        .await?;
    ensure!(scale.spec.context("a spec")?.replicas.unwrap_or(0) == 0, "upstream leaves a zero out");
    let status = deployments.get_status("dynamic").await?;
    ensure!(status.name_any() == "dynamic");
    deployments.delete("dynamic", &DeleteParams::foreground()).await?;
    wait::await_condition(deployments, "dynamic", wait::conditions::is_deleted(&made.uid().context("a uid")?)).await?;
    Ok(())
}

fn text(map: &ConfigMap) -> &str {
    map.data.as_ref().map_or("", |data| &data["text"])
}

async fn watching(client: Client) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut seen = std::pin::pin!(watcher(maps.clone(), config.labels("part=tour")).touched_objects());
        let next = |seen: Option<Result<ConfigMap, watcher::Error>>| {
            seen.context("the watch goes on")?.map_err(anyhow::Error::from)
        };
        // each is waited for before the next: a watch tells every state, a list only the last one
        let two = Patch::Merge(json!({"data": {"text": "two"}}));
        maps.create(&PostParams::default(), &map("seen", "one")).await?;
        ensure!(text(&next(seen.next().await)?) == "one");
        maps.patch("seen", &PatchParams::default(), &two).await?;
        ensure!(text(&next(seen.next().await)?) == "two");
        maps.delete("seen", &DeleteParams::default()).await?;
        ensure!(text(&next(seen.next().await)?) == "two", "the last state is told");
    }
    let nodes: Api<Node> = Api::all(client);
    let nodes: Vec<Node> = watcher(nodes, watcher::Config::default()).applied_objects().take(1).try_collect().await?;
    ensure!(nodes.len() == 1);
    Ok(())
}

async fn pods(client: Client) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "talker"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c",
            "image": "knarr.local/busybox:bookworm",
            "command": ["sh", "-c", "echo one; until [ -e /go ]; do sleep 0.1; done; echo two; exec sleep 10000"],
        }]},
    }))?;
    let made = pods.create(&PostParams::default(), &pod).await?;
    wait::await_condition(pods.clone(), "talker", wait::conditions::is_pod_running()).await?;
    let mut lines = pods.log_stream("talker", &LogParams { follow: true, ..Default::default() }).await?.lines();
    ensure!(lines.try_next().await?.as_deref() == Some("one"));
    let mut running = pods
        .exec("talker", ["sh", "-c", "touch /go; cat; echo err >&2; exit 3"], &AttachParams::default().stdin(true))
        .await?;
    let mut stdin = running.stdin().context("stdin")?;
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"through").await?;
    tokio::io::AsyncWriteExt::shutdown(&mut stdin).await?;
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (running.stdout().context("stdout")?, running.stderr().context("stderr")?);
    futures::try_join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err))?;
    let status = running.take_status().context("a status")?.await.context("it tells how it ended")?;
    running.join().await?;
    ensure!(out == "through" && err == "err\n", "{out:?} {err:?}");
    ensure!(
        status.status.as_deref() == Some("Failure") && status.reason.as_deref() == Some("NonZeroExitCode"),
        "{status:?}"
    );
    ensure!(lines.try_next().await?.as_deref() == Some("two"), "a followed log goes on");
    pods.delete("talker", &DeleteParams::default()).await?;
    wait::await_condition(pods, "talker", wait::conditions::is_deleted(&made.uid().context("a uid")?)).await?;
    Ok(())
}
