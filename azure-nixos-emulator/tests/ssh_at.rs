//! Servers that stand for machines: a public address leads to one, while the machine runs and its
//! security groups let everybody in.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what cannot be set up is a test that fails, and one that is skipped says so aloud"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use azure_nixos_emulator::{Boot, Emulator, SshServer};
use common::{COMPUTE, Client, NETWORK, builder, resource, vm};
use serde_json::json;

/// How long a server may take to be there, or to be gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that answers each connection with its own name and what it is sent.
fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut byte = [0];
                while matches!(stream.read(&mut byte), Ok(1)) {
                    if stream.write_all(name.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Who answers at an address: nobody where the connection is refused or closed.
fn who(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"?").ok()?;
    let mut name = [0; 16];
    let length = stream.read(&mut name).ok()?;
    (length > 0).then(|| String::from_utf8_lossy(&name[..length]).into_owned())
}

async fn make_machine(client: &Client, name: &str) {
    client.make_network("rg", name).await;
    let made = client
        .put(&vm("rg", name), COMPUTE, client.vm("rg", name, "nixos"))
        .await;
    client.succeed(made).await;
}

async fn prepare(emulator: &Emulator) -> Client {
    let client = Client::new(emulator);
    client.make_group("rg").await;
    client.make_uploaded(emulator, "rg", "os").await;
    client.make_image("rg", "nixos", "os").await;
    client
}

/// Where ssh of a machine is: port 22 of its public address, or where the instance view says.
async fn ssh_of(client: &Client, name: &str) -> SocketAddr {
    let path = resource("rg", "Microsoft.Network/publicIPAddresses", name);
    let shown = client.get(&path, NETWORK).await.body;
    let address: Ipv4Addr = shown["properties"]["ipAddress"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        address.is_loopback() && address != Ipv4Addr::LOCALHOST,
        "{address}"
    );
    let view = client
        .get(&format!("{}/instanceView", vm("rg", name)), COMPUTE)
        .await
        .body;
    let statuses = view["statuses"].as_array().unwrap().clone();
    let moved = statuses
        .iter()
        .find(|status| status["code"] == "LocalAzure/portMoved")
        .and_then(|status| status["displayStatus"].as_str());
    moved
        .and_then(|moved| moved.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| SocketAddr::from((address, 22)))
}

async fn act(client: &Client, name: &str, action: &str) {
    let begun = client
        .post(&format!("{}/{action}", vm("rg", name)), COMPUTE, None)
        .await;
    client.succeed(begun).await;
}

fn rule(access: &str, source: &str) -> serde_json::Value {
    json!({ "properties": {
        "protocol": "Tcp", "access": access, "direction": "Inbound", "priority": 900,
        "sourceAddressPrefix": source, "sourcePortRange": "*",
        "destinationAddressPrefix": "*", "destinationPortRange": "20-30",
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_reached_while_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let (web, other) = (echo("web"), echo("other"));
    let emulator = builder(dir.path())
        .ssh_at(move |machine| (machine == "web").then_some(web))
        .start()
        .await
        .unwrap();
    let client = prepare(&emulator).await;
    make_machine(&client, "web").await;
    make_machine(&client, "db").await;
    let ssh = async |name: &'static str| ssh_of(&client, name).await;
    let is_web = Some("web".to_owned());
    assert_eq!(who(ssh("web").await), is_web);
    // The rule has nobody for this one, which it says by itself.
    assert_eq!(who(ssh("db").await), None);
    let answers_nobody = async |name: &'static str| {
        let view = format!("{}/instanceView", vm("rg", name));
        let view = client.get(&view, COMPUTE).await.body;
        let statuses = view["vmAgent"]["statuses"].as_array().unwrap().clone();
        let mut codes = statuses.iter().map(|status| &status["code"]);
        codes.any(|code| code == "LocalAzure/answersNobody")
    };
    assert!(answers_nobody("db").await && !answers_nobody("web").await);
    assert_ne!(ssh("web").await.ip(), ssh("db").await.ip());

    // A connection ends with the machine's run.
    let mut open = TcpStream::connect(ssh("web").await).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    for (stop, start) in [("powerOff", "start"), ("deallocate", "start")] {
        act(&client, "web", stop).await;
        assert_eq!(who(ssh("web").await), None, "{stop}");
        act(&client, "web", start).await;
        assert_eq!(who(ssh("web").await), is_web, "{start}");
    }
    assert!(matches!(open.read(&mut [0]), Ok(0) | Err(_)));

    // Its security group decides, and says so at once.
    let denied = format!(
        "{}/securityRules/shut",
        resource("rg", "Microsoft.Network/networkSecurityGroups", "web")
    );
    let made = client.put(&denied, NETWORK, rule("Deny", "*")).await;
    client.succeed(made).await;
    assert_eq!(who(ssh("web").await), None);
    let gone = client.delete(&denied, NETWORK).await;
    client.follow(&gone).await;
    assert_eq!(who(ssh("web").await), is_web);

    // What is said of one machine while it runs counts before the rule.
    emulator.set_ssh_at("DB", Some(other)).unwrap();
    assert_eq!(who(ssh("db").await), Some("other".to_owned()));
    emulator.set_ssh_at("web", Some(other)).unwrap();
    assert_eq!(who(ssh("web").await), Some("other".to_owned()));
    emulator.set_ssh_at("web", None).unwrap();
    assert_eq!(who(ssh("web").await), None);
    let far = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 22));
    assert!(emulator.set_ssh_at("web", Some(far)).is_err());

    // It ends with the machine, and with the emulator.
    let (at, gone) = (
        ssh("db").await,
        client.delete(&vm("rg", "db"), COMPUTE).await,
    );
    client.succeed(gone).await;
    assert_eq!(who(at), None);
    emulator.set_ssh_at("web", Some(web)).unwrap();
    let at = ssh("web").await;
    assert_eq!(who(at), is_web);
    emulator.stop().await;
    assert_eq!(who(at), None);

    // What was there is there again at the next start.
    let emulator = builder(dir.path())
        .ssh_at(move |_| Some(other))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    assert_eq!(who(ssh_of(&client, "web").await), Some("other".to_owned()));
    emulator.stop().await;
}

#[tokio::test]
async fn machines_answer_for_themselves_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let both = builder(dir.path()).boot(Boot::Qemu).ssh_at(|_| None);
    let refused = both.start().await.unwrap_err().to_string();
    assert!(refused.contains("ssh_at"), "{refused}");
    let emulator = builder(dir.path()).start().await.unwrap();
    assert!(emulator.set_ssh_at("web", None).is_err());
    emulator.stop().await;
}

fn key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}

/// What a command prints on a machine; `None` where ssh fails.
fn ssh(dir: &Path, at: SocketAddr, command: &str) -> Option<String> {
    let ran = Command::new("ssh")
        .args([
            "-F",
            "/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=10",
        ])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-i"])
        .arg(dir.join("user"))
        .args(["-p", &at.port().to_string(), &at.ip().to_string(), command])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    ran.status
        .success()
        .then(|| String::from_utf8_lossy(&ran.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_sshd_stands_for_a_machine() {
    // Its absence is no error here, unlike that of other programs: what is shown with it the test above
    // shows too.
    if SshServer::program().is_none() {
        eprintln!("SKIPPED: sshd is not installed, so this test shows nothing");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let server = SshServer::start(place.path().join("server")).unwrap();
    let address = server.address();
    key(&place.path().join("user"));
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path())
        .ssh_at(move |_| Some(address))
        .start()
        .await
        .unwrap();
    let client = prepare(&emulator).await;
    make_machine(&client, "web").await;
    let at = ssh_of(&client, "web").await;
    assert_eq!(ssh(place.path(), at, "echo it runs"), None);
    server.authorize(&place.path().join("user.pub")).unwrap();
    assert_eq!(
        ssh(place.path(), at, "echo it runs").as_deref(),
        Some("it runs\n"),
        "{}",
        server.log()
    );
    act(&client, "web", "deallocate").await;
    assert_eq!(ssh(place.path(), at, "echo it runs"), None);
    emulator.stop().await;
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}
