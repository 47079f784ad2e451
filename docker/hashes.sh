#!/bin/sh
# Writes docker/hashes/ anew: what the images install, in the versions of constraints.txt, with the
# digests of the wheels. `make hashes` calls it with a Python that has uv and fca_edge.
# The digests of torch's CPU build are read only where TORCH_INDEX names its index.
set -eu
python=$1
folder=docker/hashes
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

resolve() { "$python" -m uv pip compile --quiet --python-version 3.11 --no-annotate "$@" >/dev/null; }
# Into a new file: uv keeps the digests of one that is there.
lock() {
    name=$1
    shift
    resolve --universal --only-binary :all: --generate-hashes \
        --custom-compile-command 'make hashes' "$@" --output-file "$work/new.txt"
    mv "$work/new.txt" "$folder/$name.txt"
}

# Debian has these for 32-bit ARM, and PyPI has no such wheels.
for name in numpy pillow psutil scipy; do
    echo "$name; platform_machine not in 'armv7l armv8l'"
done >"$work/debian.txt"
ours="--constraint constraints.txt --overrides $work/debian.txt pyproject.toml"
lock runner $ours

# CUDA, which torch's CPU build does without: all that torch needs on Linux and not on Windows.
grep '^torch==' constraints.txt >"$work/torch.txt"
for system in linux windows; do
    resolve --no-header --python-platform $system --constraint constraints.txt "$work/torch.txt" \
        --output-file "$work/$system.txt"
    sed 's/==.*//' "$work/$system.txt" | LC_ALL=C sort >"$work/$system.names"
done
LC_ALL=C comm -23 "$work/linux.names" "$work/windows.names" >"$work/cuda.txt"
lock exporter $ours --extra export --excludes "$work/cuda.txt" --no-emit-package torch

printf 'pip\nsetuptools\n' >"$work/build.txt"
lock build --constraint constraints.txt "$work/build.txt"
"$python" -c 'from fca_edge.runtimes import OLD_TFLITE
print(*OLD_TFLITE.requirements, sep="\n")' >"$work/tflite.txt"
lock tflite "$work/tflite.txt"

if [ "${TORCH_INDEX:-}" ]; then
    lock torch --no-deps --default-index "$TORCH_INDEX" "$work/torch.txt"
elif ! grep -q "^$(cat "$work/torch.txt")[+]" $folder/torch.txt; then
    echo "docker/hashes.sh: error: $folder/torch.txt is not of $(cat "$work/torch.txt");" \
        "run \`make hashes TORCH_INDEX=https://download.pytorch.org/whl/cpu\`." >&2
    exit 1
fi
