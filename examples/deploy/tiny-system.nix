# A system that is small enough to be built anywhere and at once: what a NixOS system is to whoever deploys
# it, a directory with the script that switches to it. `greeting` stands for a configuration.
#
# It writes its greeting where STATE says, as the script of NixOS restarts services.
{ greeting ? "hello" }:
derivation {
  name = "tiny-system";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  PATH = "/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin";
  inherit greeting;
  args = [
    "-ec"
    ''
      mkdir -p "$out/bin"
      echo "$greeting" > "$out/greeting"
      {
        echo '#!/bin/sh'
        echo "echo \"\$1 to $greeting\""
        echo "cp $out/greeting \"\$STATE/greeting\""
      } > "$out/bin/switch-to-configuration"
      chmod +x "$out/bin/switch-to-configuration"
    ''
  ];
}
