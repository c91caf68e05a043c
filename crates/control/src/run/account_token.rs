//! The shell that fills Secrets of service accounts with tokens, and deletes them with their accounts.
//!
//! Invariant: keys are not here; whoever starts the controllers gives a function that signs, and without it no Secret is
//! touched. A Secret is deleted only after the account was asked for by name, for caches may be behind.
//! Writes go out as the controller manager itself, as upstream's do: its role is the one that may change Secrets.

use std::fmt;
use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::DeleteParams;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};

use super::overlay::Overlay;
use super::replicaset::key;
use super::write;
use crate::plan::account_token::{self as plan, Action};
use crate::slim::Account;
use crate::{Launch, Shared, SignToken};

const NAME: &str = "tokens-controller";
const WORKERS: usize = 5;

/// What there is to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Secret(Key),
    /// A Secret that is gone, which its account may still list.
    Reference {
        account: Key,
        uid: Option<String>,
        secret: String,
    },
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(key) => write!(f, "secret {key}"),
            Self::Reference { account, secret, .. } => write!(f, "reference of {account} to {secret}"),
        }
    }
}

struct Shell {
    client: Client,
    secrets: Overlay<Secret>,
    accounts: Informer<Account>,
    ca: String,
    sign: SignToken,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let Some(sign) = shared.sign_token.clone() else { return Box::new(|| ()) };
    let queue: Queue<Item> = Queue::new();
    let accounts = shared.informers.of::<Account>();
    let typed = watcher::Config::default().fields(&format!("type={}", plan::TYPE));
    let secrets = shared.informers.with::<Secret>(Api::all(shared.client("")), typed);
    let wake = queue.clone();
    secrets.on_change(move |change: Change<'_, Secret>| match change.new {
        Some(secret) => wake.add(Item::Secret(key(&**secret))),
        None => reference(change.latest()).into_iter().for_each(|item| wake.add(item)),
    });
    let (wake, known) = (queue.clone(), secrets.clone());
    accounts.on_change(move |change: Change<'_, Account>| {
        let account = change.latest();
        let named = |secret: &Secret| plan::names(secret).is_some_and(|(name, _)| name == account.name_any());
        for secret in known.in_namespace(&account.namespace().unwrap_or_default()) {
            if named(&secret) {
                wake.add(Item::Secret(key(&*secret)));
            }
        }
    });
    let secrets = Overlay::new(secrets);
    let shell =
        Arc::new(Shell { client: shared.client(""), secrets, accounts, ca: shared.cluster_ca_pem.clone(), sign });
    let context = shared.context.clone();
    Box::new(move || {
        informer::work(&queue, WORKERS, &context, NAME, move |item: Item| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&item).await) }
        });
    })
}

fn reference(secret: &Secret) -> Option<Item> {
    let (account, uid) = plan::names(secret)?;
    let account = Key::new(secret.namespace().unwrap_or_default(), account.to_owned());
    Some(Item::Reference { account, uid: uid.map(str::to_owned), secret: secret.name_any() })
}

impl Shell {
    async fn sync(&self, item: &Item) -> anyhow::Result<Next> {
        match item {
            Item::Secret(key) => self.settle(key).await?,
            Item::Reference { account, uid, secret } => self.forget(account, uid.as_deref(), secret).await?,
        }
        Ok(Next::Done)
    }

    async fn settle(&self, key: &Key) -> anyhow::Result<()> {
        let Some(secret) = self.secrets.get(&key.namespace, &key.name) else { return Ok(()) };
        let Some((name, _)) = plan::names(&secret) else { return Ok(()) };
        let mut uid = self.accounts.get(&key.namespace, name).and_then(|account| account.uid());
        if plan::plan(&secret, uid.as_deref(), &self.ca) == Some(Action::Delete) {
            uid = self.account(&Key::new(key.namespace.clone(), name.to_owned())).await?.and_then(|live| live.uid());
        }
        match plan::plan(&secret, uid.as_deref(), &self.ca) {
            None => {}
            Some(Action::Delete) => {
                let deleted = write::delete(&self.client, &*secret, DeleteParams::default()).await;
                deleted.map_err(|error| {
                    write::failed(&error, format_args!("cannot delete secret {key}, whose account {name} is gone"))
                })?;
                self.secrets.deleted(&secret);
                tracing::info!(secret = %key, account = name, "a token went with its service account");
            }
            Some(Action::Fill(subject)) => {
                let token = subject.map(|subject| (self.sign)(&subject)).transpose();
                let token = token.map_err(|why| anyhow::anyhow!("cannot sign the token of secret {key}: {why}"))?;
                let next = plan::filled(&secret, uid.as_deref().unwrap_or_default(), &self.ca, token);
                match write::replace(&self.client, &next).await {
                    Ok(written) => drop(self.secrets.wrote(written)),
                    Err(error) if write::is_not_found(&error) => {}
                    Err(error) => return Err(write::failed(&error, format_args!("cannot fill secret {key}"))),
                }
            }
        }
        Ok(())
    }

    /// Takes the name of a Secret that is gone off the account's list.
    async fn forget(&self, account: &Key, uid: Option<&str>, secret: &str) -> anyhow::Result<()> {
        if self.secrets.get(&account.namespace, secret).is_some() {
            return Ok(()); // there is another one by now
        }
        if self.accounts.get(&account.namespace, &account.name).is_none() {
            return Ok(());
        }
        let Some(mut live) = self.account(account).await? else { return Ok(()) };
        if uid.is_some_and(|uid| live.metadata.uid.as_deref() != Some(uid)) {
            return Ok(());
        }
        let listed = live.secrets.get_or_insert_default();
        let before = listed.len();
        listed.retain(|reference| reference.name.as_deref() != Some(secret));
        if listed.len() == before {
            return Ok(());
        }
        match write::replace(&self.client, &live).await {
            Ok(_) => Ok(()),
            Err(error) if write::is_not_found(&error) => Ok(()),
            Err(error) => {
                Err(write::failed(&error, format_args!("cannot take secret {secret} off service account {account}")))
            }
        }
    }

    async fn account(&self, key: &Key) -> anyhow::Result<Option<ServiceAccount>> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let live = api.get_opt(&key.name).await;
        live.map_err(|error| write::failed(&error, format_args!("cannot read service account {key}")))
    }
}
