//! The node password, by which a K3s server tells the VM that first had a Node's name from those that come later. The
//! check is the K3s server's and is made here in its place; it stores a salted hash, here some bytes stand for it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use sha2::{Digest as _, Sha256};

use super::super::failure::{RequestFailure, bounded};
use super::super::removal::SECRET_NAMESPACE;
use super::{Agent, REQUEST_WITHIN};

const KEY: &str = "hash";

/// Stores the password of the VM under the name of its Node. Returns whether it is the one that is stored: the disk of
/// an agent keeps its password, so it may come again; any other VM is refused until the secret is deleted.
pub(super) async fn hand_in(agent: &Agent<'_>) -> Result<bool, RequestFailure> {
    let secrets = Api::<Secret>::namespaced(agent.client.clone(), SECRET_NAMESPACE);
    let secret = secret_of(agent);
    match bounded(REQUEST_WITHIN, secrets.create(&PostParams::default(), &secret)).await {
        Err(failure) if failure.is_answer("AlreadyExists") => is_stored(&secrets, &secret).await,
        created => created.map(|_| true),
    }
}

async fn is_stored(secrets: &Api<Secret>, secret: &Secret) -> Result<bool, RequestFailure> {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let stored = bounded(REQUEST_WITHIN, secrets.get(name)).await?;
    Ok(stored.data == secret.data)
}

fn secret_of(agent: &Agent<'_>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(format!("{}.node-password.k3s", agent.name())),
            ..ObjectMeta::default()
        },
        type_: Some("k3s.cattle.io/node-password".to_owned()),
        immutable: Some(true),
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(hash(agent).into_bytes()))])),
        ..Secret::default()
    }
}

/// In the form of K3s's `$version:salt:N:r:p:key`. One disk, one hash.
fn hash(agent: &Agent<'_>) -> String {
    let salt = agent.vm.machine_id.get(..16).unwrap_or_default();
    let key = STANDARD.encode(Sha256::digest(&agent.vm.machine_id));
    format!("$1:{salt}:15:8:1:{key}")
}
