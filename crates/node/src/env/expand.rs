//! `$(VAR)` expansion as Kubernetes defines it: `$$` escapes, an unknown reference stays as written.
//!
//! Invariant: a value is expanded once; what a variable expands to is not looked at again.

/// Expands `$(NAME)` in `input` with `lookup`.
pub(crate) fn expand(input: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    walk(input, |name| lookup(name).unwrap_or_else(|| format!("$({name})")))
}

/// As `expand`, but an unknown reference is an error that names it (for `subPathExpr`).
pub(crate) fn expand_strict(input: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut missing = None;
    let text = walk(input, |name| {
        lookup(name).unwrap_or_else(|| {
            missing.get_or_insert_with(|| name.to_owned());
            String::new()
        })
    });
    match missing {
        Some(name) => Err(format!("missing value for \"{name}\"")),
        None => Ok(text),
    }
}

fn walk(input: &str, mut value: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inside) = tail.strip_prefix('(') {
            match inside.find(')') {
                Some(end) => {
                    out.push_str(&value(&inside[..end]));
                    rest = &inside[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = inside;
                }
            }
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}
