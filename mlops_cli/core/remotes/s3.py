"""A remote on S3 or a server that speaks it: each request tried again by itself, conditional creates, who one is."""

from __future__ import annotations

import difflib
import inspect
import math
import secrets
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time as wall_clock
from typing import Any

from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from fsspec.asyn import sync
from s3fs import S3FileSystem

from mlops_cli.core.errors import ProjectError, RemoteError
from mlops_cli.core.remotes.filesystem import FilesystemRemote
from mlops_cli.core.remotes.remote import Fact, ShortAnswer, Unsupported
from mlops_cli.core.remotes.retry import Patience, chain

# A part of a large value and how many travel at once: 64 MiB of memory a file. S3 takes 10,000 parts of up to
# 5 GiB, and 5 GiB in one put; a value up to twice PART_BYTES goes in one put.
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 4
MOST_PARTS = 10_000
_CONNECTIONS = 64
_MARK = "mlo-once"  # in the metadata of what was created conditionally: which call did it
_NOT_OPTIONS = frozenset({"self", "kwargs", "session", "asynchronous", "loop"})
_OF_THE_SESSION = frozenset({"profile", "session_vars", "max_paths", "listings_expiry_time"})
_USUAL = frozenset({"anon", "client_kwargs", "endpoint_url", "profile", "requester_pays", "s3_additional_kwargs"})
_SKEW_S = 900.0  # what S3 puts up with
_HINTS = {
    "InvalidAccessKeyId": "the server does not know that access key: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret does not belong to that access key: check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "log in again: aws sso login, or new temporary keys",
    "RequestTimeTooSkewed": "set this machine's clock: timedatectl set-ntp true",
    "AccessDenied": "that identity lacks the permission; `mlo remote check` says which one",
    "403": "that identity lacks the permission; `mlo remote check` says which one",
    "NoSuchBucket": "check the bucket's name, or create it",
}


class PatientS3(S3FileSystem):  # type: ignore[misc, unused-ignore]
    """s3fs that tries single requests again, a part of a large upload rather than all of it. No other layer does."""

    retries = 1
    patience = Patience()

    async def _call_s3(self, method: str, *listed: Any, **named: Any) -> Any:
        call = super()._call_s3
        if "IfNoneMatch" in named or any("IfNoneMatch" in given for given in listed):
            # Whether a second try meets its own first one is for the caller to tell.
            return await call(method, *listed, **named)
        return await self.patience.insist_async(lambda: call(method, *listed, **named))


def open_s3(name: str, url: str, base: str, options: dict[str, Any], patience: Patience, protocol: str) -> S3Remote:
    """`base` is bucket/path. Nothing is contacted yet."""
    given = dict(options)
    _refuse_unknown(name, given)
    config = {
        "connect_timeout": patience.connect_s,
        "read_timeout": patience.read_s,
        "max_pool_connections": _CONNECTIONS,
        **given.pop("config_kwargs", {}),
        "retries": {"total_max_attempts": 1, "mode": "standard"},
    }
    system = PatientS3(use_listings_cache=False, skip_instance_cache=True, config_kwargs=config, **given)
    system.patience = patience
    return S3Remote(name, url, system, base, protocol=protocol, patience=patience)


def _refuse_unknown(name: str, options: dict[str, Any]) -> None:
    """s3fs hands what it does not know to its session, which fails late, in words of its own. Raises ProjectError."""
    taken = inspect.signature(S3FileSystem.__init__).parameters.keys() - _NOT_OPTIONS | _OF_THE_SESSION
    for key in options.keys() - taken:
        near = difflib.get_close_matches(key, taken, n=1)
        known = ", ".join(sorted(taken & _USUAL))
        raise ProjectError(
            f"remote {name}: S3 has no option {key}",
            hint=f"did you mean {near[0]}?"
            if near
            else f"the usual ones are {known}; a region: client_kwargs: {{region_name: ...}}",
        )


class S3Remote(FilesystemRemote):
    """Implements Remote on a bucket."""

    def __init__(self, name: str, url: str, filesystem: Any, base: str, *, protocol: str, patience: Patience) -> None:
        super().__init__(name, url, filesystem, base, protocol=protocol, patience=patience)
        self._create_is_proven = False

    @property
    def title(self) -> str:
        """`remote origin (s3://bucket/path at https://s3.eu-west-1.amazonaws.com, profile work)`."""
        where = f" at {endpoint}" if (endpoint := self._endpoint) else ""
        profile = f", profile {name}" if (name := self._profile) else ""
        return f"remote {self.name} ({self.url}{where}{profile})"

    @property
    def _endpoint(self) -> str:
        client = getattr(self._filesystem, "_s3", None)
        given = self._filesystem.endpoint_url or self._filesystem.client_kwargs.get("endpoint_url")
        return str(client.meta.endpoint_url if client is not None else given or "")

    @property
    def _profile(self) -> str:
        session = self._filesystem.session
        named = (
            session.get_config_variable("profile") if session is not None else self._filesystem.kwargs.get("profile")
        )
        return str(named or "")

    # -- who and where ---------------------------------------------------------------------------------------

    def facts(self) -> list[Fact]:
        with self._errors("cannot find out as whom to go there"):
            found: list[Fact] = sync(self._filesystem.loop, self._facts)
        return found

    async def _facts(self) -> list[Fact]:
        system = self._filesystem
        client = await system.set_session()
        facts = [Fact("endpoint", self._endpoint), Fact("region", str(client.meta.region_name or "none"))]
        if self._profile:
            facts.append(Fact("profile", self._profile))
        if system.anon:
            facts.append(Fact("identity", "anonymous"))
        else:
            facts += await self._identity(client)
        skew = await self._skew(client)
        if skew is not None and abs(skew) > _SKEW_S:
            raise RemoteError(
                f"{self.title}: this machine's clock is {abs(skew) / 60:,.0f} minutes "
                f"{'ahead of' if skew > 0 else 'behind'} the server's, and S3 refuses more than 15",
                hint=_HINTS["RequestTimeTooSkewed"],
            )
        if skew is not None:
            facts.append(Fact("clock", f"{abs(skew):.0f} s from the server's"))
        return facts

    async def _identity(self, client: Any) -> list[Fact]:
        system = self._filesystem
        key, secret, token, source = system.key, system.secret, system.token, "the remote's options"
        if not key:
            found = await system.session.get_credentials()
            if found is None:
                raise RemoteError(
                    f"{self.title}: there are no credentials: not in the environment, not in ~/.aws, not from this "
                    "machine's role",
                    hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket "
                    "`options: {anon: true}`",
                )
            frozen = await found.get_frozen_credentials()
            key, secret, token, source = frozen.access_key, frozen.secret_key, frozen.token, found.method
        facts = [Fact("access key", f"{key[:4]}…{key[-4:] if len(key) > 11 else ''} (from {source})")]
        # A server of one's own answers for itself; AWS has a service of its own for that.
        endpoint = None if "amazonaws.com" in self._endpoint else self._endpoint
        limits = AioConfig(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
        try:
            async with system.session.create_client(
                "sts",
                endpoint_url=endpoint,
                region_name=client.meta.region_name or "us-east-1",
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                aws_session_token=token,
                config=limits,
            ) as sts:
                facts.append(Fact("identity", (await sts.get_caller_identity())["Arn"]))
        except (ClientError, BotoCoreError, KeyError) as error:
            facts.append(Fact("identity", f"not told ({_code_of(error) or type(error).__name__})"))
        return facts

    async def _skew(self, client: Any) -> float | None:
        """This machine's clock less the server's, in seconds; None if it says no time."""
        try:
            answer = await client.head_bucket(Bucket=self._base.partition("/")[0])
        except ClientError as error:
            answer = error.response
        except BotoCoreError:
            return None  # the next step says why it cannot be reached
        said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        try:
            return wall_clock() - parsedate_to_datetime(said).timestamp()
        except (TypeError, ValueError):
            return None

    # -- what S3 does better ---------------------------------------------------------------------------------

    def _write(self, path: str, data: bytes) -> None:
        self._filesystem.pipe_file(path, data, chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def _write_file(self, path: str, source: Path) -> None:
        self._filesystem.put_file(
            str(source), path, chunksize=part_bytes(source.stat().st_size), max_concurrency=PARTS_AT_ONCE
        )

    def _read(self, path: str) -> bytes:
        # More than one at a time would cost a request for the size first.
        return bytes(self._filesystem.cat_file(path, max_concurrency=1))

    def _read_file(self, path: str, target: Path) -> None:
        self._filesystem.get_file(path, str(target), chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def require_create(self) -> None:
        if self._create_is_proven:
            return
        # Some servers that speak S3 ignore the condition and overwrite: ask this one, once, before relying on it.
        with self._errors("cannot try a conditional create"):
            probe = self._temporary()
            honoured = self._create_once(probe, b"first") and not self._create_once(probe, b"second")
            self._filesystem.rm_file(probe)
        if not honoured:
            raise Unsupported(
                f"{self.title}: it ignores `If-None-Match`, so two writers would overwrite each other",
                hint="upgrade that server, or keep the registry in a folder that everybody reaches",
            )
        self._create_is_proven = True

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        self.require_create()
        with self._errors(f"cannot create {key}"):
            return self._create_once(path, data)

    def _create_once(self, path: str, data: bytes) -> bool:
        """True if these bytes are the first under that key."""
        # An answer that got lost is asked for again, by aiohttp already: so a key that exists may be this very call's.
        mark = secrets.token_hex(16)

        def attempt() -> bool:
            try:
                self._filesystem.pipe_file(path, data, mode="create", Metadata={_MARK: mark})
            except FileExistsError:
                return mark == self._mark_of(path)
            return True

        return self._insist(attempt)

    def _mark_of(self, path: str) -> str | None:
        bucket, _, key = path.partition("/")
        try:
            found = self._filesystem.call_s3("head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        value: str | None = found.get("Metadata", {}).get(_MARK)
        return value

    def _failed(self, doing: str, error: Exception) -> RemoteError:
        failed = super()._failed(doing, error)
        if any(isinstance(link, FlexibleChecksumError) for link in chain(error)):
            # What came each time is not what was put there: this value is damaged, and the others may be good.
            return ShortAnswer(failed.message, hint="push it again from where it is")
        return failed

    def _said(self, error: Exception) -> str:
        text, code = super()._said(error), _code_of(error)
        return f"{text} ({code})" if code and code not in text else text

    def _hint(self, error: Exception) -> str:
        return _HINTS.get(_code_of(error), self.hint)


def part_bytes(size: int) -> int:
    """How large the parts of a value are, so that they are not too many. Whole MiB above PART_BYTES."""
    return max(PART_BYTES, math.ceil(size / MOST_PARTS / (1 << 20)) << 20)


def _code_of(error: BaseException) -> str:
    """S3's word for what went wrong, such as AccessDenied; empty if no answer came."""
    for link in chain(error):
        if isinstance(link, ClientError):
            return str(link.response.get("Error", {}).get("Code", ""))
    return ""
