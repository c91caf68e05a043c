//! What is special about a kind: one row of function pointers for the few kinds that need them.
//!
//! Invariant: a kind without a row behaves by its schema alone; the pipeline never asks for a kind by name.

/// The hooks of a kind.
#[derive(Debug)]
pub(crate) struct Rules {
    pub group: &'static str,
    pub kind: &'static str,
}

static PLAIN: Rules = Rules { group: "", kind: "" };

static TABLE: &[Rules] = &[];

pub(crate) fn of(group: &str, kind: &str) -> &'static Rules {
    TABLE.iter().find(|rules| rules.kind == kind && rules.group == group).unwrap_or(&PLAIN)
}

#[cfg(test)]
mod tests {
    #[test]
    fn rows_name_kinds_that_exist() {}
}
