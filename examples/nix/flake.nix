# Two machines for Azure as a flake:
#
#   nix flake init -t azure-nixos
#   cp ~/.ssh/id_ed25519.pub . && git add .
#   azure-nixos upload-image -g my-group -n my-image --flake .#web
#   azure-nixos upload-image -g my-group -n my-image --flake .#agentless
{
  description = "NixOS machines for Azure";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  # A name of your registry: `nix registry add azure-nixos URL` says where azure-nixos is, "path:/…" for
  # a directory. Its URL in place of the name does as well.
  inputs.azure-nixos.url = "flake:azure-nixos";
  inputs.azure-nixos.inputs.nixpkgs.follows = "nixpkgs";

  outputs = { self, nixpkgs, azure-nixos }:
    let
      # Whoever has this key gets in as `nixos`. A flake sees only what git knows.
      users = nixpkgs.lib.optionalAttrs (builtins.pathExists ./id_ed25519.pub) {
        nixos = [ (builtins.readFile ./id_ed25519.pub) ];
      };

      host = settings: nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          azure-nixos.nixosModules.default
          {
            azure-nixos.image = { inherit users; };
            system.stateVersion = "24.11";
          }
          settings
        ];
      };
    in
    {
      nixosConfigurations = {
        # Besides `nixos`, the user that Azure asks for is made at the first boot, and the machine is
        # called what Azure calls it.
        web = host { };

        # Nothing runs for Azure but one word at boot, that the machine is up.
        agentless = host {
          azure-nixos.image.provisioning = "none";
          networking.hostName = "agentless";
        };
      };

      # For those who build first and upload later: nix build .#azure-image
      packages.x86_64-linux.azure-image =
        self.nixosConfigurations.web.config.system.build.azureImage;
    };
}
