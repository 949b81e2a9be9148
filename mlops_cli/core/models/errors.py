"""What can be wrong with a model on disk, or with what is handed to one."""

from __future__ import annotations

from mlops_cli.core.errors import Exit, IntegrityError, MloError, ProjectError, UsageError


class ModelUnsupported(UsageError):
    """This is not something mlo can save."""

    code = "model_unsupported"


class ModelUntrusted(ProjectError):
    """A model file asks for types that neither mlo nor the project trusts. `types` names them."""

    code = "model_untrusted"

    def __init__(self, message: str, *, types: tuple[str, ...], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.types = types


class ModelCorrupt(IntegrityError):
    """A model's file is not the one that was recorded, or does not read."""

    code = "model_corrupt"


class WrongInputs(MloError):
    """Rows that do not fit the model's signature: a column is missing or holds the wrong kind of values."""

    code, exit_code = "wrong_inputs", Exit.USAGE
