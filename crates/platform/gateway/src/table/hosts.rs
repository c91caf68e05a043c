//! Values by host name, found from the most specific name to the least.

use std::collections::HashMap;

use crate::model::Host;

/// Values by host name.
#[derive(Debug)]
pub(super) struct Hosts<T> {
    exact: HashMap<String, Option<T>>,
    /// By what follows `*.`: for one label, and for several.
    wildcards: HashMap<String, [Option<T>; 2]>,
    any: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcards: HashMap::new(), any: None }
    }
}

impl<T> Hosts<T> {
    /// The place of `host`.
    pub(super) fn slot(&mut self, host: &Host) -> &mut Option<T> {
        match host {
            Host::Any => &mut self.any,
            Host::Exact(name) => self.exact.entry(name.clone()).or_default(),
            Host::Wildcard { suffix, deep } => {
                &mut self.wildcards.entry(suffix.clone()).or_insert_with(|| [None, None])[usize::from(*deep)]
            }
        }
    }

    /// What `ask` first finds, asked of the values for the canonical name `host` from the most specific to the least.
    pub(super) fn find<'a, R>(&'a self, host: &str, mut ask: impl FnMut(&'a T) -> Option<R>) -> Option<R> {
        if let Some(found) = self.exact.get(host).and_then(Option::as_ref).and_then(&mut ask) {
            return Some(found);
        }
        if !self.wildcards.is_empty() {
            let mut rest = host;
            let mut labels = 0;
            while let Some((label, parent)) = rest.split_once('.') {
                labels += 1;
                if label.is_empty() {
                    break; // "..": no name
                }
                if let Some([shallow, deep]) = self.wildcards.get(parent) {
                    let shallow = shallow.as_ref().filter(|_| labels == 1);
                    if let Some(found) = shallow.into_iter().chain(deep).find_map(&mut ask) {
                        return Some(found);
                    }
                }
                rest = parent;
            }
        }
        self.any.as_ref().and_then(ask)
    }

    pub(super) fn each(&mut self, mut change: impl FnMut(&mut T)) {
        let wild = self.wildcards.values_mut().flatten().flatten();
        self.exact.values_mut().flatten().chain(wild).chain(&mut self.any).for_each(&mut change);
    }

    /// Any value, if there is one.
    pub(super) fn some(&self) -> Option<&T> {
        let wild = self.wildcards.values().flatten().flatten();
        self.exact.values().flatten().chain(wild).chain(&self.any).next()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty() && self.any.is_none()
    }
}
