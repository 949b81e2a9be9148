"""A folder of a million files in mlo.lock, of which nothing is here: every command answers within 1 GiB of memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import xxhash
from peak_memory import peak_of

from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.tree import FILE, encode_rows

FILES = 1_000_000
GIB = 1 << 30


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("million")
    rows = [(b"%07d.bin" % n, FILE, xxhash.xxh3_128_digest(b"%d" % n), 4000, 1) for n in range(FILES)]
    digest = LocalStore(root / ".mlo/cache", "xxh128").put_bytes(encode_rows(rows, "xxh128"))
    (root / "mlo.yaml").write_text("name: million\n")
    (root / "mlo.lock").write_text(
        f"version: 1\ndata:\n  big: {{digest: '{digest}', kind: dir, size: {4000 * FILES}, files: {FILES}}}\n"
    )
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("command", "code"), [("status", 0), ("checkout", 6)])
def test_a_million_entries_fit_into_a_gibibyte(project: Path, command: str, code: int) -> None:
    answered, peak = peak_of("-C", str(project), "data", command, "--quiet")
    assert answered == code
    assert peak < GIB, f"{peak >> 20} MiB"
