//! What a request costs, printed and not judged: machines differ.

use std::{sync::Arc, time::Instant};

use serde_json::json;

use crate::support::{MAPS, config_map, server, server_on};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cost_of_reads_and_writes_is_printed() {
    let server = server().await;
    let mut map = config_map("one");
    map["data"]["a"] = json!("x".repeat(1000));
    server.post(MAPS, map.clone()).await.expect(201);
    let rounds = 2000_u32;
    let started = Instant::now();
    for _ in 0..rounds {
        server.get(&format!("{MAPS}/one")).await.expect(200);
    }
    println!("GET in process: {:?}", started.elapsed() / rounds);

    let dir = tempfile::tempdir().expect("a directory");
    let store = store::open(&dir.path().join("store"), store::Options::new(api::stamp)).expect("a store");
    let durable = server_on(Arc::new(store)).await;
    let rounds = 200_u32;
    let started = Instant::now();
    for index in 0..rounds {
        map["metadata"]["name"] = json!(format!("m{index}"));
        durable.post(MAPS, map.clone()).await.expect(201);
    }
    println!("durable create in process, one after the other: {:?}", started.elapsed() / rounds);
    let started = Instant::now();
    let (durable, map) = (&durable, &map);
    let all = (0..rounds).map(|index| async move {
        let mut map = map.clone();
        map["metadata"]["name"] = json!(format!("c{index}"));
        durable.post(MAPS, map).await.expect(201);
    });
    futures::future::join_all(all).await;
    println!("durable create in process, {rounds} at once: {:?} each", started.elapsed() / rounds);
    let started = Instant::now();
    let list = durable.get(MAPS).await.expect(200);
    println!("list of {} objects, {} bytes: {:?}", rounds * 2, list.text.len(), started.elapsed());
}

/// Pages of this process in memory, in KiB.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cost_of_a_thousand_definitions_is_printed() {
    const COUNT: u64 = 1000;
    let server = server().await;
    let definition = |index: u64| {
        let mut definition = crate::custom::crontabs();
        let (group, plural) = (format!("g{}.example.com", index % 20), format!("kinds{index}"));
        definition["metadata"]["name"] = json!(format!("{plural}.{group}"));
        definition["spec"]["group"] = json!(group);
        definition["spec"]["names"] = json!({ "plural": plural, "kind": format!("Kind{index}") });
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = json!("prose ".repeat(500));
        definition
    };
    crate::custom::define(&server, definition(COUNT)).await;
    server.get("/apis").await.expect(200);
    let (before, started) = (resident(), Instant::now());
    let (mut slowest, mut half) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    for index in 0..COUNT {
        let one = Instant::now();
        server.post(crate::custom::CRDS, definition(index)).await.expect(201);
        slowest = slowest.max(one.elapsed());
        if index == COUNT / 2 {
            half = started.elapsed();
        }
    }
    let last = format!("kinds{}.g{}.example.com", COUNT - 1, (COUNT - 1) % 20);
    crate::custom::wait_for(&server, &last, "Established", "True").await;
    let took = started.elapsed();
    let core = server.api.core();
    let records = core
        .store
        .range(store::Range { prefix: "/apiextensions.k8s.io/customresourcedefinitions/", ..Default::default() })
        .expect("a page")
        .records;
    let text: usize = records.iter().map(|record| record.value.len()).sum();
    drop(records);
    // history is forgotten as a running server does, so that only what is current stays
    core.store.compact(core.store.revision()).await.expect("compacted");
    let grown = resident().saturating_sub(before);
    println!(
        "{COUNT} definitions of {} bytes: {took:?} ({half:?} for the first half, slowest {slowest:?}), \
         {grown} KiB for {} KiB of text: {} bytes each beyond it",
        text as u64 / COUNT,
        text / 1024,
        (grown * 1024).saturating_sub(text as u64) / COUNT,
    );
    let started = Instant::now();
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let bytes = server.call("GET /apis", &accept, "").await.expect(200).text.len();
    println!("discovery of them: {bytes} bytes in {:?}", started.elapsed());
    let started = Instant::now();
    let bytes = server.get("/openapi/v3/apis/g7.example.com/v1").await.expect(200).text.len();
    println!("OpenAPI of a group of fifty: {bytes} bytes in {:?}", started.elapsed());
    let started = Instant::now();
    let path = "/apis/g7.example.com/v1/namespaces/default/kinds7";
    server.post(path, json!({"apiVersion": "g7.example.com/v1", "kind": "Kind7", "metadata": {"name": "a"}, "spec": {"cronSpec": "* * * * *"}})).await.expect(201);
    println!("first object of one: {:?}", started.elapsed());
}
