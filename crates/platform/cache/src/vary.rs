//! Which stored response of several fits a request: `Vary` (RFC 9111 section 4.1).

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, GetAll, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_cache::VarianceBuilder;
use pingora_cache::key::HashBinary;

/// A response that varies with more fields than that is not stored.
const MOST: usize = 32;

/// False for `Vary: *`, what is no list of fields, and what varies with too many.
pub(crate) fn can_be_told_apart(lines: GetAll<'_, HeaderValue>) -> bool {
    let mut count = 0;
    for name in names(lines) {
        count += 1;
        if name.is_none() || count > MOST {
            return false;
        }
    }
    true
}

/// What of the request selects the response with these fields; nothing when it does not vary.
pub(crate) fn variance(response: &HeaderMap, request: &HeaderMap) -> Option<HashBinary> {
    if !response.contains_key(VARY) {
        return None;
    }
    let mut builder = VarianceBuilder::new();
    for name in names(response.get_all(VARY)).flatten() {
        let value = value(&name, request.get_all(&name));
        builder.add_owned_name_value(name.as_str().to_owned(), value);
    }
    builder.finalize()
}

/// The names of a `Vary`; nothing in place of what is none.
fn names(lines: GetAll<'_, HeaderValue>) -> impl Iterator<Item = Option<HeaderName>> {
    lines.into_iter().flat_map(|line| {
        let members = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        members.filter(|name| !name.is_empty()).map(|name| HeaderName::from_bytes(name).ok().filter(|name| name != "*"))
    })
}

/// A field as it counts: its lines joined, without the spaces that mean nothing. Absent and empty are not the same.
fn value(name: &HeaderName, lines: GetAll<'_, HeaderValue>) -> Vec<u8> {
    let mut members: Vec<Vec<u8>> = Vec::new();
    let mut there = false;
    let is_set = *name == ACCEPT_ENCODING || *name == ACCEPT_LANGUAGE;
    for line in lines {
        there = true;
        for member in line.as_bytes().split(|byte| *byte == b',') {
            let member = member.trim_ascii();
            members.push(if is_set {
                member.iter().filter(|byte| !byte.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect()
            } else {
                member.to_vec()
            });
        }
    }
    if is_set {
        // The order of equal weights means nothing, of languages a little: a preference nobody must honour.
        members.retain(|member| !member.is_empty());
        if *name == ACCEPT_ENCODING {
            members.sort_unstable();
        }
    }
    let mut value = vec![u8::from(there)];
    value.extend_from_slice(&members.join(&b','));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn same(vary: &'static str, one: &[(&'static str, &'static str)], other: &[(&'static str, &'static str)]) -> bool {
        let response = map(&[("vary", vary)]);
        variance(&response, &map(one)) == variance(&response, &map(other))
    }

    #[test]
    fn requests_are_the_same_when_the_named_fields_are() {
        assert!(variance(&map(&[]), &map(&[("a", "1")])).is_none());
        assert!(same("a", &[("a", "1"), ("b", "1")], &[("a", "1"), ("b", "2")]));
        assert!(!same("A, b", &[("a", "1"), ("b", "1")], &[("a", "1"), ("b", "2")]));
        assert!(!same("a", &[], &[("a", "")]), "absent is not empty");
        assert!(same("a", &[("a", "1,2")], &[("a", "1"), ("a", " 2")]), "lines are joined");
        assert!(!same("a", &[("a", "1,2")], &[("a", "2,1")]));
        assert!(same("accept-encoding", &[("accept-encoding", "gzip, br")], &[("accept-encoding", "BR,gzip")]));
    }

    #[test]
    fn a_star_cannot_be_told_apart() {
        assert!(can_be_told_apart(map(&[("vary", "a"), ("vary", "b,")]).get_all(VARY)));
        assert!(!can_be_told_apart(map(&[("vary", "a"), ("vary", "b, *")]).get_all(VARY)));
        assert!(!can_be_told_apart(map(&[("vary", "a b")]).get_all(VARY)));
    }
}
