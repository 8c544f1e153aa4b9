#!/bin/sh
# Copy what the agent's `host` source reads of this node: record.sh DIRECTORY
#
# The copy can be read with `faultline check --pve COPY-OF-ETC-PVE --node NAME=DIRECTORY`. Run it as root: open-iscsi's and LVM's
# files are readable for nobody else. It opens no device and no mount point, so it ends on a node whose storage is dead.
# Left out: every line of open-iscsi's records but node.startup (CHAP secrets stand beside it), and in fstab and mountinfo the
# values of options that are named like a secret. Look through the directory before you publish it: it holds names and addresses.
set -eu

fail() {
  echo "record: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: record.sh DIRECTORY"
[ ! -e "$1" ] || fail "$1 is already here: a recording is never replaced"
mkdir -p "$1"
to=$(cd "$1" && pwd)

# put FILE [COMMAND ...]: the file, or what the command makes of it, to the same place in the copy. What cannot be read is left out.
put() {
  [ -f "$1" ] || return 0
  from=$1
  shift
  [ $# -gt 0 ] || set -- cat
  mkdir -p "$to$(dirname "$from")"
  "$@" <"$from" >"$to$from" 2>/dev/null || [ -s "$to$from" ] || rm -f "$to$from"
}

without_secrets() {
  sed -E 's/(^|[ \t,])([^ \t,=]*(pass|pwd|secret|key|token|cred)[^ \t,=]*)=[^ \t,]*/\1\2=/g; s#://[^/@ \t]*@#://#g; s/(user(name)?=[^ \t,%:]*)[%:][^ \t,]*/\1/g'
}

put /etc/fstab without_secrets
put /proc/self/mountinfo without_secrets
for file in /proc/net/route /proc/net/ipv6_route /proc/net/if_inet6 /etc/iscsi/initiatorname.iscsi /etc/lvm/backup/* /run/lvm/pvs_online/* \
  /sys/fs/cgroup/system.slice/multipathd.service/cgroup.events; do
  put "$file"
done
mkdir -p "$to/sys/fs/cgroup/system.slice"
ip -json addr >"$to/ip-addr.json"
ip -json route show table main >"$to/ip-route.json"

for directory in /etc/iscsi/nodes /var/lib/iscsi/nodes; do
  [ -d "$directory" ] || continue
  find "$directory" -type f | while read -r file; do put "$file" grep '^node\.startup *='; done
done

for file in /sys/class/net/*/mtu /sys/class/net/*/speed /sys/class/net/*/operstate \
  /sys/class/iscsi_session/session*/targetname /sys/class/iscsi_session/session*/initiatorname /sys/class/iscsi_session/session*/state \
  /sys/class/iscsi_connection/connection*/persistent_address /sys/class/iscsi_connection/connection*/persistent_port \
  /sys/class/iscsi_session/session*/device/target*/*/wwid /sys/class/iscsi_session/session*/device/target*/*/state \
  /sys/class/iscsi_session/session*/device/target*/*/block/*/dev \
  /sys/class/fc_transport/target*/device/*/wwid /sys/class/fc_transport/target*/device/*/state \
  /sys/class/fc_transport/target*/device/*/block/*/dev \
  /sys/class/block/*/dev /sys/class/block/*/dm/name /sys/class/block/*/dm/uuid \
  /sys/class/block/*/slaves/*/dev /sys/class/block/*/slaves/*/device/state /sys/class/block/*/slaves/*/device/wwid; do
  put "$file"
done

# The names that udev gives to block devices, and nothing else of what it knows.
for file in /run/udev/data/b*; do put "$file" grep -E '^E:(ID_SERIAL|ID_FS_TYPE|ID_FS_UUID|LVM_VG_NAME_COMPLETE|LVM_VG_NAME_INCOMPLETE)='; done

echo "record: $(find "$to" -type f | wc -l) files in $1"
