#!/bin/sh
# Run the tests on a cluster, as `make test-cluster` does; $1 is the Python of .venv, the rest are options of pytest. Environment:
#   KUBECONFIG     the cluster (default: kubectl's own)
#   LOAD           command that takes image archives into the cluster, such as `kind load image-archive`; required unless IMAGES=no
#   IMAGES         `no`: the images are in the cluster already
#   REGISTRY, TAG  names of the images: REGISTRY/dtq-SERVICE:TAG (default: localhost, test)
#   BASE, BUILDER, BUILDFLAGS  see tools/images.sh
#   FILES          what to run (default: tests/cluster)
#   INGRESSHTTP, INGRESSHTTPS  URLs of the ingress controller (default: http://127.0.0.1:80, https://127.0.0.1:443)
#   APISTOP, APISTART  commands that stop and start the cluster's API server; without them that test is skipped
# One line on standard error and exit code 2 when that is not possible.
set -eu
cd "$(dirname "$0")/.."
python=$1
shift

fail() {
    echo "error: $1" >&2
    exit 2
}

export REGISTRY="${REGISTRY:-localhost}" TAG="${TAG:-test}"
PATH=$(dirname "$python"):$PATH # helm and kubectl of .venv

[ -n "${LOAD:-}" ] || [ "${IMAGES:-}" = no ] ||
    fail "LOAD has to be the command that loads an image archive into the cluster, as in: make test-cluster LOAD='kind load image-archive'"
kubectl get --raw /readyz >/dev/null 2>&1 || fail "no cluster answers to kubectl; KUBECONFIG has to name one"

if [ "${IMAGES:-}" != no ]; then
    archives=$(mktemp -d)
    trap 'rm -rf "$archives"' EXIT
    for service in submitter worker scheduler operator servers; do # one at a time: an archive takes 0.3 GB
        SERVICES=$service ARCHIVES=$archives sh tools/images.sh
        $LOAD "$archives/dtq-$service.tar"
        rm "$archives/dtq-$service.tar"
    done
fi

# Tests wait for pods to start, thus the longer time-out; one after the other, since they share releases and a small cluster.
"$python" -m pytest ${FILES:-tests/cluster} --timeout 900 --durations 10 "$@"
