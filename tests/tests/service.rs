//! What the service does on its own accord: operations that take their time, tokens and accesses that
//! end, providers that nobody registered, images that it refuses at the very end.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this file is a test"
)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use azure_nixos::disk::{DiskImage, DiskSource as _, MemoryImage};
use azure_nixos::image::{DiskUpload, ImageSource};
use azure_nixos::progress::Phase;
use azure_nixos::vm::{ImageReference, SshKey};
use azure_nixos::{Azure, ErrorKind, Handle, ImageBuilder, VmBuilder};
use azure_nixos_emulator::Clock;
use azure_nixos_emulator::fault::{FaultRule, Plane};
use azure_nixos_tests::content::assert_uploaded;
use azure_nixos_tests::disks::{self, Noise, Table};
use azure_nixos_tests::{Local, within};

const SIZE: u64 = 23 << 20;
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na me@here";

fn disk(local: &Local) -> PathBuf {
    let file = local.place().join("disk.raw");
    disks::raw(&file, SIZE, Table::Both, 5);
    file
}

fn image(azure: &Azure, file: &PathBuf) -> ImageBuilder {
    ImageBuilder::new(azure, "images", "web").source(ImageSource::file(file))
}

fn machine(azure: &Azure) -> VmBuilder {
    let image = ImageReference::parse("web").unwrap();
    VmBuilder::new(azure, "machines", "web-1", image)
        .admin_username("nixos")
        .ssh_key(SshKey::text(KEY))
}

/// The whole way, with the content compared in the end.
async fn whole_road(local: &Local, azure: &Azure) {
    let file = disk(local);
    image(azure, &file).await.unwrap();
    assert_uploaded(&file, SIZE, &local.emulator.image_file("images", "web"));
    machine(azure).await.unwrap();
    let gone = local.emulator.disk_file("images", "web");
    assert!(!gone.exists(), "the disk on the way is still there");
}

/// Every operation takes a second and a half, and the network's are waited for together.
#[tokio::test(flavor = "multi_thread")]
async fn operations_are_waited_for() {
    let delay = Duration::from_millis(1500);
    let local = Local::start_with(|builder| builder.operation_delay(delay)).await;
    let started = Instant::now();
    within(120, "a slow road", whole_road(&local, &local.azure)).await;
    // Disk, grant, end of access, image, deletion; network, interface, machine.
    assert!(started.elapsed() > delay * 7, "{:?}", started.elapsed());
    let polls = local
        .emulator
        .requests()
        .iter()
        .filter(|request| request.path_and_query.contains("perations/"))
        .count();
    assert!(polls >= 9, "only {polls} questions about operations");
}

/// Nothing is gone on with before an operation is over by the service's clock.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_over_when_the_service_says_so() {
    let clock = Clock::new();
    let local = Local::start_with(|builder| {
        builder
            .clock(clock.clone())
            .operation_delay(Duration::from_secs(3))
    })
    .await;
    let file = disk(&local);
    let mut handle = DiskUpload::new(
        &local.azure,
        "images",
        "web",
        DiskImage::open(&file).unwrap(),
    )
    .start();
    within(60, "a slow disk", async {
        while handle.progress().current().phase != Phase::CreatingDisk {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        // It is not gone on with before it is over.
        assert_eq!(handle.progress().current().phase, Phase::CreatingDisk);
        clock.advance(Duration::from_secs(3));
        while handle.progress().current().phase == Phase::CreatingDisk {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        handle.cancel();
        drop(handle);
    })
    .await;
}

/// Stops runs at any time while operations are under way, and returns the phases that were met. What
/// is being made then is taken away again.
async fn stop_at_any_time<T: Send + 'static>(
    local: &Local,
    start: impl Fn() -> Handle<T>,
) -> Vec<Phase> {
    let before = local.state().await;
    let mut seen = Vec::new();
    for step in 0.. {
        let mut handle = start();
        tokio::time::sleep(Duration::from_millis(60 + 190 * step)).await;
        seen.push(handle.progress().current().phase);
        handle.cancel();
        let Err(error) = within(60, "a cancelled run", handle.join()).await else {
            // Too late: it was done.
            break;
        };
        let report = error.report();
        assert!(error.is_cancelled(), "{report}");
        assert!(!report.contains("left behind"), "{report}");
        assert!(
            local.state().await == before,
            "{step}: {:?}",
            local.names().await
        );
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_still_being_made_is_undone() {
    let delay = Duration::from_millis(300);
    let local = Local::start_with(|builder| builder.operation_delay(delay)).await;
    let file = disk(&local);
    let seen = stop_at_any_time(&local, || image(&local.azure, &file).start()).await;
    for phase in [Phase::CreatingDisk, Phase::Committing, Phase::CreatingImage] {
        assert!(
            seen.contains(&phase),
            "not stopped while {phase:?}: {seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_still_being_made_is_undone() {
    let delay = Duration::from_millis(300);
    let local = Local::start_with(|builder| builder.operation_delay(delay)).await;
    image(&local.azure, &disk(&local)).await.unwrap();
    let seen = stop_at_any_time(&local, || machine(&local.azure).start()).await;
    for phase in [Phase::CreatingNetwork, Phase::CreatingVm] {
        assert!(
            seen.contains(&phase),
            "not stopped while {phase:?}: {seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_registered_when_they_are_missing() {
    let local = Local::start_with(|builder| {
        builder.unregistered(["Microsoft.Compute", "Microsoft.Network"])
    })
    .await;
    within(60, "a new subscription", whole_road(&local, &local.azure)).await;
    let registered: Vec<String> = local
        .emulator
        .requests()
        .iter()
        .filter(|request| request.path_and_query.contains("/register?"))
        .map(|request| request.path_and_query.clone())
        .collect();
    for namespace in ["Microsoft.Compute", "Microsoft.Network"] {
        assert!(
            registered.iter().any(|path| path.contains(namespace)),
            "{registered:?}"
        );
    }
}

/// The login may not register: the error says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_registered_is_named() {
    let local = Local::start_with(|builder| builder.unregistered(["Microsoft.Compute"])).await;
    local.emulator.faults().add(
        FaultRule::new(Plane::Arm)
            .path_contains("/register?")
            .respond(403, "AuthorizationFailed"),
    );
    let file = disk(&local);
    let empty = local.state().await;
    let error = within(60, "an image", async { image(&local.azure, &file).await })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let report = error.report();
    assert!(report.contains("Microsoft.Compute"), "{report}");
    assert!(error.hint().is_some(), "{report}");
    assert!(local.state().await == empty, "{:?}", local.names().await);
}

/// The service counts two hours more than this machine: every cached token has run out for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ran_out_is_renewed() {
    let clock = Clock::new();
    let local = Local::start_with(|builder| builder.clock(clock.clone())).await;
    let azure = local.log_in().await;
    let file = disk(&local);
    within(60, "an image", async { image(&azure, &file).await })
        .await
        .unwrap();
    clock.advance(Duration::from_secs(2 * 3600));
    within(60, "a machine", async { machine(&azure).await })
        .await
        .unwrap();
    // The token that was given cannot be renewed: an error that says so, and nothing made.
    let before = local.state().await;
    let error = within(60, "another machine", async {
        let image = ImageReference::parse("web").unwrap();
        VmBuilder::new(&local.azure, "machines", "web-2", image)
            .ssh_key(SshKey::text(KEY))
            .admin_username("nixos")
            .await
    })
    .await
    .unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unauthenticated,
        "{}",
        error.report()
    );
    assert!(error.hint().is_some(), "{}", error.report());
    assert!(local.state().await == before);
}

/// Refused in the middle, once at every request.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_be_refused_at_any_request() {
    let local = Local::start().await;
    let azure = local.log_in().await;
    let file = disk(&local);
    for n in 0.. {
        let id = local.emulator.faults().add(
            FaultRule::new(Plane::Arm)
                .path_contains("/subscriptions/")
                .after(n)
                .times(1)
                .respond(401, "ExpiredAuthenticationToken"),
        );
        let builder = ImageBuilder::new(&azure, format!("images-{n}"), "web")
            .source(ImageSource::file(&file));
        within(60, "an image", async { builder.await })
            .await
            .unwrap();
        let met = local.emulator.faults().hits(id) > 0;
        local.emulator.faults().clear();
        if !met {
            assert!(n > 10, "only {n} requests");
            return;
        }
    }
}

/// The access ends at any of the requests with pages; every one is renewed and the content is right.
#[tokio::test(flavor = "multi_thread")]
async fn an_access_that_ends_is_renewed_wherever_it_is() {
    let local = Local::start().await;
    let file = disk(&local);
    for n in 0.. {
        let id = local.emulator.faults().add(
            FaultRule::new(Plane::Blob)
                .after(n)
                .times(1)
                .expire_access(),
        );
        let group = format!("images-{n}");
        let builder =
            ImageBuilder::new(&local.azure, &group, "web").source(ImageSource::file(&file));
        within(60, "an image", async { builder.await })
            .await
            .unwrap();
        let met = local.emulator.faults().hits(id) > 0;
        local.emulator.faults().clear();
        assert_uploaded(&file, SIZE, &local.emulator.image_file(&group, "web"));
        if !met {
            assert!(n > 4, "only {n} requests");
            return;
        }
    }
}

/// Twice in one upload, far enough apart that no single request meets both: one that is refused twice
/// running is taken to be refused for good.
#[tokio::test(flavor = "multi_thread")]
async fn an_access_may_end_more_than_once() {
    let local = Local::start().await;
    let file = local.place().join("large.raw");
    let size = 512 << 20;
    disks::raw(&file, size, Table::Efi, 6);
    let faults = local.emulator.faults();
    let ids = [6, 48].map(|after| {
        let rule = FaultRule::new(Plane::Blob).method("PUT").after(after);
        faults.add(rule.times(1).expire_access())
    });
    let image = within(60, "an image", async {
        ImageBuilder::new(&local.azure, "images", "web")
            .source(ImageSource::file(&file))
            .await
    })
    .await
    .unwrap();
    assert_eq!(ids.map(|id| faults.hits(id)), [1, 1]);
    assert!(image.upload.unwrap().retries >= 2);
    assert_uploaded(&file, size, &local.emulator.image_file("images", "web"));
}

/// Refused at the commit, when everything has been sent: the footer is damaged on the way to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_footer_that_is_refused_undoes_the_disk() {
    let local = Local::start().await;
    let empty = local.state().await;
    let file = disk(&local);
    let id = local.emulator.faults().add(
        FaultRule::new(Plane::Arm)
            .path_contains("/endGetAccess?")
            .times(1)
            .delay(Duration::from_millis(300)),
    );
    let handle = image(&local.azure, &file).start();
    let error = within(60, "an image", async {
        while local.emulator.faults().hits(id) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let disk = local.emulator.disk_file("images", "web");
        let disk = File::options().write(true).open(disk).unwrap();
        disk.write_all_at(&[0x41; 100], SIZE).unwrap();
        handle.join().await
    })
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidImage, "{}", error.report());
    assert_eq!(error.code(), Some("InvalidVhd"), "{}", error.report());
    assert!(error.hint().is_some());
    assert!(local.state().await == empty, "{:?}", local.names().await);
}

/// An image of a disk that is still being uploaded is an internal error of Azure's that names nothing. So it is
/// asked for when the disk says that it is whole, also where the end of its access takes a while.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_asked_for_when_its_disk_is_whole() {
    let local = Local::start().await;
    let file = disk(&local);
    local.emulator.faults().add(
        FaultRule::new(Plane::Arm)
            .path_contains("/endGetAccess?")
            .delay(Duration::from_millis(700)),
    );
    let made = within(60, "an image", async {
        image(&local.azure, &file).keep_disk(true).await
    });
    let made = made.await.unwrap();
    let disk = local.get(made.disk_id.unwrap().as_str()).await;
    assert_eq!(disk["properties"]["diskState"], "Unattached");
    assert_eq!(disk["properties"]["osType"], "Linux");
    assert_eq!(disk["properties"]["hyperVGeneration"], "V2");
    let requests = local.emulator.requests();
    let nth = |method: &str, part: &str| {
        let all = requests.iter().enumerate();
        let mut found =
            all.filter(|(_, one)| one.method == method && one.path_and_query.contains(part));
        let (number, _) = found.next().unwrap_or_else(|| panic!("no {method} {part}"));
        assert!(found.next().is_none(), "{method} {part} twice");
        number
    };
    let (ended, asked) = (nth("POST", "/endGetAccess?"), nth("PUT", "/images/web?"));
    assert!(
        ended < asked,
        "access ended at {ended}, image asked for at {asked}"
    );
}

/// A footer that a source brings along and that Azure would refuse is refused here.
#[tokio::test(flavor = "multi_thread")]
async fn a_footer_of_a_source_is_checked() {
    let local = Local::start().await;
    let empty = local.state().await;
    let mut disk = MemoryImage::new(SIZE).unwrap();
    disk.write(5 << 20, &Noise::new(1).bytes(3 << 20)).unwrap();
    let disk = disk.with_footer([0x41; 512]);
    assert!(disk.footer().unwrap().is_some());
    let error = within(60, "a disk", async {
        DiskUpload::new(&local.azure, "images", "web", disk).await
    })
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidImage, "{}", error.report());
    assert!(local.state().await == empty, "{:?}", local.names().await);
}

/// Several causes at once, some of them for good: it is not asked again and again.
#[tokio::test(flavor = "multi_thread")]
async fn multiple_errors_are_final() {
    let local = Local::start().await;
    let file = disk(&local);
    image(&local.azure, &file).await.unwrap();
    let before = local.state().await;
    let id = local.emulator.faults().add(
        FaultRule::new(Plane::Arm)
            .method("PUT")
            .path_contains("/virtualMachines/")
            .respond(500, "MultipleErrorsOccurred"),
    );
    let error = within(30, "a machine", async { machine(&local.azure).await })
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("MultipleErrorsOccurred"));
    assert_eq!(local.emulator.faults().hits(id), 1);
    assert!(local.state().await == before, "{:?}", local.names().await);
}

/// Whatever passes may also come while things are taken away again.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_outlives_what_passes() {
    let local = Local::start().await;
    let file = disk(&local);
    image(&local.azure, &file).await.unwrap();
    let before = local.state().await;
    let faults = local.emulator.faults();
    faults.add(
        FaultRule::new(Plane::Arm)
            .method("PUT")
            .path_contains("/virtualMachines/")
            .respond(409, "SkuNotAvailable"),
    );
    for (status, code) in [
        (503, "ServerBusy"),
        (429, "TooManyRequests"),
        (409, "AnotherOperationInProgress"),
        (400, "NicReservedForAnotherVm"),
    ] {
        let rule = FaultRule::new(Plane::Arm).method("DELETE").times(1);
        // Only an interface is reserved.
        let rule = if status == 400 {
            rule.path_contains("/networkInterfaces/")
        } else {
            rule
        };
        faults.add(rule.respond(status, code).header("Retry-After", "0"));
    }
    faults.add(
        FaultRule::new(Plane::Arm)
            .method("DELETE")
            .after(5)
            .times(2)
            .reset_after(),
    );
    let error = within(90, "a machine", async { machine(&local.azure).await })
        .await
        .unwrap_err();
    faults.clear();
    assert_eq!(error.kind(), ErrorKind::Quota, "{}", error.report());
    assert!(
        !error.report().contains("left behind"),
        "{}",
        error.report()
    );
    assert!(local.state().await == before, "{:?}", local.names().await);
}
