#!/bin/sh
# Build the container images, as `make images` does. Settings are environment variables, none is required:
#   SERVICES    which: names of folders in services/ with a Dockerfile (default: all of them)
#   REGISTRY    what the names begin with, such as registry.example.com/team
#   TAG         their tag (default: DTQ's version)
#   BASE        the image to build on: Python 3.11 or newer as python3, with venv and pip (default: see the Dockerfiles)
#   ARCHIVES    a folder to put an archive of each image into, as dtq-SERVICE.tar
#   BUILDER     docker, podman or buildah (default: the first of them that works)
#   BUILDFLAGS  further options of its `build` command
# One line on standard error and exit code 2 when that is not possible.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    exit 2
}

works() {
    case $1 in
    docker) docker version >/dev/null 2>&1 ;; # the client alone builds nothing
    podman | buildah) command -v "$1" >/dev/null 2>&1 ;;
    *) fail "BUILDER=$1 is none of docker, podman and buildah" ;;
    esac
}

choose_builder() {
    for candidate in docker podman buildah; do
        if works "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "docker (with its engine running), podman or buildah is needed to build images; none of them is here"
}

dockerfile() {
    case $1 in
    servers) echo tests/cluster/servers/Dockerfile ;; # for tests
    *) echo "services/$1/Dockerfile" ;;
    esac
}

build() {
    set -- --file "$(dockerfile "$1")" --tag "$2" --label "org.opencontainers.image.version=$version" ${BASE:+--build-arg "BASE=$BASE"}
    # shellcheck disable=SC2086 # options are words
    case $builder in
    docker) DOCKER_BUILDKIT=1 docker build "$@" ${BUILDFLAGS:-} . ;;
    *) "$builder" build --layers "$@" ${BUILDFLAGS:-} . ;; # layers: the images share those of package dtq
    esac
}

archive() {
    rm -f "$2" # some builders refuse to write over one
    case $builder in
    docker) docker save --output "$2" "$1" ;;
    podman) podman save --quiet --format docker-archive --output "$2" "$1" ;;
    buildah) buildah push --quiet "$1" "docker-archive:$2:$1" ;;
    esac
}

if [ -n "${BUILDER:-}" ]; then
    works "$BUILDER" || fail "BUILDER=$BUILDER does not work here: it is missing, or its engine does not run"
    builder=$BUILDER
else
    builder=$(choose_builder)
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' shared/pyproject.toml)
all=$(for file in services/*/Dockerfile; do basename "$(dirname "$file")"; done)
for service in ${SERVICES:-$all}; do
    [ -f "$(dockerfile "$service")" ] || fail "SERVICES: no '$service'; there are $(echo $all)"
done

for service in ${SERVICES:-$all}; do
    image=${REGISTRY:+$REGISTRY/}dtq-$service:${TAG:-$version}
    echo "Building $image with $builder"
    build "$service" "$image"
    if [ -n "${ARCHIVES:-}" ]; then
        mkdir -p "$ARCHIVES"
        archive "$image" "$ARCHIVES/dtq-$service.tar"
    fi
done
