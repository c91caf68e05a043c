//! Custom resources: what a definition says of one version of a kind.

/// What a custom resource's row has instead of a built-in type.
#[derive(Debug)]
pub struct Custom {}
