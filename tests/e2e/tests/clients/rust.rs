//! The tour of kube-rs: typed and dynamic, apply, watches, a controller, definitions, logs, exec, port-forward.
//!
//! The client runs on a thread that has entered the cluster's network, so it needs nothing of the host's.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use knarr_e2e::{Cluster, PATIENCE};
use kube::api::{
    Api, ApiResource, AttachParams, DeleteParams, DynamicObject, GroupVersionKind, ListParams, LogParams, Patch,
    PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::client::{Body, ClientBuilder};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::{WatchStreamExt as _, wait, watcher};
use kube::{Client, ResourceExt as _, discovery};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::util::MapRequestLayer;

const GROUP: &str = "rust.tours.example.com";

/// The tour; `old` is a resourceVersion of ConfigMaps that the server has forgotten.
pub(super) fn visit(cluster: &Cluster, old: &str) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let tour = scope.spawn(|| -> anyhow::Result<()> {
            let network = std::fs::File::open(format!("/run/netns/{}", cluster.name))?;
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(tour(cluster, old))
        });
        tour.join().map_err(|_| anyhow::anyhow!("the tour panicked"))?
    })
}

async fn tour(cluster: &Cluster, old: &str) -> anyhow::Result<()> {
    let kubeconfig = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    let client = Client::try_from(config.clone())?;
    ensure!(client.apiserver_version().await?.minor.starts_with("36"));
    let failed = [
        step("objects", objects(client.clone())).await,
        step("server-side apply", applying(client.clone())).await,
        step("dynamic objects", dynamic(client.clone())).await,
        step("watching", watching(client.clone())).await,
        step("a watch that is too late", late(client.clone(), config, old)).await,
        step("a controller", controlling(client.clone())).await,
        step("a definition and its objects", defining(client.clone())).await,
        step("pods", pods(client)).await,
    ];
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// What went wrong in a step.
async fn step(name: &str, step: impl Future<Output = anyhow::Result<()>>) -> Option<String> {
    match tokio::time::timeout(PATIENCE, step).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("the step {name:?} failed: {error:?}")),
        Err(_) => Some(format!("the step {name:?} takes too long")),
    }
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

async fn applying(client: Client) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let data = |data: serde_json::Value| {
        Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data}))
    };
    let left = PatchParams::apply("left");
    let made = maps.patch("applied", &left, &data(json!({"x": "1", "y": "1"}))).await?;
    ensure!(made.managed_fields().len() == 1 && made.managed_fields()[0].operation.as_deref() == Some("Apply"));
    let again = maps.patch("applied", &left, &data(json!({"x": "1", "y": "1"}))).await?;
    ensure!(again.resource_version() == made.resource_version(), "the same again writes nothing");
    let right = PatchParams::apply("right");
    let conflict = maps.patch("applied", &right, &data(json!({"x": "2"}))).await;
    let Err(kube::Error::Api(status)) = &conflict else { anyhow::bail!("no conflict: {conflict:?}") };
    let causes = &status.details.as_ref().context("details")?.causes;
    ensure!(status.code == 409 && causes[0].field == ".data.x" && causes[0].message == r#"conflict with "left""#);
    maps.patch("applied", &right.force(), &data(json!({"x": "2"}))).await?;
    let shrunk = maps.patch("applied", &left, &data(json!({}))).await?.data.unwrap_or_default();
    ensure!(shrunk.len() == 1 && shrunk["x"] == "2", "what left no longer says is gone: {shrunk:?}");
    maps.delete("applied", &DeleteParams::default()).await?;
    Ok(())
}

/// The first watch asks for a past that the server has forgotten: the watcher lists again and goes on.
async fn late(client: Client, config: kube::Config, old: &str) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let mut events = Box::pin(maps.watch(&WatchParams::default(), old).await?);
    let first = events.try_next().await?;
    ensure!(matches!(&first, Some(WatchEvent::Error(status)) if status.code == 410), "{first:?}");

    let (asked, old) = (Arc::new(AtomicBool::new(false)), old.to_owned());
    let first = Arc::clone(&asked);
    let age = MapRequestLayer::new(move |mut request: http::Request<Body>| {
        let uri = request.uri().to_string();
        if let Some((head, tail)) = uri.split_once("resourceVersion=")
            && uri.contains("watch=true")
            && !first.swap(true, Ordering::SeqCst)
        {
            let rest = tail.find('&').map_or("", |end| &tail[end..]);
            *request.uri_mut() = format!("{head}resourceVersion={old}{rest}").parse().expect("a query");
        }
        request
    });
    let client = ClientBuilder::try_from(config)?.with_layer(&age).build();
    let aged: Api<ConfigMap> = Api::default_namespaced(client);
    let mut seen = Box::pin(watcher(aged, watcher::Config::default()).default_backoff());
    let (mut lists, mut refused) = (0, 0);
    while lists < 2 {
        match seen.next().await.context("the watcher goes on")? {
            Ok(watcher::Event::InitDone) => lists += 1,
            Ok(_) => {}
            Err(_) => refused += 1,
        }
    }
    ensure!(refused == 1 && asked.load(Ordering::SeqCst), "it was told once");
    maps.create(&PostParams::default(), &map("after", "410")).await?;
    loop {
        if let watcher::Event::Apply(object) = seen.next().await.context("the watcher goes on")??
            && object.name_any() == "after"
        {
            break;
        }
    }
    maps.delete("after", &DeleteParams::default()).await?;
    Ok(())
}

/// A controller that copies one field to another, as people write them.
async fn controlling(client: Client) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let reconcile = |map: Arc<ConfigMap>, maps: Arc<Api<ConfigMap>>| async move {
        let patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"copy": text(&map)}});
        maps.patch(&map.name_any(), &PatchParams::apply("copier"), &Patch::Apply(patch)).await?;
        Ok::<_, kube::Error>(Action::await_change())
    };
    let again = |_: Arc<ConfigMap>, _: &kube::Error, _: Arc<Api<ConfigMap>>| {
        Action::requeue(std::time::Duration::from_millis(100))
    };
    let copied = |wanted: &'static str| {
        move |map: Option<&ConfigMap>| {
            map.and_then(|map| map.data.as_ref()?.get("copy")).is_some_and(|copy| copy == wanted)
        }
    };
    let steps = async {
        maps.create(&PostParams::default(), &map("copied", "one")).await?;
        wait::await_condition(maps.clone(), "copied", copied("one")).await?;
        let two = Patch::Merge(json!({"data": {"text": "two"}}));
        maps.patch("copied", &PatchParams::default(), &two).await?;
        wait::await_condition(maps.clone(), "copied", copied("two")).await?;
        anyhow::Ok(())
    };
    let config = watcher::Config::default().labels("part=tour");
    let controller = Controller::new(maps.clone(), config).run(reconcile, again, Arc::new(maps.clone()));
    let controller = controller.for_each(|_| std::future::ready(()));
    tokio::select! {
        done = steps => done?,
        () = controller => anyhow::bail!("the controller ended"),
    }
    maps.delete("copied", &DeleteParams::default()).await?;
    Ok(())
}

async fn defining(client: Client) -> anyhow::Result<()> {
    let text = include_str!("../../clients/boats.json").replace("GROUP", GROUP);
    let (name, definition) = (format!("boats.{GROUP}"), serde_json::from_str::<CustomResourceDefinition>(&text)?);
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &definition).await?;
    wait::await_condition(definitions.clone(), &name, wait::conditions::is_crd_established()).await?;
    let (resource, _) = discovery::pinned_kind(&client, &GroupVersionKind::gvk(GROUP, "v1", "Boat")).await?;
    ensure!(resource.plural == "boats");
    let boats: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
    let boat = |name: &str, spec| DynamicObject::new(name, &resource).data(json!({ "spec": spec }));
    let made = boats.create(&PostParams::default(), &boat("snekke", json!({"length": 17, "paint": "red"}))).await?;
    ensure!(made.data["spec"] == json!({"length": 17, "crew": 6}), "defaulted and pruned: {}", made.data);
    let wrong = boats.create(&PostParams::default(), &boat("b", json!({"length": 70}))).await;
    let told = "spec.length: Invalid value: 70: spec.length in body should be less than or equal to 60";
    ensure!(
        matches!(&wrong, Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains(told)),
        "{wrong:?}"
    );
    let status = Patch::Merge(json!({"status": {"port": "Bergen"}}));
    let moved = boats.patch_status("snekke", &PatchParams::default(), &status).await?;
    ensure!(moved.data["status"]["port"] == "Bergen");
    let scale =
        boats.patch_scale("snekke", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 3}}))).await?;
    ensure!(scale.spec.and_then(|spec| spec.replicas) == Some(3));
    let cargo = |tons| Patch::Apply(boat("knarr", json!({"length": 20, "cargo": [{"name": "wool", "tons": tons}]})));
    let applied = boats.patch("knarr", &PatchParams::apply("merchant"), &cargo(3)).await?;
    ensure!(applied.data["spec"]["cargo"][0]["tons"] == 3);
    let conflict = boats.patch("knarr", &PatchParams::apply("thief"), &cargo(0)).await;
    let Err(kube::Error::Api(status)) = &conflict else { anyhow::bail!("no conflict: {conflict:?}") };
    let causes = &status.details.as_ref().context("details")?.causes;
    ensure!(causes[0].field == r#".spec.cargo[name="wool"].tons"#, "{causes:?}");

    let mut seen = Box::pin(watcher(boats.clone(), watcher::Config::default()).touched_objects());
    let mut names =
        [seen.try_next().await?.context("one")?.name_any(), seen.try_next().await?.context("two")?.name_any()];
    names.sort();
    ensure!(names == ["knarr", "snekke"]);
    boats.delete("snekke", &DeleteParams::default()).await?;
    ensure!(seen.try_next().await?.context("its end")?.name_any() == "snekke");
    definitions.delete(&name, &DeleteParams::default()).await?;
    wait::await_condition(definitions, &name, |definition: Option<&CustomResourceDefinition>| definition.is_none())
        .await?;
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
            "command": ["sh", "-c", "echo one; until [ -e /go ]; do sleep 0.1; done; echo two; exec httpd -f -p 8080 -h /etc"],
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
    stdin.write_all(b"through").await?;
    stdin.shutdown().await?;
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
    forwarding(&pods).await.context("port-forward")?;
    pods.delete("talker", &DeleteParams::default()).await?;
    wait::await_condition(pods, "talker", wait::conditions::is_deleted(&made.uid().context("a uid")?)).await?;
    Ok(())
}

async fn forwarding(pods: &Api<Pod>) -> anyhow::Result<()> {
    let mut forwarder = pods.portforward("talker", &[8080]).await?;
    let mut stream = forwarder.take_stream(8080).context("a stream")?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("talker"), "{answer}");
    drop(stream);
    forwarder.abort();
    Ok(())
}
