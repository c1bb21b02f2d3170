//! The first user of a machine.

use crate::{Error, ErrorKind, Result};

/// Names that Azure refuses for the first user of a machine.
const REFUSED: &[&str] = &[
    "1",
    "123",
    "a",
    "actuser",
    "adm",
    "admin",
    "admin1",
    "admin2",
    "administrator",
    "aspnet",
    "backup",
    "console",
    "david",
    "guest",
    "john",
    "owner",
    "root",
    "server",
    "sql",
    "support",
    "support_388945a0",
    "sys",
    "test",
    "test1",
    "test2",
    "test3",
    "user",
    "user1",
    "user2",
    "user3",
    "user4",
    "user5",
];

/// The user of a machine when nobody says anything and the caller's own name will not do.
const FALLBACK: &str = "azureuser";

/// Checks a user name against Azure's list and rules.
///
/// # Errors
/// [`ErrorKind::InvalidInput`].
pub(crate) fn check(name: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{name:?} cannot be the user of a machine: {why}"),
        )
        .with_hint("pass another name with --admin-username"))
    };
    if name.is_empty() || name.len() > 64 {
        return refuse("it must have 1 to 64 characters");
    }
    if REFUSED.contains(&name.to_ascii_lowercase().as_str()) {
        return refuse("Azure refuses this name");
    }
    // Linux's own rule, stricter than Azure's: the name becomes a user and a directory.
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.'));
    if !first || !rest {
        return refuse(
            "it must begin with a small letter or an underscore and go on with small letters, digits, underscores, hyphens or periods",
        );
    }
    Ok(())
}

/// The caller's own name, or a name that Azure takes and a sentence that says so.
pub(crate) fn default_name(user: Option<String>) -> (String, Option<String>) {
    match user.filter(|name| !name.is_empty()) {
        Some(name) if check(&name).is_ok() => (name, None),
        Some(name) => (
            FALLBACK.to_owned(),
            Some(format!(
                "Azure does not take {name:?} as the user of a machine; the user is {FALLBACK}"
            )),
        ),
        None => (
            FALLBACK.to_owned(),
            Some(format!(
                "USER is not set; the user of the machine is {FALLBACK}"
            )),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_azure_and_linux_do() {
        for good in ["isti", "nixos", "_x", "web-1", "a.b"] {
            check(good).unwrap();
        }
        for bad in [
            "",
            "root",
            "ROOT",
            "Admin",
            "Isti",
            "$x",
            "-x",
            "1a",
            "a b",
            "a:b",
            &"x".repeat(65),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_default_that_will_not_do_is_replaced_aloud() {
        assert_eq!(default_name(Some("isti".into())), ("isti".into(), None));
        let (name, said) = default_name(Some("root".into()));
        assert_eq!(name, FALLBACK);
        assert!(said.unwrap().contains("root"));
        assert!(default_name(None).1.is_some());
    }
}
