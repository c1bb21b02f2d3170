//! Images that the real Nix builds, offline and in a store of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compare::assert_holds;
use crate::place::{Done, Place, Running, other};
use crate::tools::have;

/// An ext4 file system on a fixed VHD, made as images are: by `mke2fs` and `qemu-img`.
const EXT4: &str = r#"{ label ? "nixos", mib ? 96, fileName ? "disk.vhd" }:
let
  image = derivation {
    name = "azure-image";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
    inherit label mib fileName;
    args = [ "-ec" ''
      mkdir $out root
      echo "$label" > root/hostname
      i=0; while [ $i -lt 300 ]; do echo "$i" > root/$i; i=$((i+1)); done
      head -c 20000000 /dev/urandom > root/blob
      truncate -s "$mib"M disk.raw
      mke2fs -q -t ext4 -L "$label" -d root disk.raw
      qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on disk.raw "$out/$fileName"
      echo "made an image for $label" >&2
    '' ];
  };
in
{ config.system.build.azureImage = image; }
"#;

struct Store {
    place: Place,
}

impl Store {
    fn new() -> Option<Self> {
        if !["nix-build", "qemu-img", "mke2fs"].into_iter().all(have) {
            return None;
        }
        let place = Place::new();
        for directory in ["store", "conf", "work"] {
            fs::create_dir(place.path(directory)).unwrap();
        }
        let settings = "sandbox = false\nbuild-users-group =\nsubstituters =\nmax-jobs = 1\n";
        place.write("conf/nix.conf", settings);
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/nix");
        copy(&fixtures, &place.path("work"));
        let flake = place.path("work/flake");
        fs::copy(place.path("work/image.nix"), flake.join("image.nix")).unwrap();
        // Flakes cannot ask for the current system.
        for name in ["flake.nix", "image.nix"] {
            let text = fs::read_to_string(flake.join(name)).unwrap();
            let system = format!("{}-linux", std::env::consts::ARCH);
            fs::write(flake.join(name), text.replace("x86_64-linux", &system)).unwrap();
        }
        place.write("work/ext4.nix", EXT4);
        Some(Self { place })
    }

    fn environment(&self, command: &mut Command) {
        for (name, path) in [
            ("NIX_STORE_DIR", "store"),
            ("NIX_STATE_DIR", "var/nix"),
            ("NIX_LOCALSTATE_DIR", "var"),
            ("NIX_LOG_DIR", "log"),
            ("NIX_CONF_DIR", "conf"),
        ] {
            command.env(name, self.place.path(path));
        }
        command
            .env("HOME", self.place.path("home"))
            .current_dir(self.place.path("work"));
    }

    fn run(&self, arguments: &[&str]) -> Done {
        let mut command = self.place.command(arguments);
        self.environment(&mut command);
        Running::start(command).finish()
    }

    /// Uploads an image of this name and returns the file that Nix built.
    fn upload(&self, name: &str, source: &[&str]) -> (Done, PathBuf) {
        let before = self.built();
        let mut arguments = vec![
            "--local",
            "-o",
            "json",
            "upload-image",
            "-g",
            "g",
            "-n",
            name,
        ];
        arguments.extend(source);
        let done = self.run(&arguments);
        assert_eq!(done.code(), Some(0), "{done:#?}");
        let new: Vec<_> = self
            .built()
            .into_iter()
            .filter(|file| !before.contains(file))
            .collect();
        assert!(new.len() <= 1, "{new:?}");
        let file = new.into_iter().next().unwrap_or_default();
        (done, file)
    }

    /// Everything in the store that is an image.
    fn built(&self) -> Vec<PathBuf> {
        let mut found = crate::place::files(&self.place.path("store"));
        found.retain(|file| file.extension().is_some_and(|end| end == "vhd"));
        found
    }

    fn assert_uploaded(&self, name: &str, vhd: &Path) {
        // What qemu-img reads from the VHD is the content.
        let raw = self.place.path("content.raw");
        other(
            "qemu-img",
            &[&"convert", &"-f", &"vpc", &"-O", &"raw", &vhd, &raw],
        );
        assert_holds(&self.place.image("g", name), &raw);
    }
}

impl Drop for Store {
    /// Store paths are read-only, directories too: whoever is not root must change that first.
    fn drop(&mut self) {
        fn writable(directory: &Path) {
            let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    writable(&entry.path());
                }
            }
        }
        writable(&self.place.path("store"));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_real_nix_build_becomes_a_machine() {
    let Some(store) = Store::new() else { return };
    let source = [
        "-i",
        "ext4.nix",
        "-A",
        "config.system.build.azureImage",
        "--argstr",
        "label",
        "web",
    ];
    let (done, built) = store.upload("web", &source);
    assert!(done.stderr.contains("building"), "{}", done.stderr);
    let shown = done.json();
    assert!(shown["bytes_sent"].as_u64().unwrap() > 20_000_000);
    assert_eq!(shown["bytes_logical"], (96 << 20) + 512);
    store.assert_uploaded("web", &built);
    // The content is named by the store path: the tag says where the image came from.
    let id = shown["image_id"].as_str().unwrap().to_ascii_lowercase();
    let tag = &store.place.state()["resources"][&id]["body"]["tags"]["azure-nixos-content"];
    assert_eq!(
        tag.as_str().unwrap(),
        built.parent().unwrap().to_str().unwrap()
    );

    // The same build is the same image; other arguments are another, in the words of the user.
    let again = store.upload("web", &source).0.json();
    assert_eq!(
        (&again["reused"], &again["bytes_sent"]),
        (&true.into(), &0.into())
    );
    let (done, other) = store.upload(
        "small",
        &[
            "-i", "ext4.nix", "--argstr", "label", "small", "--arg", "mib", "32 + 16",
        ],
    );
    assert_eq!(done.json()["bytes_logical"], (48 << 20) + 512);
    store.assert_uploaded("small", &other);

    // A path in the store, the one that was built first.
    let path = built.parent().unwrap().to_str().unwrap();
    let (done, nothing) = store.upload("third", &["--store-path", path]);
    assert_eq!(nothing, PathBuf::new());
    assert_eq!(done.json()["reused"], false);
    store.assert_uploaded("third", &built);

    let done = store.run(&[
        "boot-vm", "--local", "-g", "vms", "-i", "web", "-n", "web-1",
    ]);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert!(done.stdout.trim().ends_with("/virtualMachines/web-1"));
}

#[test]
fn a_flake_becomes_an_image() {
    let Some(store) = Store::new() else { return };
    let url = format!("path:{}#host", store.place.path("work/flake").display());
    let (done, built) = store.upload("host", &["--flake", &url]);
    assert_eq!(done.json()["bytes_logical"], (20 << 20) + 512);
    // The fixture's image has no footer: it is raw, whatever its name.
    assert_holds(&store.place.image("g", "host"), &built);
    let label = fs::read(store.place.image("g", "host")).unwrap();
    assert!(label.starts_with(b"host\0"));
}

#[test]
fn what_nix_refuses_is_said_and_nothing_is_made() {
    let Some(store) = Store::new() else { return };
    let upload = |source: &[&str]| {
        let mut arguments = vec!["upload-image", "--local", "-g", "g", "-n", "web"];
        arguments.extend(source);
        let done = store.run(&arguments);
        assert_eq!(
            (done.code(), done.stdout.as_str()),
            (Some(1), ""),
            "{done:#?}"
        );
        assert!(
            store.place.traces().is_empty(),
            "{:?}",
            store.place.traces()
        );
        done.stderr
    };
    // The last lines of the builder, the newest with the reason, and what to do about it.
    let said = upload(&["-i", "fail.nix"]);
    assert!(
        said.contains("error: the builder of azure-image failed with exit code 3\n"),
        "{said}"
    );
    assert!(said.contains("line 59\n") && said.contains("cptofs: error: No space left on device"));
    assert!(!said.contains("line 2\n"), "{said}");
    assert!(said.contains("virtualisation.diskSize"), "{said}");

    for (source, sentence) in [
        (
            &["-i", "attr.nix", "-A", "config.system.biuld.azureImage"][..],
            "error: attr.nix -A config.system.biuld.azureImage has no attribute config.system.biuld\n",
        ),
        (&["-i", "gone.nix"], "there is no file /"),
        (&["--flake", "flake#nope"], "nixosConfigurations.nope"),
        (&["-i", "throw.nix"], "virtualisation.azureImage"),
        (&["--store-path", "image.nix"], "image.nix"),
    ] {
        let said = upload(source);
        assert!(said.contains(sentence), "{sentence:?} in {said}");
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
    }
}
