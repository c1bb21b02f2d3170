//! Whether an upload would work, before anything is built or made.
//!
//! [`Checkup`] looks at the login and the subscription, the resource group and the region, the rights
//! of the login, names, sizes and quotas, and at Nix on this machine: its store, the system it builds
//! for, hardware virtualisation and room. It changes nothing, anywhere. Each thing is an item of the
//! [`CheckReport`]; one that fails keeps no other from being looked at.
//!
//! Here lives what the facts mean. The facts themselves come from [`azure`](crate::azure),
//! [`arm`](crate::arm) and [`nix`](crate::nix); whether the work then succeeds is only known by doing
//! it, since policies, locks and the capacity of a region cannot be asked for.

mod cloud;
mod host;
mod machine;
mod report;
mod rights;

use std::future::IntoFuture;

use futures::future::BoxFuture;

pub use report::{CheckItem, CheckReport, Outcome, Topic};

use crate::azure::{Azure, AzureBuilder};
use crate::handle::{Handle, Work};
use crate::nix::Nix;
use crate::progress::Phase;
use crate::{ByteSize, Result};

/// A look at everything that an upload needs.
///
/// Without settings it uses the login that the environment offers and the Nix on `PATH`, for a small
/// image. What was asked for by name decides: a size of machines that was not is that of
/// [`VmBuilder`](crate::VmBuilder), and what is wrong with it is a warning, since an upload needs no
/// machine.
///
/// Await it for the simple path, or [`start`](Self::start) it for a handle.
///
/// ```no_run
/// use azure_nixos::check::Checkup;
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let report = Checkup::new()
///     .resource_group("images-rg")
///     .image_name("nixos-web")
///     .vm_size("Standard_D2s_v5")
///     .await?;
/// for item in report.failed() {
///     println!("{}: {}", item.topic, item.found);
///     if let Some(to_do) = &item.to_do {
///         println!("  {to_do}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Only [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), and
/// [`ErrorKind::Internal`](crate::ErrorKind::Internal) for a defect: everything else is an item of the
/// report.
///
/// # Cancellation
/// Safe: nothing is changed anywhere.
#[derive(Clone, Debug)]
#[must_use = "a checkup does nothing until it is awaited or started"]
pub struct Checkup {
    connection: Connection,
    nix: Option<Nix>,
    group: Option<String>,
    location: Option<String>,
    image: Option<String>,
    gallery: Option<String>,
    definition: Option<String>,
    size: Option<String>,
    machines: u32,
    scale_set: bool,
    system: Option<String>,
    image_size: Option<ByteSize>,
}

#[derive(Clone, Debug)]
enum Connection {
    /// Azure is left out.
    None,
    /// To be logged in as a part of the check.
    Settings(Box<AzureBuilder>),
    Open(Azure),
}

impl Checkup {
    /// A look at everything.
    pub fn new() -> Self {
        Self {
            connection: Connection::Settings(Box::new(Azure::builder())),
            nix: Some(Nix::new()),
            group: None,
            location: None,
            image: None,
            gallery: None,
            definition: None,
            size: None,
            machines: 1,
            scale_set: false,
            system: None,
            image_size: None,
        }
    }

    /// Uses a connection that is open already.
    pub fn azure(mut self, azure: &Azure) -> Self {
        self.connection = Connection::Open(azure.clone());
        self
    }

    /// Logs in with these settings; a login that fails is an item of the report. Default:
    /// [`Azure::builder`], which takes what the environment offers.
    pub fn login(mut self, settings: AzureBuilder) -> Self {
        self.connection = Connection::Settings(Box::new(settings));
        self
    }

    /// Leaves Azure out.
    pub fn without_azure(mut self) -> Self {
        self.connection = Connection::None;
        self
    }

    /// Looks at this Nix. Default: the one on `PATH`.
    pub fn nix(mut self, nix: Nix) -> Self {
        self.nix = Some(nix);
        self
    }

    /// Leaves Nix out: a finished disk image needs none.
    pub fn without_nix(mut self) -> Self {
        self.nix = None;
        self
    }

    /// The group that the image is to be made in. Without it rights are those on the subscription.
    pub fn resource_group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// The region. Default: that of the group, else [`DEFAULT_LOCATION`](crate::image::DEFAULT_LOCATION).
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// The name of the image.
    pub fn image_name(mut self, name: impl Into<String>) -> Self {
        self.image = Some(name.into());
        self
    }

    /// The name of a gallery, to see whether it can be one.
    pub fn gallery_name(mut self, name: impl Into<String>) -> Self {
        self.gallery = Some(name.into());
        self
    }

    /// The name of an image definition in a gallery, to see whether it can be one.
    pub fn image_definition(mut self, name: impl Into<String>) -> Self {
        self.definition = Some(name.into());
        self
    }

    /// The size of the machines that are to be made from the image. Default:
    /// [`DEFAULT_SIZE`](crate::vm::DEFAULT_SIZE), of which nothing counts as a failure.
    pub fn vm_size(mut self, size: impl Into<String>) -> Self {
        self.size = Some(size.into());
        self
    }

    /// How many of them. Default: 1.
    pub fn machines(mut self, count: u32) -> Self {
        self.machines = count;
        self
    }

    /// Whether they are to be a scale set, which takes other rights. The default is no.
    pub fn scale_set(mut self, wanted: bool) -> Self {
        self.scale_set = wanted;
        self
    }

    /// The system that the image is for, as Nix names it: `aarch64-linux`. Default: the Linux of this
    /// machine.
    pub fn system(mut self, system: impl Into<String>) -> Self {
        self.system = Some(system.into());
        self
    }

    /// How large the disk of the image is. Twice as much is needed in the store, for what is in the
    /// image and for the image, and once more where it is built. Default: 4 GiB, of which less is a
    /// warning only: it is an estimate.
    pub fn image_size(mut self, size: ByteSize) -> Self {
        self.image_size = Some(size);
        self
    }

    /// Looks in the background.
    pub fn start(self) -> Handle<CheckReport> {
        Handle::spawn(|work: Work| async move {
            work.progress.phase(Phase::Checking, "");
            let looking = async { Ok(self.look().await) };
            work.interruptible(Box::pin(looking)).await
        })
    }

    async fn look(&self) -> CheckReport {
        let azure = async {
            match self.connection {
                Connection::None => Vec::new(),
                _ => cloud::check(self).await,
            }
        };
        let nix = async {
            let Some(nix) = &self.nix else {
                return Vec::new();
            };
            let wanted = host::Wanted {
                system: self.system.clone(),
                image: self.image_size,
            };
            host::check(&wanted, &nix.host().await)
        };
        let (mut items, more) = futures::join!(azure, nix);
        items.extend(more);
        CheckReport::new(items)
    }
}

impl Default for Checkup {
    fn default() -> Self {
        Self::new()
    }
}

impl IntoFuture for Checkup {
    type Output = Result<CheckReport>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}
