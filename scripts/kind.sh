#!/bin/sh
# stemjob in a cluster on this machine: `kind.sh up` makes it, `kind.sh down` removes it. `kind.sh install` is the part
# that needs neither Docker nor kind: any cluster will do that kubectl reaches and that has the three images. With
# TORCH=cpu the runner's image is much smaller and runs on a CPU only.
set -eu
cd "$(dirname "$0")/.."
DOCKER=${DOCKER:-docker} KIND=${KIND:-kind} KUBECTL=${KUBECTL:-kubectl} HELM=${HELM:-helm}
TORCH=${TORCH:-cuda}
CLUSTER=stemjob
EMULATOR=fsouza/fake-gcs-server:1.56.1

need() {
    for program in "$@"; do
        command -v "$program" >/dev/null || { echo "There is no $program on this machine." >&2; exit 1; }
    done
}

create() {
    "$KIND" get clusters | grep -qx "$CLUSTER" || "$KIND" create cluster --config kind-config.yaml --wait 3m
    "$KUBECTL" config use-context "kind-$CLUSTER"
}

build_and_load() {
    "$DOCKER" build --file Dockerfile.api --tag stemjob-api:dev .
    "$DOCKER" build --file Dockerfile.runner --build-arg TORCH="$TORCH" --tag stemjob-runner:dev .
    "$DOCKER" pull "$EMULATOR"
    "$KIND" load docker-image --name "$CLUSTER" stemjob-api:dev stemjob-runner:dev "$EMULATOR"
}

install() {
    "$KUBECTL" apply -f k8s/namespace.yaml
    "$HELM" upgrade --install stemjob helm/stemjob --namespace stemjob --values helm/stemjob/values-kind.yaml \
        --wait --timeout 5m
}

case "${1:-}" in
up)
    need "$DOCKER" "$KIND" "$KUBECTL" "$HELM"
    create
    build_and_load
    install
    # A tag that was there before now means another image.
    "$KUBECTL" --namespace stemjob rollout restart deployment/stemjob-api
    "$KUBECTL" --namespace stemjob rollout status deployment/stemjob-api --timeout 3m
    ;;
install)
    need "$KUBECTL" "$HELM"
    install
    ;;
down)
    need "$KIND"
    "$KIND" delete cluster --name "$CLUSTER"
    ;;
*)
    echo "usage: kind.sh up | install | down" >&2
    exit 2
    ;;
esac
