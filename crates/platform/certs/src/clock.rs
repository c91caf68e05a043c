//! The present, which tests set.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the present. Everything in this crate that asks for it asks here.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that tells what `present` says.
    #[must_use]
    pub fn new(present: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(present))
    }

    /// The present, to the second: what is compared with what was written.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(base::time::now)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
