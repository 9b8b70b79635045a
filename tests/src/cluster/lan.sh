# The first process of the cluster runs this, in its own mount, network and PID namespaces: the network that the nodes share,
# a client outside of them, the control plane, and the nodes. RUN is a folder that the machine sees too; KUBECONFIG, PATH and
# SCRIPTS (where node.sh is) are set; GROUP names the cluster in each hierarchy of control groups.
mount --make-rprivate /
mount -t proc proc /proc
api=172.30.0.1

# What scripts of incidents type.
mkdir -p "$RUN/bin"
for node in 1 2; do
    printf '#!/bin/sh\nexec nsenter -t "$(cat %s)" -m -n -p -u "$@"\n' "$RUN/node$node.pid" >"$RUN/bin/node$node"
done
printf '#!/bin/sh\nexec ip netns exec outside "$@"\n' >"$RUN/bin/outside"
printf '#!/bin/sh\nexec kubectl exec client -- pod ask "$@"\n' >"$RUN/bin/ask"
cp "$SCRIPTS/proxy.sh" "$RUN/bin/proxy"
cp "$SCRIPTS/settled.sh" "$RUN/bin/settled"
chmod 755 "$RUN/bin/"*

ip link set lo up
ip link add br0 type bridge
ip addr add $api/24 dev br0
ip link set br0 up
sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.ipv6.conf.all.disable_ipv6=0
attach() { # NAMESPACE ADDRESS: a cable from there to the bridge
    ip netns add "$1"
    ip link add "to-$1" type veth peer name eth0 netns "$1"
    ip link set "to-$1" master br0 up
    ip -n "$1" addr add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
    ip -n "$1" link set lo up
}
attach outside 172.30.0.100
for node in 1 2; do
    attach node$node 172.30.0.1$node
    ip -n node$node route add default via $api
    # What a cloud would answer: without this the kubelet waits 12 s for it.
    ip -n node$node route add unreachable 169.254.169.254/32
done
ip -n node1 route add 10.244.2.0/24 via 172.30.0.12
ip -n node2 route add 10.244.1.0/24 via 172.30.0.11

openssl genrsa -out "$RUN/sa.key" 2048 2>/dev/null
openssl rsa -in "$RUN/sa.key" -pubout -out "$RUN/sa.pub" 2>/dev/null
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "$token,admin,admin,system:masters" >"$RUN/tokens.csv"
cat >"$KUBECONFIG" <<END
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://$api:6443", insecure-skip-tls-verify: true}}]
users: [{name: lab, user: {token: $token}}]
contexts: [{name: lab, context: {cluster: lab, user: lab, namespace: shop}}]
current-context: lab
END

mkdir /run/etcd
etcd --data-dir /run/etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 >"$RUN/etcd.log" 2>&1 &
kube-apiserver --etcd-servers=http://127.0.0.1:2379 --cert-dir="$RUN/api" --secure-port=6443 --bind-address=0.0.0.0 \
    --advertise-address=$api --token-auth-file="$RUN/tokens.csv" --authorization-mode=AlwaysAllow \
    --service-cluster-ip-range=10.96.0.0/16 --service-account-issuer=https://kubernetes.default.svc \
    --service-account-signing-key-file="$RUN/sa.key" --service-account-key-file="$RUN/sa.pub" \
    --disable-admission-plugins=ServiceAccount --kubelet-preferred-address-types=InternalIP --allow-privileged=true \
    >"$RUN/api.log" 2>&1 &
apiserver=$!
until kubectl get --raw /readyz >/dev/null 2>&1; do
    kill -0 $apiserver || { tail -n 5 "$RUN/api.log"; echo 'the API server ended'; exit 1; }
    sleep 0.2
done
kube-controller-manager --kubeconfig="$KUBECONFIG" --leader-elect=false --service-account-private-key-file="$RUN/sa.key" \
    >"$RUN/controllers.log" 2>&1 &
kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false >"$RUN/scheduler.log" 2>&1 &

for node in 1 2; do
    nsenter --net=/run/netns/node$node unshare -m -p -u --fork --kill-child sh -eu "$SCRIPTS/node.sh" $node \
        >"$RUN/node$node.log" 2>&1 &
    outer=$!
    # unshare's child is the first process of the node.
    until inner=$(awk '{print $1}' "/proc/$outer/task/$outer/children") && [ -n "$inner" ] && [ -e "$RUN/node$node.up" ]; do
        kill -0 $outer || { tail -n 5 "$RUN/node$node.log"; echo "node$node ended"; exit 1; }
        sleep 0.1
    done
    echo "$inner" >"$RUN/node$node.pid"
done
until [ "$(kubectl get nodes 2>/dev/null | grep -c ' Ready')" = 2 ]; do sleep 0.2; done
kubectl apply -f "$SCRIPTS/shop.yaml" >/dev/null
settled
