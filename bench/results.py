"""Keeps results: one JSON file a measurement, with all that is needed to judge it, and one table of the latest."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from bench.figures import Figure, Outcome

SCHEMA = 1
TABLE = "latest.md"


def save(outcome: Outcome, folder: Path, *, started: dict[str, Any]) -> Path:
    """Write a measurement's file (and its page); `started` describes the machine as it was when it began."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{outcome.name}.json"
    result = {
        "schema": SCHEMA,
        "name": outcome.name,
        **started,
        "parameters": outcome.parameters,
        "figures": [asdict(figure) | {"summary": figure.summary()} for figure in outcome.figures],
        "complaints": outcome.complaints,
        "raw": outcome.raw,
    }
    path.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    if outcome.page is not None:
        path.with_suffix(".md").write_text(outcome.page)
    return path


def write_table(folder: Path) -> Path:
    """Write the Markdown table of every result in the folder, each with where and when it was measured."""
    results = [orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    parts = ["# Latest measurements\n", "What each figure means and how it is taken: [METHOD.md](../METHOD.md).\n"]
    for result in results:
        parts += [f"## {result['name']}\n", _where(result), _table(result["figures"]), *_complaints(result)]
    path = folder / TABLE
    path.write_text("\n".join(parts))
    return path


def _where(result: dict[str, Any]) -> str:
    machine, git = result["machine"], result["git"]
    revision = "no git checkout"
    if git is not None:
        changed = f" + {len(git['changed'])} changed files" if git["changed"] else ""
        revision = f"revision {git['commit'][:10]}{changed}"
    return (
        f"{result['measured_at']}, {revision}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}, Python {result['python']}, "
        f"load {machine['load_1m']} before the run.\n"
    )


def _complaints(result: dict[str, Any]) -> list[str]:
    return [f"- logged {times} ×: {what}" for what, times in result["complaints"].items()] + [""]


def _table(figures: list[dict[str, Any]]) -> str:
    cases = list(dict.fromkeys(figure["case"] for figure in figures))
    lines = []
    for case in cases:
        lines += [f"**{case}**\n", "| | median | p90 | p99 | max | |", "|---|--:|--:|--:|--:|---|"]
        for item in figures:
            if item["case"] == case:
                lines.append(_row(Figure(case, item["what"], item["unit"], tuple(item["values"]))))
        lines.append("")
    return "\n".join(lines)


def _row(figure: Figure) -> str:
    summary = figure.summary()
    if summary["count"] == 1:
        return f"| {figure.what} | {_number(summary['median'])} | | | | {figure.unit} |"
    shown = " | ".join(_number(summary[name]) for name in ("median", "p90", "p99", "max"))
    return f"| {figure.what} | {shown} | {figure.unit}, n = {summary['count']} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
