# The first process of a node: node.sh NUMBER. It has mount, PID and UTS namespaces of its own, and the network namespace that
# lan.sh made. What the node's programs write to /run, /var and /etc stays in its own memory; the rest is the machine's.
number=$1
name=node$number
group=$GROUP/$name

mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock /run/overlay
mount -t proc proc /proc
hostname $name
# This node's folder in each hierarchy of control groups. The parents of a cpuset have to have processors first.
for hierarchy in /sys/fs/cgroup/*; do
    mountpoint -q "$hierarchy" && mkdir -p "$hierarchy/$group"
done
for file in cpuset.cpus cpuset.mems; do
    for folder in "$GROUP" "$group"; do
        cat /sys/fs/cgroup/cpuset/$file >"/sys/fs/cgroup/cpuset/$folder/$file"
    done
done
for folder in var etc; do
    mkdir -p /run/overlay/$folder/upper /run/overlay/$folder/work
    mount -t overlay -o lowerdir=/$folder,upperdir=/run/overlay/$folder/upper,workdir=/run/overlay/$folder/work overlay /$folder
done
rm -f /etc/machine-id
echo 0000000000000000000000000000000$number >/etc/machine-id
echo $name >/etc/hostname
# The kubelet wants these settings of the whole machine: it is shown what it wants, and the machine keeps its own.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    shown=/run/shown.$(echo ${setting%=*} | tr / .)
    echo ${setting#*=} >"$shown"
    mount --bind "$shown" /proc/sys/${setting%=*}
done
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1

mkdir -p /etc/cni/net.d
cat >/etc/cni/net.d/10-pods.conflist <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.$number.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
cat >/etc/containerd.toml <<END
version = 2
root = "/run/containerd-root"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$FOLDER/root/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
END
cat >/etc/kubelet.yaml <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$group
failSwapOn: false
resolvConf: ""
syncFrequency: 2s
nodeStatusUpdateFrequency: 2s
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "1Mi"}
enforceNodeAllocatable: ["pods"]
END
containerd -c /etc/containerd.toml >"$RUN/$name.containerd.log" 2>&1 &
ctr() { command ctr -a /run/containerd/containerd.sock -n k8s.io "$@"; }
until ctr version >/dev/null 2>&1; do sleep 0.1; done
for image in pause shop; do ctr images import --snapshotter overlayfs "$FOLDER/images/$image.tar"; done
kubelet --kubeconfig="$KUBECONFIG" --config=/etc/kubelet.yaml --hostname-override=$name --node-ip=172.30.0.1$number \
    --root-dir=/var/lib/kubelet --cert-dir=/var/lib/kubelet/pki --container-runtime=remote \
    --container-runtime-endpoint=unix:///run/containerd/containerd.sock --v=1 >"$RUN/$name.kubelet.log" 2>&1 &
proxy start
touch "$RUN/$name.up"
# The first process gets the orphans of all others; a shell that waits for a child of its own takes those that ended.
while :; do sleep 1; done
