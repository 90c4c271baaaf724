"""The figures of DiffStateGrad (Zirvi et al., ICLR 2025) that show measurements.

Their curves cannot be read from the text that we have, so no figure has a printed value; what is
printed of them stands in the tables. The values that are varied are our choice throughout.
"""

from experiments.papers.entry import INPAINTING, LINEAR, Experiment, Sweep, pair, psld_rows
from experiments.papers.tables import BEST, FFHQ

PSLD_PAIR = pair("psld")
LEVELS = "The values varied in the paper are not in the text that we have: ours are a choice."
WHICH = (
    f"{LEVELS} Neither is which of Figures 8 and 10 varies what, nor the solver: here 8 varies tau"
    " and 10 the rank itself, and fig8-period the period."
)


FIGURES = (
    Experiment(
        "fig3",
        "DiffStateGrad, Figure 3",
        "How often phase retrieval fails: the distribution of PSNR over images.",
        FFHQ,
        ("phase_retrieval",),
        pair("resample"),
        figure="histogram",
        note="The threshold of a failure and the failure rates are missing from the text that we"
        f" have: ours is --failure-psnr. The means of these runs are in Table 4. {BEST}",
    ),
    Experiment(
        "fig4",
        "DiffStateGrad, Figure 4",
        "Seconds for an image, plain and projected: the paper calls the overhead marginal.",
        f"{FFHQ}; one RTX 4090, box inpainting",
        ("box_inpainting",),
        (*PSLD_PAIR, *pair("resample"), *pair("daps")),
        ("seconds",),
        figure="bars",
        note="The bars' heights are not in the text that we have. Seconds leave out compilation and"
        " depend on hardware and batch.",
    ),
    Experiment(
        "fig6",
        "DiffStateGrad, Figure 6",
        "Quality against the guidance step of PSLD, plain and projected.",
        FFHQ,
        INPAINTING + LINEAR,
        PSLD_PAIR,
        sweep=Sweep("step_factor", (0.5, 1, 2, 4, 8), "step, multiples of the default"),
        figure="lines",
        note=LEVELS,
    ),
    Experiment(
        "fig7",
        "DiffStateGrad, Figure 7",
        "Quality against the measurement noise of DAPS and PSLD, plain and projected.",
        FFHQ,
        ("box_inpainting", "gaussian_deblur"),
        (*pair("daps"), *psld_rows()),
        sweep=Sweep("sigma", (0.01, 0.05, 0.1, 0.2, 0.4), "noise sigma, in [-1, 1]"),
        figure="lines",
        note=f"{LEVELS} The step of PSLD is not printed either.",
    ),
    Experiment(
        "fig8",
        "DiffStateGrad, Figures 8 and 10 (tau)",
        "Quality against the share tau of the state's energy that the projection keeps.",
        FFHQ,
        INPAINTING,
        (*pair("daps"), *PSLD_PAIR),
        sweep=Sweep("tau", (0.5, 0.9, 0.99, 0.999, 0.9999), "tau"),
        figure="lines",
        note=WHICH,
    ),
    Experiment(
        "fig8-period",
        "DiffStateGrad, Figures 8 and 10 (period)",
        "Quality against the period P: every P-th update of ReSample is projected.",
        FFHQ,
        ("box_inpainting",),
        pair("resample"),
        sweep=Sweep("period", (1, 2, 5, 10), "period P"),
        figure="lines",
        note=WHICH,
    ),
    Experiment(
        "fig10",
        "DiffStateGrad, Figures 8 and 10 (rank)",
        "Quality against the number of singular vectors that the projection keeps.",
        FFHQ,
        INPAINTING,
        (*pair("daps", rank_rule=("fraction",)), *pair("psld", rank_rule=("fraction",))),
        sweep=Sweep("tau", (0.1, 0.3, 0.5, 0.7, 0.9, 1.0), "rank / full rank"),
        figure="lines",
        note=WHICH,
    ),
)
