use super::*;

fn front(annotations: &[(&str, &str)], tls: &[(&str, &[&str])]) -> Front {
    let mut front = Front {
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "Ingress".to_owned(),
        name: "web".to_owned(),
        namespace: "default".to_owned(),
        uid: "u".to_owned(),
        annotations: annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Front::default()
    };
    let tls: Vec<(String, Vec<String>)> = tls
        .iter()
        .map(|(secret, hosts)| ((*secret).to_owned(), hosts.iter().map(ToString::to_string).collect()))
        .collect();
    ingress_wants(&mut front, &tls);
    front
}

fn defaults() -> Defaults {
    Defaults { own_issuer: "knarr-ca".to_owned() }
}

/// What there is after the actions were carried out.
fn apply(existing: &[Arc<Certificate>], actions: &[Action]) -> Vec<Arc<Certificate>> {
    let mut all: Vec<Certificate> = existing.iter().map(|one| (**one).clone()).collect();
    for action in actions {
        match action {
            Action::Create(document) => all.push(serde_json::from_value(document.clone()).unwrap()),
            Action::Delete(name) => all.retain(|one| one.metadata.name.as_ref() != Some(name)),
            Action::Update(name, patch) => {
                let one = all.iter_mut().find(|one| one.metadata.name.as_ref() == Some(name)).unwrap();
                let mut spec = serde_json::to_value(&one.spec).unwrap();
                merge(&mut spec, &patch["spec"]);
                one.spec = serde_json::from_value(spec).unwrap();
                if let Some(labels) = patch["metadata"]["labels"].as_object() {
                    let kept =
                        labels.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
                    one.metadata.labels = Some(kept.collect());
                }
            }
        }
    }
    all.into_iter().map(Arc::new).collect()
}

fn merge(target: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().unwrap() {
        match (target.get_mut(name), value) {
            (_, Value::Null) => drop(target.as_object_mut().unwrap().remove(name)),
            (Some(known @ Value::Object(_)), Value::Object(_)) => merge(known, value),
            _ => target[name] = value.clone(),
        }
    }
}

/// Plans, carries out, and holds that nothing is left to do.
fn settle(front: &Front, existing: &[Arc<Certificate>]) -> (Vec<Arc<Certificate>>, Vec<Note>) {
    let (actions, notes) = plan(front, existing, &defaults());
    let after = apply(existing, &actions);
    assert_eq!(plan(front, &after, &defaults()).0, [], "planning again yields nothing");
    (after, notes)
}

const OURS: &[(&str, &str)] = &[("cert-manager.io/cluster-issuer", "knarr-ca")];

#[test]
fn an_ingress_gets_a_certificate_for_each_secret_and_loses_what_it_no_longer_wants() {
    let (made, _) = settle(&front(OURS, &[("a-tls", &["a.example", "10.0.0.1"]), ("b-tls", &["b.example"])]), &[]);
    assert_eq!(made.len(), 2);
    let spec = &made[0].spec;
    assert_eq!(
        (spec.dns_names.clone(), spec.ip_addresses.clone()),
        (vec!["a.example".to_owned()], vec!["10.0.0.1".to_owned()])
    );
    assert_eq!(spec.private_key.as_ref().unwrap().algorithm, "ECDSA", "keys of our own authority are quick");
    let (fewer, notes) = settle(&front(OURS, &[("a-tls", &["a.example", "c.example"])]), &made);
    assert_eq!((fewer.len(), fewer[0].spec.dns_names.len(), fewer[0].spec.ip_addresses.len()), (1, 2, 0));
    assert!(notes.iter().any(|note| note.reason == "DeleteCertificate"));
    let (same, _) = settle(&front(&[], &[]), &fewer);
    assert_eq!(same.len(), 1, "without the annotation it is left alone");
}

#[test]
fn annotations_are_read_and_what_is_gone_from_them_goes() {
    let all = [
        ("cert-manager.io/issuer", "letters"),
        ("cert-manager.io/common-name", "a.example"),
        ("cert-manager.io/duration", "48h"),
        ("cert-manager.io/renew-before", "8h"),
        ("cert-manager.io/usages", "server auth, client auth"),
        ("cert-manager.io/private-key-algorithm", "ECDSA"),
        ("cert-manager.io/private-key-size", "384"),
        ("cert-manager.io/private-key-rotation-policy", "Never"),
        ("cert-manager.io/subject-organizations", "a,b"),
        ("cert-manager.io/revision-history-limit", "3"),
    ];
    let (made, _) = settle(&front(&all, &[("a", &["a.example"])]), &[]);
    let expected = json!({
        "secretName": "a", "issuerRef": { "name": "letters", "kind": "Issuer", "group": "cert-manager.io" },
        "commonName": "a.example", "dnsNames": ["a.example"], "duration": "48h", "renewBefore": "8h",
        "usages": ["server auth", "client auth"], "subject": { "organizations": ["a", "b"] }, "revisionHistoryLimit": 3,
        "privateKey": { "algorithm": "ECDSA", "size": 384, "rotationPolicy": "Never" },
    });
    assert_eq!(serde_json::to_value(&made[0].spec).unwrap(), expected);
    let (bare, _) = settle(&front(&all[..1], &[("a", &["a.example"])]), &made);
    assert_eq!((bare[0].spec.private_key.clone(), bare[0].spec.duration.clone()), (None, None));
}

#[test]
fn what_is_wrong_is_told_and_certificates_of_others_are_left_alone() {
    let told = |annotations: &[(&str, &str)], tls: &[(&str, &[&str])], existing: &[Arc<Certificate>]| {
        let (actions, notes) = plan(&front(annotations, tls), existing, &defaults());
        (
            actions.len(),
            notes.iter().map(|note| format!("{}: {}", note.reason, note.message)).collect::<Vec<_>>().join("\n"),
        )
    };
    let one: &[(&str, &[&str])] = &[("a", &["a.example"])];
    let both = [OURS[0], ("cert-manager.io/issuer", "x")];
    for (annotations, tls, words) in [
        (&both[..], one, "remove one"),
        (
            &[OURS[0], ("cert-manager.io/duration", "1d")][..],
            one,
            "failed to parse annotation cert-manager.io/duration",
        ),
        (&[OURS[0], ("cert-manager.io/private-key-size", "x")][..], one, "private-key-size"),
        (&[OURS[0], ("cert-manager.io/usages", "flying")][..], one, "unknown usage"),
        (OURS, &[("a", &[][..])][..], "spec.tls[0].hosts: Required value"),
        (OURS, &[("", &["a.example"][..])][..], "spec.tls[0].secretName: Required value"),
    ] {
        let (count, text) = told(annotations, tls, &[]);
        assert!(count == 0 && text.contains(words), "{text}");
    }
    let mut foreign = Certificate::default();
    foreign.metadata.name = Some("a".to_owned());
    let (count, text) = told(OURS, one, &[Arc::new(foreign)]);
    assert!(count == 0 && text.contains("not owned by this Ingress"), "{text}");
    assert_eq!(told(&[("kubernetes.io/tls-acme", "true")], one, &[]).0, 1);
    assert_eq!(told(&[], one, &[]).0, 0);
}

#[test]
fn the_listeners_of_a_gateway_want_certificates_for_their_hosts() {
    let mut gateway = Front { kind: "Gateway".to_owned(), ..front(OURS, &[]) };
    let listener = |host: &str, mode: &str, secret: Value| json!({ "protocol": "HTTPS", "hostname": host, "tls": { "mode": mode, "certificateRefs": [secret] } });
    let spec = json!({ "listeners": [
        listener("a.example", "Terminate", json!({ "name": "x" })), listener("b.example", "Terminate", json!({ "name": "x" })),
        listener("c.example", "Passthrough", json!({ "name": "y" })), listener("", "Terminate", json!({ "name": "y" })),
        listener("d.example", "Terminate", json!({ "name": "z", "namespace": "other" })), { "protocol": "HTTP", "hostname": "e.example" },
    ] });
    gateway_wants(&mut gateway, &spec);
    assert_eq!(gateway.wants, [("x".to_owned(), vec!["a.example".to_owned(), "b.example".to_owned()])]);
    assert_eq!(gateway.faults.len(), 3, "{:?}", gateway.faults);
    let (made, _) = settle(&gateway, &[]);
    assert_eq!(made[0].metadata.owner_references.as_ref().unwrap()[0].kind, "Gateway");
}
