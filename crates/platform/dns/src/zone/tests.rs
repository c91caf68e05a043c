use super::*;

fn world() -> Zone {
    let mut zone = Zone::new("cluster.local");
    let port = |name: &str, number| (name.to_owned(), "tcp".to_owned(), number);
    let ip = |text: &str| text.parse::<IpAddr>().expect("address");
    zone.namespace("default", true);
    zone.service(
        "default",
        "web",
        Some(Service { addresses: vec![ip("10.43.0.7")], ports: vec![port("http", 80)], external: None }),
    );
    zone.service("default", "db", Some(Service::default()));
    zone.service(
        "default",
        "outside",
        Some(Service { external: Some("example.com".to_owned()), ..Service::default() }),
    );
    zone.service("default", "empty", Some(Service::default()));
    let endpoints = vec![
        Endpoint { address: ip("10.42.0.5"), hostname: Some("db-0".to_owned()) },
        Endpoint { address: ip("10.42.0.6"), hostname: None },
    ];
    zone.slice("default", "db", "db-abc", Some(Slice { ports: vec![port("sql", 5432)], endpoints }));
    zone.slice(
        "default",
        "web",
        "web-abc",
        Some(Slice {
            ports: vec![port("http", 8080)],
            endpoints: vec![Endpoint { address: ip("10.42.0.9"), hostname: None }],
        }),
    );
    zone
}

fn check(name: &str, kind: Type, expected: &str) {
    let told = match world().answer(name, kind) {
        Answer::Records { records, .. } => records
            .iter()
            .map(|record| match record {
                Data::Address(address) => address.to_string(),
                Data::Srv { port, target } => format!("{port} {target}"),
                Data::Ptr(text) | Data::Txt(text) | Data::Cname(text) => text.clone(),
            })
            .collect::<Vec<_>>()
            .join(", "),
        Answer::NoData => "no data".to_owned(),
        Answer::NoName => "no name".to_owned(),
        Answer::Elsewhere => "elsewhere".to_owned(),
    };
    assert_eq!(told, expected, "{name} {kind:?}");
}

#[test]
fn a_service_has_its_cluster_address() {
    check("web.default.svc.cluster.local", Type::A, "10.43.0.7");
    check("web.default.svc.cluster.local", Type::Aaaa, "no data");
    check("nothing.default.svc.cluster.local", Type::A, "no name");
}

#[test]
fn a_headless_service_has_the_addresses_of_its_ready_endpoints() {
    check("db.default.svc.cluster.local", Type::A, "10.42.0.5, 10.42.0.6");
    check("db-0.db.default.svc.cluster.local", Type::A, "10.42.0.5");
    check("10-42-0-6.db.default.svc.cluster.local", Type::A, "10.42.0.6");
    check("db-1.db.default.svc.cluster.local", Type::A, "no name");
    check("empty.default.svc.cluster.local", Type::A, "no name");
}

#[test]
fn ports_are_found_by_srv() {
    check("_http._tcp.web.default.svc.cluster.local", Type::Srv, "80 web.default.svc.cluster.local");
    check(
        "_sql._tcp.db.default.svc.cluster.local",
        Type::Srv,
        "5432 db-0.db.default.svc.cluster.local, 5432 10-42-0-6.db.default.svc.cluster.local",
    );
    check("_sql._udp.db.default.svc.cluster.local", Type::Srv, "no name");
    check("_http._tcp.web.default.svc.cluster.local", Type::A, "no data");
}

#[test]
fn an_external_name_is_an_alias_for_every_type() {
    check("outside.default.svc.cluster.local", Type::A, "example.com");
    check("outside.default.svc.cluster.local", Type::Cname, "example.com");
}

#[test]
fn addresses_have_names() {
    check("7.0.43.10.in-addr.arpa", Type::Ptr, "web.default.svc.cluster.local");
    check("5.0.42.10.in-addr.arpa", Type::Ptr, "db-0.db.default.svc.cluster.local");
    check("9.0.42.10.in-addr.arpa", Type::Ptr, "elsewhere");
    check("1.1.1.1.in-addr.arpa", Type::Ptr, "elsewhere");
}

#[test]
fn pods_are_named_by_their_address_in_a_namespace_that_exists() {
    check("10-42-0-9.default.pod.cluster.local", Type::A, "10.42.0.9");
    check("10-42-0-9.nowhere.pod.cluster.local", Type::A, "no name");
    check("x.default.pod.cluster.local", Type::A, "no name");
}

#[test]
fn names_between_exist_without_data_and_others_are_not_ours() {
    check("svc.cluster.local", Type::A, "no data");
    check("default.svc.cluster.local", Type::A, "no data");
    check("other.svc.cluster.local", Type::A, "no name");
    check("cluster.local", Type::A, "no data");
    check("dns-version.cluster.local", Type::Txt, "1.1.0");
    check("example.com", Type::A, "elsewhere");
    check("notcluster.local", Type::A, "elsewhere");
}

#[test]
fn what_goes_away_leaves_no_name() {
    let mut zone = world();
    zone.slice("default", "db", "db-abc", None);
    zone.service("default", "web", None);
    assert_eq!(zone.answer("db.default.svc.cluster.local", Type::A), Answer::NoName);
    assert_eq!(zone.answer("7.0.43.10.in-addr.arpa", Type::Ptr), Answer::Elsewhere);
}

#[test]
fn texts_are_answered_by_name_while_somebody_wants_them() {
    let mut zone = Zone::new("cluster.local");
    let owner = |name: &str| ("default".to_owned(), name.to_owned());
    let name = "_acme-challenge.shop.example";
    zone.text(owner("a"), name, Some("one".to_owned()));
    zone.text(owner("b"), name, Some("two".to_owned()));
    let records = vec![Data::Txt("one".to_owned()), Data::Txt("two".to_owned())];
    assert_eq!(zone.answer(name, Type::Txt), Answer::Records { records, additional: vec![] });
    assert_eq!(zone.answer(name, Type::A), Answer::NoData);
    zone.text(owner("a"), name, None);
    zone.text(owner("b"), name, None);
    assert_eq!(zone.answer(name, Type::Txt), Answer::Elsewhere);
}
