//! The shell that approves, signs and forgets requests for certificates.
//!
//! Invariant: keys are not here; whoever starts the controllers gives a function that signs.

use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::overlay::Overlay;
use super::{clock, write};
use crate::plan::certificate::{self as plan, Signing};
use crate::{Launch, Shared, Sign, time};

const NAME: &str = "certificate-controller";
/// How soon a permission that was missing is asked for again.
const AGAIN: Duration = Duration::from_secs(60);

struct Shell {
    client: Client,
    sign: Option<Sign>,
    requests: Overlay<CertificateSigningRequest>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let requests = shared.informers.of::<CertificateSigningRequest>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    requests.on_change(move |change: Change<'_, CertificateSigningRequest>| {
        wake.add(Key::cluster(change.latest().name_any()));
    });
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        sign: shared.sign.clone(),
        requests: Overlay::new(requests.clone()),
    });
    let shared = shared.clone();
    Box::new(move || {
        let all = move |requests: &Informer<CertificateSigningRequest>| {
            requests.list().iter().map(|request| Key::cluster(request.name_any())).collect()
        };
        clock::on_jump(&shared, &queue, move || all(&requests));
        informer::work(&queue, 2, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key.name).await) }
        });
    })
}

impl Shell {
    fn api(&self) -> Api<CertificateSigningRequest> {
        Api::all(self.client.clone())
    }

    async fn sync(&self, name: &str) -> anyhow::Result<Next> {
        let Some(request) = self.requests.get("", name) else { return Ok(Next::Done) };
        let forgotten = plan::forgotten(&request, time::now());
        if forgotten.is_some_and(|left| left.is_zero()) {
            let exactly = Preconditions { uid: request.uid(), resource_version: request.resource_version() };
            let params = DeleteParams::default().preconditions(exactly);
            match self.api().delete(name, &params).await {
                Ok(_) => self.requests.deleted(&request),
                Err(error) if write::is_not_found(&error) => {}
                Err(error) => {
                    return Err(write::failed(&error, format_args!("cannot delete certificate request {name}")));
                }
            }
            return Ok(Next::Done);
        }
        let mut wait = forgotten;
        match plan::approvals(&request) {
            Ok(wanted) if !wanted.is_empty() => {
                if !self.approve(&request, &wanted).await? {
                    wait = Some(wait.map_or(AGAIN, |wait| wait.min(AGAIN)));
                }
            }
            Ok(_) => {}
            Err(why) => tracing::debug!(name, "cannot read a certificate request: {why}"),
        }
        let Some(request) = self.requests.get("", name) else { return Ok(Next::Done) };
        match (plan::signing(&request), &self.sign) {
            (Ok(Signing::Fail(why)), _) => self.fail(&request, why).await?,
            (Ok(Signing::Sign { by, der, usages, lifetime }), Some(sign)) => {
                let signed = sign(by, &der, &usages, lifetime);
                let pem = signed.map_err(|why| anyhow::anyhow!("cannot sign certificate request {name}: {why}"))?;
                let mut next = (*request).clone();
                next.status.get_or_insert_default().certificate = Some(ByteString(pem.into_bytes()));
                self.write_status(&next).await?;
                tracing::info!(name, user = request.spec.username, "certificate signed");
            }
            (Err(why), _) => tracing::debug!(name, "cannot read a certificate request: {why}"),
            _ => {}
        }
        Ok(wait.map_or(Next::Done, Next::After))
    }

    /// Approves if who asks has one of the permissions.
    async fn approve(&self, request: &CertificateSigningRequest, wanted: &[plan::Approval]) -> anyhow::Result<bool> {
        let name = request.name_any();
        for approval in wanted {
            if !self.may(request, approval.subresource).await? {
                continue;
            }
            let mut next = request.clone();
            next.status.get_or_insert_default().conditions.get_or_insert_default().push(condition(
                "Approved",
                "AutoApproved",
                approval.message.to_owned(),
            ));
            let written = self.api().replace_subresource("approval", &name, &PostParams::default(), &next).await;
            let written = written
                .map_err(|error| write::failed(&error, format_args!("cannot approve certificate request {name}")))?;
            self.requests.wrote(written);
            return Ok(true);
        }
        Ok(false)
    }

    async fn may(&self, request: &CertificateSigningRequest, subresource: &str) -> anyhow::Result<bool> {
        let spec = &request.spec;
        let review = json!({
            "metadata": {},
            "spec": {
                "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
                "resourceAttributes": { "group": "certificates.k8s.io", "resource": "certificatesigningrequests",
                    "verb": "create", "subresource": subresource, "version": "*" },
            },
        });
        let review: SubjectAccessReview = serde_json::from_value(review)?;
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer
            .map_err(|error| write::failed(&error, format_args!("cannot ask what {:?} may do", spec.username)))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn fail(&self, request: &CertificateSigningRequest, why: String) -> anyhow::Result<()> {
        let mut next = request.clone();
        let conditions = next.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.push(condition("Failed", "SignerValidationFailure", why));
        self.write_status(&next).await
    }

    async fn write_status(&self, next: &CertificateSigningRequest) -> anyhow::Result<()> {
        let name = next.name_any();
        let written = self.api().replace_status(&name, &PostParams::default(), next).await;
        let attempt =
            |error| write::failed(&error, format_args!("cannot write the status of certificate request {name}"));
        self.requests.wrote(written.map_err(attempt)?);
        Ok(())
    }
}

fn condition(kind: &str, reason: &str, message: String) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".into(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(time::now())),
        ..CertificateSigningRequestCondition::default()
    }
}
