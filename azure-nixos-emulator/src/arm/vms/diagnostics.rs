//! Boot diagnostics: where the serial console and the screen of a machine can be read.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::error::{ArmError, Origin};
use super::content;
use crate::azure_names::{AccessHost, locate};
use crate::blob::DiagnosticsFile;
use crate::state::Resource;

/// How long the URLs are good, in minutes: by default, and the most that may be asked for.
const DEFAULT_MINUTES: u64 = 120;
const LONGEST_MINUTES: u64 = 1440;

fn profile(machine: &Resource) -> &Value {
    &machine.body["properties"]["diagnosticsProfile"]["bootDiagnostics"]
}

/// What the instance view says: nothing where they are off, no more than that they are on where
/// Azure keeps them, and the blobs where they are in a storage account of the user.
pub(super) fn view(machine: &Resource) -> Option<Value> {
    let profile = profile(machine);
    if profile["enabled"] != true {
        return None;
    }
    let Some(account) = profile["storageUri"].as_str().filter(|uri| !uri.is_empty()) else {
        return Some(json!({}));
    };
    let id = content::vm_id(&machine.body);
    let name = name(machine);
    // Azure takes letters and digits of the name, nine at most.
    let short: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(9)
        .collect::<String>()
        .to_ascii_lowercase();
    let blob = |what: &str| {
        let account = account.trim_end_matches('/');
        format!("{account}/bootdiagnostics-{short}-{id}/{name}.{id}.{what}")
    };
    Some(json!({
        "consoleScreenshotBlobUri": blob(DiagnosticsFile::Screenshot.suffix()),
        "serialConsoleLogBlobUri": blob(DiagnosticsFile::SerialLog.suffix()),
    }))
}

fn name(machine: &Resource) -> &str {
    machine.body["name"].as_str().unwrap_or_default()
}

/// `POST …/retrieveBootDiagnosticsData`
pub(super) fn retrieve(context: &mut Context<'_>, machine: &Resource) -> Result {
    let minutes = match context.call.query("sasUriExpirationTimeInMinutes") {
        None => DEFAULT_MINUTES,
        Some(text) => text
            .parse()
            .ok()
            .filter(|minutes| (1..=LONGEST_MINUTES).contains(minutes))
            .ok_or_else(|| {
                ArmError::compute(
                    400,
                    "InvalidParameter",
                    format!(
                        "The value '{text}' of parameter 'sasUriExpirationTimeInMinutes' is out of range. The value must be between '1' and '{LONGEST_MINUTES}', inclusive."
                    ),
                )
                .with_target("sasUriExpirationTimeInMinutes")
            })?,
    };
    if profile(machine)["enabled"] != true {
        // No recording shows Azure's words for this.
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "Boot diagnostics are not enabled for VM '{}'. Enable them and try again.",
                name(machine)
            ),
        ));
    }
    context.refuse_while_busy(&machine.id, Origin::Provider)?;
    if let Some(machines) = &context.arm.settings().machines {
        machines.order_screenshot(content::vm_id(&machine.body));
    }
    let ends = context.now + Duration::from_secs(minutes * 60);
    let settings = context.arm.settings();
    let host = Uuid::parse_str(content::vm_id(&machine.body)).unwrap_or_default();
    let url = |file: DiagnosticsFile| {
        let path = context.arm.blobs().diagnostics_path(
            name(machine),
            content::vm_id(&machine.body),
            file,
            ends,
        );
        // The same machine has the same host, as a disk has.
        settings
            .blob_urls
            .access(&locate(AccessHost::Read, host, &path))
    };
    Ok(Answer::json(
        200,
        json!({
            "consoleScreenshotBlobUri": url(DiagnosticsFile::Screenshot),
            "serialConsoleLogBlobUri": url(DiagnosticsFile::SerialLog),
        }),
    ))
}
