"""What can go wrong, and the exit code each kind ends with.

Every error that a person can cause or mend is an `MloError`: it says what is so, with the values, and in
`hint` what to do next. Anything else that escapes is a bug in mlo and exits 1.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command; the README's table is tested against these comments."""

    DONE = 0  # done
    BUG = 1  # a bug in mlo
    USAGE = 2  # wrong usage
    WARNED = 3  # an answer you asked to be warned of: drift, a failed check, a refused gate, changes
    TOO_LITTLE = 4  # too little data to answer
    PROJECT = 5  # project or configuration error
    NOT_FOUND = 6  # not found
    INTEGRITY = 7  # integrity: a digest does not match
    REMOTE = 8  # remote, registry or network
    STAGE = 9  # a stage failed
    LOCKED = 10  # locked by another mlo
    MACHINE = 11  # the machine refused: disk full, permission, port taken
    INTERRUPTED = 130  # interrupted


class MloError(Exception):
    """An error with a stable `code` for programs, an `exit_code` for shells and a `hint` for people."""

    code: str = "error"
    exit_code: Exit = Exit.BUG
    outcome: object = None  # what is known of the work that it ended, if that is worth a look

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def document(self) -> dict[str, object]:
        """The `--json` form of the error."""
        return {
            "type": type(self).__name__,
            "code": self.code,
            "exit_code": int(self.exit_code),
            "message": self.message,
            "hint": self.hint,
        }


class UsageError(MloError):
    code, exit_code = "usage", Exit.USAGE


class Refused(MloError):
    """The answer is no, and you asked to be told: a gate, a check."""

    code, exit_code = "refused", Exit.WARNED


class TooLittleData(MloError):
    code, exit_code = "too_little_data", Exit.TOO_LITTLE


class ProjectError(MloError):
    code, exit_code = "project", Exit.PROJECT


class WouldOverwrite(ProjectError):
    """The user's own bytes stand where mlo would write."""

    code = "would_overwrite"


class ExtraMissing(ProjectError):
    code = "extra_missing"


class NotFound(MloError):
    code, exit_code = "not_found", Exit.NOT_FOUND


class IntegrityError(MloError):
    """Bytes do not match their digest, or a format does not read as it should."""

    code, exit_code = "integrity", Exit.INTEGRITY


class RemoteError(MloError):
    code, exit_code = "remote", Exit.REMOTE


class Conflict(RemoteError):
    """Another writer appended or created first."""

    code = "conflict"


class StageFailed(MloError):
    code, exit_code = "stage_failed", Exit.STAGE


class Locked(MloError):
    code, exit_code = "locked", Exit.LOCKED


class MachineError(MloError):
    """The operating system refused: disk full, permission, read-only, port taken."""

    code, exit_code = "machine", Exit.MACHINE
