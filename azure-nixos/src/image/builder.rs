//! [`ImageBuilder`]: from a source to an image that machines can be made from.

use std::future::IntoFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::disk::{self as upload, Found, Spec};
use super::generation;
use super::origin::{self, Held, Opened};
use super::{CONTENT_TAG, ImageSource};
use crate::arm::compute::{DISKS, IMAGES, Image};
use crate::arm::{Client, Location, Named, ResourceId};
use crate::azure::{self, Azure};
use crate::disk::{self, DiskSource, Identified, OpenOptions, OpenedImage, Opening, limits};
use crate::group::{Fallback, Place};
use crate::handle::{Handle, Work};
use crate::nix::Nix;
use crate::progress::Phase;
use crate::undo::Undo;
use crate::upload::{UploadOptions, UploadReport};
use crate::{Error, ErrorKind, Generation, Result};

/// The region of a new group when nobody says another.
pub const DEFAULT_LOCATION: &str = "westus2";

/// An image to be made from a NixOS configuration or a disk image.
///
/// The content of the image is named by a tag. When an image of this name with this very content
/// exists, nothing is sent and its id is returned; a disk whose upload was interrupted is written
/// again; anything else of that name is refused. The managed disk on the way is deleted once the
/// image exists, unless [`keep_disk`](Self::keep_disk) says otherwise.
///
/// Await it for the simple path, or [`start`](Self::start) it for a handle.
///
/// ```no_run
/// use azure_nixos::{Azure, ImageBuilder, image::ImageSource};
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let azure = Azure::from_environment().await?;
/// let image = ImageBuilder::new(&azure, "images-rg", "nixos-web")
///     .location("westus2")
///     .source(ImageSource::flake(".#web"))
///     .await?;
/// println!("{}", image.id);
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
/// Dropping the future or cancelling the handle stops at a clean point and takes away what was
/// made until then: a group, a disk. A disk that was there before stays.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is awaited or started"]
pub struct ImageBuilder {
    azure: Option<Azure>,
    group: String,
    name: String,
    source: Option<ImageSource>,
    /// The disk image, once it was looked at.
    opened: Option<OpenedImage>,
    location: Option<String>,
    generation: Option<Generation>,
    disk_sku: String,
    keep_disk: bool,
    nix: Nix,
    options: UploadOptions,
    open: OpenOptions,
}

/// An image that machines can be made from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UploadedImage {
    /// Its id.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// Its resource group.
    pub resource_group: String,
    /// Its region.
    pub location: Location,
    /// Its Hyper-V generation.
    pub generation: Generation,
    /// The managed disk that was uploaded, when it was kept.
    pub disk_id: Option<ResourceId>,
    /// The disk image; `None` when an image with this content was there, and nothing was built.
    pub file: Option<PathBuf>,
    /// How it was uploaded; `None` when it was there already.
    pub upload: Option<UploadReport>,
    /// Time for everything.
    pub elapsed: Duration,
    /// What should be known about it.
    pub warnings: Vec<String>,
}

impl ImageBuilder {
    /// An image of this name in this group. The group is made when it does not exist.
    pub fn new(azure: &Azure, resource_group: impl Into<String>, name: impl Into<String>) -> Self {
        Self::unconnected(resource_group, name).connect(azure)
    }

    /// The same before there is a login: to be [prepared](Self::prepare) and then
    /// [connected](Self::connect).
    pub fn unconnected(resource_group: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            azure: None,
            group: resource_group.into(),
            name: name.into(),
            source: None,
            opened: None,
            location: None,
            generation: None,
            disk_sku: "Standard_LRS".to_owned(),
            keep_disk: false,
            nix: Nix::new(),
            options: UploadOptions::default(),
            open: OpenOptions::new(),
        }
    }

    /// What it is made from. There is no default.
    pub fn source(mut self, source: impl Into<ImageSource>) -> Self {
        self.source = Some(source.into());
        self.opened = None;
        self
    }

    /// Where it is made.
    pub fn connect(mut self, azure: &Azure) -> Self {
        self.azure = Some(azure.clone());
        self
    }

    /// The region. The default is that of the group, or `westus2` for a new one.
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// The Hyper-V generation. The default is what the partition table of the disk can boot.
    pub fn generation(mut self, generation: Generation) -> Self {
        self.generation = Some(generation);
        self
    }

    /// The kind of storage of the disk, and so of the image; the default is `Standard_LRS`.
    pub fn disk_sku(mut self, sku: impl Into<String>) -> Self {
        self.disk_sku = sku.into();
        self
    }

    /// Whether the managed disk stays when the image exists. It costs as much as the image.
    pub fn keep_disk(mut self, keep: bool) -> Self {
        self.keep_disk = keep;
        self
    }

    /// How Nix is run: other programs, another environment.
    pub fn nix(mut self, nix: Nix) -> Self {
        self.nix = nix;
        self
    }

    /// How the disk image is opened; by default without backing files.
    pub fn open_options(mut self, options: OpenOptions) -> Self {
        self.open = options;
        self.opened = None;
        self
    }

    /// How the disk is uploaded. With a [journal](UploadOptions::journal), an upload that fails of
    /// something that passes leaves its disk and says so, instead of taking it away: the same again
    /// goes on where it was.
    pub fn upload_options(mut self, options: UploadOptions) -> Self {
        self.options = options;
        self
    }

    /// Checks everything that can be checked without Azure: names, and a disk image file, which is open
    /// then. What Nix builds is not looked at.
    ///
    /// [`start`](Self::start) does so by itself; this is for whoever wants to know before there is a
    /// login. Of a compressed image this is the pass that finds out what is in it, and takes its time.
    ///
    /// ```no_run
    /// use azure_nixos::{Azure, ImageBuilder, image::ImageSource};
    ///
    /// # async fn example() -> azure_nixos::Result<()> {
    /// let image = ImageBuilder::unconnected("images-rg", "nixos-web")
    ///     .source(ImageSource::file("web.raw.xz"))
    ///     .prepare()
    ///     .join()
    ///     .await?;
    /// let azure = Azure::from_environment().await?;
    /// println!("{}", image.connect(&azure).await?.id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn prepare(self) -> Handle<Self> {
        Handle::spawn(|work| self.prepared(work))
    }

    async fn prepared(mut self, work: Work) -> Result<Self> {
        self.what()?;
        Named::ResourceGroup.check(&self.group)?;
        Named::Image.check(&self.name)?;
        self.asked_location()?;
        self.open(&work).await?;
        Ok(self)
    }

    /// Opens a disk image file, unless it is open, and refuses what cannot become an image as asked.
    async fn open(&mut self, work: &Work) -> Result<Option<Opened>> {
        let ImageSource::File(path) = self.what()? else {
            return Ok(None);
        };
        let image = if let Some(image) = &self.opened {
            image
        } else {
            let opening = Opening::new(path.clone()).options(self.open.clone());
            let opened = opening.run(work, Phase::Checking, &self.name).await?;
            self.opened.insert(opened)
        };
        let opened = Opened::of(image)?;
        generation::choose(opened.generations, self.generation)?;
        Ok(Some(opened))
    }

    /// What it is made from.
    fn what(&self) -> Result<&ImageSource> {
        self.source.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "nothing was said to make the image from",
            )
            .with_hint("name a Nix file, a flake, a store path or a disk image file")
        })
    }

    fn asked_location(&self) -> Result<Option<Location>> {
        self.location.as_deref().map(Location::new).transpose()
    }

    /// Starts making it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<UploadedImage> {
        Handle::spawn(|work| self.run(work))
    }

    async fn run(mut self, work: Work) -> Result<UploadedImage> {
        let started = Instant::now();
        Named::ResourceGroup.check(&self.group)?;
        Named::Image.check(&self.name)?;
        let disk_name = disk_name(&self.name);
        let asked = self.asked_location()?;
        let fallback = Location::new(DEFAULT_LOCATION)?;

        // A file is looked at before the login is: a wrong name should not cost a round trip.
        let early = self.open(&work).await?;
        let source = self.what()?.clone();
        let azure = azure::connected(self.azure)?;
        let client = Client::new(&azure)?;
        work.progress.phase(Phase::Checking, self.name.clone());
        let place = work
            .interruptible(Place::choose(
                &client,
                &self.group,
                asked.as_ref(),
                Fallback::NewGroup(&fallback),
            ))
            .await?;
        let existing = work
            .interruptible(client.image(&client.resource_id(&self.group, IMAGES, &self.name)))
            .await?;

        let outcome = |generation, file, warnings| Outcome {
            name: self.name.clone(),
            place: place.clone(),
            generation,
            file,
            started,
            warnings,
        };
        let opened = match (early, &source) {
            (Some(opened), _) => opened,
            (None, ImageSource::Nix(what)) => {
                let evaluation = origin::evaluate(&self.nix, what, &work).await?;
                // What is there need not be built, and what is not this need not be built either.
                if let (Some(existing), Some(path)) = (&existing, evaluation.store_path()) {
                    let there = existing.properties.hyper_v_generation;
                    // Azure takes an image that says nothing for one of the first.
                    let generation = self.generation.or(there).unwrap_or(Generation::V1);
                    let outcome = outcome(generation, None, Vec::new());
                    let id = reuse(existing, &path.display().to_string(), &outcome)?;
                    tracing::info!("the image {} has this content already", self.name);
                    return Ok(outcome.done(id, None, None));
                }
                origin::check_platform(what, &evaluation)?;
                Opened::built(&self.nix, evaluation, self.open.clone(), &work).await?
            }
            (None, ImageSource::File(_)) => {
                return Err(Error::new(ErrorKind::Internal, "an image without a source"));
            }
        };
        let held = Held::new(opened.built, &self.nix, self.options.journal_directory());
        let generation = generation::choose(opened.generations, self.generation)?;

        work.progress
            .phase(Phase::Inspecting, opened.file.display().to_string());
        let (reader, known) = (Arc::clone(&opened.image), opened.known_identity);
        let detail = opened.file.display().to_string();
        let (fingerprint, identity) =
            disk::follow(&work, Phase::Inspecting, &detail, move |watch| {
                let fingerprint = reader.fingerprint()?;
                let known = known.or_else(|| reader.known_identity());
                let identity = known.map_or_else(|| disk::watched_identity(&*reader, watch), Ok)?;
                Ok((fingerprint, identity))
            })
            .await?;
        let source: Arc<dyn DiskSource> = Arc::new(Identified::new(opened.image, identity.clone()));

        let outcome = outcome(generation, Some(opened.file.clone()), opened.warnings);
        if let Some(existing) = existing {
            let id = reuse(&existing, &identity, &outcome)?;
            held.let_go().await;
            tracing::info!("the image {} has this content already", self.name);
            return Ok(outcome.done(id, None, None));
        }
        let upload_bytes = limits::upload_size(source.virtual_size());
        let found = work
            .interruptible(upload::look(
                &client,
                &self.group,
                &disk_name,
                &identity,
                upload_bytes,
                Some(generation),
            ))
            .await?;
        let spec = Spec {
            place,
            name: disk_name,
            sku: self.disk_sku,
            generation: Some(generation),
            architecture: opened.architecture,
            identity,
            fingerprint,
            upload_bytes,
            found,
            options: self.options,
        };
        let mut undo = Undo::default();
        let making = Making {
            azure: &azure,
            client: &client,
            spec: &spec,
            image_name: &self.name,
            generation,
            keep_disk: self.keep_disk,
        };
        let result = making.make(source, &work, outcome, &mut undo).await;
        let is_kept = undo.keeps_something();
        let result = undo.finish(&work, result).await;
        if result.is_err() && is_kept {
            held.for_later().await;
        } else {
            held.let_go().await;
        }
        result
    }
}

impl IntoFuture for ImageBuilder {
    type Output = Result<UploadedImage>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}

/// Everything that the steps which change something need.
struct Making<'a> {
    azure: &'a Azure,
    client: &'a Client,
    spec: &'a Spec,
    image_name: &'a str,
    generation: Generation,
    keep_disk: bool,
}

impl Making<'_> {
    async fn make(
        &self,
        source: Arc<dyn DiskSource>,
        work: &Work,
        mut outcome: Outcome,
        undo: &mut Undo,
    ) -> Result<UploadedImage> {
        let (client, spec) = (self.client, self.spec);
        let group = &spec.place.group;
        spec.place.ensure(client, undo).await?;
        work.check()?;
        let upload = upload::fill(spec, source, self.azure, client, work, undo).await?;
        work.check()?;

        work.progress
            .phase(Phase::CreatingImage, self.image_name.to_owned());
        let disk_id = client.resource_id(group, DISKS, &spec.name);
        let image_id = client.resource_id(group, IMAGES, self.image_name);
        // An upload takes its time. An image that came into being meanwhile would be replaced by the
        // request, and deleted by the undo.
        let id = match work.interruptible(client.image(&image_id)).await? {
            Some(existing) => reuse(&existing, &spec.identity, &outcome)?,
            None => self.create(&disk_id, work, undo).await?.unwrap_or(image_id),
        };

        // The image is a copy. What is left of the way to it goes, unless it was there before.
        let mut kept = Some(disk_id);
        if !self.keep_disk && spec.found != Found::Whole {
            let deleted = async { client.delete_disk(group, &spec.name).await?.wait().await };
            match deleted.await {
                Ok(()) => kept = None,
                Err(error) => outcome.warnings.push(format!(
                    "the image is done, but the disk {} in {group} could not be deleted and costs money: {error}",
                    spec.name
                )),
            }
        }
        Ok(outcome.done(id, kept, upload))
    }

    /// Makes the image from the disk.
    async fn create(
        &self,
        disk: &ResourceId,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<Option<ResourceId>> {
        let (client, spec, name) = (self.client, self.spec, self.image_name);
        let group = &spec.place.group;
        let (again, again_group, again_name) = (client.clone(), group.clone(), name.to_owned());
        undo.push(format!("the image {name}"), move || async move {
            again
                .delete_image(&again_group, &again_name)
                .await?
                .wait()
                .await
        });
        let mut image = Image::of_disk(spec.place.location.as_str(), self.generation, disk.clone());
        image
            .tags
            .insert(CONTENT_TAG.to_owned(), spec.identity.clone());
        let creating = client
            .create_image(group, name, &image)
            .await
            .inspect_err(|error| undo.strike_if_refused(error))?;
        Ok(work.interruptible(creating.wait()).await?.id)
    }
}

/// What is known of the result before it is there.
struct Outcome {
    name: String,
    place: Place,
    generation: Generation,
    file: Option<PathBuf>,
    started: Instant,
    warnings: Vec<String>,
}

impl Outcome {
    fn done(
        self,
        id: ResourceId,
        disk_id: Option<ResourceId>,
        upload: Option<UploadReport>,
    ) -> UploadedImage {
        UploadedImage {
            id,
            name: self.name,
            resource_group: self.place.group,
            location: self.place.location,
            generation: self.generation,
            disk_id,
            file: self.file,
            upload,
            elapsed: self.started.elapsed(),
            warnings: self.warnings,
        }
    }
}

/// The id of an image that is there, if it is what would be made.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] when it is not.
fn reuse(existing: &Image, identity: &str, wanted: &Outcome) -> Result<ResourceId> {
    let state = existing.properties.provisioning_state.as_deref();
    let same = existing
        .tags
        .get(CONTENT_TAG)
        .is_some_and(|tag| tag == identity);
    let whole = state.is_some_and(|state| state.eq_ignore_ascii_case("Succeeded"));
    let as_asked = existing.properties.hyper_v_generation == Some(wanted.generation);
    let there = Location::new(&existing.location)? == wanted.place.location;
    match &existing.id {
        Some(id) if same && whole && as_asked && there => Ok(id.clone()),
        _ => {
            let what = if !same {
                "it is not one of this content".to_owned()
            } else if !as_asked {
                "it is of the other Hyper-V generation".to_owned()
            } else if !there {
                format!(
                    "it is in {}, not in {}",
                    existing.location, wanted.place.location
                )
            } else {
                format!(
                    "it holds this content, but is {}",
                    state.unwrap_or("in an unknown state")
                )
            };
            Err(Error::new(
                ErrorKind::AlreadyExists,
                format!(
                    "there is an image {} in {} already: {what}",
                    wanted.name, wanted.place.group
                ),
            )
            .with_hint("choose another name, or delete that image"))
        }
    }
}

/// The disk of an image has its name, as far as a disk may: disks have no periods in theirs.
pub(crate) fn disk_name(image: &str) -> String {
    image.replace('.', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tag: &str, state: &str) -> Image {
        let mut image = Image::of_disk(
            "westus2",
            Generation::V2,
            ResourceId::new("s", "g", DISKS, "web"),
        );
        image.id = Some(ResourceId::new("s", "g", IMAGES, "web"));
        image.tags.insert(CONTENT_TAG.to_owned(), tag.to_owned());
        image.properties.provisioning_state = Some(state.to_owned());
        image
    }

    #[test]
    fn an_image_is_reused_only_when_it_is_the_same() {
        let reuse = |image, generation| {
            let wanted = Outcome {
                name: "web".to_owned(),
                place: Place::of("g", "westus2"),
                generation,
                file: None,
                started: Instant::now(),
                warnings: Vec::new(),
            };
            reuse(&image, "sha256:a", &wanted)
        };
        reuse(image("sha256:a", "Succeeded"), Generation::V2).unwrap();
        let mut elsewhere = image("sha256:a", "Succeeded");
        elsewhere.location = "East US".to_owned();
        for (image, generation, why) in [
            (
                image("sha256:b", "Succeeded"),
                Generation::V2,
                "not one of this content",
            ),
            (image("sha256:a", "Failed"), Generation::V2, "but is Failed"),
            (
                image("sha256:a", "Succeeded"),
                Generation::V1,
                "other Hyper-V generation",
            ),
            (elsewhere, Generation::V2, "in East US, not in westus2"),
        ] {
            let error = reuse(image, generation).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn a_disk_is_named_as_a_disk_may_be() {
        assert_eq!(disk_name("nixos-25.11"), "nixos-25-11");
        Named::Disk.check(&disk_name("a.b_c-")).unwrap();
    }
}
