//! The resource group that an image or a machine goes into, and where.

use std::time::Duration;

use tokio::time::Instant;

use crate::arm::{Client, Location, ResourceGroup};
use crate::undo::Undo;
use crate::{Error, ErrorKind, Result};

/// The list of what is in a group comes from a cache of Resource Manager, which may still name for
/// a moment what was just deleted.
const LISTED_AFTER_DEATH: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// A group as it was found, and the location that was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) group: String,
    pub(crate) location: Location,
    exists: bool,
}

/// Where things go when neither the caller nor the group says it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fallback<'a> {
    /// Where a new group is made. Things in a group that exists belong where that is.
    NewGroup(&'a Location),
    /// Where they belong whatever the group: beside the image that a machine is made from.
    Anyway(&'a Location),
}

impl Place {
    /// Chooses the location: the one asked for, else that of the group, else the fallback.
    ///
    /// Azure would let a resource live elsewhere than its group. A location that contradicts the
    /// group is more often a slip than a wish, and only shows in the next command; it is refused.
    ///
    /// A login that may not look at the group may still work in it. The group is then taken to
    /// exist; when it does not, the first request that needs it says so.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the location does not exist or is not that of the group;
    /// [`ErrorKind::Forbidden`] when the group may not be looked at and nothing else says where.
    pub(crate) async fn choose(
        client: &Client,
        group: &str,
        asked: Option<&Location>,
        fallback: Fallback<'_>,
    ) -> Result<Self> {
        if let Some(location) = asked {
            client.check_location(location).await?;
        }
        let found = match client.resource_group(group).await {
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                return Self::unseen(group, asked, fallback, error);
            }
            found => found?,
        };
        let location = match (&found, asked) {
            (Some(found), Some(asked)) => {
                let own = Location::new(&found.location)?;
                if own != *asked {
                    return Err(Error::new(
                        ErrorKind::InvalidInput,
                        format!("the resource group {group} exists in {own}, not in {asked}"),
                    )
                    .with_hint(format!(
                        "leave the location out to use {own}, or name another group"
                    )));
                }
                own
            }
            (Some(found), None) => Location::new(&found.location)?,
            (None, Some(asked)) => asked.clone(),
            (None, None) => {
                let (Fallback::NewGroup(fallback) | Fallback::Anyway(fallback)) = fallback;
                client.check_location(fallback).await?;
                fallback.clone()
            }
        };
        Ok(Self {
            group: group.to_owned(),
            location,
            exists: found.is_some(),
        })
    }

    /// A place for tests: a group that exists.
    #[cfg(test)]
    pub(crate) fn of(group: &str, location: &str) -> Self {
        Self {
            group: group.to_owned(),
            location: location.parse().unwrap(),
            exists: true,
        }
    }

    fn unseen(
        group: &str,
        asked: Option<&Location>,
        fallback: Fallback<'_>,
        refusal: Error,
    ) -> Result<Self> {
        let location = match (asked, fallback) {
            (Some(location), _) | (None, Fallback::Anyway(location)) => location.clone(),
            (None, Fallback::NewGroup(_)) => {
                let mut error = Error::new(
                    ErrorKind::Forbidden,
                    format!("cannot tell where the resource group {group} is: this login may not look"),
                )
                .with_hint("pass the location (--location); if there is no such group, ask for one to be made");
                if let Some(code) = refusal.code() {
                    error = error.with_code(code);
                }
                if let Some(status) = refusal.status() {
                    error = error.with_status(status);
                }
                return Err(error.with_source(refusal));
            }
        };
        tracing::debug!("the resource group {group} is taken to exist: {refusal}");
        Ok(Self {
            group: group.to_owned(),
            location,
            exists: true,
        })
    }

    /// Makes the group unless it exists, and notes how to take it away.
    ///
    /// # Errors
    /// When it may not be made.
    pub(crate) async fn ensure(&self, client: &Client, undo: &mut Undo) -> Result<()> {
        // Looked for once more: a build may lie between, and a group of somebody else's must
        // neither lose its tags to our request nor be deleted by our undo.
        if self.exists || client.resource_group(&self.group).await?.is_some() {
            return Ok(());
        }
        let (again, group) = (client.clone(), self.group.clone());
        undo.push(format!("the resource group {group}"), move || {
            remove_if_empty(again, group)
        });
        let group = ResourceGroup {
            location: self.location.to_string(),
            ..ResourceGroup::default()
        };
        client
            .create_resource_group(&self.group, &group)
            .await
            .inspect_err(|error| undo.strike_if_refused(error))?;
        Ok(())
    }
}

/// Deletes a group unless there is anything in it: deleting it would delete that too.
async fn remove_if_empty(client: Client, group: String) -> Result<()> {
    let started = Instant::now();
    loop {
        match client.resources_in(&group).await {
            Ok(inside) if inside.is_empty() => {
                return client.delete_resource_group(&group).await?.wait().await;
            }
            Ok(_) if started.elapsed() < LISTED_AFTER_DEATH => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(inside) => {
                let names: Vec<_> = inside.iter().map(|one| one.id.name()).collect();
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("there is something else in it: {}", names.join(", ")),
                ));
            }
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::arm::replay::{Interaction, client};
    use crate::handle::Work;

    const GROUP: &str =
        "https://management.azure.com/subscriptions/s/resourceGroups/g?api-version=2022-09-01";
    const INSIDE: &str = "https://management.azure.com/subscriptions/s/resourceGroups/g/resources?api-version=2022-09-01";
    const LOCATIONS: &str =
        "https://management.azure.com/subscriptions/s/locations?api-version=2022-12-01";

    fn answer(method: &str, url: &str, status: u16, body: Value) -> Interaction {
        Interaction::new(method, url, status, &[], body)
    }

    fn refusal() -> Value {
        json!({"error": {"code": "AuthorizationFailed", "message": "no"}})
    }

    #[tokio::test]
    async fn a_role_that_sees_neither_the_group_nor_the_subscription_is_enough() {
        let here: Location = "westus2".parse().unwrap();
        let refused = || {
            client(vec![
                answer("GET", LOCATIONS, 403, refusal()),
                answer("GET", GROUP, 403, refusal()),
            ])
        };
        for (asked, fallback) in [
            (Some(&here), Fallback::NewGroup(&here)),
            (None, Fallback::Anyway(&here)),
        ] {
            let (client, replay) = refused();
            let place = Place::choose(&client, "g", asked, fallback).await.unwrap();
            assert_eq!(place.location, here);
            place.ensure(&client, &mut Undo::default()).await.unwrap();
            assert!(
                replay
                    .asked()
                    .iter()
                    .all(|request| request.starts_with("GET"))
            );
        }
        // Where nothing says the location, one that is guessed would be wrong more often than not.
        let (client, _) = refused();
        let error = Place::choose(&client, "g", None, Fallback::NewGroup(&here))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(error.hint().unwrap().contains("--location"), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_is_deleted_when_the_list_of_it_has_caught_up() {
        let disk = json!({"value": [{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d"}]});
        let made = json!({"name": "g", "location": "westus2"});
        let gone = json!({"error": {"code": "ResourceGroupNotFound", "message": "none"}});
        for (last, deleted) in [(json!({"value": []}), true), (disk.clone(), false)] {
            let (client, replay) = client(vec![
                answer("GET", GROUP, 404, gone.clone()),
                answer("PUT", GROUP, 201, made.clone()),
                answer("GET", INSIDE, 200, disk.clone()),
                answer("GET", INSIDE, 200, last),
                answer("DELETE", GROUP, 200, Value::Null),
            ]);
            let mut place = Place::of("g", "westus2");
            place.exists = false;
            let mut undo = Undo::default();
            place.ensure(&client, &mut undo).await.unwrap();
            let failed = Err::<(), _>(Error::cancelled());
            let error = undo.finish(&Work::default(), failed).await.unwrap_err();
            let asked = replay.asked();
            assert_eq!(
                asked.iter().any(|request| request.starts_with("DELETE")),
                deleted
            );
            let left = error.context().find(|(key, _)| *key == "left behind");
            assert_eq!(left.is_none(), deleted, "{error:?}");
            assert!(left.is_none_or(|(_, what)| what.contains("something else in it: d")));
        }
    }

    #[tokio::test]
    async fn a_group_of_somebody_else_is_neither_written_to_nor_deleted() {
        let (client, replay) = client(vec![answer(
            "GET",
            GROUP,
            200,
            json!({"name": "g", "location": "westus2"}),
        )]);
        let mut place = Place::of("g", "westus2");
        place.exists = false;
        let mut undo = Undo::default();
        place.ensure(&client, &mut undo).await.unwrap();
        let failed = Err::<(), _>(Error::cancelled());
        undo.finish(&Work::default(), failed).await.unwrap_err();
        assert_eq!(replay.asked(), ["GET /subscriptions/s/resourceGroups/g"]);
    }
}
