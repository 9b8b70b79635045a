#!/bin/busybox sh
# First process of the guest: reaches the root file system of the machine that runs it, read-only below an overlay in
# memory, and goes on there with root.sh. tracer.shared on the kernel's command line is the directory that both can write,
# tracer.image the one with the kernel's modules, tracer.root the root file system where it is not that of the machine itself,
# and tracer.work then a directory of the machine that is in it too.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for module in $($B cat /modules/order); do
    $B insmod "/modules/$module" || echo "guest: cannot load $module"
done
for word in $($B cat /proc/cmdline); do
    case $word in
    tracer.shared=*) shared=${word#*=} ;;
    tracer.image=*) image=${word#*=} ;;
    tracer.root=*) root=${word#*=} ;;
    tracer.work=*) work=${word#*=} ;;
    esac
done
$B mkdir -p /host /memory /new
$B mount -t virtiofs host /host || { echo "guest: no root file system"; $B poweroff -f; }
$B mount -t tmpfs -o size=75% tmpfs /memory
$B mkdir -p /memory/upper /memory/work
$B mount -t overlay -o "lowerdir=/host$root,upperdir=/memory/upper,workdir=/memory/work" overlay /new \
    || { echo "guest: no overlay"; $B poweroff -f; }
if [ -n "$work" ]; then
    $B mkdir -p "/new$work"
    $B mount --bind "/host$work" "/new$work"
    $B mount -o remount,bind,ro "/new$work"
fi
$B mount --bind "/host$shared" "/new$shared"
$B mkdir -p /new/lib/modules /new/boot
$B mount --bind "/host$image/lib/modules" /new/lib/modules
# The kernel loads modules by /sbin/modprobe: busybox's reads the plain modules.dep.
$B rm -f /new/sbin/busybox /new/sbin/modprobe
$B cp /bin/busybox /new/sbin/busybox
printf '#!/sbin/busybox sh\nexec /sbin/busybox modprobe "$@"\n' >/new/sbin/modprobe
$B chmod +x /new/sbin/modprobe
# Where labs look for the kernel's options.
$B cp "/host$image/config" "/new/boot/config-$($B uname -r)"
$B umount /proc /sys
$B mount --move /dev /new/dev
exec $B switch_root -c /dev/console /new "$shared/root.sh" "$shared"
