//! Links of what lies behind a proxy, changed so that they lead through it: redirects, and addresses in HTML.
//!
//! Invariant: only links to the same place are changed, and a byte that belongs to none is passed on as it came. Upstream
//! parses and prints the tags anew; here values are replaced where they stand.

/// Attributes that hold addresses (HTML 4 and 5).
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];
/// Elements whose content is no markup.
const RAW: &[&str] = &["script", "style", "textarea", "title"];

/// Where the links of an answer lead.
pub(super) struct Links<'a> {
    /// The names of the place itself: its address, and the host the client asked for.
    pub(super) places: [&'a str; 2],
    /// The path of the proxy, without a slash at its end.
    pub(super) base: &'a str,
}

impl Links<'_> {
    /// The link through the proxy; none if it stays as it is.
    pub(super) fn through(&self, link: &str) -> Option<String> {
        let bare = ["http://", "https://", "//"].iter().find_map(|scheme| link.strip_prefix(scheme));
        let path = match bare {
            Some(bare) => {
                let end = bare.find(['/', '?', '#']).unwrap_or(bare.len());
                let (host, path) = bare.split_at(end);
                self.places.iter().any(|place| !place.is_empty() && *place == host).then_some(path)?
            }
            None => link,
        };
        if !path.starts_with('/') {
            return None;
        }
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let (plain, rest) = path.split_at(end);
        if plain.starts_with(self.base) {
            return bare.map(|_| path.to_owned());
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in plain.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let slash = if plain.ends_with('/') { "/" } else { "" };
        let joined = if parts.is_empty() { String::new() } else { format!("/{}", parts.join("/")) };
        Some(format!("{}{joined}{slash}{rest}", self.base))
    }

    /// The page with every link through the proxy.
    pub(super) fn page(&self, html: &str) -> String {
        let mut out = String::with_capacity(html.len() + 256);
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(comment) = rest.strip_prefix("<!--") {
                let end = comment.find("-->").map_or(rest.len(), |end| 4 + end + 3);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            let name: &str = rest[1..].split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
            if name.is_empty() {
                out.push('<');
                rest = &rest[1..];
                continue;
            }
            let name = name.to_ascii_lowercase();
            out.push_str(&rest[..=name.len()]);
            rest = self.tag(&name, &rest[1 + name.len()..], &mut out);
            if RAW.contains(&name.as_str()) {
                let end = end_of_raw(rest, &name);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
        out.push_str(rest);
        out
    }

    /// Copies the attributes of a tag; what follows its end.
    fn tag<'h>(&self, name: &str, mut rest: &'h str, out: &mut String) -> &'h str {
        let known = ATTRIBUTES.iter().find(|(tag, _)| *tag == name).map_or(&[][..], |(_, attributes)| attributes);
        loop {
            let gap = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/').len();
            out.push_str(&rest[..gap]);
            rest = &rest[gap..];
            if rest.is_empty() || rest.starts_with('>') {
                return rest;
            }
            let length =
                rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/')).unwrap_or(rest.len());
            // a stray "=" begins a name, as browsers read it
            let length = length.max(rest.chars().next().map_or(1, char::len_utf8));
            let attribute = rest[..length].to_ascii_lowercase();
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            let after = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
            let Some(value) = after.strip_prefix('=') else { continue };
            let value = value.trim_start_matches(|c: char| c.is_ascii_whitespace());
            out.push_str(&rest[..rest.len() - value.len()]);
            rest = value;
            let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''));
            let (held, next) = match quote {
                Some(quote) => {
                    let Some(end) = rest[1..].find(quote) else {
                        out.push_str(rest);
                        return "";
                    };
                    (&rest[1..=end], &rest[end + 2..])
                }
                None => rest.split_at(rest.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(rest.len())),
            };
            let link = held.replace("&amp;", "&");
            match self.through(&link).filter(|_| known.contains(&attribute.as_str())) {
                Some(changed) => {
                    let changed = changed.replace('&', "&amp;").replace('"', "&#34;");
                    out.push_str(&format!("\"{changed}\""));
                }
                None => out.push_str(&rest[..rest.len() - next.len()]),
            }
            rest = next;
        }
    }
}

/// Where the content of a raw element ends.
fn end_of_raw(text: &str, name: &str) -> usize {
    let lower = text.to_ascii_lowercase();
    lower.find(&format!("</{name}")).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINKS: Links<'static> = Links { places: ["10.0.0.1:80", "localhost:8001"], base: "/p/proxy" };

    #[test]
    fn links_to_the_same_place_go_through_the_proxy() {
        let table = [
            ("/login", Some("/p/proxy/login")),
            ("/a/../b//c/?x=/y#z", Some("/p/proxy/b/c/?x=/y#z")),
            ("/", Some("/p/proxy/")),
            ("http://10.0.0.1:80/login", Some("/p/proxy/login")),
            ("http://localhost:8001/x", Some("/p/proxy/x")),
            ("http://10.0.0.1:80/p/proxy/x", Some("/p/proxy/x")),
            ("//10.0.0.1:80/x", Some("/p/proxy/x")),
            ("/p/proxy/x", None),
            ("https://example.com/login", None),
            ("//example.com/x", None),
            ("next", None),
            ("#top", None),
            ("", None),
        ];
        for (link, expected) in table {
            assert_eq!(LINKS.through(link).as_deref(), expected, "{link}");
        }
    }

    #[test]
    fn addresses_in_tags_are_changed_and_nothing_else() {
        let page = r#"<!DOCTYPE html><html><head><link rel=x href=/a.css><script src='/s.js'>if (a</b) x("<a href='/no'>")</script>
<!-- <a href="/no"> --></head><body><A HREF = "/x?a=1&amp;b=2" title="/no">/no</A><img src="pic.png"><form action="/f"/><p href="/no"> a < b</p></body>"#;
        let expected = r#"<!DOCTYPE html><html><head><link rel=x href="/p/proxy/a.css"><script src="/p/proxy/s.js">if (a</b) x("<a href='/no'>")</script>
<!-- <a href="/no"> --></head><body><A HREF = "/p/proxy/x?a=1&amp;b=2" title="/no">/no</A><img src="pic.png"><form action="/p/proxy/f"/><p href="/no"> a < b</p></body>"#;
        assert_eq!(LINKS.page(page), expected);
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(page in "[<>a='\"/ !-&;é]{0,80}|<a( |=|'|\"|/|href|ä){0,12}>?.{0,20}") {
            drop(LINKS.page(&page));
        }

        #[test]
        fn a_page_without_links_stays_as_it_is(page in "[<>b='\" !\\-é]{0,60}") {
            prop_assert_eq!(LINKS.page(&page), page);
        }
    }
}
