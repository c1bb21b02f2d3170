# The machine of system.nix without Azure's agent and without cloud-init: nothing in it runs for Azure. The
# user and the key are part of the image, the rest is the network's to say.
#
#   azure-nixos upload-image -g my-group -n my-image -i image.nix --arg configuration ./agentless.nix
#
# It is for machines that are made without a user name. To those that are asked for one, as by
# `azure-nixos boot-vm`, Azure listens for a word that the machine is up, and gives up without it. The host
# `agentless` of flake.nix says that word.
{ lib, options, ... }:
{
  imports = [ ./system.nix ];

  config = lib.mkMerge [
    { services.cloud-init.enable = lib.mkForce false; }

    # The agent moved with NixOS 25.05.
    (lib.optionalAttrs (options.services ? waagent) {
      services.waagent.enable = lib.mkForce false;
    })
    (lib.optionalAttrs (options.virtualisation.azure ? agent) {
      virtualisation.azure.agent.enable = lib.mkForce false;
    })
  ];
}
