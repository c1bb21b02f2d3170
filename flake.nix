{
  description = "Build NixOS images, upload them to Azure and boot virtual machines from them";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forAllSystems = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      workspace = (lib.importTOML ./Cargo.toml).workspace.package;

      # What the tests run besides Rust. Azurite is not in nixpkgs; tests/run brings it.
      testTools = pkgs: [
        pkgs.e2fsprogs
        pkgs.git
        pkgs.jq
        pkgs.nix
        pkgs.nodejs
        pkgs.openssh
        pkgs.qemu
      ];

      azure-nixos =
        pkgs:
        pkgs.rustPlatform.buildRustPackage {
          pname = "azure-nixos";
          inherit (workspace) version;
          src = lib.cleanSource ./.;
          cargoLock.lockFile = ./Cargo.lock;

          # Only the command line and what it needs: the judges of the tests stay out.
          buildAndTestSubdir = "azure-nixos-cli";

          # The tests are a check of their own, so that a user does not wait for them.
          doCheck = false;

          meta = {
            description = "NixOS images and virtual machines on Azure";
            license = lib.licenses.mit;
            mainProgram = "azure-nixos";
            platforms = systems;
          };
        };

      # One cargo command over the whole workspace, in place of the build.
      cargoCheck =
        pkgs: name: tools: command:
        (azure-nixos pkgs).overrideAttrs (old: {
          pname = "azure-nixos-${name}";
          buildAndTestSubdir = null;
          nativeBuildInputs = old.nativeBuildInputs ++ tools;
          buildPhase = "runHook preBuild; ${command}; runHook postBuild";
          installPhase = "touch $out";
        });

      # Evaluates machines with the module and those of the example, in all their ways to be provisioned. They
      # are not built: that takes a virtual machine and much time, and says little more.
      machines =
        pkgs:
        let
          inherit (pkgs.stdenv.hostPlatform) system;
          key.azure-nixos.image.users.nixos = [ "ssh-ed25519 AAAA nobody" ];
          machine =
            provisioning:
            lib.nixosSystem {
              inherit system;
              modules = [
                self.nixosModules.default
                key
                {
                  azure-nixos.image = { inherit provisioning; };
                  system.stateVersion = lib.trivial.release;
                }
              ];
            };
          example = (import ./examples/nix/flake.nix).outputs {
            self = example;
            inherit nixpkgs;
            azure-nixos = self;
          };
          hosts =
            lib.genAttrs [ "cloud-init" "agent" "none" ] machine
            // lib.optionalAttrs (system == "x86_64-linux") (
              lib.mapAttrs (_: host: host.extendModules { modules = [ key ]; }) example.nixosConfigurations
            );
          # Without the context, or the check would build the image.
          derivation = _: host: builtins.unsafeDiscardStringContext host.config.system.build.azureImage.drvPath;
        in
        pkgs.writeText "azure-nixos-machines" (builtins.toJSON (lib.mapAttrs derivation hosts));
    in
    {
      packages = forAllSystems (pkgs: rec {
        azure-nixos = self.lib.package pkgs;
        default = azure-nixos;
      });

      apps = forAllSystems (pkgs: rec {
        azure-nixos = {
          type = "app";
          program = lib.getExe self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          meta.description = "NixOS images and virtual machines on Azure";
        };
        default = azure-nixos;
      });

      # For those who have a nixpkgs of their own.
      lib.package = azure-nixos;
      overlays.default = final: _prev: { azure-nixos = azure-nixos final; };

      # A NixOS machine on Azure with good defaults: azure-nixos.image.*
      # By its path, so that twice imported it is one; in a set, because `nix flake check` takes no bare path.
      nixosModules = rec {
        azure-nixos.imports = [ ./nix/module.nix ];
        default = azure-nixos;
      };

      # nix flake init -t azure-nixos
      templates = rec {
        azure = {
          path = ./examples/nix;
          description = "NixOS machines for Azure, with and without an agent";
          welcomeText = ''
            Copy your public ssh key beside flake.nix, as id_ed25519.pub, and `git add .`. Then
            `azure-nixos upload-image -g GROUP -n NAME --flake .#web` makes an image of the machine.
          '';
        };
        default = azure;
      };

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ (azure-nixos pkgs) ];
          packages = testTools pkgs ++ [
            pkgs.cargo-deny
            pkgs.cargo-nextest
            pkgs.clippy
            pkgs.rust-analyzer
            pkgs.rustfmt
            pkgs.shellcheck
          ];
        };
      });

      checks = forAllSystems (pkgs: {
        package = azure-nixos pkgs;
        format = cargoCheck pkgs "format" [ pkgs.rustfmt ] "cargo fmt --all --check";
        lints = cargoCheck pkgs "lints" [
          pkgs.clippy
        ] "cargo clippy --offline --workspace --all-features --all-targets -- -D warnings";
        # The unit tests: the others start Nix and Azurite, which a build's sandbox does not allow.
        tests = cargoCheck pkgs "tests" [ ] "cargo test --offline --workspace --all-features --lib --bins";
        machines = machines pkgs;
      });

      # The one for a whole tree is younger than the one for a file.
      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree or pkgs.nixfmt);
    };
}
