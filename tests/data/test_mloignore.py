"""`.mloignore` says what `.gitignore` would say: git itself is asked about the same patterns and paths."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_cli.core.data.mloignore import Ignored, Rule
from mlops_cli.core.errors import MachineError

NAMES = ["a", "b", "ab", "foo", "a.tmp", "b.csv", "é", "[x]", "x y", "#h", "!b", "a*", "A", "1x"]
PIECES = [
    *("a", "b", "ab", "foo", "*", "?", "*.tmp", "*.csv", "**", "a*", "*o", "f?o", "?b", "a**b", "***"),
    *("[ab]", "[!a]", "[^b]", "[a-c]", "[]x]", "[[:alpha:]]", "[[:digit:]]*", "[[:upper:]a]"),
    *("\\#h", "\\!b", "\\[x\\]", "a\\*", "é", "x y", "x\\ y", "b\\"),
]


def ignored_by_git(root: Path, paths: list[str]) -> set[str]:
    command = ["git", "check-ignore", "--no-index", "-z", "--stdin"]
    done = subprocess.run(
        command, cwd=root, input=b"\0".join(map(os.fsencode, paths)), capture_output=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}


def write_rules(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in (".mloignore", ".gitignore"):
        (folder / name).write_bytes(text.encode())


def below(root: Path) -> list[str]:
    found = (os.path.relpath(path, root) for path in root.rglob("*"))
    return sorted(name for name in found if name.split("/")[0] != ".git")


def ignored_by_walk(root: Path) -> set[str]:
    """What a walk from the top passes over, as surveys do."""
    ignored, found = Ignored(root), set()
    folders = [root]
    while folders:
        for path in folders.pop().iterdir():
            name = os.path.relpath(path, root)
            if name == ".git":
                continue
            if ignored(os.fsencode(path), path.is_dir()):
                found |= {name, *(os.path.relpath(inner, root) for inner in path.rglob("*"))}
            elif path.is_dir():
                folders.append(path)
    return found


def a_pattern(choose: random.Random) -> str:
    pattern = "/".join(choose.choice(PIECES) for _ in range(choose.choice([1, 1, 1, 2, 2, 3])))
    pattern = f"{'/' if choose.random() < 0.25 else ''}{pattern}{'/' if choose.random() < 0.3 else ''}"
    return f"{'!' if choose.random() < 0.3 else ''}{pattern}{'  ' if choose.random() < 0.1 else ''}"


@pytest.mark.parametrize("seed", range(40))
def test_any_patterns_in_any_folders_mean_what_they_mean_to_git(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for _ in range(25):
        path = tmp_path.joinpath(*(choose.choice(NAMES) for _ in range(choose.randint(1, 4))))
        if not any(parent.is_file() for parent in path.parents) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    folders = [tmp_path / name for name in below(tmp_path) if (tmp_path / name).is_dir()]
    for folder in [tmp_path, *choose.sample(folders, min(2, len(folders)))]:
        write_rules(folder, "".join(f"{a_pattern(choose)}\n" for _ in range(choose.randint(1, 5))))
    paths, ignored = below(tmp_path), Ignored(tmp_path)
    expected = ignored_by_git(tmp_path, paths)
    assert ignored_by_walk(tmp_path) == expected
    singly = {name for name in paths if ignored.rule_for(tmp_path / name, is_dir=(tmp_path / name).is_dir())}
    assert singly == expected


@pytest.mark.parametrize(
    "text",
    [
        "*.tmp\n!keep.tmp\n",
        "*\n!*/\n!*.csv\n",
        "!*\n/logs/\n",
        "logs/\n!logs/kept.csv\n",  # cannot be taken back below an ignored folder
        "logs/*\n!logs/kept.csv\n",
        "/**/deep/\n",
        "**/x.csv\n",
        "logs/**\n",
        "a/**/x.csv\n",
        "# *.csv\n\\#x\n",
        "*.csv   \nx\\ \n",
        "\ufeffx.tmp\r\nlogs\r\n",
        "?.csv\n",
        "[a-\n[\n!\n/\n\n",
        "[[ab].csv\n",
        "-\n.*\n",
        "A.CSV\n",
    ],
)
def test_the_patterns_people_write_mean_what_they_mean_to_git(tmp_path: Path, text: str) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    names = [
        "x.tmp",
        "keep.tmp",
        "a.csv",
        "é.csv",
        "logs/kept.csv",
        "logs/x.tmp",
        "a/b/deep/x.csv",
        "a/x.csv",
        "#x",
        ".hidden",
        "-/x",
        "[.csv",
    ]
    for name in [*names, "x ", "x"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    write_rules(tmp_path, text)
    assert ignored_by_walk(tmp_path) == ignored_by_git(tmp_path, below(tmp_path))


def test_a_deeper_file_has_the_last_word(tmp_path: Path) -> None:
    write_rules(tmp_path, "*.tmp\n")
    write_rules(tmp_path / "data/[raw]", "!x.tmp\n/y\n")
    ignored, folder = Ignored(tmp_path), os.fsencode(tmp_path / "data/[raw]")
    asked = {name: ignored(folder + name, False) for name in (b"/x.tmp", b"/sub/x.tmp", b"/z.tmp", b"/y", b"/sub/y")}
    assert asked == {b"/x.tmp": False, b"/sub/x.tmp": False, b"/z.tmp": True, b"/y": True, b"/sub/y": False}
    assert not ignored(os.fsencode(tmp_path.parent) + b"/z.tmp", False)


def test_names_that_are_not_utf_8_match_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / ".mloignore").write_bytes(b"a\xff\n?\n")
    ignored, folder = Ignored(tmp_path), os.fsencode(tmp_path)
    assert ignored(folder + b"/a\xff", False)
    assert ignored(folder + b"/\xfe", False)
    assert not ignored(folder + b"/\xc3\xa9", False)


def test_a_rule_is_named_with_its_place(tmp_path: Path) -> None:
    write_rules(tmp_path / "data", "# old\nscratch/ \n")
    rule = Ignored(tmp_path).rule_for(tmp_path / "data/scratch/deep/x", is_dir=False)
    assert rule == Rule("data/.mloignore", 2, "scratch/", "data/scratch")
    assert Ignored(tmp_path).rule_for(tmp_path / "data/kept", is_dir=True) is None


def test_a_file_of_rules_that_cannot_be_read_is_no_licence_to_take_everything(tmp_path: Path) -> None:
    (tmp_path / ".mloignore").symlink_to(".mloignore")
    with pytest.raises(MachineError, match=r"cannot read .*mloignore"):
        Ignored(tmp_path)(os.fsencode(tmp_path / "x"), False)


def test_what_is_no_file_holds_no_rules(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".mloignore")
    (tmp_path / "sub/.mloignore").mkdir(parents=True)
    assert not Ignored(tmp_path)(os.fsencode(tmp_path / "sub/x"), False)


def test_without_such_a_file_pathspec_is_not_even_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlops_cli.core.data.mloignore import Ignored;"
        "Ignored(Path.cwd())(b'%s' % bytes(Path.cwd()) + b'/x', False); print('pathspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
