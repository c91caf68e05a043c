//! Which hosts a route serves at a listener: those that both name.
//!
//! Of the specification of `HTTPRoute.spec.hostnames`: a wildcard stands for one or more labels and does not match its own
//! parent; where one name covers the other the narrower one counts. Names are compared in lower case.

/// The hosts that a listener for `listener` (any when none) and a route for `route` (any when empty) have in common; none
/// when there is none. An empty list means any host.
pub(crate) fn intersection(listener: Option<&str>, route: &[String]) -> Option<Vec<String>> {
    let listener = listener.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase);
    let Some(listener) = listener else {
        return Some(route.iter().map(|name| name.to_ascii_lowercase()).collect());
    };
    if route.is_empty() {
        return Some(vec![listener]);
    }
    let common: Vec<String> = route.iter().filter_map(|name| narrower(&listener, &name.to_ascii_lowercase())).collect();
    (!common.is_empty()).then_some(common)
}

/// True when the host or wildcard `name` has hosts in common with `other`.
pub(crate) fn overlap(name: Option<&str>, other: Option<&str>) -> bool {
    match (name.filter(|name| !name.is_empty()), other.filter(|name| !name.is_empty())) {
        (Some(name), Some(other)) => narrower(&name.to_ascii_lowercase(), &other.to_ascii_lowercase()).is_some(),
        _ => true,
    }
}

fn narrower(one: &str, other: &str) -> Option<String> {
    if one == other || covers(one, other) {
        return Some(other.to_owned());
    }
    covers(other, one).then(|| one.to_owned())
}

/// True when `wide` is a wildcard for everything that `narrow` is for.
fn covers(wide: &str, narrow: &str) -> bool {
    let Some(parent) = wide.strip_prefix('*') else { return false };
    let narrow = narrow.strip_prefix('*').unwrap_or(narrow);
    narrow.len() > parent.len() && narrow.ends_with(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_serves_the_hosts_that_listener_and_route_have_in_common() {
        for (listener, route, expected) in [
            ("", "", Some("")),
            ("", "a.example", Some("a.example")),
            ("A.example", "", Some("a.example")),
            ("a.example", "a.Example", Some("a.example")),
            ("a.example", "b.example", None),
            ("a.example", "*.example", Some("a.example")),
            ("*.example", "a.example b.other", Some("a.example")),
            ("*.example", "a.b.example", Some("a.b.example")),
            ("*.example", "example", None),
            ("*.example", "*.example", Some("*.example")),
            ("*.example", "*.b.example", Some("*.b.example")),
            ("*.b.example", "*.example", Some("*.b.example")),
            ("*.b.example", "*.c.example", None),
            ("*.example", "badexample", None),
        ] {
            let route: Vec<String> = route.split_whitespace().map(str::to_owned).collect();
            let found = intersection(Some(listener), &route).map(|names| names.join(" "));
            assert_eq!(found.as_deref(), expected, "{listener:?} {route:?}");
        }
    }
}
