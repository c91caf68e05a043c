//! What the annotations ask about who may pass.

use http::{HeaderName, Method};

/// Basic auth, an auth server, client certificates.
#[derive(Debug, Default)]
pub(super) struct Auth {
    pub(super) basic: bool,
    /// The Secret is a map of names to passwords, not a file.
    pub(super) map: bool,
    pub(super) secret: Option<String>,
    pub(super) realm: Option<String>,
    pub(super) url: Option<String>,
    pub(super) method: Option<Method>,
    pub(super) signin: Option<String>,
    pub(super) signin_param: Option<String>,
    pub(super) response_headers: Vec<HeaderName>,
    pub(super) request_redirect: Option<String>,
    pub(super) tls: TlsAuth,
}

/// Client certificates.
#[derive(Debug, Default)]
pub(super) struct TlsAuth {
    /// `namespace/name` of a Secret with `ca.crt`.
    pub(super) secret: Option<String>,
    pub(super) optional: bool,
    pub(super) off: bool,
    pub(super) pass: bool,
    pub(super) match_cn: Option<String>,
}

impl TlsAuth {
    pub(super) fn verify(&mut self, value: &str) -> Result<(), String> {
        match value {
            "on" => {}
            "off" => self.off = true,
            "optional" => self.optional = true,
            _ => return Err(format!("{value:?} cannot be had; there are on, optional and off")),
        }
        Ok(())
    }
}
