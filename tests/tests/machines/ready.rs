//! Machines are waited for until they can be logged into.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use azure_nixos::vm::{BootedVm, ImageReference, MachineInfo, Readiness, SshKey};
use azure_nixos::{ErrorKind, Handle, VmBuilder};
use azure_nixos_tests::within;

use crate::place::{KEY, Place, arm};

/// A key of a host, as nobody has it.
const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

/// Says this to whoever connects, and waits for an answer if it is what an ssh server says.
fn server(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(text.as_bytes());
            if text.starts_with("SSH-") {
                held.push(stream);
            }
        }
    });
    address
}

/// A local Azure in which nobody stands for machines until it is said who does.
async fn place() -> Place {
    let other = server("220 mail\r\n");
    Place::with(move |builder| builder.ssh_at(move |_| Some(other))).await
}

fn builder(place: &Place, name: &str) -> VmBuilder {
    let image = place.id("/resourceGroups/images/providers/Microsoft.Compute/images/base");
    VmBuilder::new(
        &place.local.azure,
        "vms",
        name,
        ImageReference::parse(&image).unwrap(),
    )
    .admin_username("nixos")
    .allow_ssh_from("any")
    .ssh_key(SshKey::text(KEY))
}

/// A machine as soon as it is there.
async fn there(place: &Place, name: &str) -> MachineInfo {
    within(60, "a machine", async {
        loop {
            match place.machine(name).info().await {
                Ok(info) => return info,
                Err(error) => assert!(error.is_not_found(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

fn log_of(place: &Place, machine: &MachineInfo) -> PathBuf {
    let id = machine.vm_id.as_ref().unwrap();
    let directory = place.local.emulator.state_dir().join("machines").join(id);
    fs::create_dir_all(&directory).unwrap();
    directory.join("serialconsole.log")
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_is_waited_for_and_the_console_says_which_keys_are_the_machines() {
    let place = place().await;
    let booting: Handle<BootedVm> = builder(&place, "web").wait(Readiness::Ssh).start();
    let found = there(&place, "web").await;
    let said = format!(
        "-----BEGIN SSH HOST KEY KEYS-----\r\n{HOST_KEY} root@web\r\n-----END SSH HOST KEY KEYS-----\r\n"
    );
    fs::write(log_of(&place, &found), said).unwrap();
    let ssh = server("SSH-2.0-OpenSSH_9.9\r\n");
    place.local.emulator.set_ssh_at("web", Some(ssh)).unwrap();
    let vm = within(60, "ssh", booting.join()).await.unwrap();
    assert_eq!(vm.ready, Readiness::Ssh);
    let address = vm.public_ip.clone().unwrap();
    let port = place.machine("web").info().await.unwrap().ssh_port.unwrap();
    let (host, command) = match port {
        22 => (address.clone(), format!("ssh nixos@{address}")),
        port => (
            format!("[{address}]:{port}"),
            format!("ssh -p {port} nixos@{address}"),
        ),
    };
    assert_eq!(vm.known_hosts, [format!("{host} {HOST_KEY}")]);
    assert_eq!(
        vm.host_key_fingerprints,
        ["SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ (ED25519)"]
    );
    assert_eq!(vm.ssh_command, Some(command));
    assert!(vm.notes.is_empty(), "{:?}", vm.notes);

    // What the log does not show is known of nobody, and that is said where it is for ever.
    place.local.emulator.set_ssh_at("dark", Some(ssh)).unwrap();
    let dark = builder(&place, "dark")
        .boot_diagnostics(false)
        .wait(Readiness::Auto)
        .await
        .unwrap();
    assert_eq!((dark.ready, dark.known_hosts.len()), (Readiness::Ssh, 0));
    assert!(
        dark.notes[0].contains("diagnostics are off"),
        "{:?}",
        dark.notes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_late_is_kept_with_what_it_said() {
    let place = place().await;
    let started = Instant::now();
    let booting = builder(&place, "web")
        .wait(Readiness::Ssh)
        .wait_timeout(Duration::from_secs(4))
        .start();
    let found = there(&place, "web").await;
    fs::write(
        log_of(&place, &found),
        "<<< NixOS Stage 1 >>>\r\n\u{1b}[2Jpanic\r\n",
    )
    .unwrap();
    let late = within(60, "a machine that is late", booting.join())
        .await
        .unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    assert!(started.elapsed() >= Duration::from_secs(3));
    let report = late.report();
    for part in [
        "the machine web does not answer ssh after 4 seconds",
        "220 mail",
        "<<< NixOS Stage 1 >>>\n    \u{241b}[2Jpanic",
        found.id.as_str(),
        "azure-nixos delete-vm -g vms -n web",
        "ssh nixos@",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("taken away"), "{report}");
    assert_eq!(place.machine("web").info().await.unwrap().id, found.id);

    // All of a fleet are waited for together.
    let ssh = server("SSH-2.0-x\r\n");
    place
        .local
        .emulator
        .set_ssh_at("node-2", Some(ssh))
        .unwrap();
    let late = builder(&place, "node")
        .fleet(3)
        .wait(Readiness::Ssh)
        .wait_timeout(Duration::from_secs(1))
        .await
        .unwrap_err()
        .report();
    assert!(
        late.contains("the machine node-1 does not answer"),
        "{late}"
    );
    assert!(late.contains("not ready either: node-3"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_wait_takes_away_what_was_made() {
    let place = place().await;
    let before = place.local.state().await;
    let booting = builder(&place, "web").wait(Readiness::Ssh).start();
    there(&place, "web").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    booting.cancel();
    let error = booting.join().await.unwrap_err();
    assert!(error.is_cancelled(), "{}", error.report());
    assert!(
        error.report().contains("the machine web"),
        "{}",
        error.report()
    );
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_answer_nobody_are_not_waited_for() {
    let place = Place::new().await;
    let started = Instant::now();
    let vm = builder(&place, "web").wait(Readiness::Auto).await.unwrap();
    assert_eq!(vm.ready, Readiness::Running);
    assert!(vm.notes[0].contains("answers nobody"), "{:?}", vm.notes);
    let asked = builder(&place, "db")
        .wait(Readiness::Ssh)
        .await
        .unwrap_err();
    assert_eq!(asked.kind(), ErrorKind::Conflict);
    assert!(asked.to_string().contains("answers nobody"), "{asked}");
    assert!(started.elapsed() < Duration::from_secs(30));
    let shut = builder(&place, "shut")
        .allow_ssh_from("none")
        .wait(Readiness::Auto);
    let shut = shut.await.unwrap();
    assert!(
        shut.notes[0].contains("nobody is let in"),
        "{:?}",
        shut.notes
    );
    // Without a word nothing more is asked than before.
    let before = place.requests();
    let plain = builder(&place, "plain").await.unwrap();
    assert_eq!((plain.ready, plain.notes.len()), (Readiness::Created, 0));
    let asked = place.since(before);
    assert!(
        !asked.iter().any(|one| one.contains("instanceView")),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_said_is_shown_before_it_is_taken_away() {
    let place = place().await;
    place.fault(arm("PUT", "/virtualMachines/").fail_operation("OSProvisioningTimedOut"));
    let reading =
        place.fault(arm("POST", "/retrieveBootDiagnosticsData").delay(Duration::from_secs(1)));
    let booting = builder(&place, "web").start();
    let found = there(&place, "web").await;
    fs::write(log_of(&place, &found), "no agent here\r\n").unwrap();
    let error = booting.join().await.unwrap_err();
    assert_eq!(place.local.emulator.faults().hits(reading), 1);
    let report = error.report();
    for part in [
        "serial console: \n    no agent here",
        "taken away again: the machine web",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_known_afterwards() {
    let place = Place::new().await;
    let keys = place.local.place().join("keys");
    let image = place.id("/resourceGroups/images/providers/Microsoft.Compute/images/base");
    let image = ImageReference::parse(&image).unwrap();
    let vm = VmBuilder::new(&place.local.azure, "vms", "web", image)
        .admin_username("nixos")
        .key_directory(&keys)
        .await
        .unwrap();
    let login = place
        .machine("WEB")
        .login()
        .key_directory(&keys)
        .await
        .unwrap();
    assert_eq!(login.machine.id, vm.id);
    assert_eq!(login.host.map(|host| host.to_string()), vm.public_ip);
    assert_eq!(login.user.as_deref(), Some("nixos"));
    assert_eq!(login.private_key, vm.ssh_private_key);
    assert_eq!(login.known_hosts, keys.join("known_hosts"));
    assert_eq!(login.port, 22);
    let all = place
        .machines()
        .logins(Some("vms"))
        .key_directory(&keys)
        .await
        .unwrap();
    assert_eq!(all, [login]);

    // A machine of a disk has no first boot, so a tag says as whom to log in.
    let disk = place.machine("web").info().await.unwrap().disks[0]
        .id
        .clone()
        .unwrap();
    place.machine("web").deallocate().await.unwrap();
    let copy = ImageReference::parse(disk.as_str()).unwrap();
    let copy = VmBuilder::new(&place.local.azure, "vms", "copy", copy).admin_username("ada");
    let copy = copy.await.unwrap();
    let login = place
        .machine("copy")
        .login()
        .key_directory(&keys)
        .await
        .unwrap();
    assert_eq!(login.machine.admin_username, None);
    assert_eq!(login.user, copy.admin_username);
    assert_eq!(login.machine.tags["azure-nixos-user"], "ada");
}
