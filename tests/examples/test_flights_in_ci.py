"""The example's GitHub workflow: valid, made of real commands, and enough for a runner that has nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from buckets import S3Bucket
from dying import unmeasured

from mlops_cli.core.project import yaml12

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
WORKFLOW = FLIGHTS / ".github" / "workflows" / "mlo.yml"


def steps() -> list[dict[str, Any]]:
    document, _ = yaml12.read(WORKFLOW.read_text(), WORKFLOW.name)
    found: list[dict[str, Any]] = document["jobs"]["gate"]["steps"]
    return found


def commands(*, event: str) -> list[str]:
    """The mlo command lines that a runner types on an event, in order."""
    wanted = [step for step in steps() if step.get("run", "").startswith("mlo ")]
    return [step["run"] for step in wanted if event in step.get("if", event)]


def test_it_follows_the_schema_of_github_workflows() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(WORKFLOW)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_on_is_quoted_for_yaml_1_1_readers() -> None:
    assert re.search(r'^"on":', WORKFLOW.read_text(), re.MULTILINE)


def test_every_option_that_it_types_exists(mlo: Any) -> None:
    typed = commands(event="push") + commands(event="pull_request")
    assert len(typed) > 6
    for line in typed:
        words = line.partition(" | ")[0].split()[1:]
        text = mlo(words[0], "--help").stdout
        assert not [word for word in words if word.startswith("--") and word not in text], line


def test_the_pull_request_asks_the_gates_and_only_main_moves_the_alias() -> None:
    assert commands(event="pull_request")[-1].startswith("mlo promote flights@latest production --dry-run")
    assert commands(event="push")[-1] == "mlo promote flights@latest production"


def test_secrets_come_from_the_environment_only() -> None:
    overlay = (FLIGHTS / "mlo.ci.yaml").read_text()
    assert not re.search(r"(?i)key\s*:|secret\s*:|token\s*:|password", overlay)


class Clone:
    """A checkout of the example on a machine of its own: no cache, no database, no home."""

    def __init__(self, root: Path, bucket: S3Bucket) -> None:
        self.root = root
        overlay = root / "mlo.ci.yaml"
        overlay.write_text(overlay.read_text().replace("s3://example-bucket/", f"s3://{bucket.name}/"))
        env = {name: value for name, value in unmeasured().items() if not name.startswith("MLO_")}
        self.environ = {**env, "MLO_ENV": "ci", "MLO_ACTOR": "ci", "OMP_WAIT_POLICY": "PASSIVE"}

    def sh(self, line: str, *, exit_code: int = 0) -> str:
        line = re.sub(r"(^|&& )mlo ", rf"\1{sys.executable} -m mlops_cli ", line)
        answer = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert answer.returncode == exit_code, f"{line}\n{answer.stdout}\n{answer.stderr}"
        return answer.stdout


@pytest.mark.slow
def test_a_fresh_runner_gets_from_the_bucket_to_a_promotion(tmp_path: Path, s3_bucket: S3Bucket) -> None:
    laptop_root = tmp_path / "laptop"
    shutil.copytree(FLIGHTS, laptop_root, ignore=shutil.ignore_patterns(".mlo", "data", "model", "__pycache__"))
    laptop = Clone(laptop_root, s3_bucket)
    git = "git -c user.name=a -c user.email=a@b.c -c commit.gpgsign=false -c init.defaultBranch=main"
    laptop.sh("mkdir -p data/raw && cp months/2013-0[123].parquet data/raw/ && mlo data add data/raw && mlo push")
    laptop.sh(f"git init -q . && git add . && {git} commit -qm one")

    runner = checkout(laptop, tmp_path / "runner", s3_bucket)
    for line in commands(event="push"):
        runner.sh(line)
    assert "holds    auc >= 0.65" in (runner.root / "gates.txt").read_text()

    # The next runner sees the first one's version, and its gate refuses a model that learnt nothing.
    laptop.sh(
        "sed -i.bak 's/learning_rate: 0.08/learning_rate: 0.000001/' mlo.yaml && rm mlo.yaml.bak "
        f"&& {git} commit -qam two"
    )
    second = checkout(laptop, tmp_path / "second", s3_bucket)
    *before, gate = commands(event="pull_request")
    for line in before:
        second.sh(line)
    assert "refused" in second.sh(gate, exit_code=3)
    assert "flights@2" in second.sh("mlo models list")
    assert "flights@1" in second.sh("mlo why flights@production")


def checkout(origin: Clone, root: Path, bucket: S3Bucket) -> Clone:
    """What actions/checkout does: tracked files only."""
    subprocess.run(["git", "clone", "-q", str(origin.root), str(root)], check=True, env=origin.environ)
    return Clone(root, bucket)
