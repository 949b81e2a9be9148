"""Who is let into the queue of a model: as many as it may hold, and none that could not be answered in time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from mlops_cli.core.serving.problems import Expired, Unavailable

if TYPE_CHECKING:
    from mlops_cli.core.serving.batching import Job

_KEPT = 0.97  # of the weight of older batches, at each new one: the last thirty or so count
_DEVIATIONS = 2.0
PROMISED = 0.995  # the share of those let in that are answered within the SLA; 99% would be missed half of the time
_STEP = 0.02  # of the SLA, by which the margin follows what was seen


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """`queue` requests wait at most; `sla_s` is the time within which a request is answered or refused at the door,
    None for no such promise; `timeout_s` the time after which nobody waits for it any more."""

    queue: int = 256
    sla_s: float | None = None
    timeout_s: float = 30.0


class Pace:
    """How long the model takes for a batch: a + c * rows seconds, by exponentially weighted least squares.

    Source of the updates: West, Updating mean and variance estimates, Communications of the ACM 22(9), 1979.
    """

    __slots__ = ("_deviation", "_rows", "_rows_seconds", "_rows_squared", "_seconds", "_weight")

    def __init__(self) -> None:
        self._weight = 0.0
        self._rows = self._seconds = 0.0  # means
        self._rows_squared = self._rows_seconds = 0.0  # weighted sums of squares and products about the means
        self._deviation = 0.0  # mean absolute error of what was expected

    def learn(self, rows: int, seconds: float) -> None:
        if self._weight:
            self._deviation = _KEPT * self._deviation + (1 - _KEPT) * abs(seconds - self._mean(rows))
        self._weight = _KEPT * self._weight + 1.0
        share = 1.0 / self._weight
        off_rows, off_seconds = rows - self._rows, seconds - self._seconds
        self._rows += share * off_rows
        self._seconds += share * off_seconds
        self._rows_squared = _KEPT * self._rows_squared + off_rows * (rows - self._rows)
        self._rows_seconds = _KEPT * self._rows_seconds + off_rows * (seconds - self._seconds)

    def expect(self, rows: int) -> float:
        """Seconds that a batch of so many rows takes, with two mean deviations on top; 0 before any was seen."""
        return self._mean(rows) + _DEVIATIONS * self._deviation if self._weight and rows else 0.0

    def _mean(self, rows: int) -> float:
        if self._rows_squared > 1e-9:
            # Neither less than nothing for a row nor less than nothing for a batch.
            each = min(max(self._rows_seconds / self._rows_squared, 0.0), self._seconds / self._rows)
            return self._seconds + each * (rows - self._rows)
        return self._seconds * max(1.0, rows / self._rows) if self._rows else 0.0


class Lane:
    """The queue in front of one model. All but `running_rows` and `begun` belongs to the event loop's thread."""

    def __init__(self, name: str, limits: LaneLimits | None = None) -> None:
        self.name = name
        self.limits = limits or LaneLimits()
        self.pace = Pace()
        self.cpu_s = 0.0  # recent processor time of a batch, without what waiting for other threads takes
        self.waiting = 0  # requests that have no answer yet
        self.rows = 0  # their rows
        self.threaded = 0  # those of them that were handed to the inference thread
        self.running_rows = 0
        self.begun = 0.0  # when the running batch was begun; 0 if none runs
        self.margin_s = 0.0  # what all but 0.5% of the requests took at most beyond what was expected of them
        self.line: deque[Job] = deque()  # in order of arrival, answered ones until they come to the front

    def wait_s(self, rows: int, now: float) -> float:
        """Seconds until the answer to so many more rows, if they were let in now."""
        running = max(0.0, self.pace.expect(self.running_rows) - (now - self.begun)) if self.begun else 0.0
        return running + self.pace.expect(self.rows - self.running_rows + rows)

    def busy_s(self, now: float) -> float:
        """Seconds that the model has still to do."""
        return self.wait_s(0, now) if self.rows else 0.0

    def check(self, rows: int, now: float, behind_s: float) -> float:
        """How many seconds the answer is expected to take, without the margin; 0 where nothing is promised.

        Raises Unavailable for a request that is not to be let in. `behind_s` is what else is to be waited for.
        """
        limits = self.limits
        if self.waiting >= limits.queue:
            raise Unavailable(f"{limits.queue:,} requests wait for {self.name} already; try again", refused="queue")
        if limits.sla_s is None:
            return 0.0
        expected = behind_s + self.wait_s(rows, now)
        if self.waiting and (wait := expected + self.margin_s) > limits.sla_s:
            promised = f"{1000 * limits.sla_s:g} ms promised"
            raise Unavailable(
                f"{self.name} could take {1000 * wait:.0f} ms, over the {promised}; try again",
                refused="sla",
                retry_s=max(1, ceil(wait - limits.sla_s)),
            )
        return expected

    def took(self, seconds: float, expected: float) -> None:
        """One that was let in took so long. The margin follows the 99.5% quantile of what is over the expectation.

        Source of the update: Robbins, Monro, A stochastic approximation method, Ann. Math. Statistics 22 (1951) 400.
        """
        sla = self.limits.sla_s
        if sla is None or not expected:
            return
        step = PROMISED if seconds - expected > self.margin_s else PROMISED - 1
        self.margin_s = min(max(0.0, self.margin_s + _STEP * sla * step), sla)

    def enter(self, rows: int) -> None:
        self.waiting += 1
        self.rows += rows

    def leave(self, rows: int) -> None:
        """A request has its answer, or nobody waits for it."""
        self.waiting -= 1
        self.rows -= rows

    def sweep(self, now: float) -> bool:
        """Tell those who waited too long so; whether anybody is left waiting."""
        line = self.line
        while line and (line[0].future.done() or line[0].deadline <= now):
            job = line.popleft()
            if not job.future.done():
                job.future.set_exception(self.expired())
        return bool(line)

    def expired(self) -> Expired:
        return Expired(f"{self.name} had no answer within {1000 * self.limits.timeout_s:g} ms; try again")
