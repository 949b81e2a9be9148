"""How register, promote, rollback, models and audit look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.cli.output import Output, human_bytes, plural
from mlops_cli.cli.views.tree import Branch, draw

if TYPE_CHECKING:
    from mlops_cli.core.events.chain import Verdict
    from mlops_cli.core.registry.records import Version
    from mlops_cli.core.workflows.models import ModelCard, ModelList
    from mlops_cli.core.workflows.promote import Promotion
    from mlops_cli.core.workflows.register import Registration


def when(time: str) -> str:
    """A recorded time for people: `2013-05-01 12:00`, UTC."""
    return time[:16].replace("T", " ")


def who(actor: str) -> str:
    """The name of `Name <email>`; what an actor is called where there is no name. --json has all of it."""
    name, bracket, _ = actor.partition(" <")
    return name if bracket and name else actor


def short(digest: str) -> str:
    """`xxh128:3f2a91c0…`."""
    algorithm, _, hexadecimal = digest.partition(":")
    return f"{algorithm}:{hexadecimal[:8]}…"


def number(value: Any) -> str:
    """A value of a gate, a metric or a parameter."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(number, value))}]"
    return str(value)


def pairs(values: Mapping[str, Any], *, ordered: bool = False) -> str:
    """`auc=0.7412  log_loss=0.51`, by name; `ordered` ones stay as they come."""
    rows = values.items() if ordered else sorted(values.items())
    return "  ".join(f"{name}={number(value)}" for name, value in rows)


def scored(version: Version) -> str:
    """The scores and the rows they were taken on; with more than two classes, which of them are macro averages."""
    on = f"  on {version.evaluate.path}" if version.evaluate is not None else ""
    averaged = [name for name in ("auc", "precision", "recall", "f1") if name in version.scores]
    means = len(version.signature.classes) > 2 and averaged
    macro = f"  ({', '.join(averaged)}: macro averages)" if means else ""
    return f"{pairs(version.scores)}{on}{macro}"


def gate_rows(gates: Iterable[Any]) -> list[tuple[str, str, str, str]]:
    """Each gate as (word, text, numbers, remark); gates are records, or plain as an event holds them."""
    rows = []
    for gate in map(msgspec.to_builtins, gates):
        seen = [it for it in gate.get("comparisons", ()) if it["holds"] is not None or not gate["holds"]]
        numbers = ", ".join(map(_numbers, seen))
        rows.append(("holds" if gate["holds"] else "refused", gate["gate"], numbers, gate.get("reason") or ""))
    return rows


def _numbers(comparison: Mapping[str, Any]) -> str:
    text = f"{number(comparison['left'])} {comparison['operator']} {number(comparison['right'])}"
    named = {name: value for name, value in comparison["values"].items() if name.startswith("champion.")}
    return f"{text} ({pairs(named)})" if any(value is not None for value in named.values()) else text


def show_gates(gates: Iterable[Any], output: Output) -> None:
    rows = gate_rows(gates)
    width = max((len(text) for _, text, _, _ in rows), default=0)
    for word, text, numbers, remark in rows:
        output.line(f"  {word:8} {text.ljust(width)}  {numbers}".rstrip(), style="green" if word == "holds" else "red")
        if remark:
            output.line(f"  {'':8} {remark}")


def show_registration(made: Registration, output: Output) -> None:
    version = made.version
    if not made.created:
        output.line(f"{version.title} is this model already: run {version.run[:8]}, registered {when(version.time)}")
        for note in made.notes:
            output.line(f"  note     {note}")
        return
    output.line(f"registered {version.title} from run {version.run[:8]}", style="bold green")
    model = version.model
    output.line(f"  model    {short(model.digest)}  {plural(model.files, 'file')}, {human_bytes(model.size)}")
    if version.commit is not None:
        branch = f" on {version.branch}" if version.branch else ""
        output.line(f"  commit   {version.commit[:8]}{branch}{', with changes' if version.dirty else ''}")
    else:
        output.line("  commit   none: the project had no commit in git")
    if version.params:
        output.line(f"  params   {pairs(version.params)}")
    if made.overrides:
        output.line(f"  -P       {pairs(made.overrides)}")
    if version.evaluate is not None:
        output.line(f"  scores   {scored(version)}")
    elif version.metrics:
        output.line(f"  metrics  {pairs(version.metrics)}")
    if version.profile is not None:
        output.line(f"  profile  {short(version.profile)}  what drift is measured against")
    for note in made.notes:
        output.line(f"  note     {note}")
    output.line(f"next: mlo promote {version.title} production")


def show_promotion(done: Promotion, output: Output) -> None:
    before = f" (it was version {done.before})" if done.before is not None else " (it pointed nowhere before)"
    if done.refused:
        refused = sum(not gate.holds for gate in done.gates)
        word = "would not be" if done.dry else "was not"
        output.line(
            f"{done.title} {word} promoted to {done.alias}: {plural(refused, 'gate')} of {len(done.gates)} refused it",
            style="bold red",
        )
    elif done.dry:
        output.line(f"{done.name}@{done.alias} would point at version {done.version}{before}")
    elif not done.changed:
        output.line(f"{done.name}@{done.alias} points at version {done.version} already; nothing was changed")
    else:
        back = " back" if done.action == "rollback" else ""
        output.line(f"{done.name}@{done.alias} points{back} at version {done.version}{before}", style="bold green")
    show_gates(done.gates, output)
    if done.refused and done.before is not None:
        output.line(f"{done.name}@{done.alias} still points at version {done.before}")


def show_models(models: ModelList, output: Output) -> None:
    if not models.versions:
        output.line(f"no model is registered in {models.place}; {models.hint}")
        return
    rows = [
        (
            row.title,
            ", ".join(row.aliases),
            pairs(_first(row.scores), ordered=True),
            row.run[:8],
            human_bytes(row.size),
            when(row.time),
            who(row.actor),
        )
        for row in models.versions
    ]
    output.table(("version", "aliases", "scores", "run", "size", "registered", "by"), rows, right=("size",))


def _first(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The three scores that people ask for first; `models show` has them all."""
    known = [name for name in ("auc", "accuracy", "log_loss", "r2", "rmse", "mae") if name in scores] or sorted(scores)
    return {name: scores[name] for name in known[:3]}


def show_model(card: ModelCard, output: Output) -> None:
    version = card.version
    root = Branch((version.title, *(f"@{alias}" for alias in card.aliases)), "bold")
    root.add("registered", f"{when(version.time)} by {who(version.actor)}")
    commit = f", commit {version.commit[:8]}{' and changes' if version.dirty else ''}" if version.commit else ""
    root.add("run", f"{version.run[:8]}  {version.command}{commit}")
    root.add("takes", f"{plural(len(version.signature.inputs), 'column')}: {_columns(version)}")
    root.add("gives", _gives(version))
    if version.scores and version.evaluate is not None:
        root.add("scores", scored(version))
    if version.metrics:
        root.add("metrics", pairs(version.metrics))
    if version.params:
        root.add("params", pairs(version.params))
    model = version.model
    files = root.add(
        "files", f"{short(model.digest)}  {plural(model.files, 'file')}, {human_bytes(model.size)}, {version.flavor}"
    )
    for path, sha256 in version.files.items():
        files.add(path, f"sha256 {sha256[:16]}…")
    root.add("profile", short(version.profile) if version.profile else "none: drift cannot be checked")
    history = root.add("history", plural(len(card.history), "event"))
    for event in card.history:
        line = history.add(when(event.time), happened(event), f"by {who(event.actor)}")
        for word, text, numbers, remark in gate_rows(event.data.get("gates", ())):
            line.add(word, text, "  ".join(filter(None, (numbers, remark))))
    draw(root, output)


def _columns(version: Any) -> str:
    shown = [f"{column.name} {column.kind}{'?' if column.nullable else ''}" for column in version.signature.inputs]
    return ", ".join(shown)


def _gives(version: Any) -> str:
    signature = version.signature
    if signature.task == "regression":
        return "a number"
    return f"one of {', '.join(map(str, signature.classes))}"


def happened(event: Any) -> str:
    """What an event says, in a few words."""
    data = event.data
    alias = data.get("alias", "")
    if event.kind == "promote":
        return f"promoted {event.subject} to {alias}" + _was(data)
    if event.kind == "rollback":
        return f"rolled {alias} back to {event.subject}" + _was(data)
    if event.kind == "refuse":
        return f"refused {event.subject} for {alias}"
    if event.kind == "register":
        return f"registered {event.subject}"
    if event.kind == "deploy":
        previous = f", after {data['previous']}" if data.get("previous") else ""
        return f"deployed {event.subject} at {data.get('address', '?')}{previous}"
    if event.kind == "drift":
        return _drift(event.subject, data)
    if event.kind == "retrain":
        made = f" and made {data['challenger']}" if data.get("challenger") else ""
        causes = _causes(data.get("triggers") or ())
        return f"retrained {data.get('champion') or event.subject}{causes}{made}: {data.get('decision', '?')}"
    return f"{event.kind} {event.subject}"


def _causes(triggers: Iterable[str]) -> str:
    found = [trigger for trigger in triggers if trigger != "forced"]
    forced = " by request" if "forced" in triggers else ""
    if not found:
        return forced
    return f" for {', '.join(found)}{' and' if forced else ''}{forced}"


def _was(data: Mapping[str, Any]) -> str:
    return f" (was version {data['before']})" if data.get("before") else ""


def _drift(subject: str, data: Mapping[str, Any]) -> str:
    window = data.get("window") or {}
    span = f" of {when(window['start'])} to {when(window['end'])}" if window.get("start") and window.get("end") else ""
    rows = f", {plural(data['rows'], 'row')}" if isinstance(data.get("rows"), int) else ""
    alarms = f": {', '.join(map(str, data['alarms']))}" if data.get("alarms") else ""
    return f"checked {subject} for drift on the window{span}{rows}: {data.get('verdict', '?')}{alarms}"


def show_audit(verdict: Verdict, output: Output) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.kinds.items(), key=lambda kind: -kind[1]))
    if verdict.events:
        output.line(f"{plural(verdict.events, 'event')} in {verdict.place}: {kinds}")
        output.line(
            f"from {when(verdict.first or '')} to {when(verdict.last or '')}, head {(verdict.head or '')[:16]}…"
        )
    else:
        output.line(f"no event in {verdict.place}")
    if verdict.broken is not None:
        output.line(f"broken at event {verdict.broken.seq}: {verdict.broken.problem}", style="bold red")
    elif verdict.events:
        output.line("every event is as it was written, and follows the one before it", style="green")
