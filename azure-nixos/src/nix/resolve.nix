# Finds the one derivation that is the Azure image in whatever a user hands to the tool.
#
#   expression  a thunk of what the file or the expression evaluates to
#   path        the attribute path that was asked for, as a list of names; [ ] for none
#   args        --arg and --argstr; functions get them as `nix-build` would pass them
#
# The result is a set: `image`, and `platform`, the system that the configuration is for, or null.
#
# Only whether an attribute exists is asked on the way; no value is forced that is not on the path
# to the image, so that a variant that does not evaluate cannot fail an image that does.
# Refusals are thrown as JSON between two marks: the caller turns them into sentences.
{ expression, path, args }:
let
  inherit (builtins)
    attrNames elemAt filter foldl' functionArgs intersectAttrs isAttrs isFunction
    isList length toJSON toXML tryEval typeOf;

  last = list: elemAt list (length list - 1);

  refuse = reason: throw "@azure-nixos:${toJSON reason}@azure-nixos";

  # Long lists (all of nixpkgs) help nobody.
  some = names: if length names > 24 then builtins.genList (elemAt names) 24 ++ [ "…" ] else names;

  isDerivation = value: isAttrs value && (value.type or null) == "derivation";

  # There is no builtin that tells `{ ... }:` from `x:`; the XML form of a function does.
  takesSet = function: builtins.match ".*<attrspat[ />].*" (toXML function) != null;
  takesAny = function: builtins.match ".*<attrspat[^>]* ellipsis=.*" (toXML function) != null;

  # What `nix-build` calls automatic arguments.
  call = at: value:
    if isAttrs value && value ? __functor then call at (value.__functor value)
    else if isFunction value && takesSet value then
      let
        wanted = functionArgs value;
        missing = filter (name: !wanted.${name} && !(args ? ${name})) (attrNames wanted);
      in
      if missing != [ ] then refuse { kind = "arguments"; inherit at; names = some missing; }
      else value (if takesAny value then args else intersectAttrs wanted args)
    else value;

  select = state: name:
    let value = call state.at state.value; in
    if isAttrs value && value ? ${name} then { at = state.at ++ [ name ]; value = value.${name}; }
    else refuse {
      kind = "attribute";
      inherit (state) at;
      inherit name;
      type = typeOf value;
      names = if isAttrs value then some (attrNames value) else [ ];
    };

  pick = at: uncalled:
    let
      value = call at uncalled;
      build = value.config.system.build or { };
      # A system that imports azure-image.nix itself declares `images` and leaves it undefined, which
      # throws. `seq` comes first, so that the errors of the configuration are not taken for that.
      ask = question: let t = builtins.seq build (tryEval question); in t.success && t.value;
      variants = if ask (isAttrs (build.images or null)) then attrNames build.images else [ ];
      works = name: let t = tryEval (isDerivation value.${name}); in t.success && t.value;
      derivations = if length (attrNames value) > 24 then [ ] else filter works (attrNames value);
    in
    if isDerivation value then value
    else if isAttrs value && ask (build ? images.azure) then build.images.azure
    else if isAttrs value && build ? azureImage then build.azureImage
    else if isAttrs value && value ? config.system.build then
      refuse { kind = "system"; inherit at; names = some variants; }
    else if isAttrs value && length derivations == 1 then value.${elemAt derivations 0}
    else if isAttrs value then
      refuse { kind = "set"; inherit at; names = some (attrNames value); }
    else if isList value && length value == 1 then pick at (elemAt value 0)
    else if isList value then refuse { kind = "list"; inherit at; count = length value; }
    else refuse { kind = "type"; inherit at; type = typeOf value; };

  states = foldl' (states: name: states ++ [ (select (last states) name) ])
    [ { at = [ ]; value = expression; } ]
    path;
  found = last states;

  # On the way to the image lies the configuration that it is of; newer images also carry it.
  platformOf = state:
    let
      value = call state.at state.value;
      asked = tryEval (
        value.pkgs.stdenv.hostPlatform.system or value.config.nixpkgs.hostPlatform.system
          or value.passthru.config.nixpkgs.hostPlatform.system or null
      );
    in
    if asked.success then asked.value else null;
  platforms = filter (platform: platform != null) (map platformOf states);
in
{
  image = pick found.at found.value;
  platform = if platforms == [ ] then null else last platforms;
}
