//! Which names are allowed.

use super::answer::Result;
use super::error::ArmError;
use super::id::Kind;

/// Refuses a name that resources of this type cannot have.
pub(crate) fn check(kind: Kind, name: &str) -> Result<()> {
    let (longest, allowed, fits): (usize, &str, bool) = match kind {
        Kind::Disk => (
            80,
            "letters, digits, '_' and '-'",
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)),
        ),
        Kind::Vm => (
            64,
            "no \\/\"[]:|<>+=;,?*@&, no leading '_', no trailing '.' or '-'",
            !name.contains(|c: char| "\\/\"[]:|<>+=;,?*@&".contains(c) || c.is_whitespace())
                && !name.starts_with('_')
                && !name.ends_with(['.', '-']),
        ),
        Kind::ScaleSet | Kind::SshKey | Kind::Snapshot => (
            if kind == Kind::ScaleSet { 64 } else { 80 },
            "letters, digits, '_', '.' and '-'",
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)),
        ),
        // The documentation allows letters, digits and '.' only; an underscore is in the recordings.
        Kind::Gallery => (
            80,
            "letters, digits, '_' and '.', beginning and ending with a letter or digit",
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.ends_with(|c: char| c.is_ascii_alphanumeric()),
        ),
        Kind::GalleryVersion => (
            32,
            "three numbers of 32 bits with dots between them",
            is_version(name),
        ),
        Kind::Identity => (
            128,
            "at least 3 letters, digits, '_' and '-', beginning with a letter or digit",
            name.len() >= 3
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)),
        ),
        Kind::StorageAccount => (
            24,
            "at least 3 lower-case letters and digits",
            name.len() >= 3
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
        ),
        Kind::Vnet => (64, WORDED, name.len() >= 2 && is_worded(name)),
        Kind::Image | Kind::GalleryImage | Kind::Nsg | Kind::PublicIp | Kind::Nic => {
            (80, WORDED, is_worded(name))
        }
    };
    if fits && !name.is_empty() && name.chars().count() <= longest {
        return Ok(());
    }
    let message = format!(
        "The resource name '{name}' is invalid: {} are named with at most {longest} characters; {allowed}.",
        kind.short()
    );
    Err(match kind.namespace() {
        "Microsoft.Network" => ArmError::network(400, "InvalidResourceName", message),
        "Microsoft.Storage" => ArmError::compute(400, "AccountNameInvalid", message),
        "Microsoft.ManagedIdentity" => ArmError::compute(400, "BadRequest", message),
        _ => ArmError::compute(400, "InvalidParameter", message).with_target("name"),
    })
}

/// Refuses the name of a part of a network: a subnet, a rule, an IP configuration.
pub(crate) fn check_part(what: &str, name: &str) -> Result<()> {
    if is_worded(name) && name.len() <= 80 {
        return Ok(());
    }
    Err(ArmError::network(
        400,
        "InvalidResourceName",
        format!("The {what} name '{name}' is invalid: it has at most 80 characters; {WORDED}."),
    ))
}

/// Refuses a name that a resource group cannot have.
pub(crate) fn check_group(name: &str) -> Result<()> {
    let fits = (1..=90).contains(&name.chars().count())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "-_.()".contains(c))
        && !name.ends_with('.');
    if fits {
        return Ok(());
    }
    Err(ArmError::gateway(
        400,
        "InvalidResourceGroup",
        format!(
            "The provided resource group name '{name}' has these invalid characters or a wrong length. The name can only be a letter, digit, '-', '.', '(', ')' or '_', at most 90 characters, and not end with '.'."
        ),
    ))
}

const WORDED: &str = "letters, digits, '_', '.' and '-', beginning with a letter or digit and ending with one or '_'";

/// `Major.Minor.Patch`, each without a sign or spaces.
fn is_version(name: &str) -> bool {
    let numbers: Vec<&str> = name.split('.').collect();
    numbers.len() == 3
        && numbers.iter().all(|number| {
            number.bytes().all(|byte| byte.is_ascii_digit()) && number.parse::<i32>().is_ok()
        })
}

fn is_worded(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_own_rule() {
        let long = "a".repeat(80);
        for (kind, good, bad) in [
            (Kind::Disk, "a_b-", "a.b"),
            (Kind::Disk, long.as_str(), &*format!("{long}a")),
            (Kind::Image, "nixos-24.05_", "-nixos"),
            (Kind::Image, "a", "nixos."),
            (Kind::Vm, "web.1", "_web"),
            (Kind::Vm, "web", "web-"),
            (Kind::Vnet, "ab", "a"),
            (Kind::Nic, "n", ""),
            (Kind::Gallery, "gallery_1", "gallery-1"),
            (Kind::GalleryVersion, "24.5.20260101", "24.05"),
            (Kind::GalleryVersion, "0.0.1", "1.0.99999999999"),
            (Kind::Identity, "web-1", "we"),
            (Kind::StorageAccount, "disks01", "Disks01"),
        ] {
            assert!(check(kind, good).is_ok(), "{good}");
            assert_eq!(check(kind, bad).unwrap_err().status, 400, "{bad}");
        }
        assert!(check_group("(a)_b.c-Ü").is_ok());
        assert_eq!(check_group("a.").unwrap_err().code, "InvalidResourceGroup");
        assert!(check_group("a b").is_err());
    }
}
