#!/bin/bash
# Boots a root image with its own init, in namespaces of its own. Nothing of this machine can be seen from inside but its kernel
# and six harmless devices; /proc/sys and /sys can only be read; the network is an empty one. Ends when the init ends.
#
#   boot.sh FOLDER CGROUP BOOT_ID [INIT…]     FOLDER is the root; CGROUP a fresh one, which becomes the image's whole tree
#
# As root, on Linux with cgroup v2 (also the unified tree beside v1), with util-linux 2.36 or newer.
set -euo pipefail
root=$1 cgroup=$2 boot_id=$3
shift 3

if [ "$cgroup" != inside ]; then
  echo $$ >"$cgroup/cgroup.procs"
  # A new boot counts its time from zero.
  up=$(cut -d. -f1 /proc/uptime)
  time=(--time "--monotonic=-$up" "--boottime=-$up")
  [ -e /proc/self/ns/time ] || time=()
  # Dies with whoever has started it, and everything inside with it.
  exec setpriv --pdeathsig KILL unshare --fork --kill-child --pid --mount --uts --ipc --net --cgroup "${time[@]}" \
    bash "$0" "$root" inside "$boot_id" "$@"
fi

# From here on we are process 1 of the new namespaces, and change mounts that nobody else has.
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc -o nosuid,noexec,nodev proc "$root/proc"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
echo "$boot_id" >"$root/run/boot_id"
mount --bind "$root/run/boot_id" "$root/proc/sys/kernel/random/boot_id"
for path in sys sysrq-trigger irq bus; do
  [ -e "$root/proc/$path" ] || continue
  mount --rbind "$root/proc/$path" "$root/proc/$path"
  mount -o remount,bind,ro "$root/proc/$path"
done
mount -t sysfs -o ro,nosuid,noexec,nodev sysfs "$root/sys"
mount -t cgroup2 -o nosuid,noexec,nodev cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

# The image's root becomes ours, and the machine's is gone from here.
cd "$root"
pivot_root . mnt
umount -l /mnt
hostname image
never=-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm,-mac_admin,-mac_override,-audit_control
exec /usr/bin/env -i container=image PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin setpriv --bounding-set "$never" "$@"
