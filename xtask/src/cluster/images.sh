# Makes the images of the cluster, as archives that containerd imports: images.sh FOLDER BUSYBOX POD. One layer for both: what
# a pod's sandbox runs, which only waits, and what the pods run.
folder=$1 busybox=$2 pod=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/www" "$root/etc" "$root/tmp" "$root/proc" "$root/sys" "$root/dev"
cp "$busybox" "$root/bin/busybox"
cp "$pod" "$root/bin/pod"
for name in sh sleep httpd cat echo ping hostname ip netstat kill ps rm date; do ln -s busybox "$root/bin/$name"; done
echo hello >"$root/www/index.html"
echo 'root:x:0:0::/:/bin/sh' >"$root/etc/passwd"
tar -C "$root" --sort=name -cf "$work/layer.tar" .
layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
image() { # NAME COMMAND
    printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Entrypoint":%s,"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"2024-01-01T00:00:00Z"}],"created":"2024-01-01T00:00:00Z"}' \
        "$(dpkg --print-architecture)" "$2" "$layer" >"$work/$1.json"
    printf '[{"Config":"%s.json","RepoTags":["docker.io/library/%s:1"],"Layers":["layer.tar"]}]' "$1" "$1" >"$work/manifest.json"
    tar -C "$work" -cf "$folder/$1.tar" "$1.json" manifest.json layer.tar
}
image pause '["/bin/busybox","sleep","2147483647"]'
image shop '["/bin/sh"]'
