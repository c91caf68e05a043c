//! `knarr gateway check`: which annotations of given manifests are honoured, ignored or refused.

use k8s_openapi::api::networking::v1::Ingress;
use serde::Serialize;

use super::annotations::{self, PREFIX, ROWS, Standing};

/// What becomes of one annotation of one Ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `namespace/name`; the namespace is left out when the manifest does not say it.
    pub ingress: String,
    /// With its prefix.
    pub annotation: String,
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// Why, and what to do.
    pub note: String,
}

/// What becomes of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Done as written.
    Honoured,
    /// It changes nothing here.
    Ignored,
    /// It cannot be had.
    Refused,
    /// It cannot be had, and the routes of the Ingress answer 503 for it.
    Closed,
}

/// Looks at every annotation of ingress-nginx that `ingress` has.
#[must_use]
pub fn check(ingress: &Ingress) -> Vec<Finding> {
    let name = ingress.metadata.name.clone().unwrap_or_default();
    let of =
        ingress.metadata.namespace.as_ref().map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"));
    let troubles = annotations::read(ingress).1;
    let asked = ingress.metadata.annotations.iter().flatten().map(|(name, _)| name);
    let finding = |annotation: &String| {
        let short = annotations::short(annotation)?;
        let trouble = troubles.iter().find(|trouble| trouble.annotation == *annotation);
        if annotations::is_identity(short) && trouble.is_none() {
            let fate = identity::ingress::ANNOTATIONS.iter().find(|(name, _)| *name == short).map(|(_, fate)| *fate);
            let (verdict, note) = match fate {
                Some(identity::ingress::Fate::Ignored(why)) => (Verdict::Ignored, format!("not needed: {why}")),
                _ => (Verdict::Honoured, String::new()),
            };
            return Some(Finding { ingress: of.clone(), annotation: annotation.clone(), verdict, note });
        }
        let row = ROWS.iter().find(|row| row.name == short);
        let (verdict, note) = match (trouble, row.map(|row| &row.standing)) {
            (Some(trouble), _) if trouble.closes => (Verdict::Closed, trouble.message.clone()),
            (Some(trouble), Some(_)) => (Verdict::Refused, trouble.message.clone()),
            (Some(trouble), None) => (Verdict::Ignored, trouble.message.clone()),
            (None, Some(Standing::Needless(why))) => (Verdict::Ignored, format!("not needed: {why}")),
            (None, _) => (Verdict::Honoured, String::new()),
        };
        let note = note.strip_prefix(&format!("{PREFIX}{short}: ")).map_or(note.clone(), str::to_owned);
        Some(Finding { ingress: of.clone(), annotation: annotation.clone(), verdict, note })
    };
    asked.filter_map(finding).collect()
}
