//! A managed disk with the content of a source: made, written, committed.
//!
//! [`ImageBuilder`](super::ImageBuilder) goes through here, and so does whoever wants the disk
//! alone, by [`DiskUpload`].

use std::future::IntoFuture;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{CONTENT_TAG, DEFAULT_LOCATION, DiskAccess, UNFINISHED_TAG, generation};
use crate::arm::compute::{DISKS, Disk, DiskCapabilities, DiskState};
use crate::arm::{Client, Location, Named, ResourceId};
use crate::azure::{self, Azure};
use crate::blocking::blocking;
use crate::disk::{Architecture, Boot, DiskSource, limits};
use crate::group::{Fallback, Place};
use crate::handle::{Handle, Work};
use crate::progress::Phase;
use crate::undo::Undo;
use crate::upload::{UploadOptions, UploadReport, VhdUploader};
use crate::{Error, ErrorKind, Generation, Result};

/// Creating a disk and granting access to it take less than a second; one that was just asked for and
/// not waited for is over after so long.
const SETTLING: Duration = Duration::from_secs(120);

/// What was found under the name of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: it will be made.
    Nothing,
    /// A disk for this very content whose upload was not finished: it is written again.
    Unfinished,
    /// A disk with this very content: nothing is sent.
    Whole,
}

/// Looks for the disk, before anything is made.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] when there is a disk of that name that is anything else.
pub(super) async fn look(
    client: &Client,
    group: &str,
    name: &str,
    identity: &str,
    upload_bytes: u64,
    generation: Option<Generation>,
) -> Result<Found> {
    let Some(disk) = client.disk(group, name).await? else {
        return Ok(Found::Nothing);
    };
    let same = disk
        .tags
        .get(CONTENT_TAG)
        .is_some_and(|tag| tag == identity)
        && disk.properties.creation_data.upload_size_bytes == Some(upload_bytes);
    let unfinished = disk.tags.contains_key(UNFINISHED_TAG);
    // It cannot be changed, and an image of it would not boot as what it says.
    let other_firmware = generation
        .zip(disk.properties.hyper_v_generation)
        .is_some_and(|(asked, found)| asked != found);
    match (&disk.properties.disk_state, same && !other_firmware) {
        (Some(DiskState::ReadyToUpload | DiskState::ActiveUpload), true) => Ok(Found::Unfinished),
        (Some(DiskState::Unattached), true) if !unfinished => Ok(Found::Whole),
        (state, _) => {
            let what = if same && other_firmware {
                "it is of the other Hyper-V generation".to_owned()
            } else if same && unfinished {
                "its upload was cut off, and it can no longer be written".to_owned()
            } else if same {
                format!(
                    "it holds this content, but is {}",
                    state
                        .as_ref()
                        .map_or_else(|| "in an unknown state".to_owned(), ToString::to_string)
                )
            } else {
                "it is not one of this content".to_owned()
            };
            Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("there is a disk {name} in {group} already: {what}"),
            )
            .with_hint("choose another name, or delete that disk"))
        }
    }
}

/// What a disk is to be like.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) sku: String,
    pub(super) generation: Option<Generation>,
    pub(super) architecture: Option<Architecture>,
    pub(super) identity: String,
    /// The source's, from before its identity was computed.
    pub(super) fingerprint: String,
    pub(super) upload_bytes: u64,
    pub(super) found: Found,
    pub(super) options: UploadOptions,
}

/// Makes the disk unless it is there, writes it unless it is whole, and commits it.
///
/// On failure a disk that was made here is noted in `undo`; one that was found is left.
pub(super) async fn fill(
    spec: &Spec,
    source: Arc<dyn DiskSource>,
    azure: &Azure,
    client: &Client,
    work: &Work,
    undo: &mut Undo,
) -> Result<Option<UploadReport>> {
    let (group, name) = (&spec.place.group, &spec.name);
    // The journal of an upload that cannot be gone on with, since its disk goes.
    let journal = Arc::new(OnceLock::new());
    match spec.found {
        Found::Whole => return Ok(None),
        Found::Unfinished => undo.keep(format!(
            "the disk {name}, whose upload is not finished: run the same command again to finish it"
        )),
        Found::Nothing => {
            work.progress.phase(Phase::CreatingDisk, name.clone());
            let (again, again_spec) = (client.clone(), spec.clone());
            let of_disk = Arc::clone(&journal);
            undo.push(format!("the disk {name}"), move || async move {
                discard(&again, &again_spec).await?;
                forget(&of_disk).await;
                Ok(())
            });
            let mut disk =
                Disk::for_upload(spec.place.location.as_str(), &spec.sku, spec.upload_bytes);
            disk.properties.hyper_v_generation = spec.generation;
            // Left out, it is x64.
            if let Some(Architecture::Arm64) = spec.architecture {
                disk.properties.supported_capabilities = Some(DiskCapabilities {
                    architecture: Some(Architecture::Arm64.as_str().to_owned()),
                    ..DiskCapabilities::default()
                });
            }
            disk.tags
                .insert(CONTENT_TAG.to_owned(), spec.identity.clone());
            disk.tags
                .insert(UNFINISHED_TAG.to_owned(), "true".to_owned());
            let creating = client
                .create_disk(group, name, &disk)
                .await
                .inspect_err(|error| undo.strike_if_refused(error))?;
            // A PUT on a disk that appeared meanwhile is an update: the last one has it.
            let made = work.interruptible(creating.wait()).await?;
            check_ours(&made, name, &spec.identity)?;
        }
    }
    work.check()?;
    let access =
        DiskAccess::new(client.clone(), group, name, spec.upload_bytes).for_content(&spec.identity);
    let uploader = VhdUploader::from_arc(Arc::clone(&source), Arc::new(access))
        .transport(azure.transport().clone())
        .options(spec.options.clone())
        .source_name(&spec.identity);
    let report = match uploader.run(work).await {
        Ok(report) => report,
        Err(failed) => {
            let worth_it = failed.journal.is_some() && is_worth_going_on(&failed.error, work);
            if worth_it {
                undo.keep_everything("run the same command again to send what has not arrived yet");
            }
            if worth_it || spec.found == Found::Unfinished {
                return Err(failed.into_resumable());
            }
            if let Some(path) = failed.journal {
                // Set once, here.
                let _ = journal.set(path);
            }
            return Err(failed.error);
        }
    };
    if blocking(move || source.fingerprint()).await? != spec.fingerprint {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the disk image changed after its content was identified",
        )
        .with_operation("upload")
        .with_hint("upload again, when nothing writes to the image any more"));
    }
    work.progress.phase(Phase::Committing, name.clone());
    still_ours(client, group, name, &spec.identity).await?;
    commit(client, group, name).await?;
    let tags = [(CONTENT_TAG.to_owned(), spec.identity.clone())].into();
    if let Err(error) = client.set_disk_tags(group, name, &tags).await {
        // The disk is whole; only a later run will not take it for that.
        tracing::warn!("the disk {name} stays marked as unfinished: {error}");
    }
    Ok(Some(report))
}

/// Takes away the journal of a disk that is gone: no other disk will ever be that one.
async fn forget(journal: &OnceLock<PathBuf>) {
    let Some(path) = journal.get().cloned() else {
        return;
    };
    let _ = blocking(move || {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "a journal that is done with stays");
            }
            _ => {}
        }
        Ok::<_, Error>(())
    })
    .await;
}

/// Whether an upload failed of something that passes, after some of it had arrived. Hours of uploading
/// are not thrown away for a network that was down for ten minutes.
fn is_worth_going_on(error: &Error, work: &Work) -> bool {
    let passes = match error.kind() {
        ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Throttled => true,
        ErrorKind::Service => error.status().is_some_and(|status| status >= 500),
        _ => false,
    };
    let transfer = work.progress.subscribe().current().transfer;
    passes && transfer.is_some_and(|transfer| transfer.sent + transfer.resumed > 0)
}

/// Ends the access. A repeated request may be refused because the first, whose answer was lost, has
/// done it; so it is the state of the disk that counts.
async fn commit(client: &Client, group: &str, name: &str) -> Result<()> {
    let Err(error) = client.end_disk_access(group, name).await else {
        return Ok(());
    };
    if error.kind() == ErrorKind::InvalidImage {
        return Err(error);
    }
    match client.disk(group, name).await {
        Ok(Some(disk)) if disk.properties.disk_state == Some(DiskState::Unattached) => {
            tracing::debug!("the disk {name} is whole, although ending its access failed: {error}");
            Ok(())
        }
        _ => Err(error),
    }
}

/// Fails when the disk has been taken over for another content: two runs that begin at the same time
/// both find no disk of that name, and Azure has no way to say "make it, but only if it is new".
///
/// # Errors
/// [`ErrorKind::Conflict`], or [`ErrorKind::NotFound`] when it is gone.
pub(super) async fn still_ours(
    client: &Client,
    group: &str,
    name: &str,
    identity: &str,
) -> Result<()> {
    match client.disk(group, name).await? {
        Some(disk) => check_ours(&disk, name, identity),
        None => Err(Error::new(
            ErrorKind::NotFound,
            format!("the disk {name} in {group} is gone: somebody deleted it meanwhile"),
        )
        .with_hint("run the same command again")),
    }
}

fn check_ours(disk: &Disk, name: &str, identity: &str) -> Result<()> {
    if disk
        .tags
        .get(CONTENT_TAG)
        .is_some_and(|tag| tag == identity)
    {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("the disk {name} is used for another content now: somebody else uploads under the same name"),
    )
    .with_hint("choose another name, or wait for the other upload and delete what it made"))
}

/// Takes away a disk whose upload failed. Its access is ended first, since Azure keeps a disk that
/// somebody may write to; that this refuses the missing footer is of no account.
///
/// # Errors
/// [`ErrorKind::Conflict`] when it is not ours any more.
async fn discard(client: &Client, spec: &Spec) -> Result<()> {
    let (group, name) = (&spec.place.group, &spec.name);
    let started = Instant::now();
    // The state need not show an access as soon as there is one: a refusal shows it too.
    let mut may_be_open = false;
    loop {
        let Some(disk) = client.disk(group, name).await? else {
            return Ok(());
        };
        check_ours(&disk, name, &spec.identity)?;
        may_be_open |= disk.properties.disk_state == Some(DiskState::ActiveUpload);
        if may_be_open && let Err(error) = client.end_disk_access(group, name).await {
            tracing::debug!("ending the access of the unfinished disk {name}: {error}");
        }
        let deleted = async { client.delete_disk(group, name).await?.wait().await };
        match deleted.await {
            Err(error) if is_under_way(&error) && started.elapsed() < SETTLING => {
                may_be_open = true;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            other => return other,
        }
    }
}

/// Whether a disk cannot be deleted because an operation on it is not over, or because one that was
/// not waited for has granted access to it since it was looked at.
fn is_under_way(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict
        && matches!(
            error.code(),
            Some("OperationNotAllowed" | "Conflict" | "ConflictingUserInput")
        )
}

/// A managed disk to be made from a source, without an image.
///
/// ```no_run
/// use azure_nixos::{Azure, disk::DiskImage, image::DiskUpload};
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let azure = Azure::from_environment().await?;
/// let disk = DiskUpload::new(&azure, "images-rg", "data", DiskImage::open("data.img")?)
///     .location("westus2")
///     .await?;
/// println!("{}", disk.id);
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
/// As for [`ImageBuilder`](super::ImageBuilder).
#[derive(Debug)]
#[must_use = "a builder does nothing until it is awaited or started"]
pub struct DiskUpload {
    azure: Option<Azure>,
    group: String,
    name: String,
    source: Arc<dyn DiskSource>,
    location: Option<String>,
    sku: String,
    generation: Option<Generation>,
    options: UploadOptions,
}

/// A disk that is whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UploadedDisk {
    /// Its id.
    pub id: ResourceId,
    /// How it was uploaded; `None` when a disk with this very content was there.
    pub upload: Option<UploadReport>,
}

impl DiskUpload {
    /// A disk of this name in this group, with the content of a source. The group is made when it
    /// does not exist.
    pub fn new(
        azure: &Azure,
        resource_group: impl Into<String>,
        name: impl Into<String>,
        source: impl DiskSource,
    ) -> Self {
        Self::unconnected(resource_group, name, source).connect(azure)
    }

    /// The same before there is a login: to be [validated](Self::validate) and then
    /// [connected](Self::connect).
    pub fn unconnected(
        resource_group: impl Into<String>,
        name: impl Into<String>,
        source: impl DiskSource,
    ) -> Self {
        Self {
            azure: None,
            group: resource_group.into(),
            name: name.into(),
            source: Arc::new(source),
            location: None,
            sku: "Standard_LRS".to_owned(),
            generation: None,
            options: UploadOptions::default(),
        }
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

    /// The kind of storage; the default is `Standard_LRS`.
    pub fn sku(mut self, sku: impl Into<String>) -> Self {
        self.sku = sku.into();
        self
    }

    /// The generation of the machines that boot from it. The default is what its partition table can
    /// boot; where there is none it is left out, as for a data disk.
    ///
    /// For which processors it is, is always what its content says, see
    /// [`Inspection::architecture`](crate::disk::Inspection::architecture).
    pub fn generation(mut self, generation: Generation) -> Self {
        self.generation = Some(generation);
        self
    }

    /// How the disk is uploaded. With a [journal](UploadOptions::journal), an upload that fails of
    /// something that passes leaves its disk and says so, instead of taking it away: the same again
    /// goes on where it was.
    pub fn upload_options(mut self, options: UploadOptions) -> Self {
        self.options = options;
        self
    }

    /// Checks everything that can be checked without Azure: names, the size, and that the disk can be
    /// booted as was asked for. [`start`](Self::start) does so by itself.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], [`ErrorKind::InvalidImage`], or those of the source.
    pub async fn validate(&self) -> Result<()> {
        self.check().await.map(drop)
    }

    async fn check(&self) -> Result<(Boot, Option<Generation>)> {
        Named::ResourceGroup.check(&self.group)?;
        Named::Disk.check(&self.name)?;
        self.location.as_deref().map(Location::new).transpose()?;
        limits::check_disk_size(self.source.virtual_size())?;
        let reader = Arc::clone(&self.source);
        let boot = blocking(move || Boot::read(&*reader)).await?;
        let generation = if boot.generations().is_none() {
            self.generation
        } else {
            Some(generation::choose(boot.generations(), self.generation)?)
        };
        Ok((boot, generation))
    }

    /// Starts the upload.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<UploadedDisk> {
        Handle::spawn(|work| self.run(work))
    }

    async fn run(self, work: Work) -> Result<UploadedDisk> {
        work.progress.phase(Phase::Checking, self.name.clone());
        let (boot, generation) = work.interruptible(self.check()).await?;
        let asked = self.location.as_deref().map(Location::new).transpose()?;
        let fallback = Location::new(DEFAULT_LOCATION)?;
        let azure = azure::connected(self.azure)?;
        let client = Client::new(&azure)?;
        let place = work
            .interruptible(Place::choose(
                &client,
                &self.group,
                asked.as_ref(),
                Fallback::NewGroup(&fallback),
            ))
            .await?;
        work.progress.phase(Phase::Inspecting, self.name.clone());
        let source = Arc::clone(&self.source);
        let (fingerprint, identity) = work
            .interruptible(blocking(move || {
                Ok((source.fingerprint()?, source.identity()?))
            }))
            .await?;
        let upload_bytes = limits::upload_size(self.source.virtual_size());
        let found = work
            .interruptible(look(
                &client,
                &self.group,
                &self.name,
                &identity,
                upload_bytes,
                generation,
            ))
            .await?;
        let spec = Spec {
            place,
            name: self.name,
            sku: self.sku,
            generation,
            architecture: boot.architecture(),
            identity,
            fingerprint,
            upload_bytes,
            found,
            options: self.options,
        };
        let mut undo = Undo::default();
        let result = async {
            spec.place.ensure(&client, &mut undo).await?;
            let upload = fill(&spec, self.source, &azure, &client, &work, &mut undo).await?;
            Ok(UploadedDisk {
                id: client.resource_id(&spec.place.group, DISKS, &spec.name),
                upload,
            })
        }
        .await;
        undo.finish(&work, result).await
    }
}

impl IntoFuture for DiskUpload {
    type Output = Result<UploadedDisk>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::arm::replay::{Interaction, client};

    #[test]
    fn a_disk_stays_for_what_passes_once_something_has_arrived() {
        let work = Work::default();
        let refused = Error::new(ErrorKind::Service, "no").with_status(400);
        let down = Error::new(ErrorKind::Service, "down").with_status(503);
        let gone = Error::new(ErrorKind::Network, "gone");
        assert!(!is_worth_going_on(&gone, &work), "nothing has arrived");
        work.progress.transfer(crate::progress::Transfer {
            sent: 512,
            ..Default::default()
        });
        assert!(is_worth_going_on(&gone, &work) && is_worth_going_on(&down, &work));
        let cancelled = Error::new(ErrorKind::Cancelled, "stop");
        assert!(!is_worth_going_on(&refused, &work) && !is_worth_going_on(&cancelled, &work));
    }

    #[tokio::test]
    async fn a_commit_whose_answer_was_lost_is_one() {
        const DISK: &str = "https://management.azure.com/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d";
        let refused = |code: &str| json!({"error": {"code": code, "message": "no"}});
        for (code, state, good) in [
            ("Conflict", "Unattached", true),
            ("Conflict", "ActiveUpload", false),
            ("InvalidVhd", "Unattached", false),
        ] {
            let answer = |method: &str, url: String, status, body: Value| {
                Interaction::new(method, &url, status, &[], body)
            };
            let (client, _) = client(vec![
                answer(
                    "POST",
                    format!("{DISK}/endGetAccess?api-version=2023-10-02"),
                    409,
                    refused(code),
                ),
                answer(
                    "GET",
                    format!("{DISK}?api-version=2023-10-02"),
                    200,
                    json!({"location": "westus2", "properties": {"diskState": state}}),
                ),
            ]);
            let result = commit(&client, "g", "d").await;
            assert_eq!(result.is_ok(), good, "{code} {state}: {result:?}");
        }
    }
}
