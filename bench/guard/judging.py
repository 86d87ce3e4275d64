"""Whether what the probe saw is what the guard promises."""

from typing import Any

from bench.figures import BenchError
from bench.guard.forms import REFUSED


def judge(found: dict[str, Any]) -> None:
    """Pass what holds; `found` is what the probe wrote, each row with what posting it was answered with (`posted`).

    Raises:
        BenchError: all that got through, and each control that did not behave.
    """
    wrong = [complaint for row in found["rows"] for complaint in _row(row)]
    wrong += [complaint for control in found["controls"] for complaint in _control(control)]
    if not found["rows"] or not found["controls"]:
        wrong.append("nothing was tried")
    if found["arrived"] or found["proxy_arrived"]:
        wrong.append(f"{found['arrived']} connections arrived, {found['proxy_arrived']} at the environment's proxy")
    before, after = found["active_opens"]
    if found["own_network"] and before != after:
        wrong.append(f"the kernel counts {after - before} connections that no attempt accounts for")
    if wrong:
        raise BenchError("the address guard does not hold:\n" + "\n".join(wrong))


def _row(row: dict[str, Any]) -> list[str]:
    wrong = []
    if row["posted"] is None and not row["name"]:
        wrong.append(f"{row['url']!r} was taken when it was posted")
    for way in ("webhook", "fetched"):
        attempt = row[way]
        if attempt is not None and not attempt["said"].startswith(REFUSED):
            wrong.append(f"{row['url']!r} was not refused at the connect ({way}): {attempt['said']}")
        if attempt is not None and attempt["opens"]:
            wrong.append(f"{row['url']!r} ({way}): {attempt['opens']} connections begun")
    return wrong


def _control(control: dict[str, Any]) -> list[str]:
    if not control["said"].startswith(control["expected"]):
        return [f"{control['what']}: {control['said']!r} instead of {control['expected']!r}"]
    expected, tries = control["expected_opens"], control["tries"]
    if control["opens"] != expected or control["arrived"] != expected * tries:
        return [
            f"{control['what']}: {control['opens']} connections begun and {control['arrived']} arrived in {tries} "
            f"tries, not {expected} a try"
        ]
    return []
