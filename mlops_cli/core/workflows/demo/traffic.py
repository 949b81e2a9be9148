"""April's flights, sent to the server as clients would: one by one, and in batches."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

SINGLE = 300  # flights sent one by one; the rest goes in batches
BATCH_ROWS = 100
TIMEOUT_S = 30.0


class Traffic(msgspec.Struct, frozen=True):
    """What was sent. `late` is the share of flights that the model calls late."""

    rows: int
    single_requests: int
    batch_requests: int
    seconds: float
    late: float


class Client:
    """One connection to the server, kept open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=TIMEOUT_S)

    def get(self, path: str) -> Any:
        return self._ask("GET", path, None)

    def post(self, path: str, document: object) -> Any:
        return self._ask("POST", path, json.dumps(document, allow_nan=False).encode())

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        """The answer's JSON. Raises ValueError with the server's own words for any status but 200."""
        self._connection.request(method, path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        text = response.read()
        if response.status != http.client.OK:
            raise ValueError(f"{method} {path} answered {response.status}: {text[:300].decode(errors='replace')}")
        return json.loads(text)


class Asking:
    """Clients that ask without a pause while something else happens: how often each version answered."""

    def __init__(self, url: str, flight: dict[str, Any], *, clients: int = 4) -> None:
        self.answers: Counter[int] = Counter()
        self.failures: list[str] = []
        self._url = url
        self._flight = flight
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _ask(self) -> None:
        client = Client(self._url)
        versions = []
        try:
            while not self._is_over.is_set():
                versions.append(client.post("/predict", self._flight)["version"])
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.failures.append(str(error))
        finally:
            client.close()
            self.answers.update(versions)  # a Counter counts for one thread at a time, and each does so once


def requests_of(month: Path) -> list[dict[str, Any]]:
    """Each flight of a month as a client knows it before it has landed: its features and its hour, no delay."""
    from pyarrow import parquet

    table = parquet.read_table(month).drop_columns(["arr_delay"])
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]


def send(client: Client, flights: Sequence[dict[str, Any]]) -> Traffic:
    """Send all flights; the first ones singly. Raises ValueError, OSError."""
    begun = time.monotonic()
    answers = []
    for flight in flights[:SINGLE]:
        answers.append(client.post("/predict", flight)["prediction"])
    batches = list(_batches(flights[SINGLE:]))
    for batch in batches:
        columns = list(batch[0])
        split = {"columns": columns, "data": [[flight[name] for name in columns] for flight in batch]}
        answers += client.post("/invocations", {"dataframe_split": split})["predictions"]
    if len(answers) != len(flights):
        raise ValueError(f"{len(flights)} flights were sent, and {len(answers)} answers came back")
    seconds = round(time.monotonic() - begun, 2)
    late = sum(answer == 1 for answer in answers) / len(answers)
    return Traffic(len(flights), min(SINGLE, len(flights)), len(batches), seconds, round(late, 4))


def _batches(flights: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    for start in range(0, len(flights), BATCH_ROWS):
        yield flights[start : start + BATCH_ROWS]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None  # a missing value is null: JSON has no NaN
    return value.isoformat() if hasattr(value, "isoformat") else value
