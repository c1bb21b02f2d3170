//! From a machine that runs to one that Nix manages: an inventory, `ssh` by the machine's name, and a
//! system that is built there and switched to.
//!
//! ```sh
//! cargo run -p azure-nixos-examples --bin deploy_with_nix
//! ```
//!
//! It needs Nix and OpenSSH's client and server. The machine is an `sshd` on loopback with a Nix store of
//! its own; the store here is another one.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::fs;
use std::path::{Path, PathBuf};

use azure_nixos::image::ImageSource;
use azure_nixos::vm::{InventoryFormat, Machines};
use azure_nixos::{ImageBuilder, VmBuilder};
use azure_nixos_emulator::SshServer;
use azure_nixos_examples::{LocalAzure, Result, disk_image};
use tokio::process::Command;

#[tokio::main]
async fn main() -> Result<()> {
    let place = tempfile::tempdir()?;
    let there = nix_on_the_machine(place.path())?;
    let variables = there
        .iter()
        .map(|(name, value)| format!(" \"{name}={}\"", value.display()));
    let variables = format!("SetEnv{}", variables.collect::<String>());
    let server = SshServer::start_with(place.path(), &variables)?;
    let address = server.address();
    let local = LocalAzure::start_with(|azure| azure.ssh_at(move |_| Some(address))).await?;
    let disk = disk_image(local.directory(), 1)?;

    // On Azure: let azure = azure_nixos::Azure::from_environment().await?;
    let azure = &local.azure;
    let image = ImageBuilder::new(azure, "images-rg", "nixos-web")
        .source(ImageSource::file(disk))
        .await?;
    let keys = local.directory().join("keys");
    let vm = VmBuilder::new(azure, "vms-rg", "web-1", &image)
        .size("Standard_DS1_v2")
        .admin_username("nixos")
        .key_directory(&keys)
        .await?;

    // The image of a real machine asks Azure for the key. This server is told.
    let key = vm.ssh_private_key.ok_or("no key was made")?;
    server.authorize(&key.with_extension("pub"))?;

    let inventory = Machines::new(azure)
        .inventory()
        .key_directory(&keys)
        .await?;
    let login = &inventory
        .machines
        .first()
        .ok_or("there is no machine")?
        .login;
    fs::write(
        &login.known_hosts,
        format!("{} {}", login.host_key_alias, server.host_key()?),
    )?;
    let hosts = place.path().join("hosts");
    inventory
        .render(InventoryFormat::SshConfig)?
        .replace(&hosts)
        .await?;

    // A server that is not run by root lets nobody else in. On Azure the file's own user does: "web-1".
    let me = run(Command::new("id").arg("-un")).await?;
    let name = format!("{}@web-1", me.trim());
    let mut ssh = Command::new("ssh");
    ssh.arg("-F")
        .arg(&hosts)
        .arg(&name)
        .arg("echo $SSH_CONNECTION");
    println!("logged in: {}", run(&mut ssh).await?.trim());

    for greeting in ["hello", "hello again"] {
        let mut deploy = Command::new(file("switch"));
        deploy
            .arg(&hosts)
            .arg(&name)
            .arg(place.path().join("profile"))
            .arg(file("tiny-system.nix"))
            .args(["--argstr", "greeting", greeting])
            .current_dir(place.path())
            .env(
                "NIX_REMOTE",
                format!("local?root={}", place.path().join("here").display()),
            )
            .envs(there.iter().map(|(name, value)| (name, value)));
        print!("{}", run(&mut deploy).await?);
    }
    println!(
        "the machine says: {}",
        fs::read_to_string(place.path().join("greeting"))?.trim()
    );
    local.stop().await;
    Ok(())
}

/// What keeps the machine's Nix in this directory, offline and without other users. The machine's home
/// is the directory as well.
fn nix_on_the_machine(place: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let settings = "sandbox = false\nbuild-users-group =\nsubstituters =\n";
    fs::create_dir(place.join("conf"))?;
    fs::write(place.join("conf/nix.conf"), settings)?;
    Ok(vec![
        ("NIX_STORE_DIR", place.join("store")),
        ("NIX_STATE_DIR", place.join("state")),
        ("NIX_LOG_DIR", place.join("log")),
        ("NIX_CONF_DIR", place.join("conf")),
        ("HOME", place.to_owned()),
        ("STATE", place.to_owned()),
        ("PATH", std::env::var_os("PATH").unwrap_or_default().into()),
    ])
}

/// One of the files that belong to this program.
fn file(name: &str) -> PathBuf {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    deploy.join(name)
}

/// Runs a program to its end and returns what it printed.
async fn run(command: &mut Command) -> Result<String> {
    let output = command.output().await?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{:?}: {errors}", command.as_std().get_program()).into())
}
