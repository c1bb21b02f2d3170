//! Write access to a managed disk, as often as the uploader wants it.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::disk;
use crate::Result;
use crate::arm::Client;
use crate::arm::compute::DISKS;
use crate::upload::{SasAccess, SasSource};

/// The least speed that an access is sized for. A managed disk takes 60 MiB/s and more; the rest
/// is the uplink.
const SLOWEST: u64 = 1 << 20;

/// Time on top, for the grant itself, the comparison at the end and a clock that is off.
const MARGIN: Duration = Duration::from_secs(3600);

/// A week. Azure allows sixty days; an access that is left open by a crash should not last so long.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Grants write access to one disk. Every grant replaces the one before.
#[derive(Clone, Debug)]
pub struct DiskAccess {
    client: Client,
    group: String,
    name: String,
    duration: Duration,
    identity: Option<String>,
}

impl DiskAccess {
    /// Access to a disk, sized to so many bytes at 1 MiB/s and an hour on top, at most a week.
    #[must_use]
    pub fn new(client: Client, group: &str, name: &str, upload_bytes: u64) -> Self {
        Self {
            client,
            group: group.to_owned(),
            name: name.to_owned(),
            duration: duration(upload_bytes),
            identity: None,
        }
    }

    /// Only as long as the disk is tagged with this content. A grant ends the one before, and with it
    /// the upload of whoever had that.
    pub(super) fn for_content(mut self, identity: &str) -> Self {
        self.identity = Some(identity.to_owned());
        self
    }
}

fn duration(upload_bytes: u64) -> Duration {
    (MARGIN + Duration::from_secs(upload_bytes / SLOWEST)).min(LONGEST)
}

#[async_trait]
impl SasSource for DiskAccess {
    async fn access(&self) -> Result<SasAccess> {
        if let Some(identity) = &self.identity {
            disk::still_ours(&self.client, &self.group, &self.name, identity).await?;
        }
        // Counted from before the request: the service's clock starts no later than its answer.
        let expires = SystemTime::now() + self.duration;
        let url = self
            .client
            .begin_disk_access(&self.group, &self.name, self.duration)
            .await?;
        Ok(SasAccess::new(url, Some(expires)))
    }

    /// The id of the disk, and the one that no other of its name ever had.
    async fn target(&self) -> Result<Option<String>> {
        let id = self.client.resource_id(&self.group, DISKS, &self.name);
        let disk = self.client.disk(&self.group, &self.name).await?;
        let unique = disk.and_then(|disk| disk.properties.unique_id);
        Ok(unique.map(|unique| format!("{id} ({unique})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_is_as_long_as_the_upload_may_take() {
        assert_eq!(duration(0), Duration::from_secs(3600));
        assert_eq!(duration(30 << 30), Duration::from_secs(3600 + 30 * 1024));
        assert_eq!(duration(32 << 40), Duration::from_secs(604_800));
    }
}
