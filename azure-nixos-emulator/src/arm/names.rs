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
        Kind::Vnet => (64, WORDED, name.len() >= 2 && is_worded(name)),
        Kind::Image | Kind::Nsg | Kind::PublicIp | Kind::Nic => (80, WORDED, is_worded(name)),
    };
    if fits && !name.is_empty() && name.chars().count() <= longest {
        return Ok(());
    }
    let message = format!(
        "The resource name '{name}' is invalid: {} are named with at most {longest} characters; {allowed}.",
        kind.short()
    );
    Err(match kind {
        Kind::Disk | Kind::Image | Kind::Vm => {
            ArmError::compute(400, "InvalidParameter", message).with_target("name")
        }
        _ => ArmError::network(400, "InvalidResourceName", message),
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
        ] {
            assert!(check(kind, good).is_ok(), "{good}");
            assert_eq!(check(kind, bad).unwrap_err().status, 400, "{bad}");
        }
        assert!(check_group("(a)_b.c-Ü").is_ok());
        assert_eq!(check_group("a.").unwrap_err().code, "InvalidResourceGroup");
        assert!(check_group("a b").is_err());
    }
}
