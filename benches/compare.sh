#!/usr/bin/env bash
# The uploader beside AzCopy, the Python SDK and a bare client, on one server, over several links; the formats
# beside qemu-img.
set -euo pipefail

usage() {
    cat <<'END'
benches/compare.sh [-n ROUNDS] [-t SECONDS] [PART or FILE]...

Uploads the same files with azure-nixos, AzCopy and Microsoft's SDK for Python to a local Azure, compares
what arrived byte for byte, and prints two tables in Markdown: what each took, and the goals.

  fast    an ext4 of 8 GiB with holes and without, 2 GiB of noise, 1 TiB with 64 MiB of data
  convert the same files but the last into a fixed VHD, beside qemu-img; also on a tmpfs and, as root, on a Btrfs of
          its own, where files can share blocks
  qcow2   the first as qcow2, plain and with zlib, onto a disk, beside qemu-img and AzCopy one after the other
  inspect disks of up to 32 TiB: time and memory
  links   60 MiB/s with 20 ms, 1 % of connections reset, 5 % answered with 503
  slow    2 Mbit/s with 80 ms, all clients at once
  kill    kill -9 at random moments, and what is sent again
  FILE    a file of yours, on the fast link
  nothing: all but the last, about 40 minutes on two processors

  -n ROUNDS    rounds, of which the medians are shown (default 3); the clients take turns in each, and
               one that takes longer than 30 s has one round
  -t SECONDS   after which a client is ended, and is shown as "> SECONDS" (default 120)
  -h           this text

The files are in TMPDIR or /tmp, up to 11 GiB of them at a time. The local Azure keeps what arrives, up to
2 GiB, in /dev/shm if there is room, else with the files. What is converted on a tmpfs is there too, up to
2 GiB; without the room for it those rows are left out. All of it is taken away at the end.
END
}

rounds=3 limit=120
while getopts n:t:h option; do
    case $option in
        n) rounds=$OPTARG ;;
        t) limit=$OPTARG ;;
        h)
            usage
            exit 0
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
done
shift $((OPTIND - 1))
parts=()
for part in "$@"; do
    case $part in
        fast | convert | qcow2 | inspect | links | slow | kill) parts+=("$part") ;;
        *) parts+=("$(realpath -e -- "$part")") ;;
    esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# What is mounted here goes with it, however it ends.
if [ "$(id -u)" = 0 ] && [ -z "${COMPARE_APART:-}" ]; then
    COMPARE_APART=yes exec unshare --mount --propagation private benches/compare.sh -n "$rounds" -t "$limit" "${parts[@]}"
fi
# shellcheck source=tests/tools.sh
. tests/tools.sh

require_rust
require_command mke2fs e2fsprogs
# The name is a word of the shell as well.
[ -n "$(type -P time)" ] || install_packages time
require_command qemu-img qemu-utils
require_command qemu-io qemu-utils
install_az
install_azcopy
measure=(python3 -s -B benches/compare/measure.py)
options=(--rounds "$rounds" --limit "$limit")

free() { df --output=avail --block-size=1M -- "$1" | tail -n 1; }

files=$(mktemp -d -t azure-nixos-compare-XXXXXX)
state=
memory=
sharing=
server=
finish() {
    local status=$?
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    [ -z "$sharing" ] || umount "$sharing" || true
    rm -rf "$files" "$state" "$memory"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

{
    read -r for_files
    read -r for_state
} < <("${measure[@]}" room "${options[@]}" --directory "$files" "${parts[@]}")
for part in "${parts[@]}"; do
    # What arrives of a file is at most what it takes on disk, and the zeros of ranges that are not all zero.
    [ ! -f "$part" ] || for_state=$((for_state + 2 * $(du -m -- "$part" | cut -f 1)))
done
if [ "$(free /dev/shm 2>/dev/null || echo 0)" -gt $((for_state + 1024)) ]; then
    state=$(mktemp -d /dev/shm/azure-nixos-compare-XXXXXX)
else
    state="$files/state"
    for_files=$((for_files + for_state))
    mkdir "$state"
fi
converts() { [ $# = 0 ] || [[ " $* " == *" convert "* ]]; }
if converts "${parts[@]}"; then
    for_memory=3072
    case $state in /dev/shm/*) for_memory=$((for_memory + for_state)) ;; esac
    if [ "$(free /dev/shm 2>/dev/null || echo 0)" -gt "$for_memory" ]; then
        memory=$(mktemp -d /dev/shm/azure-nixos-compare-XXXXXX)
    else
        say "/dev/shm has less than $for_memory MiB free: nothing is converted on a tmpfs"
    fi
    has mkfs.btrfs || install_packages btrfs-progs
fi
[ "$(free "$files")" -gt $((for_files + 1024)) ] ||
    die "$(dirname "$files") has $(free "$files") MiB free, and $((for_files + 1024)) MiB are needed (TMPDIR names another place)"

if converts "${parts[@]}"; then
    mkdir "$files/sharing"
    truncate -s 8G "$files/sharing.img"
    if [ -n "${COMPARE_APART:-}" ] && has mkfs.btrfs && mkfs.btrfs -q "$files/sharing.img" >&2 &&
        mount -o loop "$files/sharing.img" "$files/sharing"; then
        sharing="$files/sharing"
    else
        say "only root can mount a Btrfs: nothing is converted where blocks are shared"
    fi
fi

say "building"
cargo build --release --quiet --locked -p azure-nixos-cli
cargo build --release --quiet --locked -p azure-nixos-benches --example link --example floor
target=${CARGO_TARGET_DIR:-target}
azure=$(realpath "$target/release/azure-nixos")

"$azure" emulator --state-dir "$state" >"$files/emulator.out" 2>"$files/emulator.err" &
server=$!
environment=
for _ in {1..100}; do
    if environment=$("$azure" emulator env --state-dir "$state" --setup 2>/dev/null); then break; fi
    sleep 0.1
done
[ -n "$environment" ] || die "the local Azure did not start: $(cat "$files/emulator.err")"
eval "$environment" >&2 2>"$files/az.err" || die "az could not log in: $(cat "$files/az.err")"
az group create -n bench -l westus2 -o none
endpoint=$(az storage account create -g bench -n bench -l westus2 --sku Standard_LRS -o tsv --query primaryEndpoints.blob)
connection=$(az storage account show-connection-string -g bench -n bench -o tsv --query connectionString)
az storage container create -n vhds --connection-string "$connection" -o none
sas=$(az storage container generate-sas -n vhds --permissions rcwdl --expiry 2099-01-01 \
    --connection-string "$connection" -o tsv)
address=${endpoint#http://}

export COMPARE_MEMORY=$memory COMPARE_SHARING=$sharing
export COMPARE_STATE=$state COMPARE_BLOB=${address%%/*} COMPARE_SAS=$sas COMPARE_AZURE_NIXOS=$azure
COMPARE_LINK=$(realpath "$target/release/examples/link")
COMPARE_FLOOR=$(realpath "$target/release/examples/floor")
export COMPARE_LINK COMPARE_FLOOR

printf '%s, %s processors, %s, Linux %s, %s\n' "$(date -I)" "$(nproc)" \
    "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)" "load $(cut -d ' ' -f 1 /proc/loadavg)"
printf '%s; %s; azure-storage-blob %s\n' "$("$azure" --version)" "$(azcopy --version)" \
    "$(azure-python -c 'import azure.storage.blob; print(azure.storage.blob.__version__)')"
"${measure[@]}" "${options[@]}" --directory "$files" "${parts[@]}"
