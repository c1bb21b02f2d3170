//! What to do about the failures people meet: known words, and the advice that goes with them.

/// What to do about the failures people meet.
pub(super) fn find<'a>(complaints: impl Iterator<Item = &'a str>, tail: &[&str]) -> Option<String> {
    let said = complaints.collect::<Vec<_>>().join("\n");
    if let Some(hint) = platform(&said) {
        return Some(hint);
    }
    let log = tail.join("\n");
    let known: [(&str, &[&str], &str); 18] = [
        (
            &log,
            &["No space left on device"],
            "the system has outgrown its image: raise virtualisation.diskSize (in MiB; before NixOS 24.11 it is virtualisation.azureImage.diskSize). The same words come when the file system has run out of inodes, and when the build directory of this machine is full",
        ),
        (
            &said,
            &["No space left on device"],
            "the Nix store or the build directory is full: nix-collect-garbage makes room",
        ),
        (
            &log,
            &["/dev/kvm"],
            "the builder needs hardware virtualisation: let the build users read and write /dev/kvm",
        ),
        (
            &said,
            &["option `virtualisation.azureImage", "does not exist"],
            "this nixpkgs is too old for the option, or the configuration does not import virtualisation/azure-image.nix: update nixpkgs (-I nixpkgs=…, or nix flake update)",
        ),
        (
            &said,
            &["The option `", "does not exist"],
            "the option is not in this nixpkgs: check its name, or update nixpkgs (-I nixpkgs=…, or nix flake update)",
        ),
        (
            &said,
            &["is not tracked by Git"],
            "a git flake sees only files that git knows: git add the file (a commit is not needed)",
        ),
        (
            &said,
            &["-source/", "No such file or directory"],
            "a git flake sees only files that git knows: git add the file (a commit is not needed)",
        ),
        (
            &said,
            &["-source/", "does not exist"],
            "a git flake sees only files that git knows: git add the file (a commit is not needed)",
        ),
        (
            &said,
            &["does not contain a", "flake.nix"],
            "a git flake sees only files that git knows: git add flake.nix",
        ),
        (
            &said,
            &["was not found in the Nix search path"],
            "say where it is: -I nixpkgs=/path/to/nixpkgs, or NIX_PATH, or a channel (nix-channel --add …; nix-channel --update)",
        ),
        (
            &said,
            &["experimental", "is disabled"],
            "put `experimental-features = nix-command flakes` into nix.conf",
        ),
        (
            &said,
            &["in pure eval"],
            "flakes may not look at files outside of them, the environment or the current system: move the file into the flake, or build a .nix file instead",
        ),
        (
            &said,
            &["is forbidden in pure"],
            "flakes may not look at files outside of them, the environment or the current system: move the file into the flake, or build a .nix file instead",
        ),
        (
            &said,
            &["is not a derivation"],
            "name the image itself: .#nixosConfigurations.HOST, or an attribute under packages",
        ),
        (
            &said,
            &["is not a valid URL"],
            "this version of Nix cannot read a flake from a path with unusual characters: move it, or update Nix",
        ),
        (
            &said,
            &["cannot connect to socket"],
            "the Nix daemon does not run: systemctl start nix-daemon",
        ),
        (
            &said,
            &["unrecognised flag"],
            "Nix 2.8 or newer is needed: see nix --version",
        ),
        (
            &said,
            &["unable to download"],
            "the network or a cache is not reachable: try again, or build with --option substitute false",
        ),
    ];
    known
        .iter()
        .find(|(text, words, _)| words.iter().all(|word| text.contains(word)))
        .map(|&(_, _, hint)| hint.to_owned())
}

/// "a 'aarch64-linux' with features {kvm} is required to build …, but I am a 'x86_64-linux' with
/// features {…}", and the same in the layout of Nix 2.29.
fn platform(said: &str) -> Option<String> {
    let (required, _) = said
        .split_once("but I am a")
        .or_else(|| said.split_once("Current system:"))?;
    let (before, features) = required.split_once("with features {")?;
    let system = before.split('\'').rev().nth(1).unwrap_or("other");
    let features = features.split('}').next().unwrap_or_default();
    if !features.is_empty() {
        let word = |feature: &str| features.split(',').any(|name| name.trim() == feature);
        return Some(if word("kvm") {
            "the image is built in a virtual machine: this one needs /dev/kvm (switch on virtualisation, or nested virtualisation) and `system-features = kvm` in nix.conf, or a remote builder that has them".to_owned()
        } else {
            format!(
                "add `system-features = {}` to nix.conf if this machine can do that, or set up a remote builder",
                features.replace(',', "")
            )
        });
    }
    Some(format!(
        "this machine cannot build for {system}: set up a remote builder for it (builders in nix.conf), or emulation (boot.binfmt.emulatedSystems on NixOS, and extra-platforms in nix.conf)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_for_what_people_meet() {
        for (message, expected) in [
            (
                "a 'x86_64-linux' with features {kvm} is required to build '/x.drv', but I am a 'x86_64-linux' with features {}",
                "/dev/kvm",
            ),
            (
                "a 'aarch64-linux' with features {} is required to build '/x.drv', but I am a 'x86_64-linux' with features {kvm}",
                "for aarch64-linux",
            ),
            (
                "Cannot build '/x.drv'.\nReason: required system or feature not available\nRequired system: 'aarch64-linux' with features {}\nCurrent system: 'x86_64-linux' with features {kvm}",
                "for aarch64-linux",
            ),
            (
                "a 'x86_64-linux' with features {nixos-test} is required to build '/x.drv', but I am a 'x86_64-linux' with features {}",
                "system-features = nixos-test",
            ),
            (
                "The option `virtualisation.azureImage' defined in `system.nix' does not exist.",
                "azure-image.nix",
            ),
            (
                "The option `services.foo' does not exist. Definition values:",
                "check its name",
            ),
            (
                "getting status of '/nix/store/w9lfj8lc9s7m3d5sjl8vawq70iq9pcij-source/image.nix': No such file or directory",
                "git add",
            ),
            (
                "Path 'image.nix' in the repository \"/x\" is not tracked by Git.",
                "git add",
            ),
            (
                "file 'nixpkgs' was not found in the Nix search path (add it using $NIX_PATH or -I)",
                "-I nixpkgs=",
            ),
            (
                "experimental Nix feature 'flakes' is disabled; use …",
                "experimental-features",
            ),
            (
                "access to absolute path '/home' is forbidden in pure eval mode (use '--impure' to override)",
                "outside of them",
            ),
        ] {
            let hint = find(std::iter::once(message), &[]).unwrap_or_default();
            assert!(hint.contains(expected), "{message}: {hint}");
        }
        assert_eq!(find(std::iter::once("something new"), &[]), None);
    }
}
