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
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt);
    };
}
