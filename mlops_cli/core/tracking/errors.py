"""What can be wrong with a run."""

from __future__ import annotations

from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError, UsageError


class RunNotFound(NotFound):
    code = "run_not_found"


class RunOver(UsageError):
    """A run that has ended never changes."""

    code = "run_over"


class RunDamaged(IntegrityError):
    """A run's manifest does not read, or says something else than the run that is here."""

    code = "run_damaged"


class NotANumber(UsageError, TypeError):
    """A metric's value is not a number."""

    code = "not_a_number"


class ParamChanged(UsageError):
    """A parameter was given twice with two values."""

    code = "param_changed"


class ParamMissing(ProjectError, KeyError):
    """A script asks for a parameter that mlo.yaml does not give it."""

    code = "param_missing"

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.add_note(f"hint: {hint}")  # a script's traceback shows notes

    def __str__(self) -> str:  # KeyError would put quotes around it
        return self.message
