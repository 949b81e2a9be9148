"""What all remotes have in common: a name for people, errors that say which remote, and what few of them can do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mlops_cli.core.errors import MloError, NotFound, RemoteError
from mlops_cli.core.remotes.remote import Fact, Unsupported, checked_key
from mlops_cli.core.remotes.retry import tries_of


class NamedRemote:
    """The part of Remote that hangs on no backend. `protocol` is the scheme of its URL."""

    hint = "try `mlo remote check`"

    def __init__(self, name: str, url: str, *, protocol: str, endpoint: str = "") -> None:
        self.name = name
        self.url = url
        self.protocol = protocol
        self.endpoint = endpoint
        self.is_shared = False

    @property
    def title(self) -> str:
        """`remote origin (s3://bucket/path at http://host:9000)`."""
        return f"remote {self.name} ({self.url}{f' at {self.endpoint}' if self.endpoint else ''})"

    def facts(self) -> list[Fact]:
        """What can be said about where this is and as whom mlo comes there. Raises RemoteError."""
        return [Fact("endpoint", self.endpoint)] if self.endpoint else []

    def require_create(self) -> None:
        raise Unsupported(
            f"{self.title}: mlo has no proven conditional create on {self.protocol}",
            hint="keep the registry in a folder that everybody reaches, on S3 or ssh, or say `registry: local`",
        )

    def put_if_absent(self, key: str, data: bytes) -> bool:
        checked_key(key)
        self.require_create()
        raise NotImplementedError

    def local_file(self, key: str) -> Path | None:
        checked_key(key)
        return None

    def sizes(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        raise NotImplementedError

    def list(self, prefix: str = "") -> Iterator[str]:
        for key, _ in self.sizes(prefix):
            yield key

    def modified(self, prefix: str = "") -> dict[str, float]:
        """Nothing is known unless the backend says it."""
        return {}

    def settle(self) -> None:
        """Nothing to wait for: a put is as durable as its backend makes it."""

    def sweep(self) -> int:
        return 0

    def create(self) -> None:
        """Buckets are made by whoever pays for them."""

    # -- inside --------------------------------------------------------------------------------------------

    def _reach(self) -> None:
        """Raises RemoteError if what holds the keys is not there at all: an unmounted disk is not an empty one."""
        raise NotImplementedError

    @contextlib.contextmanager
    def _errors(self, doing: str, *, key: str | None = None) -> Iterator[None]:
        """Whatever a backend raises, as an MloError that names this remote. With `key`, an absent file is NotFound."""
        try:
            yield
        except MloError:
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            if key is None:
                raise self._failed(doing, error) from error
            self._reach()
            raise NotFound(f"{self.title} has no {key}", hint="push it from the machine that has it") from None
        except Exception as error:
            raise self._failed(doing, error) from error

    def _failed(self, doing: str, error: Exception) -> RemoteError:
        tries = tries_of(error)
        often = f"; tried {tries} times" if tries > 1 else ""
        return RemoteError(f"{self.title}: {doing}: {self._said(error)}{often}", hint=self._hint(error))

    def _said(self, error: Exception) -> str:
        """What the backend said, in its own words."""
        return str(error) or type(error).__name__

    def _hint(self, error: Exception) -> str:
        return self.hint
