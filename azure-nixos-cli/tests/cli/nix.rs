//! Images that the real Nix builds, offline and in a store of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::azure::{Azure, writes};
use crate::compare::assert_holds;
use crate::place::{Done, Place, Running, files, other};
use crate::relocated::Relocated;
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
    // Before the place: what is in it must be made writable first.
    nix: Relocated,
    place: Place,
}

impl Store {
    fn new() -> Option<Self> {
        if !["nix-build", "qemu-img", "mke2fs"].into_iter().all(have) {
            return None;
        }
        let place = Place::new();
        let nix = Relocated::with_fixtures(place.root());
        place.write("work/ext4.nix", EXT4);
        Some(Self { nix, place })
    }

    fn environment(&self, command: &mut Command) {
        command
            .envs(self.nix.environment())
            .current_dir(self.nix.work());
    }

    fn begin(&self, arguments: &[&str]) -> Running {
        let mut command = self.place.command(arguments);
        self.environment(&mut command);
        Running::start(command)
    }

    fn run(&self, arguments: &[&str]) -> Done {
        self.begin(arguments).finish()
    }

    /// On a local Azure of the test's.
    fn begin_on(&self, azure: &Azure, arguments: &[&str]) -> Running {
        let mut command = azure.command(&self.place, arguments);
        self.environment(&mut command);
        Running::start(command)
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
        let mut found = files(&self.place.path("store"));
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

/// Azure has no managed images for Arm64, and a build for nothing takes hours.
#[test]
fn an_arm64_configuration_is_refused_before_it_is_built() {
    let Some(store) = Store::new() else { return };
    let text = r#"{
      pkgs.stdenv.hostPlatform.system = "aarch64-linux";
      config.system.build.azureImage = derivation {
        name = "azure-image"; system = "aarch64-linux"; builder = "/bin/sh"; args = [ "-c" "exit 1" ];
      };
    }"#;
    store.place.write("work/arm.nix", text);
    let done = store.run(&["upload-image", "--local", "-g", "g", "-n", "web", "arm.nix"]);
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (Some(1), ""),
        "{done:#?}"
    );
    for words in [
        "arm.nix is for Arm64 (its hostPlatform is aarch64-linux), and Azure has managed images for x64 only",
        "upload-vhd FILE -g GROUP -n DISK",
        "Standard_D2ps_v5",
    ] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    // No word of who could build it, which would come next.
    assert!(!done.stderr.contains("cannot be built"), "{}", done.stderr);
    assert!(store.place.traces().is_empty());
}

/// Everything that people type for an image, each with the label that the image then has.
#[test]
fn an_image_is_named_in_any_way() {
    let Some(store) = Store::new() else { return };
    let mut built = PathBuf::new();
    let classic = ["-I", "nixpkgs=pkgs", "-I", "nixos-config=configuration.nix"];
    for (name, source, label) in [
        ("host", &["flake#host"][..], "host"),
        ("own", &["flake#nixosConfigurations.own"], "own import"),
        ("odd", &["flake#we.ird"], "we.ird"),
        (
            "package",
            &["./flake#packages.SYSTEM.azure-image"],
            "package",
        ),
        (
            "file",
            &["image.nix", "--argstr", "label", "a file"],
            "a file",
        ),
        ("system", &["system.nix"], "images.azure"),
        (
            "expr",
            &["-E", "import ./image.nix { label = \"an expression\"; }"],
            "an expression",
        ),
        (
            "lookup",
            &[
                "<nixpkgs/nixos>",
                classic[0],
                classic[1],
                classic[2],
                classic[3],
            ],
            "from nixos-config",
        ),
        (
            "attr",
            &[
                "<nixpkgs/nixos>",
                "-A",
                "config.system.build.azureImage",
                classic[0],
                classic[1],
                classic[2],
                classic[3],
            ],
            "from nixos-config",
        ),
        ("result", &["image.nix", "--out-link", "result"], "nixos"),
        ("store", &["./result"], "nixos"),
    ] {
        let system = format!("{}-linux", std::env::consts::ARCH);
        let source: Vec<_> = source
            .iter()
            .map(|word| word.replace("SYSTEM", &system))
            .collect();
        let words: Vec<_> = source.iter().map(String::as_str).collect();
        let (done, new) = store.upload(name, &words);
        assert_eq!(done.json()["reused"], false, "{words:?}");
        if new != PathBuf::new() {
            built = new;
        }
        let content = fs::read(store.place.image("g", name)).unwrap();
        let start = [label.as_bytes(), b"\0"].concat();
        assert!(content.starts_with(&start), "{words:?}");
    }
    let link = fs::read_link(store.place.path("work/result")).unwrap();
    assert_eq!(Some(link.as_path()), built.parent());
    // Nothing else holds anything, whatever was built is gone.
    store.nix.collect();
    assert_eq!(store.built(), [built]);
}

#[test]
fn what_is_there_is_neither_built_nor_sent_again() {
    let Some(store) = Store::new() else { return };
    let log = store.place.path("builds");
    let text = format!(
        r#"{{ label }}: derivation {{ name = "image"; system = builtins.currentSystem;
             builder = "/bin/sh"; PATH = "/usr/bin:/bin"; inherit label;
             args = [ "-ec" "echo $label >> {}; mkdir $out; echo $label > $out/a.raw; truncate -s 1M $out/a.raw" ]; }}"#,
        log.display()
    );
    store.place.write("work/logged.nix", text);
    let source = |label: &'static str| ["logged.nix", "--argstr", "label", label];
    let first = store.upload("web", &source("one")).0.json();
    store.nix.collect();
    assert_eq!(store.built(), [] as [PathBuf; 0]);
    let begun = Instant::now();
    let second = store.upload("web", &source("one")).0.json();
    eprintln!("a second run took {:?}", begun.elapsed());
    assert_eq!(second["image_id"], first["image_id"]);
    assert_eq!(
        (&second["reused"], &second["bytes_sent"]),
        (&true.into(), &0.into())
    );
    assert_eq!(second["generation"], first["generation"]);

    // Another content is refused before it is built.
    let mut arguments = vec!["upload-image", "--local", "-g", "g", "-n", "web"];
    arguments.extend(source("two"));
    let done = store.run(&arguments);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    let sentence = "there is an image web in g already: it is not one of this content";
    assert!(done.stderr.contains(sentence), "{}", done.stderr);
    assert_eq!(fs::read_to_string(log).unwrap(), "one\n");
}

/// The garbage collector gets an image only when its upload is over.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_held_until_it_has_arrived() {
    let Some(store) = Store::new() else { return };
    let azure = Azure::start(&store.place).await;
    let upload = [
        "upload-image",
        "-g",
        "g",
        "-n",
        "web",
        "-i",
        "ext4.nix",
        "-o",
        "json",
    ];
    let held = || {
        files(
            &store
                .place
                .path("home/.local/state/azure-nixos/uploads/held"),
        )
    };

    // Killed in the middle: its own link stays.
    let hangs = writes().after(3).delay(Duration::from_secs(120));
    let hangs = azure.emulator.faults().add(hangs);
    let mut alone = upload.to_vec();
    alone.extend(["--concurrency", "1"]);
    let first = store.begin_on(&azure, &alone);
    azure.until_hit(hangs, 1);
    store.nix.collect();
    let [built] = store.built().try_into().unwrap();
    first.signal(Signal::KILL);
    first.finish();

    // Fails, and can be gone on with.
    azure.emulator.faults().clear();
    azure
        .emulator
        .faults()
        .add(writes().respond(409, "OperationNotAllowed"));
    let done = store.begin_on(&azure, &upload).finish();
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert!(done.stderr.contains("left as it was"), "{}", done.stderr);
    let [link] = held().try_into().unwrap();
    assert_eq!(Some(fs::read_link(link).unwrap().as_path()), built.parent());
    store.nix.collect();
    assert!(built.exists());

    azure.emulator.faults().clear();
    let done = store.begin_on(&azure, &upload).finish();
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert!(
        done.json()["bytes_resumed"].as_u64().unwrap() > 0,
        "{done:#?}"
    );
    assert_eq!(held(), [] as [PathBuf; 0]);
    store.assert_uploaded("web", &built);
}

#[test]
fn what_builders_say_is_shown_on_demand() {
    let Some(store) = Store::new() else { return };
    let run = |name: &str, more: &[&str]| {
        let mut arguments = vec![
            "upload-image",
            "--local",
            "-g",
            "g",
            "-n",
            name,
            "noisy.nix",
        ];
        arguments.extend(more);
        store.run(&arguments).stderr
    };
    // What is built is no disk image: it ends there, which does not matter here.
    let said = run("quiet", &[]);
    assert!(!said.contains("progress 100%"), "{said}");
    store.nix.collect();
    let said = run("loud", &["-v"]);
    for line in ["bad \u{fffd} utf8", "red", "progress 100%"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn ctrl_c_stops_nix_and_leaves_nothing() {
    let Some(store) = Store::new() else { return };
    let pid = store.place.path("pid");
    let mut running = store.begin(&[
        "upload-image",
        "--local",
        "-g",
        "g",
        "-n",
        "web",
        "slow.nix",
        "--argstr",
        "pidFile",
        pid.to_str().unwrap(),
        "-v",
    ]);
    running.until_it_says("started");
    running.signal(Signal::INT);
    let done = running.finish();
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (Some(130), ""),
        "{done:#?}"
    );
    assert!(
        store.place.traces().is_empty(),
        "{:?}",
        store.place.traces()
    );
    // A process that has ended has no command line, also while nobody has waited for it.
    let builder = fs::read_to_string(&pid).unwrap();
    let line = format!("/proc/{}/cmdline", builder.trim());
    let begun = Instant::now();
    while fs::read(&line).is_ok_and(|line| !line.is_empty()) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the builder runs"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
