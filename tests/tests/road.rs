//! The whole road under failures: whichever request fails, is cut off or is cancelled, the run ends
//! well with the right content, or it ends with an error that says what failed, and the local Azure is
//! as it was before.
//!
//! Requests are chosen by their number and not by their kind, one run for each, so that none is
//! forgotten and a new one is covered as soon as it is sent.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this file is a test"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use azure_nixos::image::{ImageSource, UploadedImage};
use azure_nixos::progress::Phase;
use azure_nixos::vm::{
    BootedFleet, BootedSet, BootedVm, FleetBuilder, Identity, ImageReference, ScaleSetBuilder,
    SshKey,
};
use azure_nixos::{Error, ErrorKind, Handle, ImageBuilder, Result, VmBuilder};
use azure_nixos_emulator::fault::{FaultId, FaultRule, Plane};
use azure_nixos_tests::content::assert_uploaded;
use azure_nixos_tests::disks::{self, Table};
use azure_nixos_tests::{Local, State, within};

/// Rounds of a race. The loser looks for half a minute whether the group is empty after all, since
/// Azure's list of what is in a group lags; so a round takes that long.
const ROUNDS: usize = 2;

const SIZE: u64 = 21 << 20;
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na me@here";

/// What is made: an image in a group of its own, or a machine in a group of its own from an image
/// that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    Image,
    Machine,
    /// Two machines with all that a machine can have, each from a copy of a disk.
    Fleet,
    /// A scale set of two machines.
    Set,
}

/// A local Azure, a disk image, and an image of it for machines.
struct Place {
    road: Road,
    local: Local,
    file: PathBuf,
    image: Option<UploadedImage>,
}

#[derive(Debug)]
enum Made {
    Image(UploadedImage),
    Machine(BootedVm),
    Fleet(BootedFleet),
    Set(BootedSet),
}

impl Place {
    async fn new(road: Road) -> Self {
        Self::with(Local::start().await, road).await
    }

    async fn with(local: Local, road: Road) -> Self {
        let file = local.place().join("disk.raw");
        disks::raw(&file, SIZE, Table::Efi, 1);
        let image = match road {
            Road::Image => None,
            Road::Machine | Road::Fleet | Road::Set => Some(
                ImageBuilder::new(&local.azure, "images", "base")
                    .source(ImageSource::file(&file))
                    .keep_disk(road == Road::Fleet)
                    .await
                    .unwrap(),
            ),
        };
        Self {
            road,
            local,
            file,
            image,
        }
    }

    fn image(&self, group: &str) -> ImageBuilder {
        ImageBuilder::new(&self.local.azure, group, "web").source(ImageSource::file(&self.file))
    }

    fn machine(&self, group: &str) -> VmBuilder {
        let image = ImageReference::from(self.image.as_ref().unwrap());
        VmBuilder::new(&self.local.azure, group, "web", image)
            .admin_username("nixos")
            .key_directory(self.keys(group))
    }

    fn keys(&self, group: &str) -> PathBuf {
        self.local.place().join("keys").join(group)
    }

    fn fleet(&self, group: &str) -> FleetBuilder {
        let disk = self.image.as_ref().unwrap().disk_id.clone().unwrap();
        let images = format!(
            "/subscriptions/{}/resourceGroups/images",
            self.local.emulator.subscription_id()
        );
        VmBuilder::new(&self.local.azure, group, "web", disk)
            .ipv6(true)
            .data_disk_gb(4)
            .identity(Identity::System)
            .role("Reader", images)
            .fleet(2)
    }

    fn set(&self, group: &str) -> ScaleSetBuilder {
        self.machine(group).ipv6(true).data_disk_gb(4).scale_set(2)
    }

    async fn run(&self, group: &str) -> Result<Made> {
        match self.road {
            Road::Image => self.image(group).await.map(Made::Image),
            Road::Machine => self.machine(group).await.map(Made::Machine),
            Road::Fleet => self.fleet(group).await.map(Made::Fleet),
            Road::Set => self.set(group).await.map(Made::Set),
        }
    }

    /// Checks that a run that ended well made what it says, and nothing else.
    async fn assert_made(&self, made: &Made, group: &str, before: &State) {
        let after = self.local.state().await;
        let news: Vec<&String> = after
            .keys()
            .filter(|key| !before.contains_key(*key))
            .collect();
        match made {
            Made::Image(image) => {
                let uploaded = self.local.emulator.image_file(group, "web");
                assert_uploaded(&self.file, SIZE, &uploaded);
                // The group, the image and its file; the disk and its file when it was not deleted, or
                // was and nobody could say so.
                let ours = news.iter().filter(|key| !key.contains("/disks/")).count();
                let disk = news.len() - ours;
                assert_eq!(ours, 3, "{news:?}");
                assert!(
                    disk == 0 || disk == 2 && image.disk_id.is_some(),
                    "{news:?}"
                );
                assert_eq!(
                    image.disk_id.is_some(),
                    !image.warnings.is_empty(),
                    "{:?}",
                    image.warnings
                );
            }
            Made::Machine(machine) => {
                let vm = self.local.get(machine.id.as_str()).await;
                assert_eq!(vm["properties"]["provisioningState"], "Succeeded");
                assert!(machine.ssh_private_key.as_ref().unwrap().exists());
                // The group, four parts of the network, the machine and its disk.
                let ids = news.iter().filter(|key| key.starts_with("/subscr")).count();
                assert_eq!(ids, 7, "{news:?}");
            }
            Made::Fleet(fleet) => {
                for machine in &fleet.machines {
                    let vm = self.local.get(machine.id.as_str()).await;
                    assert_eq!(vm["properties"]["provisioningState"], "Succeeded");
                    assert!(machine.principal_id.is_some());
                }
                // The group, the network and its rules; of each machine two addresses, the interface,
                // itself, two disks and what it may do.
                let ids = news.iter().filter(|key| key.starts_with("/subscr")).count();
                assert_eq!(ids, 17, "{news:?}");
            }
            Made::Set(set) => {
                let made = self.local.get(set.id.as_str()).await;
                assert_eq!(made["properties"]["provisioningState"], "Succeeded");
                assert!(set.ssh_private_key.as_ref().unwrap().exists());
                // Not to know them is said aloud.
                let known = set.machines.len();
                assert!(
                    known == 2 || known == 0 && !set.warnings.is_empty(),
                    "{set:?}"
                );
                // The group, the network and its rules, the set; of each machine two addresses, the
                // interface, itself and two disks.
                let ids = news.iter().filter(|key| key.starts_with("/subscr")).count();
                assert_eq!(ids, 16, "{news:?}");
            }
        }
    }

    /// Checks that a run that failed left nothing.
    async fn assert_undone(&self, error: &Error, group: &str, before: &State) {
        let after = self.local.state().await;
        let news: Vec<&String> = after
            .keys()
            .filter(|key| !before.contains_key(*key))
            .collect();
        assert_eq!(news, Vec::<&String>::new(), "left by: {}", error.report());
        assert!(after == *before, "changed by: {}", error.report());
        let keys = std::fs::read_dir(self.keys(group)).map_or(0, Iterator::count);
        assert_eq!(keys, 0, "keys are left by: {}", error.report());
        let left = error.context().find(|(name, _)| *name == "left behind");
        assert_eq!(left, None, "{}", error.report());
    }
}

/// The n-th request from here on.
fn nth(plane: Plane, n: u64) -> FaultRule {
    FaultRule::new(plane).after(n).times(1)
}

/// Runs go on side by side in so many local Azures: they mostly wait.
const LANES: u64 = 4;

/// Runs once for every request of a run, with faults set by its number, until a run has no such
/// request any more. Every run is in a group of its own, which does not exist before. Returns how many
/// requests there were.
#[allow(clippy::future_not_send, reason = "it is waited for where it is made")]
async fn each_request(
    road: Road,
    plane: Plane,
    fault: impl Fn(&Place, u64) -> FaultId,
    judge: impl AsyncFn(&Place, Result<Made>, &str, &State),
) -> u64 {
    let lane = async |first: u64| {
        let place = Place::new(road).await;
        let faults = place.local.emulator.faults();
        for n in (first..200).step_by(LANES as usize) {
            let group = format!("group-{n}");
            let before = place.local.state().await;
            let id = fault(&place, n);
            let what = format!("{road:?} with a fault at {plane:?} request {n}");
            let result = within(60, &what, place.run(&group)).await;
            let hit = faults.hits(id) > 0;
            faults.clear();
            if let Err(error) = &result {
                eprintln!("{n}: {}", error.report());
            }
            if !hit {
                let made = result.unwrap();
                place.assert_made(&made, &group, &before).await;
                return n;
            }
            judge(&place, result, &group, &before).await;
        }
        panic!("the run does not get past its first requests");
    };
    let ends = futures::future::join_all((0..LANES).map(lane)).await;
    ends.into_iter().min().unwrap()
}

/// Refused for good: either the run cannot do without it, and everything is undone, or it can.
async fn refused(road: Road, plane: Plane) -> u64 {
    each_request(
        road,
        plane,
        |place, n| {
            let rule = nth(plane, n).respond(403, "AuthorizationFailed");
            place.local.emulator.faults().add(rule)
        },
        async |place, result, group, before| match result {
            Ok(made) => place.assert_made(&made, group, before).await,
            Err(error) => {
                // A group that may not be looked at is taken to exist; here it does not.
                let unseen = error.code() == Some("ResourceGroupNotFound");
                if !unseen {
                    assert_eq!(error.kind(), ErrorKind::Forbidden, "{}", error.report());
                    assert_eq!(error.code(), Some("AuthorizationFailed"));
                    assert_eq!(error.status(), Some(403));
                }
                assert!(error.report().contains("hint: "), "{}", error.report());
                assert!(error.to_string().starts_with("cannot "), "{error}");
                place.assert_undone(&error, group, before).await;
            }
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_survives_or_undoes_a_refusal_of_any_request() {
    let requests = refused(Road::Image, Plane::Arm).await;
    assert!(requests > 15, "only {requests} requests were met");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_survives_or_undoes_a_refusal_of_any_request() {
    let requests = refused(Road::Machine, Plane::Arm).await;
    assert!(requests > 15, "only {requests} requests were met");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_survives_or_undoes_a_refusal_of_any_request() {
    let requests = refused(Road::Set, Plane::Arm).await;
    assert!(requests > 15, "only {requests} requests were met");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_survives_or_undoes_a_refusal_of_any_request() {
    let requests = refused(Road::Fleet, Plane::Arm).await;
    assert!(requests > 40, "only {requests} requests were met");
}

/// A refusal of the data plane is answered by one renewal of the access, after which it works.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_refusal_of_any_page_is_renewed() {
    let requests = refused(Road::Image, Plane::Blob).await;
    assert!(requests > 4, "only {requests} requests were met");
}

/// Carried out, and the answer lost; then refused for good when it is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_without_an_answer_is_undone_too() {
    for road in [Road::Image, Road::Machine, Road::Fleet, Road::Set] {
        each_request(
            road,
            Plane::Arm,
            |place, n| {
                let faults = place.local.emulator.faults();
                faults.add(nth(Plane::Arm, n).reset_after());
                // Writing only: a question that is refused changes nothing.
                faults.add(nth(Plane::Arm, n + 1).respond(403, "AuthorizationFailed"))
            },
            async |place, result, group, before| match result {
                Ok(made) => place.assert_made(&made, group, before).await,
                Err(error) => place.assert_undone(&error, group, before).await,
            },
        )
        .await;
    }
}

/// Any single answer that is lost, whether the request was carried out or not.
async fn lost(road: Road, plane: Plane, done: bool) {
    each_request(
        road,
        plane,
        |place, n| {
            let rule = nth(plane, n);
            let rule = if done {
                rule.reset_after()
            } else {
                rule.reset_before()
            };
            place.local.emulator.faults().add(rule)
        },
        async |place, result, group, before| {
            let made = result.unwrap_or_else(|error| panic!("{}", error.report()));
            place.assert_made(&made, group, before).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_survives_the_loss_of_any_answer() {
    tokio::join!(
        lost(Road::Image, Plane::Arm, true),
        lost(Road::Image, Plane::Arm, false),
        lost(Road::Image, Plane::Blob, true),
        lost(Road::Image, Plane::Blob, false),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_survives_the_loss_of_any_answer() {
    tokio::join!(
        lost(Road::Machine, Plane::Arm, true),
        lost(Road::Machine, Plane::Arm, false),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_survives_the_loss_of_any_answer() {
    tokio::join!(
        lost(Road::Set, Plane::Arm, true),
        lost(Road::Set, Plane::Arm, false),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_survives_the_loss_of_any_answer() {
    tokio::join!(
        lost(Road::Fleet, Plane::Arm, true),
        lost(Road::Fleet, Plane::Arm, false),
    );
}

/// How a run is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Cancel,
    Drop,
}

/// Stops work when the request that `fault` delays is met. `None` when it was dropped.
async fn stopped<T: Send + 'static>(
    mut handle: Handle<T>,
    hit: impl Fn() -> bool,
    stop: Stop,
) -> Option<Result<T>> {
    let mut progress = handle.progress().clone();
    while !hit() && progress.current().phase != Phase::Done {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    if !hit() {
        return Some(handle.join().await);
    }
    match stop {
        Stop::Cancel => {
            handle.cancel();
            Some(handle.join().await)
        }
        Stop::Drop => {
            drop(handle);
            while progress.changed().await.is_some() {}
            None
        }
    }
}

/// Stopped while any request is on its way.
async fn stopped_at_each(road: Road, plane: Plane, stop: Stop) {
    let place = Place::new(road).await;
    let faults = place.local.emulator.faults().clone();
    for n in 0..200 {
        let group = format!("group-{n}");
        let before = place.local.state().await;
        let id = faults.add(nth(plane, n).delay(Duration::from_millis(150)));
        let hit = || faults.hits(id) > 0;
        let what = format!("{road:?} with a {stop:?} at {plane:?} request {n}");
        let result = within(60, &what, async {
            match road {
                Road::Image => stopped(place.image(&group).start(), hit, stop)
                    .await
                    .map(|result| result.map(Made::Image)),
                Road::Machine => stopped(place.machine(&group).start(), hit, stop)
                    .await
                    .map(|result| result.map(Made::Machine)),
                Road::Fleet => stopped(place.fleet(&group).start(), hit, stop)
                    .await
                    .map(|result| result.map(Made::Fleet)),
                Road::Set => stopped(place.set(&group).start(), hit, stop)
                    .await
                    .map(|result| result.map(Made::Set)),
            }
        })
        .await;
        let was_hit = hit();
        faults.clear();
        match result {
            // Too late: what was asked for is there.
            Some(Ok(made)) => place.assert_made(&made, &group, &before).await,
            Some(Err(error)) => {
                assert!(error.is_cancelled(), "{what}: {}", error.report());
                place.assert_undone(&error, &group, &before).await;
            }
            None => {
                let after = place.local.state().await;
                let made = match road {
                    Road::Image => after.keys().any(|key| key.ends_with("/images/web")),
                    Road::Machine => after.keys().any(|key| key.ends_with("virtualmachines/web")),
                    Road::Fleet | Road::Set => unreachable!("they are not dropped"),
                };
                let whole = made && place.run(&group).await.is_err() == (road == Road::Machine);
                if !whole {
                    let error = Error::new(ErrorKind::Cancelled, format!("{what}: dropped"));
                    place.assert_undone(&error, &group, &before).await;
                }
                // The next run must not meet it.
                clean(&place.local, &before, &group).await;
            }
        }
        if !was_hit {
            return;
        }
    }
    panic!("the run does not get past its first requests");
}

/// Deletes a group and waits until it is gone.
async fn clean(local: &Local, before: &State, group: &str) {
    if local.state().await == *before {
        return;
    }
    let id = format!(
        "/subscriptions/{}/resourceGroups/{group}",
        local.emulator.subscription_id()
    );
    local.request("DELETE", &id, "2022-09-01", None).await;
    within(20, "deleting a group", async {
        while local.state().await.contains_key(&id.to_ascii_lowercase()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_cancelled_at_any_request_leaves_nothing() {
    tokio::join!(
        stopped_at_each(Road::Image, Plane::Arm, Stop::Cancel),
        stopped_at_each(Road::Image, Plane::Blob, Stop::Cancel),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_cancelled_at_any_request_leaves_nothing() {
    stopped_at_each(Road::Machine, Plane::Arm, Stop::Cancel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_cancelled_at_any_request_leaves_nothing() {
    stopped_at_each(Road::Set, Plane::Arm, Stop::Cancel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_cancelled_at_any_request_leaves_nothing() {
    stopped_at_each(Road::Fleet, Plane::Arm, Stop::Cancel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_run_leaves_nothing() {
    tokio::join!(
        stopped_at_each(Road::Image, Plane::Arm, Stop::Drop),
        stopped_at_each(Road::Image, Plane::Blob, Stop::Drop),
        stopped_at_each(Road::Machine, Plane::Arm, Stop::Drop),
    );
}

/// Everything that passes, at every kind of request, in one run.
#[tokio::test(flavor = "multi_thread")]
async fn throttling_and_outages_pass() {
    for road in [Road::Image, Road::Machine] {
        let place = Place::new(road).await;
        let faults = place.local.emulator.faults();
        let before = place.local.state().await;
        let mut rules = Vec::new();
        for (plane, method) in [
            (Plane::Arm, "GET"),
            (Plane::Arm, "PUT"),
            (Plane::Arm, "POST"),
            (Plane::Arm, "DELETE"),
            (Plane::Blob, "HEAD"),
            (Plane::Blob, "GET"),
            (Plane::Blob, "PUT"),
        ] {
            for (every, status, code) in [
                (3, 503, "ServerBusy"),
                (4, 429, "TooManyRequests"),
                (5, 500, "OperationTimedOut"),
            ] {
                let rule = FaultRule::new(plane)
                    .method(method)
                    .every(every)
                    .times(8)
                    .respond(status, code)
                    .header("Retry-After", "0");
                rules.push((method, faults.add(rule)));
            }
        }
        let made = within(100, "a run with an outage", place.run("group"))
            .await
            .unwrap();
        for (method, id) in rules {
            eprintln!("{road:?} {method}: {}", faults.hits(id));
        }
        faults.clear();
        place.assert_made(&made, "group", &before).await;
    }
}

/// `Retry-After` is a minimum.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_not_asked_again_too_soon() {
    let place = Place::new(Road::Image).await;
    let faults = place.local.emulator.faults();
    faults.add(
        FaultRule::new(Plane::Arm)
            .method("PUT")
            .path_contains("/disks/")
            .times(1)
            .respond(429, "TooManyRequests")
            .header("Retry-After", "2"),
    );
    let started = std::time::Instant::now();
    within(60, "a throttled run", place.run("group"))
        .await
        .unwrap();
    assert!(started.elapsed() >= Duration::from_secs(2));
}

/// Every step with its own refusal: the error names the step, and what was made before it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_error_names_the_step() {
    let steps = [
        (
            Road::Image,
            "PUT",
            "/resourceGroups/group?",
            "create the resource group group",
        ),
        (
            Road::Image,
            "PUT",
            "/disks/web?",
            "create the disk web in group",
        ),
        (
            Road::Image,
            "POST",
            "/beginGetAccess?",
            "get write access to the disk web",
        ),
        (
            Road::Image,
            "POST",
            "/endGetAccess?",
            "end the access to the disk web",
        ),
        (
            Road::Image,
            "PUT",
            "/images/web?",
            "create the image web in group",
        ),
        (
            Road::Machine,
            "PUT",
            "/resourceGroups/group?",
            "create the resource group group",
        ),
        (
            Road::Machine,
            "PUT",
            "/virtualNetworks/",
            "create the virtual network web-vnet in group",
        ),
        (
            Road::Machine,
            "PUT",
            "/networkSecurityGroups/",
            "create the network security group web-nsg in group",
        ),
        (
            Road::Machine,
            "PUT",
            "/publicIPAddresses/",
            "create the public address web-ip in group",
        ),
        (
            Road::Machine,
            "PUT",
            "/networkInterfaces/",
            "create the network interface web-nic in group",
        ),
        (
            Road::Machine,
            "PUT",
            "/virtualMachines/",
            "create the machine web in group",
        ),
    ];
    let image = Place::new(Road::Image).await;
    let machine = Place::new(Road::Machine).await;
    for (road, method, path, step) in steps {
        let place = if road == Road::Image {
            &image
        } else {
            &machine
        };
        let faults = place.local.emulator.faults();
        for (status, code) in [
            (400, "InvalidParameter"),
            (403, "RequestDisallowedByPolicy"),
            (409, "ScopeLocked"),
        ] {
            let before = place.local.state().await;
            let rule = FaultRule::new(Plane::Arm)
                .method(method)
                .path_contains(path)
                // The access of a disk is ended again when it is undone.
                .times(if method == "POST" { 1 } else { 9 })
                .respond(status, code);
            let id = faults.add(rule);
            let error = within(60, step, place.run("group")).await.unwrap_err();
            assert!(faults.hits(id) > 0, "{step}");
            faults.clear();
            assert!(
                error.to_string().starts_with(&format!("cannot {step}")),
                "{error}"
            );
            assert_eq!((error.status(), error.code()), (Some(status), Some(code)));
            if status != 400 {
                assert!(error.hint().is_some(), "{}", error.report());
            }
            place.assert_undone(&error, "group", &before).await;
        }
    }
}

/// The pages refused for good, before and after some were taken.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_refused_undo_the_disk() {
    let place = Place::new(Road::Image).await;
    let faults = place.local.emulator.faults();
    for (method, status, code, kind) in [
        ("HEAD", 403, "AuthorizationFailure", ErrorKind::Forbidden),
        ("PUT", 403, "AuthenticationFailed", ErrorKind::Forbidden),
        ("PUT", 404, "BlobNotFound", ErrorKind::NotFound),
        ("PUT", 409, "LeaseIdMissing", ErrorKind::Conflict),
        ("PUT", 412, "LeaseIdMissing", ErrorKind::Conflict),
    ] {
        for after in [0, 2] {
            let before = place.local.state().await;
            let rule = FaultRule::new(Plane::Blob)
                .method(method)
                .respond(status, code);
            faults.add(if method == "HEAD" {
                rule
            } else {
                rule.after(after)
            });
            let error = within(60, code, place.run("group")).await.unwrap_err();
            faults.clear();
            assert_eq!(error.kind(), kind, "{}", error.report());
            assert_eq!(error.status(), Some(status));
            assert!(error.hint().is_some(), "{}", error.report());
            place.assert_undone(&error, "group", &before).await;
        }
    }
}

/// A disk that cannot be deleted in the end is no reason to lose the image.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stays_is_a_warning() {
    let place = Place::new(Road::Image).await;
    place.local.emulator.faults().add(
        FaultRule::new(Plane::Arm)
            .method("DELETE")
            .path_contains("/disks/web")
            .respond(403, "AuthorizationFailed"),
    );
    let made = within(60, "an image", place.run("group")).await.unwrap();
    let Made::Image(image) = made else {
        unreachable!("an image was asked for");
    };
    assert_eq!(image.disk_id.as_ref().unwrap().name(), "web");
    let warning = image.warnings.join("\n");
    assert!(
        warning.contains("the disk web in group could not be deleted"),
        "{warning}"
    );
}

/// What cannot be taken away is named, and the rest goes.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_is_named() {
    let place = Place::new(Road::Machine).await;
    let faults = place.local.emulator.faults();
    faults.add(
        FaultRule::new(Plane::Arm)
            .method("PUT")
            .path_contains("/virtualMachines/")
            .respond(400, "InvalidParameter"),
    );
    faults.add(
        FaultRule::new(Plane::Arm)
            .method("DELETE")
            .path_contains("/publicIPAddresses/")
            .respond(403, "AuthorizationFailed"),
    );
    let error = within(60, "a machine", place.run("group"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("InvalidParameter"));
    let report = error.report();
    let left = error
        .context()
        .find(|(name, _)| *name == "left behind")
        .unwrap()
        .1;
    assert!(left.contains("the public address web-ip"), "{report}");
    assert!(left.contains("the resource group group"), "{report}");
    let undone = error
        .context()
        .find(|(name, _)| *name == "taken away again")
        .unwrap()
        .1;
    for what in ["web-nic", "web-vnet", "web-nsg", "the key "] {
        assert!(undone.contains(what), "{report}");
    }
    faults.clear();
    let left: Vec<String> = place
        .local
        .names()
        .await
        .into_iter()
        .filter(|name| name.contains("/resourcegroups/group"))
        .collect();
    assert_eq!(
        left,
        [
            "/resourcegroups/group",
            "/resourcegroups/group/providers/microsoft.network/publicipaddresses/web-ip"
        ]
    );
}

/// A group that was there stays, with what others have in it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_stays() {
    let place = Place::new(Road::Image).await;
    let Made::Image(_) = place.run("group").await.unwrap() else {
        unreachable!("an image was asked for");
    };
    let before = place.local.state().await;
    place.local.emulator.faults().add(
        FaultRule::new(Plane::Arm)
            .method("PUT")
            .path_contains("/images/other")
            .respond(400, "InvalidParameter"),
    );
    let other = place.local.place().join("other.raw");
    disks::raw(&other, SIZE, Table::Mbr, 2);
    let making =
        ImageBuilder::new(&place.local.azure, "group", "other").source(ImageSource::file(&other));
    let error = within(60, "an image", async { making.await })
        .await
        .unwrap_err();
    place.local.emulator.faults().clear();
    place.assert_undone(&error, "group", &before).await;
}

/// Two runs for one name: neither takes away what the other made.
#[tokio::test(flavor = "multi_thread")]
async fn two_runs_for_one_name_do_not_undo_each_other() {
    let place = Place::new(Road::Image).await;
    let other = place.local.place().join("other.raw");
    disks::raw(&other, SIZE, Table::Efi, 2);
    // The second begins when the first has looked and made its disk, but has not finished.
    place.local.emulator.faults().add(
        FaultRule::new(Plane::Blob)
            .method("PUT")
            .times(1)
            .delay(Duration::from_millis(1500)),
    );
    let start = |file: &Path| {
        ImageBuilder::new(&place.local.azure, "group", "web").source(ImageSource::file(file))
    };
    let first = start(&place.file).start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = within(60, "the second", async { start(&other).await }).await;
    let first = within(60, "the first", first.join()).await;
    let refused = second.unwrap_err();
    assert_eq!(
        refused.kind(),
        ErrorKind::AlreadyExists,
        "{}",
        refused.report()
    );
    first.unwrap();
    assert_uploaded(
        &place.file,
        SIZE,
        &place.local.emulator.image_file("group", "web"),
    );
}

/// The same with nothing in between: both look before either has made anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_race_for_one_name_has_a_winner() {
    let place = Place::new(Road::Image).await;
    let other = place.local.place().join("other.raw");
    disks::raw(&other, SIZE, Table::Efi, 2);
    let start = |file: &Path| {
        ImageBuilder::new(&place.local.azure, "group", "web")
            .source(ImageSource::file(file))
            .start()
    };
    for round in 0..ROUNDS {
        let before = place.local.state().await;
        let (first, second) = (start(&place.file), start(&other));
        let (first, second) = within(90, "two runs", async {
            tokio::join!(first.join(), second.join())
        })
        .await;
        for result in [&first, &second] {
            if let Err(error) = result {
                eprintln!("{round}: {}", error.report());
            }
        }
        for (result, file) in [(&first, &place.file), (&second, &other)] {
            if let Ok(image) = result {
                assert_uploaded(file, SIZE, &place.local.emulator.image_file("group", "web"));
                place.local.get(image.id.as_str()).await;
            }
        }
        assert!(
            first.is_ok() != second.is_ok(),
            "one of the two has the name"
        );
        clean(&place.local, &before, "group").await;
    }
}

/// Keys that were given are used, and none is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_given_key_makes_none() {
    let place = Place::new(Road::Machine).await;
    let machine = within(60, "a machine", async {
        place.machine("group").ssh_key(SshKey::text(KEY)).await
    })
    .await
    .unwrap();
    assert_eq!(machine.ssh_private_key, None);
    assert!(!place.keys("group").exists());
}

/// Two machines of one name at the same time: one is made at most, and what was made stays. When each
/// has written over a part of the other's, none is made and nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_race_for_one_machine_destroys_nothing() {
    let place = Place::new(Road::Machine).await;
    for round in 0..ROUNDS {
        let before = place.local.state().await;
        let (first, second) = (
            place.machine("group").size("Standard_D2s_v3").start(),
            place.machine("group").start(),
        );
        let (first, second) = within(90, "two runs", async {
            tokio::join!(first.join(), second.join())
        })
        .await;
        for result in [&first, &second] {
            match result {
                Ok(machine) => {
                    let vm = place.local.get(machine.id.as_str()).await;
                    assert_eq!(vm["properties"]["provisioningState"], "Succeeded");
                    let nic = &vm["properties"]["networkProfile"]["networkInterfaces"][0]["id"];
                    place.local.get(nic.as_str().unwrap()).await;
                    assert!(machine.public_ip.is_some());
                }
                Err(error) => eprintln!("{round}: {}", error.report()),
            }
        }
        assert!(first.is_err() || second.is_err(), "both have the name");
        if first.is_err() && second.is_err() {
            assert!(
                place.local.state().await == before,
                "{:?}",
                place.local.names().await
            );
        }
        clean(&place.local, &before, "group").await;
    }
}
