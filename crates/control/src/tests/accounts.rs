//! Tokens: of service accounts, in Secrets, and of machines that are to join.

use super::*;

fn token_secret(name: &str, account: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "shop",
        "annotations": { "kubernetes.io/service-account.name": account } }, "type": "kubernetes.io/service-account-token" })
}

fn data(fake: &Fake, plural: &str, name: &str) -> Value {
    let all = fake.list(plural);
    all.iter().find(|one| one["metadata"]["name"] == json!(name)).map(|one| one["data"].clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_gets_its_token_and_goes_with_its_account() {
    let (fake, _ctx) = cluster();
    let account = fake.edit(|objects| {
        objects.create_object("serviceaccounts", json!({ "metadata": { "name": "web", "namespace": "shop" } }))
    });
    fake.edit(|objects| {
        objects.create_object("secrets", token_secret("t", "web"));
        objects.create_object("secrets", token_secret("second", "web"));
    });
    // base64 of "web in t of ", then the uid
    let filled = |fake: &Fake, name: &str| data(fake, "secrets", name)["token"].is_string();
    fake.until("both are filled", |fake| filled(fake, "t") && filled(fake, "second")).await;
    let held = data(&fake, "secrets", "t");
    let expected = format!("web in t of {}", account["metadata"]["uid"].as_str().expect("a uid"));
    let decoded: k8s_openapi::ByteString = serde_json::from_value(held["token"].clone()).expect("base64");
    assert_eq!(String::from_utf8(decoded.0).expect("text"), expected);
    assert_eq!((&held["ca.crt"], &held["namespace"]), (&json!("UEVN"), &json!("c2hvcA==")));
    // a Secret that goes is taken off the list of its account
    fake.edit(|objects| {
        objects.change("serviceaccounts", "shop", "web", |one| {
            one["secrets"] = json!([{ "name": "second" }, { "name": "mine" }]);
        });
        objects.remove("secrets", "shop", "second");
    });
    fake.until("it is off the list", |fake| {
        fake.list("serviceaccounts").iter().any(|one| one["secrets"] == json!([{ "name": "mine" }]))
    })
    .await;
    // another account of that name is another account
    fake.edit(|objects| {
        objects.remove("serviceaccounts", "shop", "web");
        objects.create_object("serviceaccounts", json!({ "metadata": { "name": "web", "namespace": "shop" } }));
    });
    fake.until("its token is gone", |fake| fake.list("secrets").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_no_account_is_removed_and_one_of_another_type_stays() {
    let (fake, _ctx) = cluster();
    fake.edit(|objects| {
        let mut other = token_secret("other", "nobody");
        other["type"] = json!("Opaque");
        objects.create_object("secrets", other);
        objects.create_object("secrets", token_secret("t", "nobody"));
    });
    fake.until("it is gone", |fake| fake.list("secrets").len() == 1).await;
    assert_eq!(fake.list("secrets")[0]["metadata"]["name"], json!("other"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_signed_for_by_its_bootstrap_tokens_until_they_end() {
    let (fake, _ctx) = cluster();
    let token = |end: &str| {
        let encoded = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        json!({ "metadata": { "name": "bootstrap-token-abcdef", "namespace": "kube-system" }, "data": {
            "token-id": encoded("abcdef"), "token-secret": encoded("0123456789abcdef"),
            "usage-bootstrap-signing": encoded("true"), "expiration": encoded(end),
        }, "type": "bootstrap.kubernetes.io/token" })
    };
    fake.edit(|objects| {
        let info = json!({ "metadata": { "name": "cluster-info", "namespace": "kube-public" }, "data": { "kubeconfig": "c" } });
        objects.create_object("configmaps", info);
        objects.create_object("secrets", token("2999-01-01T00:00:00Z"));
    });
    let signed = |fake: &Fake| data(fake, "configmaps", "cluster-info")["jws-kubeconfig-abcdef"].is_string();
    fake.until("signed", signed).await;
    fake.edit(|objects| {
        objects.change("secrets", "kube-system", "bootstrap-token-abcdef", |secret| {
            secret["data"]["expiration"] = token("2020-01-01T00:00:00Z")["data"]["expiration"].clone();
        });
    });
    fake.until("the token is gone, and its signature", |fake| fake.list("secrets").is_empty() && !signed(fake)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_nobody_used_for_years_is_marked() {
    let (fake, ctx) = cluster();
    fake.edit(|objects| {
        let since = json!({ "metadata": { "name": "kube-apiserver-legacy-service-account-token-tracking",
            "namespace": "kube-system" }, "data": { "since": "2020-01-01" } });
        objects.create_object("configmaps", since);
        let account = json!({ "metadata": { "name": "web", "namespace": "shop" }, "secrets": [{ "name": "old" }] });
        objects.create_object("serviceaccounts", account);
        for name in ["old", "kept"] {
            objects.create_object("secrets", token_secret(name, "web"));
            objects.change("secrets", "shop", name, |secret| {
                secret["metadata"]["creationTimestamp"] = json!("2021-01-01T00:00:00Z");
            });
        }
    });
    let clients = fake.clone();
    let config = config_for(Arc::new(move |_: &str| clients.client()));
    // the one of the cluster looks once a day, and has looked
    let only = CONTROLLERS.iter().filter(|one| one.name == "legacy-service-account-token-cleaner");
    ctx.children.try_spawn("cleaner", run_some(only, config, ctx.clone()));
    let marked = |fake: &Fake| -> Vec<String> {
        let secrets = fake.list("secrets").into_iter();
        let marked =
            secrets.filter(|one| one["metadata"]["labels"]["kubernetes.io/legacy-token-invalid-since"].is_string());
        marked.map(|one| one["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    fake.until("the listed one is marked, the other was made on purpose", |fake| marked(fake) == ["old"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_hear_how_long_they_may_believe_what_they_know() {
    let (fake, _ctx) = cluster();
    fake.until("the node is told", |fake| {
        fake.list("nodes")[0]["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"] == json!("0")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_told_of_once_for_each_generation() {
    let (fake, _ctx) = cluster();
    fake.edit(|objects| {
        let policy = json!({ "metadata": { "name": "p" }, "spec": { "validations": [{ "expression": "true" }] } });
        objects.create_object("validatingadmissionpolicies", policy);
    });
    let observed = |fake: &Fake| fake.list("validatingadmissionpolicies")[0]["status"]["observedGeneration"].as_u64();
    fake.until("told of the first", |fake| observed(fake) == Some(1)).await;
    fake.edit(|objects| {
        objects.change("validatingadmissionpolicies", "", "p", |policy| {
            policy["spec"]["validations"][0]["expression"] = json!("false");
        });
    });
    fake.until("told of the second", |fake| observed(fake) == Some(2)).await;
}
