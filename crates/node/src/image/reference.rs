//! Image references, in short and in full: `busybox` is `docker.io/library/busybox:latest`.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// A full reference: always with a registry, and with a tag or a digest or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    /// `sha256:...`.
    pub digest: Option<String>,
}

impl Reference {
    /// `registry/repository`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `registry/repository@digest` for a digest of the same repository.
    #[must_use]
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name())
    }

    /// The reference by which the store knows it: the digest counts more than the tag.
    #[must_use]
    pub fn key(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => self.with_digest(digest),
            (None, tag) => format!("{}:{}", self.name(), tag.as_deref().unwrap_or("latest")),
        }
    }

    /// Whether upstream pulls it every time unless told otherwise.
    #[must_use]
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref() == Some("latest")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|why| Error::Reference(text.to_owned(), why))
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    const INVALID: &str = "invalid reference format";
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Err(INVALID);
    }
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(INVALID);
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        _ => ("docker.io", name),
    };
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("invalid reference format: repository name must be lowercase");
    }
    if !is_registry(registry) || path.len() > 255 || !path.split('/').all(is_component) {
        return Err(INVALID);
    }
    let official = registry == "docker.io" && !path.contains('/');
    let repository = if official { format!("library/{path}") } else { path.to_owned() };
    let tag = match (tag, digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest: digest.map(str::to_owned) })
}

/// `sha256:` and 64 hexadecimal digits.
pub(super) fn is_digest(text: &str) -> bool {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(is_word) && tag.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    (bracketed || host.split('.').all(is_label))
        && port.is_none_or(|port| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()))
}

/// Letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_component(component: &str) -> bool {
    let mut separator = String::new();
    let mut begun = false;
    for c in component.chars() {
        match c {
            'a'..='z' | '0'..='9' => {
                let allowed =
                    matches!(separator.as_str(), "" | "." | "_" | "__") || separator.chars().all(|c| c == '-');
                if !allowed {
                    return false;
                }
                separator.clear();
                begun = true;
            }
            '.' | '_' | '-' if begun => separator.push(c),
            _ => return false,
        }
    }
    begun && separator.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_full() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("me/app", "docker.io/me/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("knarr.local/busybox:bookworm", "knarr.local/busybox:bookworm"),
            ("index.docker.io/library/redis", "docker.io/library/redis:latest"),
            ("registry.k8s.io/a/b_c/d--e.f:v1.0-x", "registry.k8s.io/a/b_c/d--e.f:v1.0-x"),
            (&format!("busybox@{digest}"), &format!("docker.io/library/busybox@{digest}")),
            (&format!("busybox:1@{digest}"), &format!("docker.io/library/busybox:1@{digest}")),
        ];
        for (short, full) in cases {
            assert_eq!(short.parse::<Reference>().unwrap().to_string(), full);
        }
    }

    #[test]
    fn a_digest_counts_more_than_a_tag() {
        let digest = format!("sha256:{}", "b".repeat(64));
        let reference: Reference = format!("a:1@{digest}").parse().unwrap();
        assert_eq!(reference.key(), format!("docker.io/library/a@{digest}"));
        assert!(!reference.is_latest() && "a".parse::<Reference>().unwrap().is_latest());
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        for text in ["", ":tag", "a:", "a b", "-a", "a..b", "a/", "/a", "a@sha256:1", "a___b", "a:-x", "a.b:x/c"] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        let upper = "Nginx".parse::<Reference>().unwrap_err().to_string();
        assert_eq!(
            upper,
            "couldn't parse image name \"Nginx\": invalid reference format: repository name must be lowercase"
        );
    }
}
