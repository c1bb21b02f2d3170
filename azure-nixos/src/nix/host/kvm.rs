//! The device of hardware virtualisation, and whether builds may use it.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

use super::groups::Groups;

const DEVICE: &str = "/dev/kvm";

/// The device of hardware virtualisation, `/dev/kvm`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvmDevice {
    /// Its permissions: `0o660`.
    pub mode: u32,
    /// The group that it belongs to, by name or else by number.
    pub group: String,
    /// Whether those who run the builds may read and write it: every user of the group of build
    /// users, or this user where there is none.
    pub usable: bool,
}

/// `crw-rw---- root:kvm` without what says nothing: `rw-rw---- of the group kvm`.
impl fmt::Display for KvmDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for shift in [6, 3, 0] {
            for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
                let set = (self.mode >> shift) & bit != 0;
                write!(f, "{}", if set { letter } else { '-' })?;
            }
        }
        write!(f, " of the group {}", self.group)
    }
}

impl KvmDevice {
    /// The device of this machine, for builds by the users of a group. It blocks.
    pub(super) fn find(build_users: Option<&str>, groups: &Groups) -> Option<Self> {
        Self::read(Path::new(DEVICE), build_users, groups)
    }

    fn read(path: &Path, build_users: Option<&str>, groups: &Groups) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        let mode = data.mode() & 0o777;
        let group = groups.of(data.gid());
        let usable = match build_users {
            None => access(path, Access::READ_OK | Access::WRITE_OK).is_ok(),
            Some(_) if mode & 0o006 == 0o006 => true,
            Some(users) => {
                let users = groups.members(users);
                // Nix gives a build user the groups that it is a member of.
                mode & 0o060 == 0o060
                    && !users.is_empty()
                    && group
                        .is_some_and(|group| users.iter().all(|user| group.members.contains(user)))
            }
        };
        Some(Self {
            mode,
            group: group.map_or_else(|| data.gid().to_string(), |group| group.name.clone()),
            usable,
        })
    }

    #[cfg(test)]
    pub(crate) fn with(mode: u32, group: &str, usable: bool) -> Self {
        Self {
            mode,
            group: group.to_owned(),
            usable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn those_who_build_must_be_able_to_write() {
        let device = tempfile::NamedTempFile::new().unwrap();
        let own = std::fs::metadata(device.path()).unwrap().gid();
        let groups = |members: &str| {
            Groups::parse(&format!(
                "root:x:99999:\nown:x:{own}:{members}\nnixbld:x:30000:nixbld1,nixbld2\nempty:x:30001:\n"
            ))
        };
        let read = |mode: u32, users: Option<&str>, members: &str| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(device.path(), permissions).unwrap();
            KvmDevice::read(device.path(), users, &groups(members)).unwrap()
        };
        for (mode, users, members, usable) in [
            (0o666, Some("nixbld"), "", true),
            (0o660, Some("nixbld"), "nixbld2,me,nixbld1", true),
            (0o660, Some("nixbld"), "nixbld1", false),
            (0o640, Some("nixbld"), "nixbld1,nixbld2", false),
            (0o664, Some("nixbld"), "", false),
            (0o660, Some("empty"), "nixbld1", false),
            (0o600, None, "", true),
        ] {
            let device = read(mode, users, members);
            assert_eq!(device.usable, usable, "{device}, {users:?} {members}");
            assert_eq!((device.mode, device.group.as_str()), (mode, "own"));
        }
        let shown = read(0o640, None, "").to_string();
        assert_eq!(shown, "rw-r----- of the group own");
        let nowhere = Path::new("/dev/no-such-device");
        assert_eq!(KvmDevice::read(nowhere, None, &groups("")), None);
    }
}
