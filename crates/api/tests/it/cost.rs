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
