"""How the chain of custody looks: `mlo why REF` backwards, `mlo blame DATA` forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output, human_bytes, plural
from mlops_cli.cli.views.registry import gate_rows, happened, pairs, scored, short, when, who
from mlops_cli.cli.views.tree import Branch, draw

if TYPE_CHECKING:
    from mlops_cli.core.registry.records import Change
    from mlops_cli.core.workflows.blame import Blame, VersionTouch
    from mlops_cli.core.workflows.custody import Chain, DataStep, StageStep


def show_chain(chain: Chain, output: Output) -> None:
    """Each link below the one that it explains, down to the data and the commit; then what came of it."""
    root = Branch((chain.ref if chain.ref == chain.title else f"{chain.ref} is {chain.title}",), "bold")
    for change in chain.aliases:
        _alias(root, change)
    step = root
    if chain.version is not None:
        version = chain.version
        model = (
            f"model {short(chain.model.digest)}, {plural(chain.model.files, 'file')}, {human_bytes(chain.model.size)}"
        )
        step = root.add("version", version.title, f"registered {when(version.time)} by {who(version.actor)}; {model}")
        if version.scores and version.evaluate is not None:
            step.add("scores", scored(version))
    if chain.made_by is not None:
        step.add("because", happened(chain.made_by), f"{when(chain.made_by.time)} by {who(chain.made_by.actor)}")
    _run(step, chain)
    draw(root, output)
    if chain.later:
        output.line()
        since = Branch(("since then",), "bold")
        for event in chain.later:
            since.add(when(event.time), happened(event), f"by {who(event.actor)}")
        draw(since, output)


def _alias(root: Branch, change: Change) -> None:
    verb = "promoted" if change.kind == "promote" else "rolled back"
    before = f", was version {change.before}" if change.before is not None else ""
    done = f"{verb} {when(change.time)} by {who(change.actor)}{before}"
    branch = root.add("alias", f"{change.name}@{change.alias}", done)
    for word, text, numbers, remark in gate_rows(change.gates):
        branch.add(word, text, "  ".join(filter(None, (numbers, remark))))


def _run(above: Branch, chain: Chain) -> None:
    run = chain.run
    facts = [f"`{run.command}`"] if run.command else []
    if run.start:
        facts.append(f"{run.status} {when(run.end or run.start)}")
    if run.actor:
        facts.append(f"by {who(run.actor)}")
    if not run.known:
        facts.append("(told by the version; the run itself was made elsewhere)")
    branch = above.add("run", run.id[:8], " ".join(facts))
    if run.params:
        branch.add("params", pairs(run.params))
    if run.metrics:
        branch.add("metrics", pairs(run.metrics))
    branch.add("commit", _commit(chain))
    for stage in chain.stages:
        _stage(branch, stage, dirty=run.dirty)
    told = {data.path for stage in chain.stages for data in stage.reads}
    for data in chain.inputs:
        if data.path not in told:
            branch.add(data.path, *_data(data, dirty=run.dirty))


def _commit(chain: Chain) -> str:
    run = chain.run
    if run.commit is None:
        return "none: the project was not in a git repository with a commit"
    branch = f" on {run.branch}" if run.branch else ""
    changes = (
        f", with changes not committed ({short(run.diff) if run.diff else 'not kept'})" if run.dirty else ", clean"
    )
    return f"{run.commit[:10]}{branch}{changes}"


def _stage(run: Branch, stage: StageStep, *, dirty: bool) -> None:
    how = {"ran": f"ran {stage.seconds:.1f} s", "cached": "was up to date", "restored": "was restored"}
    made = f", made by run {stage.run[:8]}" if stage.status != "ran" and stage.run else ""
    params = f"  {pairs(stage.params)}" if stage.params else ""
    branch = run.add("stage", f"{stage.name} {how.get(stage.status, stage.status)}{made}{params}")
    for data in stage.wrote:
        branch.add("wrote", data.path, short(data.digest), _amount(data))
    for data in stage.reads:
        branch.add("read", data.path, *_data(data, dirty=dirty))


def _data(data: DataStep, *, dirty: bool) -> tuple[str, str]:
    if data.made_by:
        return short(data.digest), f"from {data.made_by}"
    facts = [_amount(data)] if _amount(data) else []
    if data.recorded is not None:
        mention = data.recorded
        facts.append(f"recorded {when(mention.time)} by {mention.author} in {mention.sha[:8]} ({mention.subject})")
    elif data.in_lock:
        facts.append("recorded in mlo.lock, not committed")
    if data.in_commit:
        facts.append("in the commit" if not dirty else "in the commit, perhaps with changes")
    elif not data.in_cache:
        # Added data is mlo's to keep; anything else that a stage read is code, which only git keeps.
        facts.append("not in the cache" if data.recorded or data.in_lock else "not committed: it may be lost")
    return short(data.digest), ", ".join(facts)


def _amount(data: DataStep) -> str:
    parts = [human_bytes(data.size)] if data.size is not None else []
    if data.files is not None and data.files != 1:
        parts.insert(0, plural(data.files, "file"))
    if data.rows is not None:
        parts.append(plural(data.rows, "row"))
    return ", ".join(parts)


def show_blame(blame: Blame, output: Output) -> None:
    size = f"  {human_bytes(blame.size)}" if blame.size is not None else ""
    now = "" if blame.in_lock else "  (mlo.lock has something else there now)"
    root = Branch((f"{blame.path}@{blame.digest}{size}{now}",), "bold")
    runs = root.add("runs", str(len(blame.runs)) if blame.runs else "none read or wrote it")
    for run in blame.runs:
        runs.add(run.id[:8], when(run.start), run.status, f"{run.name}  {'; '.join(run.how)}")
    versions = root.add("versions", str(len(blame.versions)) if blame.versions else "none was made from it")
    for version in blame.versions:
        _version(versions, version)
    for title, events in (
        ("deployments", blame.deployments),
        ("prediction windows", blame.windows),
        ("retrainings", blame.retrainings),
    ):
        if events:
            branch = root.add(title, str(len(events)))
            for event in events:
                branch.add(when(event.time), happened(event), f"by {who(event.actor)}")
    draw(root, output)


def _version(versions: Branch, version: VersionTouch) -> None:
    run = f"run {version.run[:8]}  {'; '.join(version.how)}"
    branch = versions.add(version.title, when(version.time), f"by {who(version.actor)}", run)
    for span in version.aliases:
        until = f"until {when(span.until)}" if span.until else "until now"
        branch.add(f"@{span.alias}", f"since {when(span.since)}", until, f"by {who(span.actor)}")
