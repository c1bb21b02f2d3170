# A small NixOS machine for Azure, to start from, in plain NixOS. The module of this project sets more of
# what matters in fewer lines; flake.nix uses it.
#
# It is a second generation machine (UEFI), lets the user `nixos` in with the ssh key of whoever
# builds it, and boots on SCSI and on NVMe sizes. The key is read from ~/.ssh/id_ed25519.pub; in a
# flake, which may not look at the home directory, it is the file id_ed25519.pub beside this one.
{ config, lib, modulesPath, options, ... }:
let
  home = builtins.getEnv "HOME";
  candidates =
    [ ./id_ed25519.pub ] ++ lib.optional (home != "") (/. + home + "/.ssh/id_ed25519.pub");
  keys = map builtins.readFile (builtins.filter builtins.pathExists candidates);

  # Before NixOS 24.11 images were of the first generation, and nothing could be said about it.
  hasGeneration = options.virtualisation.azureImage ? vmGeneration;
  # Before NixOS 24.11 the size was an option of the Azure image.
  hasDiskSize = options.virtualisation ? diskSize;
in
{
  # Defines system.build.azureImage, the Hyper-V drivers, the serial console and Azure's agent.
  imports = [ (modulesPath + "/virtualisation/azure-image.nix") ];

  config = lib.mkMerge [
    {
      assertions = [
        {
          assertion = keys != [ ];
          message = ''
            Nobody could log in: there is no ssh key. Make one with `ssh-keygen -t ed25519`; for a
            flake, copy ~/.ssh/id_ed25519.pub beside system.nix and `git add` it.
          '';
        }
      ];

      # The user is part of the image, so that one gets in even if provisioning fails.
      users.users.nixos = {
        isNormalUser = true;
        extraGroups = [ "wheel" ];
        openssh.authorizedKeys.keys = map (lib.removeSuffix "\n") keys;
      };
      security.sudo.wheelNeedsPassword = false;
      services.openssh = {
        enable = true;
        settings.PasswordAuthentication = false;
      };

      # Sizes from v6 on have NVMe disks, behind Hyper-V's PCI bus.
      boot.initrd.kernelModules = [ "nvme" "pci_hyperv" ];

      # The image is as small as its content; the disk of the machine need not be.
      boot.growPartition = true;
      fileSystems."/".autoResize = true;

      system.stateVersion = "24.11";
    }

    # Where NixOS provisions with cloud-init, from 25.05 on:
    (lib.mkIf config.services.cloud-init.enable {
      services.cloud-init.settings = {
        # It need not wait for other clouds.
        datasource_list = [ "Azure" ];

        # NixOS names root alone, so that the user that Azure asks for would not be made.
        users = [ "default" ];
        system_info = {
          distro = "nixos";
          network.renderers = [ "networkd" ];
          default_user = {
            name = "azureuser"; # Azure's own takes its place.
            groups = [ "wheel" ];
            shell = "/run/current-system/sw/bin/bash";
            lock_passwd = true;
          };
        };
      };
    })

    (lib.optionalAttrs hasGeneration { virtualisation.azureImage.vmGeneration = "v2"; })

    # In MiB. A number also avoids releases whose "auto" writes past the end of the finished image.
    (if hasDiskSize
      then { virtualisation.diskSize = 4 * 1024; }
      else { virtualisation.azureImage.diskSize = 4 * 1024; })
  ];
}
