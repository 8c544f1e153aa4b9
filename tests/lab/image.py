"""Builds the disk that all guests boot from: Debian 13 with servers, clients and what the agent needs. Cached by the recipe's content.

``python -m tests.lab.image`` builds it and says where it lies. Takes root, debootstrap and mke2fs; some minutes and 2 GiB the first time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RELEASE: Final = "trixie"
PACKAGES: Final = (
    # a machine
    "linux-image-amd64", "systemd-sysv", "udev", "kmod", "dbus", "procps", "iproute2", "iputils-ping", "nftables",
    "qemu-guest-agent", "initramfs-tools",
    # the storage's side
    "nfs-kernel-server", "targetcli-fb", "dnsmasq-base",
    # a node's side
    "nfs-common", "open-iscsi", "multipath-tools", "lvm2", "sg3-utils",
    # the agent's libraries
    "python3", "python3-zmq", "python3-msgpack", "python3-systemd", "python3-pyinotify", "python3-pyasyncore", "python3-pydantic",
    "python3-structlog",
)  # fmt: skip
TOOLS: Final = {"debootstrap": "debootstrap", "mke2fs": "e2fsprogs", "qemu-system-x86_64": "qemu-system-x86"}
"""Programs of the host that the lab needs, and the Debian packages that have them."""
_SIZE: Final = "3G"
_SCRIPT: Final = r"""#!/bin/sh
set -eu
export DEBIAN_FRONTEND=noninteractive
mount -t proc proc /proc
printf 'APT::Install-Recommends "false";\n' > /etc/apt/apt.conf.d/lab
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
apt-get update -q
apt-get install -y -q lz4 @PACKAGES@
rm /usr/sbin/policy-rc.d
passwd -d root >/dev/null
echo lab > /etc/hostname
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
rm -f /etc/machine-id; touch /etc/machine-id
# Only what a guest boots from is in the initial file system: emulated machines unpack it slowly.
printf 'MODULES=list\nCOMPRESS=lz4\n' > /etc/initramfs-tools/conf.d/lab
printf 'virtio_pci\nvirtio_blk\next4\n' >> /etc/initramfs-tools/modules
update-initramfs -u -k all >/dev/null
mkdir -p /var/log/journal /etc/systemd/journald.conf.d /lab
printf '[Journal]\nStorage=persistent\nSystemMaxUse=64M\nRateLimitIntervalSec=0\n' > /etc/systemd/journald.conf.d/lab.conf
printf 'virtio_console\nvirtio_net\n9p\n9pnet_virtio\n' > /etc/modules-load.d/lab.conf
printf '/dev/vda / ext4 noatime 0 1\nshare /lab 9p trans=virtio,version=9p2000.L,msize=262144,nofail 0 0\n' > /etc/fstab
cat > /etc/udev/rules.d/70-lab.rules <<'RULES'
SUBSYSTEM=="net", ACTION=="add", ATTR{address}=="52:54:00:*", NAME="mgmt"
SUBSYSTEM=="net", ACTION=="add", ATTR{address}=="52:54:01:*", NAME="stor1"
SUBSYSTEM=="net", ACTION=="add", ATTR{address}=="52:54:02:*", NAME="stor2"
RULES
# What a scenario needs it starts itself; what nobody needs would only make the boot longer.
for unit in iscsid.service iscsid.socket open-iscsi.service multipathd.service multipathd.socket nfs-server.service rpcbind.socket \
            rpcbind.service nfs-blkmap.service rpc-statd.service lvm2-monitor.service nftables.service \
            rtslib-fb-targetctl.service; do
  systemctl disable "$unit" >/dev/null 2>&1 || true
done
for unit in getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
            e2scrub_all.timer e2scrub_reap.service systemd-timesyncd.service man-db.timer systemd-binfmt.service \
            systemd-networkd.service systemd-networkd-wait-online.service systemd-firstboot.service systemd-pcrphase.service \
            systemd-tpm2-setup.service systemd-tpm2-setup-early.service networking.service; do
  systemctl mask "$unit" >/dev/null 2>&1 || true
done
systemctl set-default multi-user.target >/dev/null 2>&1
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A disk with its kernel and initial file system. The disk is never written to: each guest has a layer of its own above it."""

    disk: Path
    kernel: Path
    initrd: Path


class LabError(Exception):
    """The laboratory cannot do what it was asked."""


def missing() -> list[str]:
    """Return what this host lacks: Debian packages, root."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    packages = sorted(package for tool, package in TOOLS.items() if shutil.which(tool, path=path) is None)
    return packages if os.geteuid() == 0 else [*packages, "root"]


def default_cache() -> Path:
    """Return where images are kept: ``FAULTLINE_LAB_CACHE``, else a directory of the user's cache."""
    named = os.environ.get("FAULTLINE_LAB_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "faultline-lab"


def build(cache: Path | None = None) -> Image:
    """Return the image, built when the recipe changed.

    :raises LabError: without root or the tools, or when a step fails; the text names the log.
    """
    cache = cache or default_cache()
    recipe = hashlib.sha256("\n".join((RELEASE, _SIZE, _SCRIPT, *PACKAGES)).encode()).hexdigest()[:16]
    image = Image(*(cache / f"{recipe}.{part}" for part in ("img", "vmlinuz", "initrd")))
    if image.disk.exists():
        return image
    if lacking := missing():
        raise LabError(f"building the lab's image takes {', '.join(lacking)}")
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"{recipe}.root"
    shutil.rmtree(root, ignore_errors=True)
    try:
        _build(root, image, cache / f"{recipe}.log")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return image


def _build(root: Path, image: Image, log: Path) -> None:
    mirror = [one] if (one := os.environ.get("FAULTLINE_LAB_MIRROR")) else []
    with log.open("wb") as out:
        _do(out, log, "debootstrap", "--variant=minbase", RELEASE, str(root), *mirror)
        (root / "recipe.sh").write_text(_SCRIPT.replace("@PACKAGES@", " ".join(PACKAGES)))
        _do(out, log, "unshare", "--mount", "chroot", str(root), "sh", "/recipe.sh")
        (root / "recipe.sh").unlink()
        for file, name in ((image.kernel, "vmlinuz-*"), (image.initrd, "initrd.img-*")):
            shutil.copyfile(max((root / "boot").glob(name)), file)
        partial = image.disk.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        _do(out, log, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(root), str(partial), _SIZE)
        partial.rename(image.disk)  # last: an image that is there is whole


def _do(out: object, log: Path, *command: str) -> None:
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, env=environment)  # type: ignore[call-overload]
    if done.returncode:
        raise LabError(f"{command[0]} failed with {done.returncode}; see {log}")


if __name__ == "__main__":
    try:
        print(build().disk)
    except LabError as error:
        sys.exit(f"lab: {error}")
