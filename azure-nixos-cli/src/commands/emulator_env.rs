//! `emulator env`.

use std::path::Path;

use azure_nixos::quote::for_shell;
use azure_nixos_emulator::Running;
use serde_json::{Map, Value};

use crate::args::{EmulatorEnv as Args, Format, Global, Shell};
use crate::output;
use crate::run::Failure;

/// The name of the cloud that `az` is told of.
const CLOUD: &str = "azure-nixos";

/// Variables for one kind of program.
struct Part {
    whose: &'static str,
    variables: Vec<(&'static str, String)>,
}

pub(crate) async fn env(global: &Global, args: Args, directory: &Path) -> Result<u8, Failure> {
    let shell = match (args.shell, global.output) {
        (None, Format::Text) => Shell::Bash,
        (None | Some(Shell::Json), _) => Shell::Json,
        (Some(shell), Format::Text) => shell,
        (Some(_), Format::Json) => {
            return Err(Failure::Usage(
                "--output json is no shell: leave one of --output and --shell out".into(),
            ));
        }
    };
    if args.setup && shell == Shell::Json {
        return Err(Failure::Usage(
            "--setup prints commands, which JSON has no place for".into(),
        ));
    }
    let searched = directory.to_owned();
    let found = tokio::task::spawn_blocking(move || Running::find(&searched))
        .await
        .map_err(|error| Failure::Other(format!("the search was interrupted: {error}")))?;
    let running = match found {
        Ok(Some(running)) => running,
        Ok(None) => {
            return Err(Failure::Other(format!(
                "no local Azure runs in {}; `azure-nixos emulator` starts one",
                directory.display()
            )));
        }
        Err(error) => {
            return Err(Failure::Other(format!(
                "cannot find the local Azure: {error}"
            )));
        }
    };
    let parts = parts(&running, std::env::var("NO_PROXY").ok().as_deref());
    output::result(&match shell {
        Shell::Json => as_json(&parts),
        shell => as_script(&running, &parts, shell, args.setup),
    })?;
    Ok(0)
}

fn parts(running: &Running, no_proxy: Option<&str>) -> Vec<Part> {
    let ca = || running.ca_path.display().to_string();
    let az = running.state_dir.join("az").display().to_string();
    let mut direct = vec!["localhost", "127.0.0.1"];
    for host in no_proxy.unwrap_or_default().split(',').map(str::trim) {
        if !host.is_empty() && !direct.contains(&host) {
            direct.push(host);
        }
    }
    let direct = direct.join(",");
    let proxies = running.proxy_url.iter().flat_map(|proxy| {
        let names = ["HTTPS_PROXY", "https_proxy"];
        names.map(|name| (name, proxy.clone()))
    });
    vec![
        Part {
            whose: "The Azure SDKs and azure-nixos",
            variables: vec![
                ("AZURE_TENANT_ID", running.tenant_id.clone()),
                ("AZURE_CLIENT_ID", running.client_id.clone()),
                ("AZURE_CLIENT_SECRET", running.client_secret.clone()),
                ("AZURE_SUBSCRIPTION_ID", running.subscription_id.clone()),
                ("AZURE_AUTHORITY_HOST", running.arm_url.clone()),
                ("AZURE_CLOUD", running.arm_url.clone()),
            ],
        },
        Part {
            whose: "The certificate: Go, AzCopy and OpenSSL, Python, Node",
            variables: vec![
                ("SSL_CERT_FILE", ca()),
                ("REQUESTS_CA_BUNDLE", ca()),
                ("NODE_EXTRA_CA_CERTS", ca()),
            ],
        },
        Part {
            whose: "Azure's own host names lead here, loopback is reached without a proxy",
            variables: proxies
                .into_iter()
                .chain([("NO_PROXY", direct.clone()), ("no_proxy", direct)])
                .collect(),
        },
        Part {
            whose: "az, with a configuration of its own",
            variables: vec![
                ("AZURE_CONFIG_DIR", az),
                ("AZURE_CORE_INSTANCE_DISCOVERY", "false".to_owned()),
                ("AZURE_CORE_COLLECT_TELEMETRY", "false".to_owned()),
            ],
        },
    ]
}

fn as_json(parts: &[Part]) -> String {
    let variables = parts.iter().flat_map(|part| &part.variables);
    let all: Map<String, Value> = variables
        .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
        .collect();
    Value::Object(all).to_string()
}

fn as_script(running: &Running, parts: &[Part], shell: Shell, setup: bool) -> String {
    let mut lines = vec![format!(
        "# The local Azure in {}",
        one_line(&running.state_dir.display().to_string())
    )];
    for Part { whose, variables } in parts {
        lines.push(format!("# {whose}"));
        for (name, value) in variables {
            lines.push(match shell {
                Shell::Fish => format!("set -gx {name} {}", for_fish(value)),
                _ => format!("export {name}={}", for_shell(value)),
            });
        }
    }
    if setup {
        lines.extend(az_commands(running));
    } else {
        lines.push(
            "# az, once for each start of the local Azure (--setup prints it to be run):".into(),
        );
        lines.extend(az_commands(running).map(|line| format!("# {line}")));
    }
    lines.join("\n")
}

/// The commands that make `az` know the cloud, at the port that it has this time, and log in. Both
/// shells read them alike: nothing in them needs quotes.
fn az_commands(running: &Running) -> impl Iterator<Item = String> {
    [
        "az cloud set --name AzureCloud >/dev/null 2>&1".to_owned(),
        format!("az cloud unregister --name {CLOUD} >/dev/null 2>&1"),
        format!(
            "az cloud register --name {CLOUD} --endpoint-resource-manager {}",
            for_shell(&running.arm_url)
        ),
        format!("az cloud set --name {CLOUD}"),
        format!(
            "az login --service-principal --username {} --password {} --tenant {} --output none",
            for_shell(&running.client_id),
            for_shell(&running.client_secret),
            for_shell(&running.tenant_id)
        ),
    ]
    .into_iter()
}

/// The text as one word of fish, where a backslash means something in single quotes as well.
fn for_fish(text: &str) -> String {
    for_shell(&text.replace('\\', r"\\"))
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fish_reads_a_backslash_in_quotes() {
        assert_eq!(for_fish("/a/b"), "/a/b");
        assert_eq!(for_fish("it's"), r"'it'\''s'");
        assert_eq!(for_fish(r"a\b c"), r"'a\\b c'");
    }
}
