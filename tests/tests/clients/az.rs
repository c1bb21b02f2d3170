//! `az` with a configuration of its own, logged in to a local Azure.

use std::path::PathBuf;

use azure_nixos_tests::{Local, tools};
use serde_json::Value;

use crate::program::{Ended, Program};

/// `az`, logged in as the service principal of a local Azure. Each command is a process.
#[derive(Debug)]
pub(crate) struct Az<'a> {
    local: &'a Local,
    program: Program,
}

impl<'a> Az<'a> {
    /// Tells `az` of the local Azure and logs in. `None` where it is not installed and may be absent.
    pub(crate) async fn log_in(local: &'a Local) -> Option<Self> {
        let program = tools::find("az")?;
        let emulator = &local.emulator;
        let config = local.place().join("az");
        let program = Program::new(program, local)
            .variable("AZURE_CONFIG_DIR", config.display())
            .variable("REQUESTS_CA_BUNDLE", emulator.ca_path().display())
            // Without it `az` asks login.microsoftonline.com whether the authority is a real one.
            .variable("AZURE_CORE_INSTANCE_DISCOVERY", "false")
            // Storage accounts are asked at their own host names.
            .variable("HTTPS_PROXY", emulator.proxy_url().unwrap_or_default())
            // A process of its own that outlives the command.
            .variable("AZURE_CORE_COLLECT_TELEMETRY", "false")
            .variable("AZURE_CORE_SURVEY_MESSAGE", "false")
            .variable("AZURE_CORE_NO_COLOR", "true");
        let az = Self { local, program };
        let url = emulator.arm_url();
        az.ok(&format!(
            "cloud register -n local --endpoint-resource-manager {url}"
        ))
        .await;
        az.ok("cloud set -n local").await;
        let logged_in = az
            .ok(&format!(
                "login --service-principal -u {} -p {} --tenant {}",
                emulator.client_id(),
                emulator.client_secret(),
                emulator.tenant_id()
            ))
            .await;
        assert_eq!(logged_in[0]["id"], emulator.subscription_id());
        Some(az)
    }

    /// Runs a command, its words with blanks between (`""` is an empty one), and returns what it
    /// printed; `Null` for nothing.
    ///
    /// # Panics
    /// When it fails, with all that it said and the last requests.
    pub(crate) async fn ok(&self, line: &str) -> Value {
        let ended = self.run(line).await;
        assert!(ended.succeeded(), "{}", self.told(line, &ended));
        if ended.stdout.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.told(line, &ended)))
    }

    /// Runs a command that has to fail, and returns its exit status and what it said.
    ///
    /// # Panics
    /// When it does not fail.
    pub(crate) async fn refused(&self, line: &str) -> (i32, String) {
        let ended = self.run(line).await;
        assert!(!ended.succeeded(), "{}", self.told(line, &ended));
        assert!(
            !ended.stderr.contains("Traceback"),
            "{}",
            self.told(line, &ended)
        );
        (ended.status, ended.stderr)
    }

    async fn run(&self, line: &str) -> Ended {
        let words = line
            .split_whitespace()
            .map(|word| if word == "\"\"" { "" } else { word })
            .chain(["--output", "json"]);
        self.program.run(words).await
    }

    fn told(&self, line: &str, ended: &Ended) -> String {
        let requests: Vec<String> = self
            .local
            .emulator
            .requests()
            .iter()
            .rev()
            .take(12)
            .rev()
            .map(|request| {
                let path: PathBuf = request.path_and_query.split('?').next().unwrap().into();
                format!("  {} {} {}", request.status, request.method, path.display())
            })
            .collect();
        format!("az {line}\n{ended}\n{}", requests.join("\n"))
    }
}
