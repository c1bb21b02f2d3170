# Applied to a host's name and a flake's nixosConfigurations: which image does the host offer?
# Only the names of attributes are looked at; no image is evaluated.
name: hosts:
let
  some = names:
    if builtins.length names > 24 then builtins.genList (builtins.elemAt names) 24 ++ [ "…" ] else names;
  build = hosts.${name}.config.system.build or { };
  # `images` may be declared and not defined, see resolve.nix.
  ask = question: let t = builtins.seq build (builtins.tryEval question); in t.success && t.value;
  variants = if ask (builtins.isAttrs (build.images or null)) then builtins.attrNames build.images else [ ];
in
if !(hosts ? ${name}) then { kind = "unknown"; names = some (builtins.attrNames hosts); }
else if ask (build ? images.azure) then { kind = "image"; names = [ "images" "azure" ]; }
else if build ? azureImage then { kind = "image"; names = [ "azureImage" ]; }
else { kind = "none"; names = some variants; }
