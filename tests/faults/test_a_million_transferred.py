"""A folder of a million files, of which the remote has all or nothing: each command stays below 1 GiB of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import xxhash
from peak_memory import peak_of

from mlops_cli.core.remotes.open import open_url
from mlops_cli.core.store.exchange import idx_key, pack_key
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pack import make_index
from mlops_cli.core.store.transfer import push_digests
from mlops_cli.core.store.tree import FILE, encode_rows

FILES, SIZE = 1_000_000, 60
GIB = 1 << 30


def lay_out(root: Path) -> None:
    """The tree is here and there; of the files there are packs there, as far as a listing tells, with holes inside."""
    raws = [xxhash.xxh3_128_digest(b"%d" % n) for n in range(FILES)]
    rows = [(b"%07d.bin" % n, FILE, raw, SIZE, 1) for n, raw in enumerate(raws)]
    store = LocalStore(root / ".mlo/cache", "xxh128")
    digest = store.put_bytes(encode_rows(rows, "xxh128"))
    (root / "mlo.yaml").write_text("name: million\nremotes: {full: ../full, empty: ../empty}\n")
    (root / "mlo.lock").write_text(
        f"version: 1\ndata:\n  big: {{digest: '{digest}', kind: dir, size: {SIZE * FILES}, files: {FILES}}}\n"
    )
    for name in ("full", "empty"):
        (root.parent / name).mkdir()
    far = open_url("../full", root=root)
    push_digests(store, far, [str(digest)])
    step = 100_000
    for start in range(0, FILES, step):
        index = make_index({raw: (16 + n * SIZE, SIZE) for n, raw in enumerate(raws[start : start + step])}, "xxh128")
        size = 16 + step * SIZE + len(index.body()) + 12
        far.put(pack_key(index.name), b"")
        os.truncate(root.parent / "full" / pack_key(index.name), size)
        far.put(idx_key(index.name), index.to_idx(size))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by another process, which gives its memory back."""
    root = tmp_path_factory.mktemp("million") / "project"
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, __file__, str(root)], check=True, env=environ)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("push -r full", 0),
        ("push -r empty --dry-run", 6),
        ("fetch -r full --dry-run", 0),
        ("fetch -r full", 7),  # the packs hold nothing but zeros
        ("fetch -r empty", 6),
    ],
)
def test_a_million_objects_fit_into_a_gibibyte(project: Path, command: str, code: int) -> None:
    answered, peak = peak_of("-C", str(project), "data", *command.split(), "--quiet")
    assert answered == code
    assert peak < GIB, f"{peak >> 20} MiB"


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
