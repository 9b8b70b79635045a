#!/sbin/busybox sh
# Second process of the guest, in the root file system of the machine that runs it: runs DIRECTORY/command by bash and
# leaves its status in DIRECTORY/status. The argument is DIRECTORY.
shared=$1
B=/sbin/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mkdir -p /dev/pts /dev/shm
$B mount -t devpts devpts /dev/pts
$B mount -t tmpfs shm /dev/shm
$B mount -t tmpfs run /run
$B mount -t bpf bpf /sys/fs/bpf
$B mount -t tracefs trace /sys/kernel/tracing
$B mount -t cgroup2 cgroup2 /sys/fs/cgroup
$B mount -t securityfs security /sys/kernel/security
# Opening it loads the module; nobody else makes it here.
$B mkdir -p /dev/net
$B mknod /dev/net/tun c 10 200
$B ln -sf /proc/self/fd /dev/fd
$B ln -sf fd/0 /dev/stdin
$B ln -sf fd/1 /dev/stdout
$B ln -sf fd/2 /dev/stderr
$B ifconfig lo up
# Built into the kernel that labs usually run on: they set its sysctls and do not load it.
$B modprobe br_netfilter
$B hostname guest
# A panic is still told.
echo 1 >/proc/sys/kernel/printk
# Whoever wants statistics for a moment has the kernel patch its own code while it runs, which the emulator does not always
# survive: here they are on all the time.
echo 1 >/proc/sys/kernel/bpf_stats_enabled
$B stty -F /dev/console raw -echo
# Not by busybox: its shell would take its own ip and ping instead of the machine's.
/bin/bash "$shared/command" </dev/null
echo $? >"$shared/status"
$B dmesg >"$shared/dmesg"
$B sync
$B poweroff -f
