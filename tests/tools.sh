# shellcheck shell=bash
# The programs that the tests and checks need beyond Rust: finding them, and installing them where that
# is possible without asking. Sourced by tests/run and .ci/run; prints to stderr only.
#
# What Debian packages comes from apt-get. The rest goes into one directory outside of the tree, named
# with its version, so that a second run finds it and a new version never meets an old one.

TOOLS="${AZURE_NIXOS_TEST_TOOLS:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/azure-nixos/tools}"

# Azurite 3.37.0 is the first that checks x-ms-content-crc64 on a page; older ones ignore or refuse it.
AZURITE=3.37.0
# The oldest Node.js that this Azurite supports, and the build taken where the machine's own is older.
AZURITE_NODE_MAJOR=22
AZURITE_NODE=22.23.3
# Azurite's own dependencies are open ranges. This day closes them: nothing younger is taken.
NPM_DAY=2026-11-20

# az and Microsoft's SDKs for Python: tests/python.txt names all that they need, with digests.
AZURE_CLI=2.91.0
AZCOPY=10.32.2
# Of the program for x86-64, the only one in the package.
AZCOPY_SHA256=1ab08986f144ff190d68eaf6715a8d4818aae500212b0eca5a70d2f85bbc6b0f

NEXTEST=0.9.148
CARGO_DENY=0.20.2
CARGO_FUZZ=0.13.2

# mke2fs is in a directory that the PATH of a plain user leaves out.
PATH="$TOOLS/bin:$PATH:/usr/sbin:/sbin"
export PATH

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# The version that Cargo.toml asks for is the one place that names it.
require_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    [ -n "$wanted" ] || die "Cargo.toml names no rust-version"
    if ! has cargo || ! has rustc; then
        die "Rust is missing: install Rust $wanted or newer (usually with rustup)"
    fi
    have=$(rustc --version | cut -d' ' -f2 | cut -d- -f1)
    if [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n1)" != "$wanted" ]; then
        die "Rust $have is too old: this needs $wanted or newer (usually: rustup update stable)"
    fi
}

# Runs a command as root, or fails without asking for a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_install_packages() {
    has apt-get && { [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }; }
}

# Debian's openssh-server starts a server for everybody, now and at each start. The tests start one of their
# own, so the service is masked before it is there: whoever wants it says `systemctl unmask ssh`.
without_ssh_service() {
    local unit
    as_root mkdir -p /etc/systemd/system || return 1
    for unit in ssh.service ssh.socket; do
        [ -e "/etc/systemd/system/$unit" ] || [ -L "/etc/systemd/system/$unit" ] ||
            as_root ln -s /dev/null "/etc/systemd/system/$unit" || return 1
    done
    # What starts services without systemd asks this program, and takes 101 for no.
    [ -e /usr/sbin/policy-rc.d ] || {
        printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null &&
            as_root chmod +x /usr/sbin/policy-rc.d && policy_is_ours=yes
    }
}

# install_packages PACKAGE...: from Debian or Ubuntu. The callers look again for what they need.
install_packages() {
    can_install_packages || return 0
    local package policy_is_ours='' wanted=()
    for package in "$@"; do
        if [ "$package" = openssh-server ] && ! without_ssh_service; then
            say "openssh-server is left out: its service could not be kept from starting"
        else
            wanted+=("$package")
        fi
    done
    [ ${#wanted[@]} != 0 ] || return 0
    set -- "${wanted[@]}"
    say "installing: $*"
    as_root apt-get -qq update >&2 || say "the package lists could not be renewed; trying with the old ones"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >&2 ||
        say "apt-get could not install: $*"
    [ -z "$policy_is_ours" ] || as_root rm -f /usr/sbin/policy-rc.d
}

# require_command COMMAND PACKAGE...: something that nothing works without.
require_command() {
    local command=$1
    shift
    has "$command" || install_packages "$@"
    has "$command" || die "$command is missing: install $* (Debian's names) and try again"
}

# put_in_place FROM TO: two runs at once may both have built it; the first one stays.
put_in_place() {
    mkdir -p "$(dirname "$2")"
    mv -T "$1" "$2" 2>/dev/null || { [ -e "$2" ] && rm -rf "$1"; }
}

# cargo_tool NAME VERSION: from a wheel that carries the built program (seconds), else compiled (minutes).
cargo_tool() {
    local name=$1 version=$2 home="$TOOLS/$1-$2" new
    if [ ! -x "$home/bin/$name" ]; then
        mkdir -p "$TOOLS"
        new=$(mktemp -d "$TOOLS/.new.XXXXXX")
        say "installing $name $version"
        if ! wheel "$name" "$new"; then
            say "no built $name for this machine: compiling it, which takes some minutes"
            # What matters is how soon it is there, not how fast it runs.
            CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
                cargo install --quiet --locked --root "$new" "$name@$version" >&2 || {
                rm -rf "$new"
                die "$name $version could not be installed: cargo install --locked $name"
            }
        fi
        put_in_place "$new" "$home"
    fi
    mkdir -p "$TOOLS/bin"
    ln -sfn "$home/bin/$name" "$TOOLS/bin/$name"
}

# wheel NAME DIR: only what tests/wheels.txt names by its digest.
wheel() {
    local wanted status
    python3 -m pip --version >/dev/null 2>&1 || return 1
    wanted=$(mktemp) || return 1
    grep "^astral-dev-toolchain-$1==" tests/wheels.txt >"$wanted"
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --target "$2" --requirement "$wanted" >&2
    status=$?
    rm -f "$wanted"
    [ $status = 0 ] && "$2/bin/$1" --version >/dev/null 2>&1
}

require_nextest() {
    # Any nextest will do that knows what .config/nextest.toml says; it tells by itself if it does not.
    has cargo-nextest || cargo_tool cargo-nextest "$NEXTEST"
}

require_cargo_deny() { cargo_tool cargo-deny "$CARGO_DENY"; }

require_cargo_fuzz() { cargo_tool cargo-fuzz "$CARGO_FUZZ"; }

node_major() { "$1" --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/'; }

npm_install() {
    # No install scripts: nothing here needs one, and they would run with our rights.
    npm install --prefix "$1" --no-audit --no-fund --ignore-scripts --no-save --loglevel=error \
        --before="$NPM_DAY" "$2" >/dev/null
}

# Puts azurite-blob into $TOOLS/bin, with the Node.js it needs. Fails, saying why, where it cannot.
install_azurite() {
    local home="$TOOLS/azurite-$AZURITE" node new machine
    node=$(command -v node || true)
    if [ -z "$node" ] || [ "$(node_major "$node")" -lt "$AZURITE_NODE_MAJOR" ]; then
        case "$(uname -sm)" in
            "Linux x86_64") machine=linux-x64 ;;
            "Linux aarch64") machine=linux-arm64 ;;
            *)
                say "Azurite needs Node.js $AZURITE_NODE_MAJOR or newer"
                return 1
                ;;
        esac
        node="$TOOLS/node-$AZURITE_NODE/node_modules/node-$machine/bin/node"
    fi
    mkdir -p "$TOOLS/bin"
    if [ ! -x "$node" ]; then
        say "installing Node.js $AZURITE_NODE"
        new=$(mktemp -d "$TOOLS/.new.XXXXXX")
        npm_install "$new" "node-$machine@$AZURITE_NODE" || { rm -rf "$new"; return 1; }
        put_in_place "$new" "$TOOLS/node-$AZURITE_NODE"
    fi
    if [ ! -e "$home/node_modules/azurite/package.json" ]; then
        say "installing Azurite $AZURITE"
        new=$(mktemp -d "$TOOLS/.new.XXXXXX")
        npm_install "$new" "azurite@$AZURITE" || { rm -rf "$new"; return 1; }
        put_in_place "$new" "$home"
    fi
    # exec: a test that ends this process ends the server.
    in_tools azurite-blob <<EOF
#!/bin/sh
exec "$node" "$home/node_modules/.bin/azurite-blob" "\$@"
EOF
}

# Puts az, and azure-python with the SDKs, into $TOOLS/bin. Fails, saying why, where it cannot.
install_az() {
    local python version home new
    # The interpreter itself: what is first on the PATH may be a script that chooses one.
    if ! python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null) ||
        ! version=$("$python" -c 'import sys; assert sys.version_info >= (3, 10); print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
        say "az needs Python 3.10 or newer"
        return 1
    fi
    # Parts of it are built for one version of Python.
    home="$TOOLS/az-$AZURE_CLI-$(cksum tests/python.txt | cut -d' ' -f1)-python$version"
    if [ ! -e "$home/azure/cli/__main__.py" ]; then
        "$python" -m pip --version >/dev/null 2>&1 || {
            say "az needs pip"
            return 1
        }
        say "installing az $AZURE_CLI and the SDKs for Python, which takes a minute"
        mkdir -p "$TOOLS"
        new=$(mktemp -d "$TOOLS/.new.XXXXXX")
        PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --no-deps \
            --only-binary :all: --require-hashes --target "$new" --requirement tests/python.txt >&2 || {
            rm -rf "$new"
            return 1
        }
        put_in_place "$new" "$home"
    fi
    in_tools az <<EOF
#!/bin/sh
# -s: nothing of the user's own packages. exec: a test that ends this process ends az.
PYTHONPATH="$home" AZ_INSTALLER=PIP exec "$python" -s -m azure.cli "\$@"
EOF
    in_tools azure-python <<EOF
#!/bin/sh
PYTHONPATH="$home" exec "$python" -s "\$@"
EOF
}

# Puts azcopy into $TOOLS/bin. Fails, saying why, where it cannot.
install_azcopy() {
    local home="$TOOLS/azcopy-$AZCOPY" new program
    if [ "$(uname -sm)" != "Linux x86_64" ]; then
        say "AzCopy's package has a program for Linux on x86-64 only"
        return 1
    fi
    if [ ! -x "$home/azcopy" ]; then
        say "installing AzCopy $AZCOPY"
        mkdir -p "$TOOLS"
        new=$(mktemp -d "$TOOLS/.new.XXXXXX")
        program="$new/node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64"
        if ! npm_install "$new" "@azure-tools/azcopy-linux@$AZCOPY" ||
            ! printf '%s  %s\n' "$AZCOPY_SHA256" "$program" | sha256sum --check --quiet >&2; then
            rm -rf "$new"
            return 1
        fi
        # The package forgets the right to run it.
        chmod +x "$program"
        ln -s "${program#"$new/"}" "$new/azcopy"
        put_in_place "$new" "$home"
    fi
    # It does not start without the library, which an older run may have had.
    "$home/azcopy" --version >/dev/null || return 1
    mkdir -p "$TOOLS/bin"
    ln -sfn "$home/azcopy" "$TOOLS/bin/azcopy"
}

# in_tools NAME: a script from standard input, in place at once, since others may be running it.
in_tools() {
    local new="$TOOLS/bin/.$1.$$"
    mkdir -p "$TOOLS/bin"
    cat >"$new"
    chmod +x "$new"
    mv -f "$new" "$TOOLS/bin/$1"
}
