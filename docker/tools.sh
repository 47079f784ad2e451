#!/bin/sh
# What tests/docker/test_images.py needs on a Debian machine: root's apt, and ARM programs
# that the kernel hands to QEMU in every root directory (the F flag in binfmt_misc).
set -eu

if [ "$(id -u)" != 0 ]; then
    echo "docker/tools.sh: error: only root can install packages and register QEMU." >&2
    exit 1
fi

have() { command -v "$1" >/dev/null; }
if ! { have buildah && have mmdebstrap && have arch-test && have qemu-arm-static; }; then
    apt-get update --quiet
    apt-get install --yes --quiet --no-install-recommends \
        arch-test buildah mmdebstrap qemu-user-static
fi

binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
# Where systemd runs, the package has registered them already.
for name in qemu-aarch64 qemu-arm; do
    [ -e $binfmt/$name ] || tr -d '\n' </usr/lib/binfmt.d/$name.conf >$binfmt/register
done
