//! Whether Azure would take an image.
//!
//! What does not depend on each other is asked at once. A question that is refused or not answered
//! leaves its own item unchecked and no other, but for the login and the subscription: without those
//! nothing else has an answer.

use super::machine::{self, not_answered};
use super::report::{CheckItem, Outcome};
use super::rights::{self, Known, may};
use super::{Checkup, Connection, Topic};
use crate::arm::compute::{Disk, IMAGES, Image};
use crate::arm::{Client, Location, Named, Provider, ResourceGroup, SubscriptionInfo};
use crate::azure::Azure;
use crate::image::{DEFAULT_LOCATION, UNFINISHED_TAG, disk_name};
use crate::vm::DEFAULT_SIZE;
use crate::{Error, ErrorKind, Result};

const COMPUTE: &str = "Microsoft.Compute";
const NETWORK: &str = "Microsoft.Network";

/// What is looked at in Azure after the login.
const AFTER_LOGIN: [Topic; 12] = [
    Topic::Subscription,
    Topic::ResourceGroup,
    Topic::Location,
    Topic::ProviderCompute,
    Topic::ProviderNetwork,
    Topic::RightsUpload,
    Topic::RightsBoot,
    Topic::ImageName,
    Topic::GalleryNames,
    Topic::VmSize,
    Topic::Quota,
    Topic::PublicAddresses,
];

/// Every item on Azure.
pub(super) async fn check(checkup: &Checkup) -> Vec<CheckItem> {
    let mut items = Vec::new();
    let client = match connect(checkup).await {
        Ok((login, client)) => {
            items.push(login);
            client
        }
        Err(error) => {
            items.push(CheckItem::from_error(Topic::Login, Outcome::Failed, &error));
            items.extend(skip(checkup, "nobody is logged in", &AFTER_LOGIN));
            return items;
        }
    };
    let subscription = client.subscription().await;
    if let Err(error) = &subscription
        && error.kind() == ErrorKind::Unauthenticated
    {
        // A token that was given is only found to be bad by whoever takes it.
        let mut items = vec![CheckItem::from_error(Topic::Login, Outcome::Failed, error)];
        items.extend(skip(checkup, "the login is refused", &AFTER_LOGIN));
        return items;
    }
    let (item, usable) = self::subscription(&client, &subscription);
    items.push(item);
    if usable {
        items.extend(
            Box::pin(
                Asking {
                    checkup,
                    client: &client,
                }
                .everything(),
            )
            .await,
        );
    } else {
        let why = "the subscription cannot be used";
        items.extend(skip(checkup, why, &AFTER_LOGIN[1..]));
    }
    items
}

/// The items that nothing can be said about. Names are good or bad whoever is logged in.
fn skip(checkup: &Checkup, why: &str, topics: &[Topic]) -> Vec<CheckItem> {
    let mut items = Vec::new();
    for topic in topics {
        match topic {
            Topic::GalleryNames => items.extend(gallery(checkup)),
            Topic::ImageName => items.push(
                bad_name(Topic::ImageName, Named::Image, checkup.image.as_deref())
                    .unwrap_or_else(|| CheckItem::not_checked(*topic, why)),
            ),
            Topic::ResourceGroup => items.push(
                bad_name(*topic, Named::ResourceGroup, checkup.group.as_deref())
                    .unwrap_or_else(|| CheckItem::not_checked(*topic, why)),
            ),
            topic => items.push(CheckItem::not_checked(*topic, why)),
        }
    }
    items
}

/// Logs in, and asks for a token: a login that was found may still be refused.
async fn connect(checkup: &Checkup) -> Result<(CheckItem, Client)> {
    let azure = match &checkup.connection {
        Connection::Open(azure) => azure.clone(),
        Connection::Settings(builder) => builder.as_ref().clone().build().await?,
        Connection::None => return Err(Error::new(ErrorKind::Internal, "Azure was left out")),
    };
    azure.token().await?;
    let client = Client::new(&azure)?;
    Ok((login(&azure), client))
}

fn login(azure: &Azure) -> CheckItem {
    let login = azure.login();
    let tenant = login
        .tenant()
        .map_or_else(String::new, |tenant| format!(", of the tenant {tenant}"));
    CheckItem::passed(
        Topic::Login,
        format!("{login}{tenant}, in {}", azure.cloud()),
    )
}

/// The item on the subscription, and whether anything else can be asked.
fn subscription(client: &Client, found: &Result<SubscriptionInfo>) -> (CheckItem, bool) {
    let (topic, id) = (Topic::Subscription, client.subscription_id());
    let found = match found {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::Forbidden => {
            let item = CheckItem::not_checked(
                topic,
                format!("this login may not look at the subscription {id}"),
            );
            let item = item.with_advice("a role on the resource group is enough for an upload; its location must then be given");
            return (item, true);
        }
        Err(error) => return (CheckItem::from_error(topic, Outcome::Failed, error), false),
    };
    let is = |state: &str| found.state.eq_ignore_ascii_case(state);
    let text = format!("{} ({id}) is {}", found.display_name, found.state);
    let item = if is("Enabled") {
        CheckItem::passed(topic, text)
    } else if is("Disabled") || is("Deleted") {
        CheckItem::failed(topic, format!("{text}: it can only be read"))
            .with_advice("its owner can enable it again in the Azure portal; or name another one (--subscription)")
    } else {
        CheckItem::warning(topic, text).with_advice(
            "it is usable for now: an owner should look at its bills in the Azure portal",
        )
    };
    (item, true)
}

/// The questions that follow a login.
struct Asking<'a> {
    checkup: &'a Checkup,
    client: &'a Client,
}

/// The group as it was found.
enum Group {
    /// None was named.
    Unnamed,
    /// Its name cannot be one.
    BadName,
    Exists(Location),
    Absent,
    /// It could not be looked at.
    Unseen,
}

impl Asking<'_> {
    async fn everything(&self) -> Vec<CheckItem> {
        let client = self.client;
        let (found, in_subscription, in_group, compute, network, names) = futures::join!(
            self.find_group(),
            client.permissions_in_subscription(),
            self.permissions_in_group(),
            client.provider(COMPUTE),
            client.provider(NETWORK),
            self.names(),
        );
        let (group, group_item) = self.group(&found, &in_subscription);
        let mut items = vec![
            group_item,
            self.provider(Topic::ProviderCompute, COMPUTE, &compute, &in_subscription),
            self.provider(Topic::ProviderNetwork, NETWORK, &network, &in_subscription),
        ];
        items.extend(self.rights(&group, in_group.as_ref(), &in_subscription));
        items.extend(names);
        items.extend(gallery(self.checkup));
        items.extend(self.place(&group, &compute).await);
        items
    }

    /// `None` where there is no group to look for.
    async fn find_group(&self) -> Option<Result<Option<ResourceGroup>>> {
        let name = self.group_name()?;
        Some(self.client.resource_group(name).await)
    }

    async fn permissions_in_group(&self) -> Option<Known> {
        let name = self.group_name()?;
        Some(self.client.permissions_in(name).await)
    }

    /// The group, if it has a name that it can have.
    fn group_name(&self) -> Option<&str> {
        let name = self.checkup.group.as_deref()?;
        Named::ResourceGroup.check(name).is_ok().then_some(name)
    }

    fn group(
        &self,
        found: &Option<Result<Option<ResourceGroup>>>,
        in_subscription: &Known,
    ) -> (Group, CheckItem) {
        let topic = Topic::ResourceGroup;
        if let Some(item) = bad_name(topic, Named::ResourceGroup, self.checkup.group.as_deref()) {
            return (Group::BadName, item);
        }
        let (Some(name), Some(found)) = (&self.checkup.group, found) else {
            let item = CheckItem::not_checked(topic, "no resource group was named")
                .with_advice("name the one that the image goes into (--resource-group)");
            return (Group::Unnamed, item);
        };
        match found {
            Ok(Some(group)) => match Location::new(&group.location) {
                Ok(location) => {
                    let item = CheckItem::passed(topic, format!("{name} exists in {location}"));
                    (Group::Exists(location), item)
                }
                Err(error) => (
                    Group::Unseen,
                    CheckItem::from_error(topic, Outcome::NotChecked, &error),
                ),
            },
            Ok(None) => {
                let item = match may(in_subscription, rights::MAKE_GROUP) {
                    Some(true) => CheckItem::passed(
                        topic,
                        format!("{name} does not exist yet; an upload makes it"),
                    ),
                    Some(false) => CheckItem::failed(
                        topic,
                        format!("{name} does not exist, and this login may not make groups"),
                    )
                    .with_advice("ask an owner of the subscription to make it, and for the role Contributor on it"),
                    None => CheckItem::warning(
                        topic,
                        format!("{name} does not exist, and whether this login may make groups is not known"),
                    )
                    .with_advice("ask an owner of the subscription to make it if an upload may not"),
                };
                (Group::Absent, item)
            }
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                let item = CheckItem::stops(
                    topic,
                    self.checkup.location.is_none(),
                    format!("this login may not look at the group {name}"),
                );
                let item = item.with_advice("pass the location (--location); if there is no such group, ask for one to be made");
                (Group::Unseen, item)
            }
            Err(error) => (
                Group::Unseen,
                CheckItem::from_error(topic, Outcome::NotChecked, error),
            ),
        }
    }

    fn provider(
        &self,
        topic: Topic,
        namespace: &str,
        found: &Result<Provider>,
        in_subscription: &Known,
    ) -> CheckItem {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                return not_answered(topic, &format!("the state of {namespace}"), error);
            }
        };
        let state = &found.registration_state;
        if found.is_registered() {
            return CheckItem::passed(topic, format!("{namespace} is registered"));
        }
        if state.eq_ignore_ascii_case("Registering") {
            return CheckItem::passed(topic, format!("{namespace} is being registered"));
        }
        let text = format!("{namespace} is {state}");
        let ask = format!(
            "ask an owner of the subscription to run `az provider register -n {namespace}`"
        );
        match may(in_subscription, &format!("{namespace}/register/action")) {
            Some(true) => CheckItem::warning(topic, text).with_advice(
                "nothing: it is registered when it is first needed, which takes a minute or two",
            ),
            // An upload does without networks.
            Some(false) => CheckItem::stops(
                topic,
                topic == Topic::ProviderCompute || self.boots(),
                format!("{text}, and this login may not register it"),
            )
            .with_advice(ask),
            None => CheckItem::warning(
                topic,
                format!("{text}, and whether this login may register it is not known"),
            )
            .with_advice(ask),
        }
    }

    /// Whether machines were asked for, and not an upload alone.
    fn boots(&self) -> bool {
        self.checkup.size.is_some() || self.checkup.scale_set
    }

    fn rights(
        &self,
        group: &Group,
        in_group: Option<&Known>,
        in_subscription: &Known,
    ) -> [CheckItem; 2] {
        let (place, known) = match (&self.checkup.group, in_group) {
            (Some(name), Some(known)) if !matches!(group, Group::Absent) => {
                (format!("the resource group {name}"), known)
            }
            _ => ("the subscription".to_owned(), in_subscription),
        };
        let boot = if self.checkup.scale_set {
            ("making a scale set", rights::SCALE_SET)
        } else {
            ("making a machine", rights::BOOT)
        };
        let upload = ("an upload", rights::UPLOAD);
        [
            rights::check(Topic::RightsUpload, true, upload, &place, known),
            rights::check(Topic::RightsBoot, self.boots(), boot, &place, known),
        ]
    }

    /// The name of the image, and what has it or that of its disk.
    async fn names(&self) -> Option<CheckItem> {
        let topic = Topic::ImageName;
        let Some(name) = self.checkup.image.as_deref() else {
            return Some(
                CheckItem::not_checked(topic, "the image was not named")
                    .with_advice("say how it is to be called (--image-name)"),
            );
        };
        if let Some(item) = bad_name(topic, Named::Image, Some(name)) {
            return Some(item);
        }
        let disk = disk_name(name);
        let called = if disk == name {
            format!("{name} can be the name of the image and of its disk")
        } else {
            format!("{name} can be the name of the image, whose disk is called {disk}")
        };
        let Some(group) = self.group_name() else {
            return Some(CheckItem::passed(topic, called));
        };
        let image_id = self.client.resource_id(group, IMAGES, name);
        let (image, disk) =
            futures::join!(self.client.image(&image_id), self.client.disk(group, &disk));
        Some(match (image, disk) {
            (Ok(None), Ok(None)) => {
                CheckItem::passed(topic, format!("{called}, and neither exists in {group}"))
            }
            (Ok(Some(image)), _) => there(name, group, &image),
            (Ok(None), Ok(Some(disk))) => disk_there(group, &disk),
            (Err(error), _) | (_, Err(error)) => {
                let mut item = not_answered(topic, "images and disks", &error);
                if error.kind() == ErrorKind::Forbidden {
                    item.found = format!("{called}; this login may not look whether they exist");
                    item.to_do = Some(rights::ASK.to_owned());
                }
                item
            }
        })
    }

    /// Where the image goes, and what machines there can be.
    async fn place(&self, group: &Group, compute: &Result<Provider>) -> Vec<CheckItem> {
        let (location, source) = match self.location(group) {
            Ok(chosen) => chosen,
            Err(item) => return self.without_place(*item, "where is not known"),
        };
        if let Err(error) = self.client.check_location(&location).await {
            if error.kind() == ErrorKind::InvalidInput {
                let item = CheckItem::from_error(Topic::Location, Outcome::Failed, &error);
                return self.without_place(item, "there is no such location");
            }
            tracing::debug!("the locations are not known: {error}");
        }
        let mut items = vec![located(&location, source, compute)];
        let machines = machine::Wanted {
            size: self.checkup.size.as_deref().unwrap_or(DEFAULT_SIZE),
            asked: self.checkup.size.is_some(),
            count: self.checkup.machines,
            location: &location,
            system: self.checkup.system.as_deref(),
        };
        let (sizes, cores, addresses) = futures::join!(
            self.client.vm_sizes(&location),
            self.client.compute_usages(&location),
            self.client.network_usages(&location),
        );
        items.push(machines.size(&sizes));
        items.push(machines.quota(&sizes, &cores));
        items.push(machines.addresses(&addresses));
        items
    }

    /// The location, and how it was chosen: as an upload does it.
    fn location(&self, group: &Group) -> Result<(Location, &'static str), Box<CheckItem>> {
        let topic = Topic::Location;
        let asked = match self.checkup.location.as_deref().map(Location::new) {
            Some(Err(error)) => {
                let item = CheckItem::from_error(topic, Outcome::Failed, &error);
                return Err(Box::new(item));
            }
            Some(Ok(asked)) => Some(asked),
            None => None,
        };
        match (asked, group) {
            (Some(asked), Group::Exists(own)) if asked != *own => Err(Box::new(
                CheckItem::failed(
                    topic,
                    format!(
                        "the resource group {} exists in {own}, not in {asked}",
                        self.checkup.group.as_deref().unwrap_or_default()
                    ),
                )
                .with_advice(format!(
                    "leave the location out to use {own}, or name another group"
                )),
            )),
            (Some(asked), _) => Ok((asked, "as asked")),
            (None, Group::Exists(own)) => Ok((own.clone(), "that of the group")),
            (None, Group::Unseen) => Err(Box::new(CheckItem::not_checked(
                topic,
                "the location is that of the group, which could not be looked at",
            ))),
            (None, _) => {
                let location = Location::new(DEFAULT_LOCATION).map_err(|error| {
                    Box::new(CheckItem::from_error(topic, Outcome::Failed, &error))
                })?;
                Ok((location, "the default for a new group"))
            }
        }
    }

    fn without_place(&self, item: CheckItem, why: &str) -> Vec<CheckItem> {
        let rest = [Topic::VmSize, Topic::Quota, Topic::PublicAddresses];
        let rest = rest.map(|topic| CheckItem::not_checked(topic, why));
        std::iter::once(item).chain(rest).collect()
    }
}

/// The item on a location that exists: whether it has what an image is made of.
fn located(location: &Location, source: &str, compute: &Result<Provider>) -> CheckItem {
    let topic = Topic::Location;
    let missing: Vec<&str> = match compute {
        Ok(provider) => ["disks", "images", "virtualMachines"]
            .into_iter()
            .filter(|kind| !provider.offers(kind, location))
            .collect(),
        Err(_) => Vec::new(),
    };
    if missing.is_empty() {
        return CheckItem::passed(topic, format!("{location}, {source}"));
    }
    CheckItem::failed(
        topic,
        format!(
            "{location}, {source}, has no {} for this subscription",
            missing.join(", ")
        ),
    )
    .with_advice("choose another location: `az account list-locations -o table` lists them")
}

/// The item on a name that cannot be one.
fn bad_name(topic: Topic, named: Named, name: Option<&str>) -> Option<CheckItem> {
    let error = named.check(name?).err()?;
    Some(CheckItem::from_error(topic, Outcome::Failed, &error))
}

/// The names of a gallery and an image definition, where they were given.
fn gallery(checkup: &Checkup) -> Option<CheckItem> {
    let topic = Topic::GalleryNames;
    let gallery = checkup.gallery.as_deref();
    let definition = checkup.definition.as_deref();
    let given: Vec<&str> = [gallery, definition].into_iter().flatten().collect();
    if given.is_empty() {
        return None;
    }
    let bad = bad_name(topic, Named::Gallery, gallery)
        .or_else(|| bad_name(topic, Named::ImageDefinition, definition));
    Some(bad.unwrap_or_else(|| {
        CheckItem::passed(topic, format!("{} can be called so", given.join(" and ")))
    }))
}

fn there(name: &str, group: &str, image: &Image) -> CheckItem {
    let state = image.properties.provisioning_state.as_deref();
    let state = match state {
        None | Some("Succeeded") => String::new(),
        Some(state) => format!(" and is {state}"),
    };
    CheckItem::warning(
        Topic::ImageName,
        format!(
            "there is an image {name} in {group} already, made in {}{state}",
            image.location
        ),
    )
    .with_advice("an upload of the same content returns it, and one of another content is refused: choose another name, or delete it")
}

fn disk_there(group: &str, disk: &Disk) -> CheckItem {
    let name = disk.name.as_deref().unwrap_or("of that name");
    if disk.tags.contains_key(UNFINISHED_TAG) {
        return CheckItem::warning(
            Topic::ImageName,
            format!("the disk {name} in {group} is left from an upload that was not finished"),
        )
        .with_advice(
            "nothing for the same content: its upload goes on; for another one delete the disk",
        );
    }
    CheckItem::warning(
        Topic::ImageName,
        format!("there is a disk {name} in {group} already"),
    )
    .with_advice("an upload of the same content uses it, and one of another content is refused: choose another name, or delete it")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::arm::replay::client;

    #[test]
    fn the_state_of_a_subscription_decides() {
        let (client, _) = client(Vec::new());
        for (state, outcome) in [
            ("Enabled", Outcome::Passed),
            ("enabled", Outcome::Passed),
            ("Warned", Outcome::Warning),
            ("PastDue", Outcome::Warning),
            ("Disabled", Outcome::Failed),
            ("Deleted", Outcome::Failed),
        ] {
            let found = serde_json::from_value(json!({ "displayName": "Web", "state": state }));
            let (item, usable) = subscription(&client, &Ok(found.unwrap()));
            assert_eq!(item.outcome, outcome, "{state}");
            assert!(usable && item.found.starts_with("Web (s) is "));
        }
        let gone = Err(Error::new(ErrorKind::NotFound, "it is not there").with_hint("look"));
        let (item, usable) = subscription(&client, &gone);
        assert_eq!((item.outcome, usable), (Outcome::Failed, false));
        let hidden = Err(Error::new(ErrorKind::Forbidden, "no"));
        let (item, usable) = subscription(&client, &hidden);
        assert_eq!((item.outcome, usable), (Outcome::NotChecked, true));
    }

    #[test]
    fn a_location_may_lack_what_is_needed() {
        let location = "westus2".parse().unwrap();
        let provider = |disks: &[&str]| {
            let provider = json!({ "namespace": COMPUTE, "registrationState": "Registered",
                "resourceTypes": [{ "resourceType": "disks", "locations": disks }] });
            Ok(serde_json::from_value(provider).unwrap())
        };
        let here = located(&location, "as asked", &provider(&["East US", "West US 2"]));
        assert_eq!(here.outcome, Outcome::Passed);
        let elsewhere = located(&location, "as asked", &provider(&["East US"]));
        assert_eq!(elsewhere.outcome, Outcome::Failed);
        assert!(
            elsewhere.found.contains("has no disks"),
            "{}",
            elsewhere.found
        );
        let unknown = Err(Error::new(ErrorKind::Forbidden, "no"));
        assert_eq!(
            located(&location, "as asked", &unknown).outcome,
            Outcome::Passed
        );
    }
}
