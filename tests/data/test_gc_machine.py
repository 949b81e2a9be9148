"""Whatever is added, committed, branched, deleted and collected in any order: what has a name can be read."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from gc_project import age, git, lay_out, opened
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlops_cli.core.base.revisions import Revisions
from mlops_cli.core.project.lock import parse_lock
from mlops_cli.core.store import sweep
from mlops_cli.core.store.tree import closure
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.fsck import verify_cache
from mlops_cli.core.workflows.gc import collect_garbage

BRANCHES = st.sampled_from(["one", "two", "three"])
FILES = st.dictionaries(st.sampled_from([f"{n % 3}/{n}" for n in range(50)]), st.text(max_size=9), min_size=1)


class Collecting(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.root = lay_out(Path(self.folder) / "project")
        self.branches: set[str] = set()
        self.add({"0/0": "first"})
        git(self.root, "add", "mlo.yaml", "mlo.lock")
        git(self.root, "commit", "-q", "-m", "first")

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(files=FILES)
    def add(self, files: dict[str, str]) -> None:
        for name, content in files.items():
            path = self.root / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        add_paths(opened(self.root), [self.root / "data"], force=True)

    @rule()
    def commit(self) -> None:
        git(self.root, "commit", "-q", "-a", "--allow-empty", "-m", "x")

    @rule(name=BRANCHES)
    def branch(self, name: str) -> None:
        git(self.root, "branch", "-f", name)
        self.branches.add(name)

    @rule(name=BRANCHES)
    def delete_branch(self, name: str) -> None:
        if name in self.branches:
            git(self.root, "branch", "-q", "-D", name)
            self.branches.discard(name)

    @rule()
    def stash(self) -> None:
        git(self.root, "stash", "-q")

    @rule()
    def drop_stashes(self) -> None:
        git(self.root, "stash", "clear")

    @rule(aged=st.booleans(), packs=st.sampled_from([1, 32]), loose=st.sampled_from([1, 1024]))
    def collect(self, aged: bool, packs: int, loose: int) -> None:
        if aged:
            age(self.root / ".mlo/cache")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sweep, "MANY_PACKS", packs)
            patched.setattr(sweep, "MANY_LOOSE", loose)
            collect_garbage(opened(self.root), delete=True)

    @invariant()
    def everything_with_a_name_can_be_read(self) -> None:
        workspace = opened(self.root)
        locks = [workspace.read_lock()]
        for version in Revisions(self.root, workspace.environ).versions_of("mlo.lock"):
            locks.append(parse_lock(version.data.decode(), workspace.paths.lock))
        for lock in locks:
            for entry in lock.entries.values():
                for digest in closure(workspace.store, entry):
                    workspace.store.read(digest)
        report = verify_cache(workspace)
        assert report.ok, report


TestCollecting = pytest.mark.slow(Collecting.TestCase)
TestCollecting.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
