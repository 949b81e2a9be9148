"""This process and those beside it: what is asked of one server concerns all of them."""

from __future__ import annotations

import asyncio

from mlops_cli.core.serving.admin import Repository
from mlops_cli.core.serving.metrics import Metrics, render
from mlops_cli.core.serving.problems import Problem, UnknownPath
from mlops_cli.core.serving.workers.link import Link
from mlops_cli.core.serving.workers.messages import Answer


class Fleet:
    """Without a `link` this process is the only one."""

    def __init__(self, repository: Repository, metrics: Metrics) -> None:
        self.link: Link | None = None
        self._repository = repository
        self._metrics = metrics

    @property
    def trouble(self) -> str | None:
        """What is wrong in the other processes, or None."""
        return self.link.trouble if self.link is not None else None

    async def load(self, name: str) -> None:
        """Load a model in every process. Raises Problem if one of them cannot."""
        await self._everywhere("load", name)

    async def unload(self, name: str) -> None:
        await self._everywhere("unload", name)

    async def metrics(self, accept: str) -> bytes:
        """What all processes counted, as text."""
        if self.link is None:
            return self._metrics.render(accept)
        answer = await self._ask("counted", "")
        counted = [done.body for done in answer.results if done.body]
        crew = self.link.crew
        return await asyncio.to_thread(
            render, counted, answer.retired, workers=crew.alive, restarts=crew.restarts, accept=accept
        )

    async def carry_out(self, what: str, name: str) -> bytes:
        """Do in this process what was asked of all. Raises Problem."""
        if what == "counted":
            return self._metrics.snapshot()
        if what == "load":
            for slot in await self._repository.load(name):
                served = slot.served
                if served is not None:
                    self._metrics.serves(served, slot=slot.ref)
        elif what == "unload":
            for slot in self._repository.unload(name):
                self._metrics.unloaded(name, slot=slot.ref)
        else:
            raise UnknownPath(f"{what} is nothing that a server does")
        return b""

    async def _everywhere(self, what: str, name: str) -> None:
        if self.link is None:
            await self.carry_out(what, name)
            return
        for done in (await self._ask(what, name)).results:
            if done.status:
                raise Problem(done.error, status=done.status)

    async def _ask(self, what: str, name: str) -> Answer:
        assert self.link is not None  # noqa: S101
        try:
            return await self.link.ask(what, name)
        except TimeoutError:
            raise Problem("the processes of this server do not answer each other", status=503) from None
