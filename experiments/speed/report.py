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
    for table in (networks_table, steps_table, scaling_table, ratios_table, progress_table):
        lines += ["", table(report)]
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


def ratios_table(report: dict) -> str:
    """Operators and projection engines against the first case of each group."""
    rows: list[tuple[str, ...]] = [
        (r["what"], r["case"], f"{r['milliseconds']:.2f}", f"{r['times_faster']:.2f}x")
        for r in report["ratios"]
    ]
    return markdown_table(("what", "case", "ms", "faster than the first"), rows)


def progress_table(report: dict) -> str:
    """What a host callback costs."""
    rows: list[tuple[str, ...]] = [
        (r["how"], f"{r['milliseconds_per_step']:.2f}") for r in report["progress"]
    ]
    return markdown_table(("a run of one sample", "ms per step"), rows)


def side(row: dict) -> str:
    """A state's shape."""
    return "x".join(map(str, row["state"]))
