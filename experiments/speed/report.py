"""The report of `speed` as Markdown tables."""

from collections.abc import Callable

from experiments.restore.report import markdown_table


def side(row: dict) -> str:
    """A state's shape."""
    return "x".join(map(str, row["state"]))


def piece(name: str) -> Callable[[dict], str]:
    """A column: milliseconds of a piece, and its share of the step."""
    return lambda r: f"{r[name]:.1f} ({r[name] / r['step']:.1%})"


# Entry of the report -> title of a column -> its text of a row.
TABLES: dict[str, dict[str, Callable[[dict], str]]] = {
    "networks": {
        "network": lambda r: r["prior"],
        "state": side,
        "batch": lambda r: str(r["batch"]),
        "what": lambda r: r["what"],
        "ms": lambda r: f"{r['milliseconds']:.1f}",
        "GFLOP/s": lambda r: f"{r['flops_per_second'] / 1e9:.0f}",
        "of product": lambda r: f"{r['of_matrix_product']:.0%}",
        "of copy": lambda r: f"{r['of_copy']:.0%}",
    },
    "steps": {
        "solver": lambda r: r["solver"],
        "prior": lambda r: r["prior"],
        "state": side,
        "batch": lambda r: str(r["batch"]),
        "ms per step": lambda r: f"{r['step']:.1f}",
        **{name: piece(name) for name in ("network", "operator", "projection", "rest")},
        "MB planned": lambda r: f"{r['planned_bytes'] / 1e6:.0f}",
    },
}


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
    for name, columns in TABLES.items():
        rows = [tuple(text(row) for text in columns.values()) for row in report[name]]
        lines += ["", markdown_table(tuple(columns), rows)]
    return "\n".join(lines)
