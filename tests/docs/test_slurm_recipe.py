"""The SLURM job of docs/cluster.md, run with stand-ins for SLURM and Ray that write down what they are asked.

They are enough for what is proved here: which step goes to which nodes with which options. The job was run as it is
printed on two nodes of a real SLURM; the help texts of the real `ray` say that its options exist.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from pages import blocks_of

STAND_INS = {
    "srun": 'echo "srun $*" >> "$ASKED"',
    "scontrol": 'printf "%s\\n" gpu-1 gpu-2 gpu-3',
    "aria-data": 'echo "aria-data $*" >> "$ASKED"',
    "ray": """
        echo "ray $* as $RAY_AUTH_MODE ${RAY_AUTH_TOKEN:-nobody}" >> "$ASKED"
        test "$1" != get-auth-token || echo secret
        test "$1" != status || test "$(grep -c "^ray status" "$ASKED")" -gt 1 # the first time, the head is not up
        """,
}


def script() -> str:
    (block,) = [block for block in blocks_of("docs/cluster.md") if "#SBATCH" in block.code]
    return block.code


def run(folder: Path, num_nodes: int) -> list[str]:
    """Run the job on so many nodes; gives what was asked of SLURM, Ray and the build, steps in the background last."""
    for name, body in STAND_INS.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "gpu-[1-3]", "SLURM_JOB_NUM_NODES": num_nodes, "SLURM_CPUS_PER_TASK": 16}
    settings = {"PATH": f"{folder}:/usr/bin:/bin", "ASKED": folder / "asked", "SLURM_JOB_ID": 123456}
    settings |= {"RECORDINGS": "/some where/in", "DATASET": "/out"}
    environment = {name: str(value) for name, value in (slurm | settings).items()}
    ended = subprocess.run(
        ["bash", "-c", f"{script()}\nwait"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    asked = (folder / "asked").read_text().splitlines()
    return sorted(asked, key=lambda line: line.startswith("srun"))


def test_the_job_starts_ray_on_all_its_nodes_with_all_their_processors_and_builds_when_the_head_is_up(tmp_path):
    *mine, head, others = run(tmp_path, 3)
    assert mine == [
        "ray get-auth-token --generate as  nobody",
        *["ray status --address gpu-1:23456 as token secret"] * 2,
        "aria-data build /some where/in --out /out --engine ray --address gpu-1:23456 --no-prefect",
    ]
    where = {"--nodes=1 --ntasks=1 --nodelist=gpu-1", "--nodes=2 --ntasks=2 --exclude=gpu-1"}
    assert {step.removeprefix("srun ").split(" --cpus")[0] for step in (head, others)} == where
    for step in (head, others):
        assert "--cpus-per-task=16 --cpu-bind=none ray start " in step
        assert step.endswith("--num-cpus=16 --block")
    assert {("--head --port=23456 " in step, "--address=gpu-1:23456 " in step) for step in (head, others)} == {
        (True, False),
        (False, True),
    }


def test_a_job_of_one_node_asks_for_no_others(tmp_path):
    assert sum(line.startswith("srun") for line in run(tmp_path, 1)) == 1


def test_the_options_of_ray_on_the_page_are_rays_own():
    from ray.scripts.scripts import cli

    text = "\n".join(block.code for block in blocks_of("docs/cluster.md")).replace("\\\n", " ")
    found = re.findall(r"\bray ([a-z][a-z-]*)((?: +--?[a-z-]+(?:[= ][^\s;)&>-]\S*)?)*)", text)
    assert {name for name, _ in found} == {"start", "status", "get-auth-token"}
    for name, options in found:
        known = {option for param in cli.commands[name].params for option in param.opts}
        given = {word.partition("=")[0] for word in shlex.split(options) if word.startswith("--")}
        assert given, name
        assert given <= known, name
