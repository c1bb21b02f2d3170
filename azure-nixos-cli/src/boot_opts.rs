//! The string of `--boot-sh-opts`: options of `boot-vm` as the old scripts took them.

use clap::Parser as _;

use crate::boot_args::{BootOptions, BootVm};

/// Reads `vm-name=web;resource-group=vms;spot`. A one-letter name is a short option; a value goes on to
/// the next semicolon and may have equals signs in it. The image is the one that has just been
/// made, the group the same unless another is named.
pub(crate) fn parse(text: &str, group: &str, image: &str) -> Result<BootVm, String> {
    let mut words: Vec<String> = Vec::new();
    let mut has_group = false;
    for part in text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            // A flag; the parser says so if it is none.
            None => (part, None),
        };
        if matches!(name, "i" | "image") {
            return Err(
                "--boot-sh-opts names an image; the machine boots from the one that is uploaded"
                    .to_owned(),
            );
        }
        has_group |= matches!(name, "g" | "resource-group");
        let option = if name.chars().count() == 1 {
            format!("-{name}")
        } else {
            format!("--{name}")
        };
        // One word, so that a value with a hyphen in front is not taken for an option.
        words.push(value.map_or_else(|| option.clone(), |value| format!("{option}={value}")));
    }
    words.push(format!("--image={image}"));
    if !has_group {
        words.push(format!("--resource-group={group}"));
    }
    let read = BootOptions::try_parse_from(words).map_err(|error| {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let rest: Vec<&str> = text
            .lines()
            .skip(1)
            .map(str::trim)
            .take_while(|line| !line.starts_with("Usage") && !line.starts_with("For more"))
            .filter(|line| !line.is_empty())
            .collect();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        format!("--boot-sh-opts: {message} {}", rest.join(", "))
            .trim_end()
            .to_owned()
    })?;
    Ok(read.boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BootVm, String> {
        parse(text, "images", "/subscriptions/s/x")
    }

    #[test]
    fn long_and_short_names_are_taken() {
        let boot = read("vm-name=tempnixos;resource-group=new-rg; s=Standard_B1s ;d=64;").unwrap();
        assert_eq!(
            (boot.name.as_str(), boot.resource_group.as_str()),
            ("tempnixos", "new-rg")
        );
        assert_eq!(
            (boot.machine.vm_size.as_str(), boot.machine.os_disk_size_gb),
            ("Standard_B1s", Some(64))
        );
        let boot = read("n=web").unwrap();
        assert_eq!(boot.resource_group, "images");
        assert_eq!(boot.image, "/subscriptions/s/x");
    }

    #[test]
    fn flags_have_no_value() {
        let boot = read("vm-name=x;spot; ipv6 ;count=3").unwrap();
        assert!(boot.machine.spot && boot.network.ipv6);
        assert_eq!(boot.count, Some(3));
    }

    #[test]
    fn a_value_is_cut_at_the_first_equals_sign() {
        let boot = read("n=web;ssh-key=/keys/a=b.pub").unwrap();
        assert_eq!(
            boot.login.ssh_key,
            [std::path::PathBuf::from("/keys/a=b.pub")]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "--vm-name"),
            ("vm-name", "a value is required for '--vm-name <NAME>'"),
            ("vm-name=x;spot=yes", "--spot"),
            ("vm-name=x;colour=red", "--colour"),
            ("vm-name=x;image=y", "the one that is uploaded"),
            ("vm-name=x;d=big", "big"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
