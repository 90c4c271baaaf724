"""Experiments that the papers do not have: which rank, which subspace, where in the optimiser.

They run and are reported like the papers' tables (`papers.listing`), which have no such rows.
"""

from experiments.papers.entry import INPAINTING, LINEAR, SOLVER_TITLES, Experiment, Row, pair

NOT_IN_THE_PAPERS = "no counterpart"
TAUS = (0.9, 0.99, 0.999, 0.9999, 0.99999)
FRACTIONS = (0.3, 0.5, 0.7, 0.9, 1.0)
RANK_RULES = (
    *[("per_channel", tau) for tau in TAUS],
    ("mean", 0.99),
    ("official", 0.99),
    *[("fraction", fraction) for fraction in FRACTIONS],
)
"""Rule and its tau (for ``fraction``: the fraction of the full rank)."""


def projected(solver: str, label: str, source: str = "state", **settings) -> Row:
    """A projected row, paired with the plain solver's."""
    against = (SOLVER_TITLES[solver],)
    return Row(f"{label}", solver, source, against=against, settings=settings)


def rank_rows(solver: str) -> tuple[Row, ...]:
    """The plain solver and every rank rule."""
    rules = [
        projected(solver, f"{rule} {tau:g}", rank_rule=rule, tau=tau) for rule, tau in RANK_RULES
    ]
    return (Row(SOLVER_TITLES[solver], solver), *rules)


def rank_study(solver: str, tasks: tuple[str, ...]) -> Experiment:
    """Quality against the rank for one solver."""
    return Experiment(
        f"study-rank-{solver}",
        "our study",
        f"Which rank rule helps {SOLVER_TITLES[solver]}? The papers' rule per channel with tau from"
        " 0.9 to 0.99999, its mean over channels, the released rule, and fixed fractions of the"
        " full rank. Fraction 1 keeps everything and is the control.",
        NOT_IN_THE_PAPERS,
        tasks,
        rank_rows(solver),
        figure="gains",
    )


def subspace_rows() -> tuple[Row, ...]:
    """What is decomposed, times how its rank is chosen; and one side of the gradient only."""
    rules = ("per_channel", "mean", "official")
    both = [
        projected("psld", f"{source}, {rule}", source, rank_rule=rule)
        for source in ("random", "gradient", "state")
        for rule in rules
    ]
    sides = [
        projected("psld", f"state, official, {side} side only", rank_rule="official", sides=side)
        for side in ("left", "right")
    ]
    return (Row("PSLD", "psld"), *both, *sides)


def optimiser_rows() -> tuple[Row, ...]:
    """Gradients or AdamW's updates projected, all of them or every fifth."""
    rows = [
        projected(
            "resample",
            f"{place} projected, period {period}",
            rank_rule="official",
            project=place,
            period=period,
        )
        for place in ("gradient", "update")
        for period in (1, 5)
    ]
    return (Row("ReSample", "resample"), *rows)


STUDIES = (
    rank_study("daps", INPAINTING + LINEAR),
    rank_study("psld", INPAINTING + LINEAR),
    rank_study("resample", ("box_inpainting", "super_resolution")),
    Experiment(
        "study-subspace",
        "our study (beyond DiffStateGrad, Table 1)",
        "Does it matter what is decomposed? The subspace of the state, of the gradient itself and"
        " of a random matrix, each with three rank rules; and the state's on one side only.",
        NOT_IN_THE_PAPERS,
        ("random_inpainting", "super_resolution"),
        subspace_rows(),
        figure="gains",
    ),
    Experiment(
        "study-optimiser",
        "our study",
        "ReSample's gradient goes through AdamW. Is it the gradient that should be projected (as in"
        " the papers) or the update that AdamW makes of it?",
        NOT_IN_THE_PAPERS,
        ("box_inpainting", "super_resolution"),
        optimiser_rows(),
        figure="gains",
    ),
    Experiment(
        "study-phase",
        "our study (beyond DiffStateGrad, Figure 3)",
        "How phase retrieval fails: the distribution over runs, and what is lost when the best of"
        " several runs is chosen by the misfit to the measurement, for which no truth is needed.",
        NOT_IN_THE_PAPERS,
        ("phase_retrieval",),
        (*pair("daps"), *pair("resample")),
        figure="histogram",
    ),
)
