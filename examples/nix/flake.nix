# The machine of system.nix as a flake:
#
#   cp ~/.ssh/id_ed25519.pub . && git add id_ed25519.pub
#   azure-nixos upload-image -g my-group -n my-image --flake .#web
{
  description = "A NixOS machine for Azure";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem {
      system = "x86_64-linux";
      modules = [ ./system.nix { networking.hostName = "web"; } ];
    };

    # For those who build first and upload later: nix build .#azure-image
    packages.x86_64-linux.azure-image =
      self.nixosConfigurations.web.config.system.build.azureImage;
  };
}
