# Builds the programs of Kubernetes from Debian's source with Debian's Go: build.sh SOURCE GO CACHE BIN. Nothing is asked of
# the network: what the source needs is in it. SOURCE has to be src/k8s.io/kubernetes of a folder, which becomes GOPATH.
set -eu
source=$1 go=$2 cache=$3 bin=$4
export GOROOT="$go" GOPATH="${source%/src/k8s.io/kubernetes}" GOCACHE="$cache" GO111MODULE=off CGO_ENABLED=0 GOFLAGS= HOME="$cache"
export PATH="$go/bin:$PATH"
cd "$source"

# The API server wants generated descriptions of all types, which the source package does not have. They are made by the
# source's own generator of all packages that are marked for it.
generated=pkg/generated/openapi/zz_generated.openapi.go
if [ ! -s "$generated" ]; then
    go build -o "$bin/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    inputs=$(grep --recursive --files-with-matches --include='*.go' --fixed-strings '+k8s:openapi-gen=true' staging/src pkg cmd |
        xargs -n1 dirname | sort -u | grep -v -e /testdata -e sample- |
        sed -e 's,^staging/src/,k8s.io/kubernetes/vendor/,' -e 's,^\(pkg\|cmd\)/,k8s.io/kubernetes/\1/,' | paste -sd,)
    "$bin/openapi-gen" --go-header-file hack/boilerplate/boilerplate.generatego.txt --input-dirs "$inputs" \
        --output-file-base zz_generated.openapi --output-package k8s.io/kubernetes/pkg/generated/openapi \
        --report-filename "$cache/violations"
fi

# What the nodes tell as their version: as the build of Debian's package has it.
version=$(sed -n '1s/.*really\([0-9.]*\)-.*/\1/p' debian/changelog)
names=k8s.io/kubernetes/vendor/k8s.io/component-base/version
major=${version%%.*} rest=${version#*.}
go build -p 2 -o "$bin/" -ldflags "-s -w -X $names.gitVersion=v$version -X $names.gitMajor=$major -X $names.gitMinor=${rest%%.*}" \
    ./cmd/kube-apiserver ./cmd/kube-controller-manager ./cmd/kube-scheduler ./cmd/kubelet ./cmd/kube-proxy ./cmd/kubectl
