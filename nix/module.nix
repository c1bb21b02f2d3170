# A NixOS machine on Azure with good defaults: the options azure-nixos.image.*.
#
# To import this module is to enable it: it imports nixpkgs' own azure-image.nix, which makes the image
# (system.build.azureImage) and cannot be imported under a condition. What it adds are the settings
# that one otherwise finds out about on a machine that cannot be reached.
#
# It works with NixOS 24.05 and later. An option that a release lacks is left alone, or an assertion
# says what to do instead.
{
  config,
  lib,
  modulesPath,
  options,
  pkgs,
  ...
}:
let
  inherit (lib)
    mkIf
    mkMerge
    mkOption
    optional
    optionalAttrs
    types
    ;
  cfg = config.azure-nixos.image;

  # Stronger than the defaults of nixpkgs' modules, weaker than a plain definition of the user.
  prefer = lib.mkOverride 900;
  # Stronger than the plain definitions of nixpkgs' azure-common.nix, weaker than the user's mkForce.
  replace = lib.mkOverride 75;
  # What nixpkgs turns on for every machine on Azure can only be turned off by force.
  switch = on: if on then prefer true else replace false;

  # What nixpkgs has, by the options it declares and not by its version: unstable and forks differ.
  has = {
    agentModule = options.services ? waagent; # from 25.05 on
    # Before 25.05. Later it is another name of the module's, for those who still import azure-agent.nix.
    agentOption = options.virtualisation.azure ? agent && !(options.services ? waagent);
    acceleratedNetworking = options.virtualisation.azure ? acceleratedNetworking; # from 24.11 on
    additionalSpace = options.virtualisation.azureImage ? additionalSpace; # from 26.11 on
    baseName = options ? image.baseName; # from 25.05 on
    diskSize = options.virtualisation ? diskSize; # from 24.11 on
    generation = options.virtualisation.azureImage ? vmGeneration; # from 24.11 on
    sudo-rs = options.security ? sudo-rs;
  };

  cloudInit = cfg.provisioning == "cloud-init";
  aarch64 = pkgs.stdenv.hostPlatform.isAarch64;
  admins = "azure-admins";

  withKey =
    user: user.openssh.authorizedKeys.keys != [ ] || user.openssh.authorizedKeys.keyFiles != [ ];
in
{
  imports = [ (modulesPath + "/virtualisation/azure-image.nix") ];

  options.azure-nixos.image = {
    generation = mkOption {
      type = types.enum [
        "v1"
        "v2"
      ];
      default = if has.generation then "v2" else "v1";
      defaultText = lib.literalExpression ''"v2", or "v1" before NixOS 24.11'';
      description = ''
        Hyper-V generation. `v2` boots with UEFI from an EFI system partition; newer machine sizes take
        nothing else. `v1` boots with BIOS.
      '';
    };

    diskSize = mkOption {
      type = types.either (types.enum [ "auto" ]) types.ints.positive;
      default = 4 * 1024;
      example = 8 * 1024;
      description = ''
        Size of the image in MiB. The content must fit, the machine need not: its disk may be larger and
        the file system grows with it. Zeros are not uploaded, so a large number costs little.
        `auto` makes it as small as the content, where nixpkgs can do that for Azure.
      '';
    };

    name = mkOption {
      type = types.str;
      default = "nixos-azure";
      description = ''
        Name of the image's file without its extension. nixpkgs' own default holds the version of
        NixOS, so that scripts must look for it. Has no effect before NixOS 25.05.
      '';
    };

    provisioning = mkOption {
      type = types.enum [
        "cloud-init"
        "agent"
        "none"
      ];
      default = "cloud-init";
      description = ''
        Who makes the user that Azure asks for (`--admin-username` of `azure-nixos boot-vm`), with its ssh
        key and the host name, at the first boot.

        - `cloud-init`: it also takes user data. The default, because it looks after the network too.
        - `agent`: Azure's agent alone.
        - `none`: nobody. All that the machine needs is in the image, and who may log in is in
          {option}`azure-nixos.image.users` or {option}`users.users`.
      '';
    };

    agent = mkOption {
      type = types.bool;
      default = cfg.provisioning != "none";
      defaultText = lib.literalExpression ''config.azure-nixos.image.provisioning != "none"'';
      description = ''
        Whether Azure's agent runs. It carries out extensions, such as the reset of an ssh key or a
        backup. cloud-init does not need it.
      '';
    };

    reportReady = mkOption {
      type = types.bool;
      default = cfg.provisioning == "none";
      defaultText = lib.literalExpression ''config.azure-nixos.image.provisioning == "none"'';
      description = ''
        Whether a small service tells Azure that the machine is up. Without an agent and cloud-init
        nobody else does, and Azure gives up a machine that was made with a user name
        (`OSProvisioningTimedOut`).
      '';
    };

    users = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
      example = lib.literalExpression "{ nixos = [ (builtins.readFile ./id_ed25519.pub) ]; }";
      description = ''
        Users that are part of the image, with their public ssh keys: one gets in even if provisioning
        fails. They are in the group `wheel`.
      '';
    };

    sudoWithoutPassword = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether {option}`azure-nixos.image.users` and the user that Azure asks for may use sudo without
        a password: they log in with keys and have none. Other members of `wheel` keep what
        {option}`security.sudo.wheelNeedsPassword` says.
      '';
    };

    growPartition = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether partition and file system of `/` grow to the size of the machine's disk at boot. Turn it
        off where systemd-repart does it.
      '';
    };

    nvme = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the drivers of NVMe disks are loaded in the initrd: `nvme`, and `pci_hyperv` for the bus
        that they are on. Sizes from v6 on have no other disks. An image for them must also be
        registered as able to use them.
      '';
    };

    acceleratedNetworking = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the network devices that accelerated networking adds are left to the kernel, which binds
        them to the one that has the address. Without it a second DHCP client disturbs the network. It
        does no harm on machines that have no such devices.
      '';
    };

    temporaryDisk = {
      mountPoint = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/mnt/resource";
        description = ''
          Where Azure's agent mounts the temporary disk that some sizes have, or `null` for nowhere. The
          agent formats it. What is on it is lost when the machine moves to another host.
        '';
      };

      swapSize = mkOption {
        type = types.ints.unsigned;
        default = 0;
        example = 4 * 1024;
        description = ''
          Size of a swap file on the temporary disk in MiB; 0 is none. The disk in the image is no place
          for swap: it is remote, and its operations are counted.
        '';
      };
    };

    timeSync = mkOption {
      type = types.enum [
        "host"
        "network"
      ];
      default = "host";
      description = ''
        Where the time comes from. `host` is chrony with the clock that Hyper-V offers as a device,
        which is right after a pause too and needs no network. `network` leaves it to NixOS.
      '';
    };
  };

  # nixpkgs before 24.05 mounts the CD-ROM with the settings of a new machine and waits 90 seconds for it at
  # every later boot, when there is none. This reaches the mount only where there is one.
  options.fileSystems = mkOption {
    type = types.attrsOf (
      types.submodule (
        { config, ... }:
        {
          config.options = mkIf (config.device == "/dev/sr0") [
            "nofail"
            "x-systemd.device-timeout=2s"
          ];
        }
      )
    );
  };

  config = mkMerge [
    {
      assertions = [
        {
          assertion = cfg.generation == "v1" || has.generation;
          message = ''
            azure-nixos.image.generation = "v2" needs NixOS 24.11 or later: take a newer nixpkgs, or set it to "v1".
          '';
        }
        {
          assertion = cfg.generation == "v2" || !aarch64;
          message = ''
            Machines with Arm processors are of the second generation only: set azure-nixos.image.generation to "v2".
          '';
        }
        {
          # It makes the file longer when the VHD is finished already: the footer, by which Azure knows
          # the format, is then in the middle.
          assertion = cfg.diskSize != "auto" || !has.additionalSpace;
          message = ''
            azure-nixos.image.diskSize = "auto" makes an image that Azure refuses with this nixpkgs: set it to a number of MiB.
          '';
        }
        {
          assertion = cfg.provisioning != "none" || lib.any withKey (lib.attrValues config.users.users);
          message = ''
            Nobody could log in: azure-nixos.image.provisioning is "none" and no user has an ssh key. Set
            azure-nixos.image.users, for instance { nixos = [ (builtins.readFile ./id_ed25519.pub) ]; }
          '';
        }
        {
          assertion = cfg.provisioning == "none" || config.users.mutableUsers;
          message = ''
            users.mutableUsers = false takes away the user that Azure asks for at the next boot: set
            azure-nixos.image.provisioning to "none" and name the users in azure-nixos.image.users.
          '';
        }
        {
          assertion = cfg.provisioning != "agent" || cfg.agent;
          message = ''
            azure-nixos.image.provisioning = "agent" needs azure-nixos.image.agent = true.
          '';
        }
        {
          assertion =
            cfg.agent || (cfg.temporaryDisk.mountPoint == null && cfg.temporaryDisk.swapSize == 0);
          message = ''
            Azure's agent formats the temporary disk: set azure-nixos.image.agent to true, or leave
            azure-nixos.image.temporaryDisk alone.
          '';
        }
        {
          assertion = cfg.temporaryDisk.swapSize == 0 || cfg.temporaryDisk.mountPoint != null;
          message = ''
            The swap file needs a place: set azure-nixos.image.temporaryDisk.mountPoint, for instance to "/mnt/resource".
          '';
        }
      ];

      boot = {
        # Without them there is no disk. nixpkgs has the same; a system that imports less of it has not.
        initrd.kernelModules = [
          "hv_vmbus"
          "hv_storvsc"
          "hv_netvsc"
          "hv_utils"
        ]
        ++ lib.optionals cfg.nvme [
          "nvme"
          "pci_hyperv"
        ];

        # nixpkgs names the serial port of machines with x86 processors.
        kernelParams =
          optional aarch64 "console=ttyAMA0"
          # Seconds. A disk over the network that is late is not broken; after Linux' 30 it would be given up.
          ++ optional cfg.nvme "nvme_core.io_timeout=240";
        growPartition = switch cfg.growPartition;
      };
      fileSystems."/".autoResize = switch cfg.growPartition;

      # Seconds, as Azure's agent sets them where there is one.
      services.udev.extraRules = ''
        ACTION=="add|change", SUBSYSTEM=="scsi", ATTR{vendor}=="Msft", ATTR{model}=="Virtual Disk", ATTR{timeout}="300"
      '';

      # Azure's users log in with keys. Passwords are what the internet tries all day.
      services.openssh = {
        enable = prefer true;
        settings.PasswordAuthentication = prefer false;
        settings.KbdInteractiveAuthentication = prefer false;
      };

      users.users = lib.mapAttrs (_: keys: {
        isNormalUser = true;
        extraGroups = [
          "wheel"
          admins
        ];
        # A key that was read from a file ends with a newline.
        openssh.authorizedKeys.keys = map (lib.removeSuffix "\n") keys;
      }) cfg.users;
      users.groups.${admins} = { };
    }

    (mkIf cfg.sudoWithoutPassword (
      let
        extraRules = [
          {
            groups = [ admins ];
            commands = [
              {
                command = "ALL";
                options = [ "NOPASSWD" ];
              }
            ];
          }
        ];
      in
      {
        security = {
          sudo = { inherit extraRules; };
        }
        // optionalAttrs has.sudo-rs { sudo-rs = { inherit extraRules; }; };
      }
    ))

    {
      virtualisation =
        if has.diskSize then
          { diskSize = prefer cfg.diskSize; }
        else
          { azureImage.diskSize = prefer cfg.diskSize; };
    }
    (optionalAttrs has.generation { virtualisation.azureImage.vmGeneration = prefer cfg.generation; })
    (optionalAttrs has.baseName { image.baseName = prefer cfg.name; })

    # Who provisions.
    (optionalAttrs has.agentModule {
      services.waagent = {
        enable = switch cfg.agent;
        # Left to itself the agent provisions whenever it finds no cloud-init. "disabled" still tells Azure that
        # the machine is up.
        settings.Provisioning.Agent = prefer (
          {
            cloud-init = "cloud-init";
            agent = "waagent";
            none = "disabled";
          }
          .${cfg.provisioning}
        );
      };
    })
    (optionalAttrs has.agentOption { virtualisation.azure.agent.enable = switch cfg.agent; })
    { services.cloud-init.enable = switch cloudInit; }
    (mkIf cloudInit {
      services.cloud-init = {
        network.enable = prefer true;
        settings = {
          # Others are asked over the network, and waited for.
          datasource_list = prefer [ "Azure" ];

          # nixpkgs names root alone. Then the user that Azure asks for is not made, and its key is
          # given to root. The name here is replaced by the one that Azure asks for. There is no `sudo`:
          # cloud-init would write into /etc/sudoers, which is NixOS'.
          users = prefer [ "default" ];
          system_info = {
            distro = prefer "nixos";
            network.renderers = prefer [ "networkd" ];
            default_user = {
              name = prefer "azureuser";
              gecos = prefer "Administrator";
              groups = prefer [
                "wheel"
                admins
              ];
              shell = prefer "/run/current-system/sw/bin/bash";
              lock_passwd = prefer true;
            };
          };
          disable_root = prefer true;

          # A name that the configuration gives is NixOS' to write.
          preserve_hostname = prefer (config.networking.hostName != "");

          # `ssh` before sshd starts: in nixpkgs' order host keys change under a running sshd, and a login that
          # comes early finds no key. What NixOS does itself is left out: growing the disk, certificates,
          # resolv.conf.
          cloud_init_modules = prefer [
            "seed_random"
            "bootcmd"
            "write-files"
            "update_hostname"
            "users-groups"
            "ssh"
          ];
          # Without `set-passwords`, which writes into sshd's configuration, and without `disk_setup` and
          # `mounts`, which write into /etc/fstab: both are in the store, and the failure is tried again for ever.
          cloud_config_modules = prefer [
            "ssh-import-id"
            "runcmd"
          ];
        };
      };
    })
    (mkIf (!cloudInit) {
      # nixpkgs gives this unit a setting whether or not there is a cloud-init, and so makes one without a command.
      systemd.services.cloud-config.enable = prefer false;
    })

    (mkIf cfg.reportReady {
      systemd.services.azure-report-ready = {
        description = "Tell Azure that this machine is up";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        after = [
          "network-online.target"
          "sshd.service"
        ];
        # Elsewhere nobody would answer.
        unitConfig.ConditionVirtualization = "microsoft";
        path = [ pkgs.curl ];
        script = builtins.readFile ./report-ready.sh;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          DynamicUser = true;
          Restart = "on-failure";
          RestartSec = 10;
        };
      };
    })

    # The temporary disk.
    (optionalAttrs has.agentModule {
      services.waagent.settings.ResourceDisk = mkIf (cfg.temporaryDisk.mountPoint != null) {
        Format = true;
        MountPoint = cfg.temporaryDisk.mountPoint;
        EnableSwap = cfg.temporaryDisk.swapSize != 0;
        SwapSizeMB = cfg.temporaryDisk.swapSize;
      };
    })
    (optionalAttrs has.agentOption {
      # The place is fixed there, and so is that there is no swap.
      virtualisation.azure.agent.mountResourceDisk = prefer (cfg.temporaryDisk.mountPoint != null);
      assertions = [
        {
          # What the agent is told is fixed there too.
          assertion =
            cfg.provisioning != "agent"
            || !lib.hasInfix "Provisioning.Agent=disabled" (config.environment.etc."waagent.conf".text or "");
          message = ''
            Azure's agent makes no users with this nixpkgs: set azure-nixos.image.provisioning to "cloud-init", or take NixOS 25.05 or later.
          '';
        }
        {
          assertion =
            cfg.temporaryDisk.swapSize == 0
            && lib.elem cfg.temporaryDisk.mountPoint [
              null
              "/mnt/resource"
            ];
          message = ''
            azure-nixos.image.temporaryDisk is "/mnt/resource" without swap before NixOS 25.05: set it so, or take a newer nixpkgs.
          '';
        }
      ];
    })

    # The network. cloud-init writes its settings for systemd-networkd, and so are those below.
    { networking.useNetworkd = prefer true; }
    (optionalAttrs has.acceleratedNetworking {
      virtualisation.azure.acceleratedNetworking = prefer cfg.acceleratedNetworking;
    })
    (mkIf cfg.acceleratedNetworking {
      # nixpkgs names the drivers of Mellanox alone, and before 24.11 none.
      systemd.network.networks."98-azure-accelerated" = {
        matchConfig.Driver = [
          "mana"
          "mlx4_en"
          "mlx4_core"
          "mlx5_core"
        ];
        linkConfig.Unmanaged = "yes";
      };
    })

    (mkIf (cfg.timeSync == "host") {
      services.chrony = {
        enable = prefer true;
        # The clock's device is udev's name for the one of Hyper-V. Steps, because a machine that was paused is
        # far off and no program has seen the time in between.
        extraConfig = ''
          refclock PHC /dev/ptp_hyperv poll 3 dpoll -2 offset 0 stratum 2
          makestep 1.0 -1
        '';
      };
      # chrony does not start without the device; elsewhere, as on a local machine, it would only fail.
      systemd.services.chronyd.unitConfig.ConditionVirtualization = prefer "microsoft";
    })
  ];
}
