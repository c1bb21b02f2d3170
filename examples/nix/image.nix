# The image of system.nix, built with the nixpkgs of the search path:
#
#   azure-nixos upload-image -g my-group -n my-image -i image.nix
#   azure-nixos upload-image -g my-group -n my-image -i image.nix -I nixpkgs=/path/to/nixpkgs
#
# Another configuration is one argument away: --arg configuration ./agentless.nix
{ nixpkgs ? <nixpkgs>
, system ? builtins.currentSystem
, configuration ? ./system.nix
}:
let
  nixos = import (nixpkgs + "/nixos/lib/eval-config.nix") {
    inherit system;
    modules = [ configuration ];
  };
  inherit (nixos.config.system) build;
in
# A configuration that is made for Azure has the first. From 25.05 on one that is not has the second, which
# evaluates all of it once more with Azure's settings.
build.azureImage or build.images.azure
  or (throw "the configuration must import virtualisation/azure-image.nix with this nixpkgs")
