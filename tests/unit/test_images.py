"""tools/images.sh with builders that only note how they are called; what the Dockerfiles and skaffold.yaml have in common with the rest."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_kit import Json, containers, render

from dtq import __version__

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/Dockerfile"))
TOOLS = ("basename", "cat", "dirname", "mkdir", "rm", "sed")

Images = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The only folder on PATH: the script's own tools, no builder."""
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (tmp_path / tool).symlink_to(found)
    return tmp_path


@pytest.fixture
def images(folder: Path) -> Images:
    """Run the script with these settings."""

    def run(**settings: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(folder), **settings}
        return subprocess.run(["/bin/sh", str(ROOT / "tools/images.sh")], env=env, capture_output=True, text=True, timeout=30, check=False)

    return run


def add_builder(folder: Path, name: str, *, answers: bool = True) -> None:
    """A builder that notes its arguments in the file `calls`; docker's engine may be away."""
    program = folder / name
    away = "" if answers else '[ "$1" = version ] && exit 1\n'
    program.write_text(f'#!/bin/sh\n{away}echo "{name} $*" >>{folder}/calls\n')
    program.chmod(0o755)


def calls(folder: Path) -> list[str]:
    return [line for line in (folder / "calls").read_text().splitlines() if not line.endswith(" version")]


def test_without_a_builder_one_line_says_so(images: Images) -> None:
    done = images()
    assert done.returncode == 2
    assert done.stderr == "error: docker (with its engine running), podman or buildah is needed to build images; none of them is here\n"


@pytest.mark.parametrize(
    ("present", "chosen"),
    [(("docker", "podman", "buildah"), "docker"), (("podman", "buildah"), "podman"), (("buildah",), "buildah")],
)
def test_the_first_builder_that_works_is_used(folder: Path, images: Images, present: tuple[str, ...], chosen: str) -> None:
    for name in present:
        add_builder(folder, name)
    assert images(SERVICES="worker").returncode == 0
    assert [call.split()[0] for call in calls(folder)] == [chosen]


def test_dockers_client_without_its_engine_is_passed_over(folder: Path, images: Images) -> None:
    add_builder(folder, "docker", answers=False)
    add_builder(folder, "buildah")
    assert images(SERVICES="worker").returncode == 0
    assert calls(folder)[0].startswith("buildah build ")


def test_a_builder_asked_for_that_does_not_work_is_an_error(folder: Path, images: Images) -> None:
    add_builder(folder, "buildah")
    done = images(BUILDER="podman")
    assert (done.returncode, done.stderr) == (2, "error: BUILDER=podman does not work here: it is missing, or its engine does not run\n")


def test_a_builder_that_is_not_known_is_an_error(images: Images) -> None:
    done = images(BUILDER="kaniko")
    assert (done.returncode, done.stderr) == (2, "error: BUILDER=kaniko is none of docker, podman and buildah\n")


def test_every_service_is_built_by_default(folder: Path, images: Images) -> None:
    add_builder(folder, "podman")
    assert images().returncode == 0
    assert [call.partition("--tag ")[2].split()[0] for call in calls(folder)] == [f"dtq-{name}:{__version__}" for name in SERVICES]
    assert SERVICES == ["operator", "scheduler", "submitter", "worker"]


def test_names_base_and_options_reach_the_builder(folder: Path, images: Images) -> None:
    add_builder(folder, "docker")
    settings = {"REGISTRY": "registry.example.com/team", "TAG": "v1", "BASE": "python:3.12", "BUILDFLAGS": "--pull --no-cache"}
    assert images(SERVICES="worker", **settings).returncode == 0
    assert calls(folder) == [
        "docker build --file services/worker/Dockerfile --tag registry.example.com/team/dtq-worker:v1 "
        f"--label org.opencontainers.image.version={__version__} --build-arg BASE=python:3.12 --pull --no-cache ."
    ]


@pytest.mark.parametrize(
    ("builder", "call"),
    [
        ("docker", "docker save --output {file} dtq-worker:v1"),
        ("podman", "podman save --quiet --format docker-archive --output {file} dtq-worker:v1"),
        ("buildah", "buildah push --quiet dtq-worker:v1 docker-archive:{file}:dtq-worker:v1"),
    ],
)
def test_archives_are_written_anew(folder: Path, images: Images, builder: str, call: str) -> None:
    add_builder(folder, builder)
    file = folder / "archives" / "dtq-worker.tar"
    file.parent.mkdir()
    file.write_text("an old one, which podman and buildah would refuse to replace")
    assert images(SERVICES="worker", TAG="v1", ARCHIVES=str(file.parent)).returncode == 0
    assert calls(folder)[-1] == call.format(file=file)
    assert not file.exists()


def test_an_unknown_service_is_refused_before_anything_is_built(folder: Path, images: Images) -> None:
    add_builder(folder, "podman")
    done = images(SERVICES="worker mailer")
    assert done.returncode == 2
    assert done.stderr == "error: SERVICES: no 'mailer'; there are operator scheduler submitter worker\n"
    assert not (folder / "calls").exists()


def test_a_failed_build_ends_it(folder: Path, images: Images) -> None:
    (folder / "podman").write_text("#!/bin/sh\nexit 7\n")
    (folder / "podman").chmod(0o755)
    assert images(SERVICES="worker scheduler").returncode == 7


def dockerfile(service: str) -> str:
    return (ROOT / "services" / service / "Dockerfile").read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_made_of_its_own_service_alone(service: str) -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(service), re.MULTILINE)
    assert copied == ["constraints.txt", "shared", f"services/{service}"]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_starts_its_service_as_an_ordinary_user(service: str) -> None:
    lines = dockerfile(service).splitlines()
    assert "USER 10001:10001" in lines
    assert lines[-1] == f'ENTRYPOINT ["python", "-m", "dtq_{service}"]'
    assert (ROOT / "services" / service / f"dtq_{service}" / "__main__.py").exists()


@pytest.mark.parametrize("service", SERVICES)
def test_both_stages_are_made_of_the_base(service: str) -> None:
    assert re.findall(r"^FROM (\S+)", dockerfile(service), re.MULTILINE) == ["${BASE}", "${BASE}"]


def test_what_all_images_have_is_built_once() -> None:
    """Their files agree up to the service's own part, but for the comment at the head; so the builder takes its layers again."""
    commons = {dockerfile(service).partition("COPY services/")[0].partition("FROM")[2] for service in SERVICES}
    assert len(commons) == 1


def read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_skaffold_builds_every_image() -> None:
    artifacts = {item["image"]: item["docker"]["dockerfile"] for item in read_yaml("skaffold.yaml")["build"]["artifacts"]}
    assert artifacts == {f"dtq-{service}": f"services/{service}/Dockerfile" for service in SERVICES}


def skaffold_values(*, dev: bool) -> Json:
    """The values that skaffold gives to the chart; images are named after the templates that name them."""
    skaffold = read_yaml("skaffold.yaml")
    [release] = skaffold["deploy"]["helm"]["releases"]
    [patch] = skaffold["profiles"][0]["patches"]
    values: Json = {}
    for name, value in (release["setValueTemplates"] | (patch["value"] if dev else {})).items():
        *path, last = name.split(".")
        place = values
        for part in path:
            place = place.setdefault(part, {})
        place[last] = re.sub(r"{{\.IMAGE_(REPO|TAG)_(\w+)}}", _image_part, value) if isinstance(value, str) else value
    return values


def _image_part(found: re.Match[str]) -> str:
    """What stands for a template of skaffold: names of images are in small letters."""
    return f"{found[1].lower()}-{found[2]}"


@pytest.mark.parametrize("dev", [False, True])
def test_skaffold_gives_each_service_the_image_that_it_built(dev: bool) -> None:
    for deployment in (item for item in render(skaffold_values(dev=dev)) if item["kind"] == "Deployment"):
        service = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
        images = {container["image"] for _, container in containers([deployment])}
        assert images == {f"repo-dtq_{service}:tag-dtq_{service}"}


def test_skaffold_dev_runs_one_pod_of_each_service() -> None:
    deployments = [item for item in render(skaffold_values(dev=True)) if item["kind"] == "Deployment"]
    assert {item["spec"]["replicas"] for item in deployments} == {1}
    assert len(deployments) == len(SERVICES)
