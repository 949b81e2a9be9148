"""The records of a spool, as MessagePack maps with a field `is`. New kinds and fields may come; none goes."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mlops_cli.core.base.records import LoggedModel
from mlops_cli.core.tracking.records import Run


class Writer(msgspec.Struct, frozen=True, tag="writer", tag_field="is"):
    """The first record of each file: who writes it."""

    pid: int
    host: str
    born: str = ""


class Point(msgspec.Struct, frozen=True, tag="metric", tag_field="is"):
    key: str
    value: float
    step: int
    time_ms: int


class Param(msgspec.Struct, frozen=True, tag="param", tag_field="is"):
    key: str
    value: Any


class Tag(msgspec.Struct, frozen=True, tag="tag", tag_field="is"):
    key: str
    value: str


class Artifact(msgspec.Struct, frozen=True, tag="artifact", tag_field="is"):
    """`file` is the copy below the spool's folder `files`."""

    name: str
    file: str


class Model(msgspec.Struct, frozen=True, tag="model", tag_field="is"):
    """`copy` is a copy of the model folder below `files`, or empty where a stage's output holds it."""

    model: LoggedModel
    copy: str = ""


class Begin(msgspec.Struct, frozen=True, tag="begin", tag_field="is"):
    """A run that a script opened by itself. `diff` is the patch of its work tree, below `files`, or empty."""

    run: Run
    diff: str = ""


class End(msgspec.Struct, frozen=True, tag="end", tag_field="is"):
    status: Literal["finished", "failed"]
    time: str


Record = Writer | Point | Param | Tag | Artifact | Model | Begin | End

encoder = msgspec.msgpack.Encoder()
decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)
