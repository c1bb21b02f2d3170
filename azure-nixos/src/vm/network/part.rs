//! One resource of a machine's network: made, noted for undoing, taken away.

use std::time::Duration;

use tokio::time::Instant;

use super::super::owner::Owner;
use crate::arm::Client;
use crate::arm::network::{NetworkProperties, NetworkResource};
use crate::undo::{self, Undo};
use crate::{Error, Result};

/// Azure keeps an interface reserved for its machine for three minutes after that is gone.
const RESERVED: Duration = Duration::from_secs(240);

/// What became of a request to make something.
pub(super) struct Attempt<T> {
    /// Whether there may be something now.
    may_exist: bool,
    result: Result<T>,
}

impl<P: NetworkProperties + 'static> Attempt<NetworkResource<P>> {
    /// Notes how to take it away, unless there is nothing.
    pub(super) fn noted(
        self,
        owner: &Owner,
        client: &Client,
        group: &str,
        name: &str,
        undo: &mut Undo,
    ) -> Result<NetworkResource<P>> {
        if self.may_exist {
            let (owner, client) = (owner.clone(), client.clone());
            let (group, name) = (group.to_owned(), name.to_owned());
            undo.push(format!("the {} {name}", P::WHAT), move || async move {
                discard::<P>(&owner, &client, &group, &name).await
            });
        }
        self.result
    }
}

/// Makes it. Not to be dropped on its way: what it made is noted behind it.
pub(super) async fn make<P: NetworkProperties>(
    client: &Client,
    group: &str,
    name: &str,
    resource: &NetworkResource<P>,
) -> Attempt<NetworkResource<P>> {
    match client.create_network_resource(group, name, resource).await {
        Ok(creating) => Attempt {
            may_exist: true,
            result: creating.wait().await,
        },
        Err(error) => Attempt {
            may_exist: !undo::made_nothing(&error),
            result: Err(error),
        },
    }
}

/// Its name, when there is one of that name already.
pub(super) async fn taken<P: NetworkProperties>(
    client: &Client,
    group: &str,
    name: &str,
) -> Result<Option<String>> {
    let found = client.network_resource::<P>(group, name).await?;
    Ok(found.map(|_| name.to_owned()))
}

/// Fails when another attempt has written over it.
pub(super) async fn still_ours<P: NetworkProperties>(
    owner: &Owner,
    client: &Client,
    group: &str,
    name: &str,
) -> Result<()> {
    let found = client.network_resource::<P>(group, name).await?;
    let tags = found.map(|found| found.tags).unwrap_or_default();
    owner.check_ours(&tags, P::WHAT, name)
}

/// Deletes a resource unless another attempt has made it its own.
async fn discard<P: NetworkProperties>(
    owner: &Owner,
    client: &Client,
    group: &str,
    name: &str,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let Some(found) = client.network_resource::<P>(group, name).await? else {
            return Ok(());
        };
        owner.check_ours(&found.tags, P::WHAT, name)?;
        let deleted = async {
            client
                .delete_network_resource::<P>(group, name)
                .await?
                .wait()
                .await
        };
        match deleted.await {
            // Our own machine is gone by now; one that is there is somebody else's and stays.
            Err(error)
                if is_in_use(&error)
                    && started.elapsed() < RESERVED
                    && client.virtual_machine(group, owner.name()).await?.is_none() =>
            {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            other => return other,
        }
    }
}

/// What is in use may be so for a moment only: its user has just been deleted.
fn is_in_use(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        code == "NicReservedForAnotherVm"
            || code.contains("InUse")
            || code.contains("CannotBeDeleted")
    })
}
