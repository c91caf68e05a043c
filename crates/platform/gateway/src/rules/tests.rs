use super::*;

fn rule(name: &str, action: Action) -> Rule {
    Rule {
        name: name.into(),
        action,
        mode: Mode::Enforce,
        methods: Vec::new(),
        paths: Vec::new(),
        clients: None,
        clients_outside: None,
        agents: Vec::new(),
    }
}

const FORBIDDEN: Action = Action::Deny(StatusCode::FORBIDDEN);

/// What is found wrong, as `status name`, with a question mark when it is only told.
fn judged(rules: &Rules, method: &Method, path: &str, headers: &[(&'static str, &str)], client: &str) -> Vec<String> {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
    let facts = Facts { method, path, target_bytes: path.len(), headers: &headers, client: client.parse().ok() };
    let told = |finding: Finding| {
        format!("{} {}{}", finding.status.as_u16(), finding.rule, if finding.enforced { "" } else { "?" })
    };
    rules.judge(&facts).into_iter().map(told).collect()
}

#[test]
fn the_first_rule_that_matches_decides() {
    let office = Arc::new(Nets::parse("192.0.2.0/24").unwrap());
    let rules = Rules {
        rules: vec![
            Rule { clients: Some(Arc::clone(&office)), ..rule("office", Action::Allow) },
            Rule { paths: vec![PathRule::Prefix("/admin".to_owned())], ..rule("admin", FORBIDDEN) },
            Rule {
                methods: vec![Method::TRACE, Method::CONNECT],
                ..rule("methods", Action::Deny(StatusCode::METHOD_NOT_ALLOWED))
            },
            Rule { agents: vec![Regex::new("(?i)badbot").unwrap()], mode: Mode::Report, ..rule("bots", FORBIDDEN) },
            Rule { paths: vec![PathRule::Regex(Regex::new(r"/.*\.php").unwrap())], ..rule("php", FORBIDDEN) },
            Rule {
                paths: vec![PathRule::Exact("/login".to_owned())],
                clients_outside: Some(office),
                ..rule("login", FORBIDDEN)
            },
        ],
        ..Rules::default()
    };
    let (inside, outside) = ("192.0.2.7", "198.51.100.1");
    let agent = [("user-agent", "BadBot/1.0")];
    type Row<'a> = (&'a Method, &'a str, &'a [(&'static str, &'a str)], &'a str, &'a [&'a str]);
    let table: [Row<'_>; 14] = [
        (&Method::GET, "/", &[], outside, &[]),
        (&Method::GET, "/admin/users", &[], outside, &["403 admin"]),
        (&Method::GET, "/admin", &[], outside, &["403 admin"]),
        (&Method::GET, "/administer", &[], outside, &[]),
        (&Method::GET, "/admin%2Fusers", &[], outside, &["403 admin"]),
        (&Method::GET, "//admin//users", &[], outside, &["403 admin"]),
        (&Method::GET, "/admin/users", &[], inside, &[]),
        (&Method::TRACE, "/", &[], outside, &["405 methods"]),
        (&Method::GET, "/", &agent, outside, &["403 bots?"]),
        (&Method::GET, "/a.php", &agent, outside, &["403 bots?", "403 php"]),
        (&Method::GET, "/a.php5", &[], outside, &[]),
        (&Method::GET, "/login", &[], outside, &["403 login"]),
        (&Method::GET, "/login", &[], "", &["403 login"]),
        (&Method::GET, "/login", &[], inside, &[]),
    ];
    for (method, path, headers, client, expected) in table {
        assert_eq!(judged(&rules, method, path, headers, client), expected, "{method} {path} {headers:?} {client}");
    }
}

#[test]
fn sizes_are_bounded_and_may_be_told_only() {
    let bounds = Bounds { headers: Some(2), header_bytes: Some(30), target_bytes: Some(10), body_bytes: Some(100) };
    let rules = Rules { bounds, ..Rules::default() };
    let check = |path: &str, headers: &[(&'static str, &str)]| judged(&rules, &Method::POST, path, headers, "");
    assert_eq!(check("/", &[("content-length", "100")]), [""; 0]);
    assert_eq!(check("/", &[("content-length", "101")]), ["413 body_bytes"]);
    assert_eq!(check("/0123456789", &[]), ["414 target_bytes"]);
    assert_eq!(check("/", &[("a", ""), ("b", ""), ("c", "")]), ["431 headers"]);
    assert_eq!(check("/", &[("a", "0123456789012345678901234567890")]), ["431 header_bytes"]);
    assert_eq!(rules.body_limit(), Some(100));
    let told = Rules { mode: Mode::Report, ..rules };
    assert_eq!(
        judged(&told, &Method::POST, "/0123456789", &[("content-length", "101")], ""),
        ["414 target_bytes?", "413 body_bytes?"]
    );
    assert_eq!(told.body_limit(), None);
}
