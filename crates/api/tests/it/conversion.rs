//! Conversion by a webhook: who is asked, what it may change, and what clients hear when it fails.

use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    custom::{CRDS, TABS, crontabs, define, tab},
    hooks::answering,
    support::{Server, server},
};

/// How a webhook answers one object.
type Convert = fn(&mut Value);

/// A webhook that moves `spec.image` to `spec.picture` from v1 to v2 and back, and then does what the test says.
struct Webhook {
    url: String,
    /// How many objects each question had.
    asked: Arc<Mutex<Vec<usize>>>,
    change: Arc<Mutex<Convert>>,
}

fn convert(object: &mut Value, version: &str) {
    object["apiVersion"] = version.into();
    let (from, to) = if version.ends_with("v2") { ("image", "picture") } else { ("picture", "image") };
    if let Some(held) = object["spec"].as_object_mut().and_then(|spec| spec.remove(from)) {
        object["spec"][to] = held;
    }
}

async fn webhook(server: &Server) -> Webhook {
    let asked: Arc<Mutex<Vec<usize>>> = Arc::default();
    let change: Arc<Mutex<Convert>> = Arc::new(Mutex::new(|_| {}));
    let (counts, changes) = (asked.clone(), change.clone());
    let url = answering(server, move |review| {
        let version = review["request"]["desiredAPIVersion"].as_str().expect("a version");
        let mut objects = review["request"]["objects"].as_array().cloned().expect("objects");
        counts.lock().expect("counts").push(objects.len());
        for object in &mut objects {
            convert(object, version);
            (changes.lock().expect("a change"))(object);
        }
        json!({
            "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": {
                "uid": review["request"]["uid"], "convertedObjects": objects, "result": {"status": "Success"},
            },
        })
    })
    .await;
    Webhook { url: format!("{url}/convert"), asked, change }
}

fn definition(server: &Server, url: &str) -> Value {
    let mut definition = crontabs();
    let mut second = definition["spec"]["versions"][0].clone();
    (second["name"], second["storage"]) = (json!("v2"), json!(false));
    let properties = second.pointer_mut("/schema/openAPIV3Schema/properties/spec/properties").expect("properties");
    let image = properties.as_object_mut().and_then(|held| held.remove("image")).expect("an image");
    properties["picture"] = image;
    definition["spec"]["versions"].as_array_mut().expect("versions").push(second);
    definition["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {"url": url, "caBundle": STANDARD.encode(server.cluster_ca.cert_pem())},
    }});
    definition
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_converted_by_a_webhook() {
    let server = server().await;
    let webhook = webhook(&server).await;
    define(&server, definition(&server, &webhook.url)).await;
    let second = TABS.replace("/v1/", "/v2/");
    for name in ["a", "b"] {
        let mut object = tab(name);
        object["apiVersion"] = json!("stable.example.com/v2");
        object["spec"]["picture"] = json!(name);
        let made = server.post(&second, object).await.expect(201);
        assert_eq!((made.at("/apiVersion"), made.at("/spec/picture")), ("stable.example.com/v2", name));
    }
    assert_eq!(server.get(&format!("{TABS}/a")).await.expect(200).at("/spec/image"), "a");
    webhook.asked.lock().expect("counts").clear();
    let list = server.get(&second).await.expect(200);
    assert_eq!((list.at("/items/1/spec/picture"), list.at("/items/1/apiVersion")), ("b", "stable.example.com/v2"));
    assert_eq!(*webhook.asked.lock().expect("counts"), [2], "a list is one question");
    let mut watch = server.watch(&format!("{second}?watch=true")).await;
    assert_eq!(watch.next().await.expect("an event")["object"]["spec"]["picture"], "a");
    let patched = server.merge(&format!("{second}/a"), json!({"spec": {"picture": "new"}})).await.expect(200);
    assert_eq!(patched.at("/spec/picture"), "new");
    watch.names(1).await;
    assert_eq!(watch.next().await.expect("an event")["object"]["spec"]["picture"], "new");
    let deleted = server.delete(&format!("{second}/a"), Value::Null).await.expect(200);
    assert_eq!(deleted.at("/status"), "Success");
    assert_eq!(watch.next().await.expect("an event")["object"]["apiVersion"], "stable.example.com/v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_is_blamed() {
    let server = server().await;
    let webhook = webhook(&server).await;
    define(&server, definition(&server, &webhook.url)).await;
    server.post(TABS, tab("a")).await.expect(201);
    let second = format!("{}/a", TABS.replace("/v1/", "/v2/"));
    let about = "conversion webhook for stable.example.com/v1, Kind=CronTab";
    *webhook.change.lock().expect("a change") = |object| object["metadata"]["name"] = json!("other");
    let told = server.get(&second).await.expect(500);
    let why = "invalid converted object at index 0: must have the same name: a != other";
    assert_eq!(told.at("/message"), format!("{about} returned {why}"));
    *webhook.change.lock().expect("a change") = |object| object["metadata"]["labels"] = json!({"by": "webhook"});
    assert_eq!(server.get(&second).await.expect(200).at("/metadata/labels/by"), "webhook");
    let path = format!("{CRDS}/crontabs.stable.example.com");
    let nobody = json!({"spec": {"conversion": {"webhook": {"clientConfig": {"url": "https://127.0.0.1:1/x"}}}}});
    server.merge(&path, nobody).await.expect(200);
    crate::support::eventually(async || server.get(&second).await.code == 500).await;
    let told = server.get(&second).await;
    let start = format!("{about} failed: Post \"https://127.0.0.1:1/x?timeout=30s\": dial tcp 127.0.0.1:1: connect: ");
    assert!(told.at("/message").starts_with(&start), "{}", told.text);
    server.get(&format!("{TABS}/a")).await.expect(200);
    let service = json!({"spec": {"conversion": {"webhook": {"clientConfig": {
        "url": null, "service": {"namespace": "default", "name": "hook", "path": "/convert"},
    }}}}});
    server.merge(&path, service).await.expect(200);
    let start = format!(
        "{about} failed: Post \"https://hook.default.svc:443/convert?timeout=30s\": service \"hook\" not found"
    );
    crate::support::eventually(async || server.get(&second).await.at("/message") == start).await;
}
