//! What was asked for, checked: first without Azure, then by looking at what there is.

use std::path::PathBuf;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream;

use super::identity::{self, Identity, Wanted};
use super::image::ImageReference;
use super::keys::{self, SshKey};
use super::machine::MachineOptions;
use super::network::{self, Allow, Asked, Connection, NetworkOptions, SharedNetwork};
use super::origin::{Origin, OriginKind, Wish};
use super::owner::Owner;
use super::plan::{Chosen, Login, One, Plan};
use super::provisioning::{Provisioning, Told};
use super::ready::{Readiness, Wait, WaitOptions};
use super::scale_set;
use super::sizes::{self, Catalogue, Needs};
use super::user;
use crate::arm::compute::{GALLERY_IMAGES, GALLERY_VERSIONS};
use crate::arm::{Client, Location, Named, ResourceId};
use crate::blocking::blocking;
use crate::group::{Fallback, Place};
use crate::undo::AT_A_TIME;
use crate::{Error, ErrorKind, Result};

/// The most machines of a fleet: a subnet of 256 addresses has room for so many.
pub const LARGEST_FLEET: u32 = 250;

/// Everything that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) image: ImageReference,
    pub(crate) location: Option<String>,
    pub(crate) machine: MachineOptions,
    pub(crate) network: NetworkOptions,
    pub(crate) login: LoginOptions,
    pub(crate) identity: Option<Identity>,
    pub(crate) roles: Vec<Wanted>,
    pub(crate) provisioning: Provisioning,
    pub(crate) wait: WaitOptions,
    pub(crate) shape: Shape,
}

/// How many machines there are to be, and what holds them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One, named `NAME`.
    One,
    /// So many, named `NAME-1` and so on.
    Fleet(u32),
    /// A scale set named `NAME` of so many, which Azure names.
    ScaleSet(u32),
}

/// Who may log in.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoginOptions {
    pub(crate) admin_username: Option<String>,
    pub(crate) keys: Vec<SshKey>,
    pub(crate) no_key: bool,
    pub(crate) key_directory: Option<PathBuf>,
}

/// What becomes of what can be read once: a pipe, as shells make them of the output of a command, and the
/// answer of an agent that asks its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Once {
    /// It is left for the machine.
    Left,
    /// It is read.
    Read,
}

/// What was read on the way of the first check.
struct Read {
    keys: Vec<String>,
    told: Told,
}

/// What machines are made from and into, whatever their shape.
pub(super) struct Ground {
    pub(super) origin: Origin,
    pub(super) place: Place,
    os_disk_gb: u64,
    login: Login,
    told: Told,
    pub(super) join: Option<ResourceId>,
    pub(super) allow: Allow,
    identity: Option<identity::Plan>,
    catalogue: Option<Catalogue>,
    wait: Wait,
    pub(super) warnings: Vec<String>,
}

impl Spec {
    fn names(&self) -> Vec<String> {
        match self.shape {
            Shape::One => vec![self.name.clone()],
            Shape::Fleet(count) => (1..=count)
                .map(|number| format!("{}-{number}", self.name))
                .collect(),
            Shape::ScaleSet(_) => Vec::new(),
        }
    }

    /// Checks everything that can be checked without Azure, and once more later.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], or that of a file that cannot be read.
    pub(crate) async fn validate(&self) -> Result<()> {
        self.read(Once::Left).await.map(drop)
    }

    async fn read(&self, once: Once) -> Result<Read> {
        Named::ResourceGroup.check(&self.group)?;
        if let Shape::Fleet(count) = self.shape
            && !(1..=LARGEST_FLEET).contains(&count)
        {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a fleet cannot have {count} machines"),
            )
            .with_hint(format!("pass 1 to {LARGEST_FLEET}")));
        }
        if let Shape::ScaleSet(count) = self.shape {
            scale_set::check(&self.name, count, self.identity.as_ref())?;
        }
        // The longest is the last one.
        let last = self.names().pop();
        if let Some(name) = &last {
            Named::VirtualMachine.check(name)?;
        }
        self.check_parts(last.as_deref())
            .map_err(|error| error.with_context("named after the machine", &self.name))?;
        self.machine.check()?;
        self.network.subnet()?;
        self.network.asked()?;
        self.wait.check(&self.network)?;
        if let Some(name) = &self.login.admin_username {
            user::check(name)?;
        }
        if let Some(location) = &self.location {
            Location::new(location)?;
        }
        identity::check(self.identity.as_ref(), &self.roles)?;
        let login = &self.login;
        if login.no_key && !login.keys.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "there are SSH keys, and there are to be none",
            )
            .with_hint("pass either keys or none"));
        }
        if login.keys.is_empty() && !login.no_key && login.key_directory.is_none() {
            keys::default_directory()?;
        }
        let given = login.keys.clone();
        let mut keys: Vec<String> = Vec::new();
        let lines = move || {
            let given = given.iter();
            let given = given.filter(|key| once == Once::Read || key.can_be_read_again());
            given.map(SshKey::lines).collect::<Result<Vec<_>>>()
        };
        for key in blocking(lines).await?.concat() {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let told = self.provisioning.read(once).await?;
        Ok(Read { keys, told })
    }

    /// The names of what is made beside the machines, which are longer than theirs.
    fn check_parts(&self, last: Option<&str>) -> Result<()> {
        SharedNetwork::check_names(&self.name, self.network.subnet.is_some())?;
        let Some(name) = last else { return Ok(()) };
        Connection::check_names(name, &self.network)?;
        Named::Disk.check(&disk_name(name))
    }

    /// Where the group is, if that matters to what image is meant.
    async fn group_location(&self, client: &Client) -> Result<Option<Location>> {
        let gallery = |id: &ResourceId| id.is_kind(GALLERY_IMAGES) || id.is_kind(GALLERY_VERSIONS);
        if !matches!(&self.image, ImageReference::Id(id) if gallery(id)) {
            return Ok(None);
        }
        match client.resource_group(&self.group).await {
            Err(error) if error.kind() == ErrorKind::Forbidden => Ok(None),
            found => found?
                .map(|group| Location::new(&group.location))
                .transpose(),
        }
    }

    /// Everything that can be refused before anything exists.
    ///
    /// # Errors
    /// What no machine can be made from, or like; what is there already.
    pub(crate) async fn check(self, client: &Client) -> Result<Plan> {
        let ground = self.ground(client).await?;
        let shared_owner = Owner::new(&self.name);
        let shared = SharedNetwork::new(
            shared_owner.clone(),
            ground.join.clone(),
            ground.allow.clone(),
            self.network.ipv6,
        );
        let machines: Vec<One> = self
            .names()
            .into_iter()
            .map(|name| {
                let owner = match self.shape {
                    Shape::Fleet(_) => shared_owner.member(&name),
                    Shape::One | Shape::ScaleSet(_) => shared_owner.clone(),
                };
                One {
                    connection: Connection::new(
                        owner.clone(),
                        &self.network,
                        self.machine.zone.as_deref(),
                    ),
                    disk: (ground.origin.kind == OriginKind::Disk).then(|| disk_name(&name)),
                    owner,
                    name,
                }
            })
            .collect();
        check_absent(client, &self.group, &shared, &machines).await?;
        self.plan(ground, shared, machines)
    }

    /// Finds what machines are made from and into.
    ///
    /// # Errors
    /// As [`check`](Self::check), but for what is there already.
    pub(super) async fn ground(&self, client: &Client) -> Result<Ground> {
        let Read { keys, told } = self.read(Once::Read).await?;
        let asked = self.location.as_deref().map(Location::new).transpose()?;
        let group = self.group_location(client).await?;
        let wish = Wish {
            asked: asked.as_ref(),
            group: group.as_ref(),
        };
        let (origin, location) = Origin::find(client, &self.image, wish).await?;
        let beside_it = Fallback::Anyway(&location);
        let mut place = Place::choose(client, &self.group, asked.as_ref(), beside_it).await?;
        place.location = location;
        let os_disk_gb = self.machine.os_disk_size(&origin)?;
        let mut warnings: Vec<String> = self.network.warning().into_iter().collect();
        let login = self.login(&origin, keys, &mut warnings)?;

        let join = self.network.subnet()?;
        let asked = self.network.asked()?;
        let is_me = asked == Asked::Me;
        let (allow, subnet, identity, catalogue) = futures::join!(
            asked.resolve(client),
            async {
                match &join {
                    Some(id) => {
                        network::check_subnet(client, id, &place.location, self.network.ipv6).await
                    }
                    None => Ok(()),
                }
            },
            identity::Plan::find(client, self.identity.as_ref(), &self.roles),
            Catalogue::read(client, &place.location),
        );
        subnet?;
        let allow = allow?;
        let wait = self.wait(client, &allow, is_me).await?;
        let identity = identity?;
        warnings.extend(identity.iter().flat_map(identity::Plan::warnings));
        let catalogue = catalogue.unwrap_or_else(|error| {
            warnings.push(format!("the size is not checked beforehand: {error}"));
            None
        });
        Ok(Ground {
            origin,
            place,
            os_disk_gb,
            login,
            told,
            join,
            allow,
            identity,
            catalogue,
            wait,
            warnings,
        })
    }

    /// Puts the plan together, with what follows from the size.
    ///
    /// # Errors
    /// When the size will not do, or there is no room for so many in the quota.
    pub(super) fn plan(
        self,
        ground: Ground,
        network: SharedNetwork,
        machines: Vec<One>,
    ) -> Result<Plan> {
        let Ground {
            origin,
            place,
            os_disk_gb,
            login,
            told,
            identity,
            catalogue,
            wait,
            warnings,
            ..
        } = ground;
        let (chosen, needs) = self.choose(&origin, &place.location, catalogue.as_ref())?;
        Ok(Plan {
            name: self.name,
            place,
            luns: self.machine.luns(&origin),
            origin,
            network,
            machines,
            machine: self.machine,
            os_disk_gb,
            chosen,
            needs,
            catalogue,
            login,
            identity,
            told,
            wait,
            warnings,
        })
    }

    /// What is waited for, and why not for more.
    async fn wait(&self, client: &Client, allow: &Allow, is_me: bool) -> Result<Wait> {
        let has_to_know =
            self.wait.readiness == Readiness::Auto && matches!(allow, Allow::Range(_));
        let caller = if has_to_know && !is_me {
            client.caller_address().await?
        } else {
            None
        };
        Ok(self.wait.decide(&self.network, allow, is_me, caller))
    }

    /// What follows from the size.
    fn choose(
        &self,
        origin: &Origin,
        location: &Location,
        catalogue: Option<&Catalogue>,
    ) -> Result<(Chosen, Needs)> {
        let machine = &self.machine;
        let known = catalogue.and_then(|catalogue| catalogue.find(&machine.size));
        let trusted_launch = machine.trusted_launch(origin, known.map(sizes::trusted_launch))?;
        let needs = Needs {
            whose: "the image",
            location: location.clone(),
            generation: origin.generation,
            architecture: origin.architecture.clone(),
            controllers: origin.controllers.clone(),
            zone: machine.zone.clone(),
            spot: machine.spot.is_some(),
            accelerated: self.network.accelerated,
            data_disks: machine.data_disks.len() + origin.luns.len(),
            premium: machine
                .os_disk_sku
                .as_deref()
                .is_some_and(sizes::is_premium),
            trusted_launch,
            count: match self.shape {
                Shape::One => 1,
                Shape::Fleet(count) | Shape::ScaleSet(count) => u64::from(count),
            },
        };
        let size = catalogue
            .map(|catalogue| catalogue.check(&machine.size, &needs))
            .transpose()?;
        let premium = size.and_then(|size| size.flag("PremiumIO")) != Some(false);
        let default_sku = if premium {
            "Premium_LRS"
        } else {
            "StandardSSD_LRS"
        };
        let chosen = Chosen {
            // In Azure's own spelling, where that is known.
            size: size.map_or_else(|| machine.size.clone(), |size| size.name.clone()),
            disk_sku: machine
                .os_disk_sku
                .clone()
                .unwrap_or_else(|| default_sku.to_owned()),
            controller: size
                .and_then(|size| sizes::controller(size, &origin.controllers))
                .map(str::to_owned),
            trusted_launch,
        };
        Ok((chosen, needs))
    }

    /// Who may log in, and how that comes about.
    fn login(
        &self,
        origin: &Origin,
        keys: Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Login> {
        let asked = &self.login;
        if !origin.generalized {
            let what = if !keys.is_empty() {
                Some("SSH keys")
            } else {
                self.provisioning.needs_first_boot()
            };
            if let Some(what) = what {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "a machine from {} has what is on it: it cannot be given {what}",
                        origin.called().trim_end_matches(',')
                    ),
                )
                .with_hint(
                    "leave them out (user data can be given), or boot from a generalized image",
                ));
            }
            return Ok(Login {
                user: asked.admin_username.clone(),
                provisioned: None,
                keys,
                new_pair: None,
            });
        }
        let user = match asked.admin_username.clone() {
            Some(name) => name,
            None => {
                let (name, said) = user::default_name(std::env::var("USER").ok());
                // Nobody logs in as that user where there is no key.
                warnings.extend(said.filter(|_| !asked.no_key));
                name
            }
        };
        let new_pair = match (keys.is_empty() && !asked.no_key, &asked.key_directory) {
            (false, _) => None,
            (true, Some(directory)) => Some(directory.clone()),
            (true, None) => Some(keys::default_directory()?),
        };
        Ok(Login {
            user: if asked.no_key {
                asked.admin_username.clone()
            } else {
                Some(user.clone())
            },
            provisioned: Some(user),
            keys,
            new_pair,
        })
    }
}

/// The copy of a disk that a machine boots from. A name of a disk has no periods.
fn disk_name(machine: &str) -> String {
    format!("{}-os", machine.replace('.', "-"))
}

/// Fails when any of the names is taken.
async fn check_absent(
    client: &Client,
    group: &str,
    shared: &SharedNetwork,
    machines: &[One],
) -> Result<()> {
    let looks: Vec<BoxFuture<'_, Result<Vec<String>>>> = machines
        .iter()
        .map(|one| -> BoxFuture<'_, _> {
            Box::pin(async move {
                if client.virtual_machine(group, &one.name).await?.is_some() {
                    return Err(Error::new(
                        ErrorKind::AlreadyExists,
                        format!("there is a machine {} in {group} already", one.name),
                    )
                    .with_hint("choose another name, or delete it first"));
                }
                let mut taken = one.connection.taken(client, group).await?;
                if let Some(name) = &one.disk {
                    taken.extend(client.disk(group, name).await?.map(|_| name.clone()));
                }
                Ok(taken)
            })
        })
        .collect();
    let looks = stream::iter(looks).buffered(AT_A_TIME).collect::<Vec<_>>();
    let (shared, looks) = futures::join!(shared.taken(client, group), looks);
    let own = looks.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let taken = [shared?, own].concat();
    if taken.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::AlreadyExists,
        format!("there is {} in {group} already", taken.join(", ")),
    )
    .with_hint("choose another name for the machine, or delete what is left of the old one"))
}
