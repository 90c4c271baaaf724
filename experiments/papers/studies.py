"""Experiments that the papers do not have: which rank, which subspace, where in the optimiser.

They run and are reported like the papers' tables (`papers.command`), which have no such rows.
"""

from dsg_jax.solvers import SOLVERS
from experiments.papers.entry import (
    INPAINTING,
    LINEAR,
    NOT_IN_THE_PAPERS,
    Experiment,
    Sweep,
    pair,
    plain_row,
    projected_row,
)

# Rule and its tau (for ``fraction``: the fraction of the full rank).
RANK_RULES = (
    *(("per_channel", tau) for tau in (0.9, 0.99, 0.999, 0.9999, 0.99999)),
    ("mean", 0.99),
    ("official", 0.99),
    *(("fraction", fraction) for fraction in (0.3, 0.5, 0.7, 0.9, 1.0)),
)
# Multiples of the default step. That of a shortened PSLD is 8 times the published one, so these are
# the published one times 1 to 64.
STEPS = (0.125, 0.25, 0.5, 1, 2, 4, 8)


def rank_study(solver: str, tasks: tuple[str, ...]) -> Experiment:
    """Quality against the rank for one solver."""
    return Experiment(
        f"study-rank-{solver}",
        "our study",
        f"Which rank rule helps {SOLVERS[solver].title}? The papers' rule per channel with tau from"
        " 0.9 to 0.99999, its mean over channels, the released rule, and fixed fractions of the"
        " full rank. Fraction 1 keeps everything and is the control.",
        NOT_IN_THE_PAPERS,
        tasks,
        (
            plain_row(solver),
            *(
                projected_row(solver, f"{rule} {tau:g}", rank_rule=(rule,), tau=(tau,))
                for rule, tau in RANK_RULES
            ),
        ),
        figure="gains",
    )


def step_study(solver: str, tasks: tuple[str, ...]) -> Experiment:
    """Quality against the step size for one solver."""
    return Experiment(
        f"study-step-{solver}",
        "our study (beyond DiffStateGrad, Figure 6)",
        f"Does the projection keep the quality of {SOLVERS[solver].title} at step sizes at which"
        " the plain solver fails? Guidance steps of PSLD, learning rates of ReSample. The shade of"
        " a rule is the 95 % interval of its paired difference, put on the plain solver's mean:"
        " where it misses the plain line, the two differ.",
        NOT_IN_THE_PAPERS,
        tasks,
        (
            plain_row(solver),
            projected_row(solver, "official", rank_rule=("official",)),
            projected_row(solver, "per_channel", rank_rule=("per_channel",)),
        ),
        ("psnr", "lpips"),
        sweep=Sweep("step_factor", STEPS, "step, multiples of the default"),
        figure="intervals",
    )


STUDIES = (
    rank_study("daps", INPAINTING + LINEAR),
    rank_study("psld", INPAINTING + LINEAR),
    rank_study("resample", ("box_inpainting", "super_resolution")),
    step_study("psld", INPAINTING + LINEAR),
    step_study("resample", ("box_inpainting", "phase_retrieval")),
    Experiment(
        "study-subspace",
        "our study (beyond DiffStateGrad, Table 1)",
        "Does it matter what is decomposed? The subspace of the state, of the gradient itself and"
        " of a random matrix, each with three rank rules; and the state's on one side only.",
        NOT_IN_THE_PAPERS,
        ("random_inpainting", "super_resolution"),
        (
            plain_row("psld"),
            *(
                projected_row("psld", f"{source}, {rule}", source=source, rank_rule=(rule,))
                for source in ("random", "gradient", "state")
                for rule in ("per_channel", "mean", "official")
            ),
            *(
                projected_row(
                    "psld",
                    f"state, official, {side} side only",
                    rank_rule=("official",),
                    sides=side,
                )
                for side in ("left", "right")
            ),
        ),
        figure="gains",
    ),
    Experiment(
        "study-optimiser",
        "our study",
        "ReSample's gradient goes through AdamW. Is it the gradient that should be projected (as in"
        " the papers) or the update that AdamW makes of it?",
        NOT_IN_THE_PAPERS,
        ("box_inpainting", "super_resolution"),
        (
            plain_row("resample"),
            *(
                projected_row(
                    "resample",
                    f"{place} projected, period {period}",
                    {"project": place},
                    rank_rule=("official",),
                    period=(period,),
                )
                for place in ("gradient", "update")
                for period in (1, 5)
            ),
        ),
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
