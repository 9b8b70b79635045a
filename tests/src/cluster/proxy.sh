#!/bin/sh -eu
# kube-proxy of the node on which this runs: proxy start|stop. It leaves the table of connections as large as it is, which
# belongs to the whole machine.
case $1 in
start)
    name=$(hostname)
    kube-proxy --kubeconfig="$KUBECONFIG" --hostname-override="$name" --cluster-cidr=10.244.0.0/16 --proxy-mode=iptables \
        --conntrack-max-per-core=0 --conntrack-min=0 --conntrack-tcp-timeout-established=0s \
        --conntrack-tcp-timeout-close-wait=0s --iptables-min-sync-period=200ms >"$RUN/$name.proxy.log" 2>&1 </dev/null &
    echo $! >/run/kube-proxy.pid
    ;;
stop)
    pid=$(cat /run/kube-proxy.pid)
    kill "$pid"
    # One that ended and was not waited for yet has no executable any more.
    while readlink "/proc/$pid/exe" >/dev/null; do sleep 0.05; done
    ;;
esac
