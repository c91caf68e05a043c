//! Who may pass after the login.

use crate::claims::{self, Claims};
use crate::settings::{Allow, ClaimRule};

/// The rules of a policy. Each part that is said must be content.
#[derive(Debug)]
pub(super) struct Rules {
    groups: Vec<String>,
    groups_claim: String,
    /// In lower case.
    emails: Vec<String>,
    domains: Vec<String>,
    claims: Vec<ClaimRule>,
}

impl Rules {
    pub(super) fn new(written: &Allow) -> Self {
        let lower = |list: &[String]| list.iter().map(|text| text.to_lowercase()).collect();
        let groups_claim = if written.groups_claim.is_empty() { "groups" } else { &written.groups_claim };
        Self {
            groups: written.groups.clone(),
            groups_claim: groups_claim.to_owned(),
            emails: lower(&written.emails),
            domains: lower(&written.email_domains)
                .into_iter()
                .map(|domain: String| domain.trim_start_matches('@').to_owned())
                .collect(),
            claims: written.claims.clone(),
        }
    }

    /// The claims these rules look at.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        let groups = (!self.groups.is_empty()).then_some(self.groups_claim.as_str());
        let verified = (!self.emails.is_empty() || !self.domains.is_empty()).then_some("email_verified");
        groups.into_iter().chain(verified).chain(self.claims.iter().map(|rule| rule.claim.as_str()))
    }

    /// Whether these claims are enough.
    pub(super) fn check(&self, said: &Claims) -> Result<(), &'static str> {
        if !self.groups.is_empty()
            && !claims::values(said, &self.groups_claim).iter().any(|group| self.groups.contains(group))
        {
            return Err("You are in none of the groups that may pass");
        }
        if !self.emails.is_empty() || !self.domains.is_empty() {
            let email = claims::find(said, "email").and_then(serde_json::Value::as_str).map(str::to_lowercase);
            let email = email.ok_or("The identity provider told no e-mail address of yours")?;
            if !claims::values(said, "email_verified").iter().any(|verified| verified == "true") {
                return Err("The identity provider has not verified your e-mail address");
            }
            // The last @: what is before may be quoted and have others.
            let domain = email.rsplit_once('@').map(|(_, domain)| domain);
            let listed = self.emails.contains(&email)
                || domain.is_some_and(|domain| self.domains.iter().any(|known| known == domain));
            if !listed {
                return Err("Your e-mail address may not pass");
            }
        }
        if self.claims.iter().all(|rule| claims::obey(said, rule)) {
            Ok(())
        } else {
            Err("What the identity provider says of you is not enough")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_part_that_is_said_must_be_content() {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rules = Rules::new(&Allow {
            groups: texts(&["dev", "ops"]),
            emails: texts(&["Boss@other.example"]),
            email_domains: texts(&["@Example.com"]),
            claims: vec![ClaimRule { claim: "acr".to_owned(), any_of: texts(&["mfa"]) }],
            ..Allow::default()
        });
        let good = json!({"groups": ["x", "ops"], "email": "A@example.COM", "email_verified": true, "acr": "mfa"});
        let changed = |key: &str, value: serde_json::Value| {
            let mut claims = good.as_object().expect("an object").clone();
            claims.insert(key.to_owned(), value);
            rules.check(&claims).is_ok()
        };
        assert!(changed("sub", json!("u")));
        assert!(changed("email", json!("boss@other.example")));
        assert!(changed("groups", json!("dev")));
        for (key, value) in [
            ("groups", json!(["Dev"])),
            ("groups", json!(null)),
            ("email", json!("a@sub.example.com")),
            ("email", json!("a@example.com.evil")),
            ("email", json!("a@notexample.com")),
            ("email", json!("example.com")),
            ("email_verified", json!(false)),
            ("email_verified", json!(null)),
            ("acr", json!("password")),
        ] {
            assert!(!changed(key, value.clone()), "{key} {value}");
        }
        assert!(Rules::new(&Allow::default()).check(&Claims::new()).is_ok());
    }
}
