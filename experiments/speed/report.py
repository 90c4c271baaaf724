"""The report of `speed` as Markdown tables."""

from experiments.restore.report import markdown_table


def tables(report: dict) -> str:
    """The report as Markdown."""
    top, hardware = report["ceilings"], report["hardware"]
    lines = [
        f"{', '.join(hardware['devices'])}, {hardware['cpu_cores']} CPU cores: "
        f"{top['matrix_product_float32_flops_per_second'] / 1e9:.0f} GFLOP/s in float32 products, "
        f"{top['matrix_product_bfloat16_flops_per_second'] / 1e9:.0f} in bfloat16, "
        f"{top['copy_bytes_per_second'] / 1e9:.1f} GB/s copied"
    ]
    if report["stolen"] is not None:
        share = f"{report['stolen']:.0%} of the processor time went to other virtual machines"
        lines += ["", f"{share}. Times are the least of several turns."]
    for table in (networks_table, steps_table, scaling_table, engines_table, progress_table):
        lines += ["", table(report)]
    lines += ["", peers_table(report)] if report["peers"] else []
    return "\n".join(lines)


def networks_table(report: dict) -> str:
    """Networks against the ceilings."""
    names = ("network", "state", "batch", "what", "ms", "GFLOP/s", "of product", "of copy")
    rows: list[tuple[str, ...]] = [
        (r["prior"], side(r), str(r["batch"]), r["what"], f"{r['milliseconds']:.1f}")
        + (f"{r['flops_per_second'] / 1e9:.0f}", f"{r['of_matrix_product']:.0%}")
        + (f"{r['of_copy']:.0%}",)
        for r in report["networks"]
    ]
    return markdown_table(names, rows)


def steps_table(report: dict) -> str:
    """The pieces of steps."""
    pieces = ("network", "operator", "projection", "rest")
    names = ("solver", "prior", "state", "batch", "ms per step", *pieces, "MB planned")
    rows: list[tuple[str, ...]] = [
        (r["solver"], r["prior"], side(r), str(r["batch"]), f"{r['step']:.1f}")
        + tuple(f"{r[piece]:.1f} ({r[piece] / r['step']:.1%})" for piece in pieces)
        + (f"{r['planned_bytes'] / 1e6:.0f}",)
        for r in report["steps"]
    ]
    return markdown_table(names, rows)


def scaling_table(report: dict) -> str:
    """Batches."""
    names = ("solver", "prior", "batch", "ms per sample and step", "MB planned")
    rows: list[tuple[str, ...]] = [
        (r["solver"], r["prior"], str(r["batch"]), f"{r['per_sample']:.1f}")
        + (f"{r['bytes'] / 1e6:.0f}",)
        for r in report["scaling"]
    ]
    return markdown_table(names, rows)


def engines_table(report: dict) -> str:
    """Projection engines."""
    names = ("states", "rule", "rank", "engine", "ms", "error of the projection", "energy missed")
    missed = lambda r: "" if r["missed_energy"] is None else f"{r['missed_energy']:.1e}"
    rows: list[tuple[str, ...]] = [
        (r["case"], r["rule"], str(r["rank"]), r["engine"], f"{r['milliseconds']:.2f}")
        + (f"{r['error']:.1e}", missed(r))
        for r in report["engines"]
    ]
    return markdown_table(names, rows)


def progress_table(report: dict) -> str:
    """What a host callback costs."""
    rows: list[tuple[str, ...]] = [
        (r["how"], f"{r['milliseconds_per_step']:.2f}") for r in report["progress"]
    ]
    return markdown_table(("a run of DPS, batch 1", "ms per step"), rows)


def peers_table(report: dict) -> str:
    """The same solver of another package."""
    rows: list[tuple[str, ...]] = [
        (r["package"], str(r["batch"]), f"{r['milliseconds_per_step']:.1f}")
        + (f"{r['gflop_of_a_step']:.1f}", f"{r['planned_bytes'] / 1e6:.0f}")
        for r in report["peers"]
    ]
    return markdown_table(("DPS of", "batch", "ms per step", "GFLOP", "MB planned"), rows)


def side(row: dict) -> str:
    """A state's shape."""
    return "x".join(map(str, row["state"]))
