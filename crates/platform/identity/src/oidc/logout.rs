//! The end of a session, here and at the provider (OpenID Connect RP-Initiated Logout 1.0).

use bytes::Bytes;
use http::header;
use http::{Method, Response, StatusCode};

use super::Oidc;
use crate::answer;
use crate::asked::Asked;

impl Oidc {
    /// Answers the path of logout. A link of another site must not log anybody out, so there a click is needed first.
    pub(super) async fn logout(&self, asked: &Asked<'_>, origin: &str) -> Response<Bytes> {
        match *asked.method {
            Method::GET if came_from_here(asked, origin) => {}
            Method::GET => {
                let form =
                    format!("<form method=\"post\" action=\"{}\"><button>Sign out</button></form>", self.paths.logout);
                let mut page = answer::page("Sign out?", &form);
                let policy = "default-src 'none'; form-action 'self' *; frame-ancestors 'none'; base-uri 'none'";
                page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static(policy));
                return page;
            }
            Method::POST if came_from_here(asked, origin) => {}
            Method::POST => return answer::forbidden("the request comes from another site"),
            _ => return answer::text(StatusCode::METHOD_NOT_ALLOWED, "logout is done by GET or POST"),
        }
        let session = self.session(asked);
        let mut answer = answer::redirect(
            &self.after(session.as_ref().and_then(|session| session.id_token.as_deref()), origin).await,
        );
        if let Some(refresh) = session.and_then(|session| session.refresh)
            && let Err(error) = self.provider.revoke(&self.client, &refresh, &self.means).await
        {
            tracing::info!(
                issuer = self.provider.issuer,
                "a refresh token is not revoked: {}",
                base::error::chain(&error)
            );
        }
        if *asked.method == Method::POST {
            *answer.status_mut() = StatusCode::SEE_OTHER;
        }
        for cookie in self.jar(asked).remove(asked.headers) {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
        answer
    }

    /// Where a browser is sent: to the provider, which sends it on, or at once to the page after logout.
    async fn after(&self, id_token: Option<&str>, origin: &str) -> String {
        let home = format!("{origin}{}", self.paths.after_logout);
        let metadata = self.provider.metadata(&self.means).await.ok();
        let Some(endpoint) = metadata.as_ref().and_then(|metadata| metadata.end_session_endpoint.as_ref()) else {
            return home;
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(id_token.map(|token| ("id_token_hint", token)));
        query.extend_pairs([("client_id", self.client.id.as_str()), ("post_logout_redirect_uri", &home)]);
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{separator}{}", query.finish())
    }
}

/// Whether a request was made by a page of this origin, or by the user's own hand (Fetch Metadata; `Origin` for browsers
/// without it). A GET of a browser that tells neither is taken for one from elsewhere.
fn came_from_here(asked: &Asked<'_>, origin: &str) -> bool {
    match asked.header("sec-fetch-site") {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => asked.header("origin").is_some_and(|told| told.eq_ignore_ascii_case(origin)),
    }
}
