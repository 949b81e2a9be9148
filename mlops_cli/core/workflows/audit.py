"""Verify every event of the registry, from the first."""

from __future__ import annotations

from mlops_cli.core.events.chain import Verdict, verify
from mlops_cli.core.workflows.workspace import Workspace


def audit(workspace: Workspace) -> Verdict:
    """Read the whole log where it lies, and check each event against its name and the one before it.

    A broken chain is an answer, not an error. Raises RemoteError if the log is out of reach.
    """
    return verify(workspace.events)
