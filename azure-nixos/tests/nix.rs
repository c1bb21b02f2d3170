//! The `nix` module against the real Nix, in a store of its own and offline.
//!
//! Without Nix these tests say so on standard error and pass; everything that does not need it is
//! tested beside the code.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this file is a test"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use azure_nixos::ErrorKind;
use azure_nixos::nix::{Installable, InstallableSource, Nix, NixEvent, NixFlavour};

use nix_store::{copy, label};

mod nix_store;

#[tokio::test]
async fn a_file_with_and_without_arguments() {
    let store = store_or_skip!();
    let image = store.file_image("image.nix").await.unwrap();
    assert_eq!(label(&image), "nixos");
    assert_eq!(image.image, image.store_path.join("disk.vhd"));
    assert!(
        image
            .store_path
            .starts_with(store.root.path().join("store"))
    );
    assert_eq!(fs::metadata(&image.image).unwrap().len(), 1 << 20);

    let what = Installable::file("./image.nix")
        .arg("mib", "1 + 1")
        .argstr("label", "a \"b\" ${c} 'd'")
        .argstr("fileName", "my disk.vhd");
    let image = store.build(what).await.unwrap();
    assert_eq!(label(&image), "a \"b\" ${c} 'd'");
    assert_eq!(fs::metadata(&image.image).unwrap().len(), 2 << 20);
    assert!(image.image.ends_with("my disk.vhd"));
}

#[tokio::test]
async fn systems_attributes_and_sets() {
    let store = store_or_skip!();
    for (name, expected) in [
        ("attr.nix", "azureImage"),
        ("system.nix", "images.azure"),
        ("one.nix", "one"),
        ("undefined.nix", "own import"),
    ] {
        assert_eq!(label(&store.file_image(name).await.unwrap()), expected);
    }
    let what = Installable::file("attr.nix").attr("config.system.build.azureImage");
    assert_eq!(label(&store.build(what).await.unwrap()), "azureImage");
    let what = Installable::file("set.nix").attr("\"c.d\"");
    assert_eq!(label(&store.build(what).await.unwrap()), "dotted");
    let what = Installable::expr("{ web = import ./attr.nix; } # a comment").attr("web");
    assert_eq!(label(&store.build(what).await.unwrap()), "azureImage");
    let what = Installable::expr("{ name }: import ./image.nix { label = name; }");
    let image = store.build(what.argstr("name", "given")).await.unwrap();
    assert_eq!(label(&image), "given");
}

#[tokio::test]
async fn the_search_path_form() {
    let store = store_or_skip!();
    let what = || {
        Installable::file("<nixpkgs/nixos>")
            .include("nixpkgs=./pkgs")
            .include("nixos-config=./configuration.nix")
    };
    let image = store.build(what()).await.unwrap();
    assert_eq!(label(&image), "from nixos-config");
    let with_attribute = what().attr("config.system.build.azureImage");
    let same = store.build(with_attribute).await.unwrap();
    assert_eq!(same.store_path, image.store_path);

    let error = store.error(Installable::file("<nixpkgs/nixos>")).await;
    assert_eq!(error.kind(), ErrorKind::Build);
    assert!(
        error
            .to_string()
            .contains("was not found in the Nix search path")
    );
    assert!(error.hint().unwrap().contains("-I nixpkgs="));
}

#[tokio::test]
async fn flakes_by_host_and_by_attribute() {
    let store = store_or_skip!();
    for (reference, expected) in [
        ("./flake#host", "host"),
        ("flake#nixosConfigurations.host", "host"),
        (
            "flake#nixosConfigurations.host.config.system.build.images.azure",
            "host",
        ),
        ("flake#we.ird", "we.ird"),
        ("flake#\"we.ird\"", "we.ird"),
        ("flake#nixosConfigurations.\"we.ird\"", "we.ird"),
        ("flake#a b", "a b"),
        ("flake#own", "own import"),
        ("flake#azure-image", "package"),
        ("flake", "default"),
    ] {
        let image = store.build(Installable::flake(reference)).await.unwrap();
        assert_eq!(label(&image), expected, "{reference}");
    }
    std::os::unix::fs::symlink("flake", store.file("link")).unwrap();
    let image = store.build(Installable::flake("link#host")).await.unwrap();
    assert_eq!(label(&image), "host");
    let system = format!("{}-linux", std::env::consts::ARCH);
    let url = format!("path:./flake#packages.{system}.azure-image");
    let image = store.build(Installable::flake(url)).await.unwrap();
    assert_eq!(label(&image), "package");
    // Whichever outputs this Nix builds by default: the image is in one of them.
    let image = store
        .build(Installable::flake("flake#multi"))
        .await
        .unwrap();
    assert_eq!(label(&image), "image");
}

#[tokio::test]
async fn flakes_that_do_not_have_it() {
    let store = store_or_skip!();
    let error = store.error(Installable::flake("flake#nope")).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for word in ["nixosConfigurations.nope", "packages.SYSTEM.nope"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(error.hint().unwrap().contains("host"), "{:?}", error.hint());

    let error = store
        .error(Installable::flake("flake#nixosConfigurations.nope"))
        .await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().contains("plain, we.ird"));

    let error = store.error(Installable::flake("flake#packages.x.y")).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let error = store.error(Installable::flake("flake#plain")).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("images are linode"), "{error}");

    let error = store.error(Installable::flake("flake#fails")).await;
    assert_eq!(
        error.to_string(),
        "the builder of fails failed with exit code 7"
    );
    assert!(
        error.report().contains("\n    the reason"),
        "{}",
        error.report()
    );

    let error = store.error(Installable::flake("nixpkgs#host")).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().contains("flake:nixpkgs"));
}

#[tokio::test]
async fn an_untracked_file_in_a_git_flake() {
    let store = store_or_skip!();
    store.git("flake", &["init", "--quiet"]);
    store.git("flake", &["add", "flake.nix"]);
    let error = store.error(Installable::flake("flake#host")).await;
    assert_eq!(error.kind(), ErrorKind::Build);
    assert!(
        error.hint().unwrap().contains("git add"),
        "{}",
        error.report()
    );
    store.git("flake", &["add", "image.nix"]);
    let image = store.build(Installable::flake("flake#host")).await.unwrap();
    assert_eq!(label(&image), "host");
}

#[tokio::test]
async fn paths_with_spaces_and_dashes() {
    let store = store_or_skip!();
    let odd = store.file("-o dd${x}\"");
    fs::create_dir(&odd).unwrap();
    fs::copy(store.file("image.nix"), odd.join("-i mage.nix")).unwrap();
    let what = Installable::file("-o dd${x}\"/-i mage.nix").argstr("label", "odd");
    assert_eq!(label(&store.build(what).await.unwrap()), "odd");

    copy(&store.file("flake"), &store.file("-fl ake"));
    let what = Installable::flake("-fl ake#host");
    assert_eq!(label(&store.build(what).await.unwrap()), "host");
}

#[tokio::test]
async fn store_paths() {
    let store = store_or_skip!();
    let built = store.nix().out_link("result");
    let built = built.start(Installable::file("image.nix"), |_| {});
    let built = built.join().await.unwrap();
    for path in [
        built.store_path.clone(),
        store.file("result"),
        built.image.clone(),
    ] {
        let image = store.build(Installable::store_path(&path)).await.unwrap();
        assert_eq!(image.store_path, built.store_path, "{}", path.display());
        assert_eq!(image.image, built.image);
        assert_eq!(
            fs::read_link(image.out_link().unwrap()).unwrap(),
            built.store_path
        );
    }

    // A derivation is built.
    let mut command = store.command("nix-instantiate");
    command.args(["image.nix", "--argstr", "label", "drv"]);
    let output = command.output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    let image = store
        .build(Installable::store_path(path.trim()))
        .await
        .unwrap();
    assert_eq!(label(&image), "drv");
    assert_ne!(image.store_path, built.store_path);

    let gone = built
        .store_path
        .with_file_name("00000000000000000000000000000000-gone");
    let error = store.error(Installable::store_path(&gone)).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    fs::write(&gone, "unregistered").unwrap();
    let error = store.error(Installable::store_path(&gone)).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = store.error(Installable::store_path("image.nix")).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn what_would_be_built_is_known_before_it_is() {
    let store = store_or_skip!();
    let system = format!("{}-linux", std::env::consts::ARCH);
    for what in [
        Installable::file("image.nix"),
        Installable::expr("import ./image.nix { label = \"expr\"; }"),
        Installable::flake("flake#host"),
        Installable::flake("flake#own"),
        Installable::flake("flake#azure-image"),
        Installable::flake("flake"),
    ] {
        let evaluation = store.nix().evaluate(what.clone(), |_| {}).join();
        let evaluation = evaluation.await.unwrap();
        assert_eq!(
            evaluation.system.as_deref(),
            Some(system.as_str()),
            "{what}"
        );
        assert_eq!(evaluation.required_features, [] as [String; 0]);
        assert!(evaluation.derivation.as_ref().unwrap().exists());
        let path = evaluation.store_path().unwrap().to_owned();
        assert!(!path.exists(), "{what} was built");
        // What is evaluated is held until it is built.
        if matches!(what.source(), InstallableSource::File(_)) {
            store.collect();
        }
        let image = store
            .nix()
            .realise(evaluation, |_| {})
            .join()
            .await
            .unwrap();
        assert_eq!(image.store_path, path, "{what}");
        store.delete(&path, image);
    }
    let kvm = store.nix().evaluate(Installable::file("kvm.nix"), |_| {});
    assert_eq!(kvm.join().await.unwrap().required_features, ["kvm"]);
    // A path needs no Nix at all.
    let object = store.file("00000000000000000000000000000000-image");
    let nix = Nix::new().programs("/nowhere");
    let evaluation = nix.evaluate(Installable::store_path(&object), |_| {});
    let evaluation = evaluation.join().await.unwrap();
    assert_eq!(evaluation.store_path(), Some(object.as_path()));
    assert_eq!(evaluation.derivation, None);
}

/// Configurations in all the places where they say which system they are for.
const PLATFORMS: &str = r#"let
  by = system: derivation { name = "azure-image"; inherit system; builder = "/bin/sh"; args = [ "-c" "exit 1" ]; };
  image.config.system.build.azureImage = by "aarch64-linux";
in
{
  arm = image // { pkgs.stdenv.hostPlatform.system = "aarch64-linux"; };
  cross = image // { pkgs.stdenv.hostPlatform.system = "x86_64-linux"; };
  option.config = image.config // { nixpkgs.hostPlatform.system = "aarch64-linux"; };
  unset.config = image.config // { nixpkgs.hostPlatform = throw "used but not defined"; };
  silent = image;
  carried = by "aarch64-linux" // { passthru.config.nixpkgs.hostPlatform.system = "aarch64-linux"; };
  usual = {
    config.system.build.azureImage = by "x86_64-linux";
    pkgs.stdenv.hostPlatform.system = throw "nobody asks, since that takes another evaluation";
  };
}
"#;

#[tokio::test]
async fn what_an_image_is_for_is_known_before_it_is_built() {
    let store = store_or_skip!();
    fs::write(store.file("platforms.nix"), PLATFORMS).unwrap();
    let flake = store.file("platforms");
    fs::create_dir(&flake).unwrap();
    fs::write(flake.join("hosts.nix"), PLATFORMS).unwrap();
    let text = "{ outputs = _: rec { nixosConfigurations = import ./hosts.nix; \
                packages.x86_64-linux.package = nixosConfigurations.carried; }; }";
    fs::write(flake.join("flake.nix"), text).unwrap();
    let arm = Some("aarch64-linux");
    let file = |name: &str| Installable::file("platforms.nix").attr(name);
    let host = |name: &str| Installable::flake(format!("platforms#{name}"));
    for (what, expected) in [
        (file("arm"), arm),
        // The way to the image leads through its configuration.
        (file("arm.config.system.build.azureImage"), arm),
        (file("cross"), Some("x86_64-linux")),
        (file("option"), arm),
        (file("unset"), None),
        (file("silent"), None),
        (file("carried"), arm),
        (file("usual"), None),
        (
            Installable::expr("{ which }: (import ./platforms.nix).${which}")
                .argstr("which", "arm"),
            arm,
        ),
        (host("arm"), arm),
        (
            host("nixosConfigurations.arm.config.system.build.azureImage"),
            arm,
        ),
        (host("cross"), Some("x86_64-linux")),
        (host("unset"), None),
        (host("package"), arm),
        (host("usual"), None),
    ] {
        let name = what.to_string();
        let evaluation = store.nix().evaluate(what, |_| {}).join().await.unwrap();
        assert_eq!(evaluation.platform.as_deref(), expected, "{name}");
    }
}

#[tokio::test]
async fn outputs_that_are_not_the_first() {
    let store = store_or_skip!();
    let text = |all: &str, wanted: &str| {
        format!(
            "let d = derivation {{ name = \"parts\"; outputs = [ {all} ]; system = builtins.currentSystem; \
             builder = \"/bin/sh\"; PATH = \"/usr/bin:/bin\"; \
             args = [ \"-ec\" \"mkdir $image $doc; echo x > $image/a.vhd; echo y > $doc/readme\" ]; }}; in d{wanted}"
        )
    };
    let nix = store.nix().out_link("result");
    for (all, wanted) in [("\"image\" \"doc\"", ""), ("\"doc\" \"image\"", ".image")] {
        let what = Installable::expr(text(all, wanted));
        let image = nix.start(what, |_| {}).join().await.unwrap();
        assert_eq!(fs::read_to_string(&image.image).unwrap(), "x\n");
        // Nix names the link after the output.
        let link = image.out_link().unwrap();
        assert_eq!(link, store.file("result-image"));
        assert_eq!(fs::read_link(link).unwrap(), image.store_path);
    }
    let error = store
        .error(Installable::expr(text("\"image\" \"doc\"", ".doc")))
        .await;
    assert!(error.to_string().ends_with("it has readme"), "{error}");
}

#[tokio::test]
async fn an_image_is_held_by_a_link_of_its_own() {
    let store = store_or_skip!();
    let image = store.file_image("image.nix").await.unwrap();
    let path = image.image.clone();
    let link = store.file("deep/down/held");
    store.nix().hold(&image, &link).await.unwrap();
    drop(image);
    store.collect();
    assert!(path.exists());
    fs::remove_file(&link).unwrap();
    store.collect();
    assert!(!path.exists());

    let image = store.file_image("image.nix").await.unwrap();
    fs::write(&link, "mine").unwrap();
    let error = store.nix().hold(&image, &link).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(fs::read_to_string(&link).unwrap(), "mine");
}

#[tokio::test]
async fn the_root_holds_while_the_image_is_used() {
    let store = store_or_skip!();
    let collect = || store.collect();
    let image = store.file_image("image.nix").await.unwrap();
    let (path, link) = (image.image.clone(), image.out_link().unwrap().to_owned());
    collect();
    assert!(path.exists());
    drop(image);
    assert!(link.symlink_metadata().is_err());
    assert!(!link.parent().unwrap().exists());
    collect();
    assert!(!path.exists());

    let mut image = store.file_image("image.nix").await.unwrap();
    image.keep();
    let link = image.out_link().unwrap().to_owned();
    drop(image);
    collect();
    assert!(path.exists());
    fs::remove_dir_all(link.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_failing_builder_shows_its_last_lines() {
    let store = store_or_skip!();
    let error = store.error(Installable::file("fail.nix")).await;
    assert_eq!(error.kind(), ErrorKind::Build);
    assert_eq!(
        error.to_string(),
        "the builder of azure-image failed with exit code 3"
    );
    let (_, log) = error
        .context()
        .find(|(key, _)| key.starts_with("last lines"))
        .unwrap();
    let lines: Vec<_> = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(lines.len(), 25);
    assert_eq!(lines[0], "line 36");
    assert_eq!(lines[24], "cptofs: error: No space left on device");
    assert!(error.hint().unwrap().contains("virtualisation.diskSize"));
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_one_sentence() {
    let store = store_or_skip!();
    for (name, kind, words) in [
        (
            "syntax.nix",
            ErrorKind::Build,
            "syntax error, unexpected end of file",
        ),
        (
            "throw.nix",
            ErrorKind::Build,
            "virtualisation.azureImage' defined",
        ),
        (
            "badoption.nix",
            ErrorKind::Build,
            "`services.nope' does not exist",
        ),
        (
            "notdrv.nix",
            ErrorKind::InvalidInput,
            "is an integer and not a derivation",
        ),
        ("list.nix", ErrorKind::Ambiguous, "is a list of 2 things"),
        ("set.nix", ErrorKind::InvalidInput, "it has a, b, c.d"),
        (
            "noimage.nix",
            ErrorKind::NotFound,
            "offers no image for Azure",
        ),
        (
            "module.nix",
            ErrorKind::InvalidInput,
            "also needs config, pkgs",
        ),
        ("gone.nix", ErrorKind::NotFound, "there is no file"),
        (".", ErrorKind::NotFound, "there is no default.nix"),
    ] {
        let error = store.error(Installable::file(name)).await;
        assert_eq!(error.kind(), kind, "{name}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let error = store.error(Installable::file("throw.nix")).await;
    assert!(error.hint().unwrap().contains("azure-image.nix"));
    let error = store.error(Installable::file("syntax.nix")).await;
    assert!(error.report().contains("syntax.nix:"), "{}", error.report());

    let what = Installable::file("attr.nix").attr("config.system.biuld.azureImage");
    let error = store.error(what).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "attr.nix -A config.system.biuld.azureImage has no attribute config.system.biuld"
    );
    assert!(error.hint().unwrap().contains("build"));

    fs::write(store.file("empty.nix"), "").unwrap();
    fs::write(store.file("disk.nix"), [0; 600]).unwrap();
    for name in ["empty.nix", "disk.nix"] {
        let error = store.error(Installable::file(name)).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn machines_that_cannot_build_it() {
    let store = store_or_skip!();
    let nix = store.nix().setting("system-features", "");
    let error = nix
        .start(Installable::file("kvm.nix"), |_| {})
        .join()
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("offers the feature kvm (there is no /dev/kvm)")
            || error
                .to_string()
                .contains("offers the feature kvm (/dev/kvm is"),
        "{}",
        error.report()
    );
    let foreign = || Installable::file("foreign.nix");
    let error = store.error(foreign()).await;
    assert!(
        error
            .to_string()
            .contains("nothing builds for riscv64-linux"),
        "{}",
        error.report()
    );
    assert!(error.hint().unwrap().contains("builders"));
    // Of a flake its evaluation says what would be built.
    let flake = store.file("foreign");
    fs::create_dir(&flake).unwrap();
    fs::write(
        flake.join("flake.nix"),
        r#"{ outputs = _: { disk = derivation { name = "azure-image"; system = "riscv64-linux";
            builder = "/bin/sh"; args = [ "-c" "exit 1" ]; }; }; }"#,
    )
    .unwrap();
    let reference = format!("path:{}#disk", flake.display());
    let error = store.error(Installable::flake(reference)).await;
    assert!(
        error
            .to_string()
            .starts_with("azure-image cannot be built: this machine is"),
        "{}",
        error.report()
    );
    // What is there need not be built, by whomever.
    let disk = || {
        Installable::expr(
            r#"derivation { name = "disk.raw"; system = builtins.currentSystem; builder = "/bin/sh";
                requiredSystemFeatures = [ "kvm" ]; args = [ "-c" "echo disk > $out" ]; }"#,
        )
    };
    let able = store.nix().setting("extra-system-features", "kvm");
    let built = able.start(disk(), |_| {}).join().await.unwrap();
    let again = nix.start(disk(), |_| {}).join().await.unwrap();
    assert_eq!(again.store_path, built.store_path);
}

#[tokio::test]
async fn a_nix_that_is_too_old_is_told_before_it_is_used() {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), "exit 1");
    let programs = fake_program(root.path(), "nix", "echo 'nix (Nix) 2.4'");
    let nix = Nix::new().programs(programs);
    let error = nix
        .start(Installable::expr("1"), |_| {})
        .join()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
    assert!(
        error.to_string().contains("nix (Nix) 2.4 is too old"),
        "{error}"
    );
}

#[tokio::test]
async fn outputs_of_all_shapes() {
    let store = store_or_skip!();
    let shape = |name: &str| Installable::file("shapes.nix").attr(name);
    let image = store.build(shape("file")).await.unwrap();
    assert_eq!(image.image, image.store_path);
    assert_eq!(label(&store.build(shape("link")).await.unwrap()), "linked");
    let image = store.build(shape("cyclic")).await.unwrap();
    assert_eq!(image.image, image.store_path.join("a/b/c.raw.zst"));
    let error = store.error(shape("none")).await;
    assert!(error.to_string().ends_with("it has bin/hello"), "{error}");
    assert!(error.is_not_found());
    assert!(
        store
            .error(shape("empty"))
            .await
            .to_string()
            .ends_with("it is empty")
    );

    let several = |name: &str| Installable::file("several.nix").attr(name);
    let image = store.build(several("named")).await.unwrap();
    assert_eq!(image.image, image.store_path.join("b.vhd"));
    let error = store.error(several("unnamed")).await;
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert!(error.to_string().ends_with(": a.raw, b.vhd"), "{error}");
    // With and without arguments, the expression is asked in two ways.
    let image = store
        .build(several("named").argstr("x", "y"))
        .await
        .unwrap();
    assert!(image.image.ends_with("b.vhd"));

    let image = store.file_image("multi.nix").await.unwrap();
    assert_eq!(image.image, image.store_path.join("a.vhd"));
}

#[tokio::test]
async fn noise_becomes_events() {
    let store = store_or_skip!();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let mut operation = store
        .nix()
        .start(Installable::file("noisy.nix"), move |event| {
            seen.lock().unwrap().push(event);
        });
    let mut details = Vec::new();
    while let Some(progress) = operation.progress().changed().await {
        details.push(progress.detail);
    }
    let image = operation.join().await.unwrap();
    assert!(image.image.ends_with("disk.img"));
    let events = events.lock().unwrap();
    let lines: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            NixEvent::BuildLog { line, derivation } => {
                assert!(derivation.ends_with("-noisy.drv"));
                Some(line.as_str())
            }
            _ => None,
        })
        .collect();
    assert_eq!(lines, ["bad \u{fffd} utf8", "red", "progress 100%"]);
    assert!(events.iter().any(|event| matches!(
        event,
        NixEvent::Phase { phase, .. } if phase == "buildPhase"
    )));
    assert!(events.iter().any(|event| matches!(
        event,
        NixEvent::Builds {
            done: 1,
            total: 1,
            ..
        }
    )));
}

/// Waits until a file has something in it.
async fn content(path: &Path) -> String {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.ends_with('\n') {
            return text.trim().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} stays empty", path.display());
}

fn runs(pid: &str) -> bool {
    // A zombie has no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn ends(pid: &str) {
    let begin = Instant::now();
    while runs(pid) {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "process {pid} goes on"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_stops_nix_and_the_builder() {
    let store = store_or_skip!();
    let pid_file = store.file("pid");
    let what = || Installable::file("slow.nix").argstr("pidFile", pid_file.to_str().unwrap());
    let operation = store.nix().start(what(), |_| {});
    let pid = content(&pid_file).await;
    assert!(runs(&pid));
    let begin = Instant::now();
    operation.cancel();
    let error = operation.join().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(begin.elapsed() < Duration::from_secs(5));
    ends(&pid);

    // A dropped handle stops it as well.
    fs::remove_file(&pid_file).unwrap();
    let operation = store.nix().start(what(), |_| {});
    let pid = content(&pid_file).await;
    drop(operation);
    ends(&pid);
}

/// A directory with a script in place of one of Nix's programs.
///
/// Another process writes the script: a file that this one has open for writing cannot be run while
/// a thread beside is between `fork` and `exec`.
fn fake_program(root: &Path, name: &str, script: &str) -> PathBuf {
    let directory = root.join("fake");
    fs::create_dir_all(&directory).unwrap();
    let text = root.join("script");
    fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
    let status = Command::new("install")
        .args(["-m", "755"])
        .arg(&text)
        .arg(directory.join(name))
        .status()
        .unwrap();
    assert!(status.success());
    directory
}

/// In place of what evaluates.
fn fake(root: &Path, script: &str) -> PathBuf {
    fake_program(root, "nix-instantiate", script)
}

/// In place of what builds, and a derivation to build with it.
fn fake_build(root: &Path, script: &str) -> (Nix, Installable) {
    let nix = Nix::new().programs(fake_program(root, "nix-store", script));
    let derivation = root.join("00000000000000000000000000000000-image.drv");
    fs::write(&derivation, "none that can be read").unwrap();
    (nix, Installable::store_path(derivation))
}

#[tokio::test]
async fn nix_killed_in_the_middle() {
    let store = store_or_skip!();
    let pid_file = store.file("pid");
    let script = format!(
        "case \"$*\" in *--dry-run*) ;; *) echo $$ > '{}' ;; esac; exec nix-store \"$@\"",
        pid_file.display()
    );
    fake(store.root.path(), "exec nix-instantiate \"$@\"");
    let programs = fake_program(store.root.path(), "nix-store", &script);
    let nix = store.nix().programs(programs);
    let operation = nix.start(Installable::file("slow.nix"), |_| {});
    let pid = content(&pid_file).await;
    let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
    assert!(killed.success());
    let error = operation.join().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
    assert!(error.to_string().contains("killed by signal 9"), "{error}");
}

#[tokio::test]
async fn a_nix_that_does_not_listen_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let pid_file = root.path().join("pid");
    let script = format!(
        "trap '' INT\necho $$ > '{}'\nwhile :; do sleep 0.1; done",
        pid_file.display()
    );
    let nix = Nix::new()
        .programs(fake(root.path(), &script))
        .kill_after(Duration::from_millis(300));
    let operation = nix.start(Installable::expr("1"), |_| {});
    let pid = content(&pid_file).await;
    operation.cancel();
    let error = operation.join().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    ends(&pid);
}

#[tokio::test]
async fn success_without_output_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let nix = Nix::new().programs(fake(root.path(), "exit 0"));
    let error = nix
        .start(Installable::expr("1"), |_| {})
        .join()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
    assert!(error.to_string().contains("nix built nothing"), "{error}");

    let nix = Nix::new().programs(fake(root.path(), "cat /dev/zero | head -c 9000000"));
    let error = nix
        .start(Installable::expr("1"), |_| {})
        .join()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[tokio::test]
async fn of_several_outputs_the_one_with_an_image_is_taken() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("flake.nix"), "{ }").unwrap();
    for (name, file) in [("a", "a.vhd"), ("b", "readme"), ("c", "c.img")] {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join(file), name).unwrap();
    }
    let build = |names: [&'static str; 2]| {
        let at = |name| root.path().join(name);
        let answer = serde_json::json!([
            {"drvPath": "/x.drv", "outputs": {"doc": at(names[0]), "out": at(names[1])}}
        ]);
        let programs = fake_program(root.path(), "nix", &format!("echo '{answer}'"));
        let nix = Nix::new().programs(programs).current_dir(root.path());
        nix.start(Installable::flake(".#packages.x.y"), |_| {})
            .join()
    };
    let image = build(["b", "a"]).await.unwrap();
    assert_eq!(image.image, root.path().join("a/a.vhd"));
    for names in [["a", "c"], ["b", "b2"]] {
        let error = build(names).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        for name in names {
            let path = root.path().join(name).display().to_string();
            assert!(error.to_string().contains(&path), "{error}");
        }
    }
}

#[tokio::test]
async fn what_outlives_nix_does_not_hold_us() {
    let root = tempfile::tempdir().unwrap();
    let nix = Nix::new().programs(fake(root.path(), "sleep 20 &\nexit 1"));
    let begin = Instant::now();
    let error = nix
        .start(Installable::expr("1"), |_| {})
        .join()
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "nix-instantiate failed with exit code 1 on 1"
    );
    assert!(begin.elapsed() < Duration::from_secs(10));
}

fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_hundred_megabytes_of_output_need_no_memory() {
    let root = tempfile::tempdir().unwrap();
    let script = r#"
        event='@nix {"action":"result","fields":["some line that a builder wrote, over and over again, for all to see"],"id":7,"type":101}'
        yes "$event" | head -c 50000000 >&2
        echo >&2
        head -c 50000000 /dev/zero | tr '\0' x >&2
        exit 100"#;
    let (nix, derivation) = fake_build(root.path(), script);
    let before = peak_memory();
    let error = nix.start(derivation, |_| {}).join().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
    let grown = peak_memory() - before;
    // Other tests run beside this one; the output alone would be ten times as much.
    assert!(grown < 32 << 20, "{grown} bytes");
    assert!(error.report().len() < 64 << 10);
}

#[tokio::test]
async fn without_nix() {
    let root = tempfile::tempdir().unwrap();
    let nix = Nix::new().programs(root.path());
    let error = nix
        .start(Installable::expr("1"), |_| {})
        .join()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
    assert!(
        error.to_string().starts_with("nix is not installed"),
        "{error}"
    );
    assert!(error.hint().is_some());

    let object = root.path().join("00000000000000000000000000000000-image");
    fs::create_dir(&object).unwrap();
    fs::write(object.join("a.vhd"), "image").unwrap();
    let image = nix.start(Installable::store_path(&object), |_| {});
    let image = image.join().await.unwrap();
    assert_eq!(image.image, object.join("a.vhd"));
    assert_eq!(image.out_link(), None);
}

#[tokio::test]
async fn time_limits_are_passed_on() {
    let store = store_or_skip!();
    let nix = store.nix().timeout(Duration::from_secs(1));
    let error = nix
        .start(Installable::file("slow.nix"), |_| {})
        .join()
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the build of slow took too long and was stopped"
    );
    assert!(error.report().contains("started"), "{}", error.report());
}

#[tokio::test]
async fn a_download_that_has_changed() {
    let store = store_or_skip!();
    let error = store.error(Installable::file("hash.nix")).await;
    assert_eq!(error.kind(), ErrorKind::Build);
    assert_eq!(
        error.to_string(),
        "the content of download is not what its hash says"
    );
    assert!(error.hint().unwrap().contains("update its hash"));
    assert!(error.report().contains("specified:"), "{}", error.report());
}

#[tokio::test]
async fn the_version() {
    let store = store_or_skip!();
    let version = store.nix().version().await.unwrap();
    assert!(version.is_supported(), "{version}");
    assert!(matches!(
        version.flavour,
        NixFlavour::Nix | NixFlavour::Lix | NixFlavour::Determinate
    ));
}

#[tokio::test]
async fn a_second_build_of_the_same_is_the_same_path() {
    let store = store_or_skip!();
    let first = store.file_image("image.nix").await.unwrap();
    let begin = Instant::now();
    let second = store.file_image("image.nix").await.unwrap();
    eprintln!("a build that was done already took {:?}", begin.elapsed());
    assert_eq!(first.store_path, second.store_path);
}
