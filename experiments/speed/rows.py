"""A row of `bench` as texts: both sides' times, and what says that they compute the same."""

import statistics
from typing import Any

Case = dict[str, Any]
COLUMNS = (
    *("case", "batch", "ours, ms", "PyTorch, ms", "PyTorch / ours", "compiling, s: cold, warm"),
    *("GB: plan, peak", "checks"),
)


def milliseconds(side: Case) -> list[float]:
    """Of a step, in every turn."""
    return [1e3 * seconds / side["steps"] for seconds in side["seconds"]]


def timing(side: Case | None) -> str:
    """Median, least and most of a side's turns, or why there is none."""
    if side is None or "error" in side:
        return "-" if side is None else f"failed: {side['error'][:80]}".replace("|", "/")
    ms = milliseconds(side)
    return f"{statistics.median(ms):.4g} ({min(ms):.4g} to {max(ms):.4g})"


def checks(row: Case) -> str:
    """What says that both sides compute the same, and how exact the projection is."""
    ours, theirs = row["jax"], row.get("torch", {})
    words = [f"{name[6:]} {ours[name]:.0e}" for name in ours if name.startswith("error_")]
    if "difference" in theirs:
        words.append(f"results {theirs['difference']:.0e}")
    for part in ours.get("parts", ()):
        if part in theirs:
            same = "" if ours[part] == theirs[part] else f", and {theirs[part] / 1e6:.1f} M"
            words.append(f"{part} {ours[part] / 1e6:.1f} M{same}")
    return ", ".join(words)


def ratio(row: Case) -> str:
    """How many times faster ours is, by the medians."""
    if any("error" in row.get(side, {"error": ""}) for side in ("jax", "torch")):
        return "-"
    ours, theirs = (statistics.median(milliseconds(row[side])) for side in ("jax", "torch"))
    return f"{theirs / ours:.2f}"


def cells(row: Case) -> tuple[str, ...]:
    """A row's texts under `COLUMNS`."""
    case, ours = row["case"], row["jax"]
    plain = "" if case.get("projected", True) else ", plain"
    where = f"{case['engine']}, 3 x {case['side']} x {case['side']}" if "engine" in case else ""
    compiling = [f"{ours[n]:.3g}" for n in ("compile_cold", "compile_warm") if n in ours]
    sizes = [ours.get("planned_bytes"), ours.get("peak_bytes")]
    memory = ["-" if size is None else f"{size / 1e9:.2g}" for size in sizes]
    return (
        f"{case['what']}, {where or case['model']}{plain}",
        str(case["batch"]),
        timing(ours),
        timing(row.get("torch")),
        ratio(row),
        ", ".join(compiling) or "-",
        ", ".join(memory),
        checks(row) or "-",
    )


def line(texts: tuple[str, ...]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(texts)} |"
