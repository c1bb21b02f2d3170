# The image of system.nix, built with the nixpkgs of the search path:
#
#   azure-nixos upload-image -g my-group -n my-image -i image.nix
#   azure-nixos upload-image -g my-group -n my-image -i image.nix -I nixpkgs=/path/to/nixpkgs
#
# Another configuration is one argument away: --arg configuration ./other.nix
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

  # From 25.05 on every configuration offers images for all clouds under this name, unless it has
  # imported the module of one itself; then the name is there without a value.
  hasVariants = builtins.seq build (builtins.tryEval (build ? images.azure));
in
if hasVariants.success && hasVariants.value then build.images.azure
else build.azureImage or (throw "the configuration must import virtualisation/azure-image.nix with this nixpkgs")
