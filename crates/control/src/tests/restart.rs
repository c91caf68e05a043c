//! Controllers that are started on a large world in which everything is as it should be find nothing to do.

use std::time::Duration;

use super::storm::{REST, in_virtual_time, populate};
use super::*;

const MANY: usize = 10_000;

fn config(fake: &Fake) -> Config {
    let clients = fake.clone();
    config_for(Arc::new(move |_: &str| clients.client()))
}

/// Runs the controllers and the scheduler until nothing has been written for so long. Time is virtual and goes on only when
/// nobody has anything to do, so they are idle then.
async fn run_until_idle(fake: &Fake, rest: Duration) {
    let mut services = tasks::Services::new();
    let (config, client) = (config(fake), fake.client());
    services.start("controllers".to_owned(), |ctx| run(config, ctx));
    services.start("scheduler".to_owned(), |ctx| scheduler::run(client, scheduler::Config::default(), ctx));
    services.run(fake.rests(rest), Duration::from_secs(5)).await.expect("a clean stop");
}

fn template(app: &str, image: &str) -> Value {
    let containers = json!([{ "name": "c", "image": image }]);
    json!({ "metadata": { "labels": { "app": app } }, "spec": { "containers": containers } })
}

fn job(name: &str) -> Value {
    let labels = json!({ "app": name });
    let mut template = template(name, "v1");
    template["spec"]["restartPolicy"] = json!("Never");
    json!({ "completions": 3, "parallelism": 2, "backoffLimit": 6, "completionMode": "NonIndexed",
        "podReplacementPolicy": "TerminatingOrFailed", "selector": { "matchLabels": labels }, "template": template })
}

/// One of each thing that keeps others.
fn fill(fake: &Fake) {
    deploy(fake, 3);
    let spec = |app: &str, rest: Value| {
        let mut spec = json!({ "selector": { "matchLabels": { "app": app } }, "template": template(app, "v1") });
        spec.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        spec
    };
    let of_image = |image: &'static str| {
        move |one: &mut Value| one["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
    };
    let update = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } });
    let daily = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } });
    let rows = [
        ("poddisruptionbudgets", "web", json!({ "minAvailable": 2, "selector": { "matchLabels": { "app": "web" } } })),
        ("resourcequotas", "all", json!({ "hard": { "pods": "50", "services": "5", "persistentvolumeclaims": "9" } })),
        (
            "statefulsets",
            "db",
            spec(
                "db",
                json!({ "replicas": 2, "serviceName": "db", "updateStrategy": update,
            "volumeClaimTemplates": [{ "metadata": { "name": "data" } }] }),
            ),
        ),
        ("daemonsets", "agent", spec("agent", json!({ "updateStrategy": daily }))),
        (
            "replicationcontrollers",
            "old",
            json!({ "replicas": 2, "selector": { "app": "old" },
            "template": template("old", "v1") }),
        ),
        ("jobs", "sum", job("sum")),
        (
            "cronjobs",
            "report",
            json!({ "schedule": "5 10 * * *", "concurrencyPolicy": "Forbid",
            "jobTemplate": { "spec": job("report") }, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1 }),
        ),
    ];
    fake.edit(|objects| {
        for (plural, name, spec) in rows {
            objects.create_object(plural, json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": spec }));
        }
        for (plural, name) in [("deployments", "web"), ("statefulsets", "db"), ("daemonsets", "agent")] {
            objects.change(plural, "shop", name, of_image("v2"));
        }
    });
}

/// The same namespace again and again, until there are `MANY` objects.
fn multiply(fake: &Fake) {
    let mut whole: Vec<(String, String)> = Vec::new();
    fake.edit(|objects| {
        for (plural, object) in objects.all() {
            let inside = object["metadata"]["namespace"] == "shop" || object["spec"]["claimRef"].is_object();
            if (inside || object["metadata"]["name"] == "shop") && plural != "events" {
                whole.push((plural, object.to_string()));
            }
        }
        for copy in 0..MANY / whole.len() + 1 {
            for (plural, object) in &whole {
                let names = [
                    ("\"shop\"", format!("\"shop-{copy}\"")),
                    ("\"uid-", format!("\"uid-{copy}-")),
                    ("\"pv-", format!("\"pv-{copy}-")),
                ];
                let text = names.iter().fold(object.clone(), |text, (from, to)| text.replace(from, to));
                objects.copy_in(plural, serde_json::from_str(&text).expect("an object"));
            }
        }
    });
}

#[test]
fn on_ten_thousand_settled_objects_controllers_that_start_write_nothing() {
    in_virtual_time(async {
        let fake = Fake::new();
        let (ctx, _) = tasks::context_for_tests();
        let agents = populate(&fake, &ctx, 2);
        ctx.children.spawn("provisioner", sets::provisioner(fake.clone()));
        fill(&fake);
        run_until_idle(&fake, REST).await;
        let pods = |fake: &Fake| {
            fake.list("pods").iter().map(|pod| pod["metadata"]["labels"]["app"].clone()).fold(
                std::collections::BTreeMap::new(),
                |mut count, app| {
                    *count.entry(app.as_str().unwrap_or("").to_owned()).or_insert(0) += 1;
                    count
                },
            )
        };
        let wanted = [("agent", 2), ("db", 2), ("old", 2), ("report", 3), ("sum", 3), ("web", 3)];
        assert_eq!(pods(&fake), wanted.map(|(app, count)| (app.to_owned(), count)).into());
        agents.abort();
        multiply(&fake);
        let kept = fake.edit(|objects| (objects.all().len(), objects.writes()));
        assert!(kept.0 >= MANY, "{}", kept.0);
        for (start, rest) in [(1, REST), (2, Duration::from_secs(60)), (3, Duration::from_secs(60))] {
            run_until_idle(&fake, rest).await;
            let written = fake.edit(|objects| objects.since(kept.1));
            assert!(written.is_empty(), "start {start}: {} writes, {:#?}", written.len(), written.first());
        }
    });
}
