"""The tables of DiffStateGrad (Zirvi et al., ICLR 2025) and PLoRG: what each compares.

PLoRG is the same authors' workshop paper (NeurIPS 2024 D3S3).
"""

from experiments.papers.entry import (
    INPAINTING,
    LINEAR,
    NONLINEAR,
    Experiment,
    Row,
    pair,
    plain_row,
    projected_row,
    psld_rows,
)
from experiments.papers.values import (
    FFHQ_INPAINTING,
    FFHQ_LINEAR,
    FFHQ_NONLINEAR,
    IMAGENET_INPAINTING,
    IMAGENET_LINEAR,
    PHASE_LATENT,
    QUOTED,
    SSIM_LINEAR,
    SSIM_NONLINEAR,
    STEP_SIZES,
    SUBSPACES,
    TWO,
)

FFHQ = "FFHQ 256 x 256, 100 validation images, noise 0.01; DPS's pixel model, LDM-VQ-4 for latents"
IMAGENET = (
    "ImageNet validation images, noise 0.01; Stable Diffusion v1.5. That the data are ImageNet is"
    " inferred, and so are the tables' numbers: captions are missing from the text that we have"
)
STEPS = (
    "The paper prints neither the default nor the large step. Its PSLD rows have the default step"
    " and its DiffStateGrad rows the large one (Table 7 shows both); here every row has both."
)
BEST = (
    "Phase retrieval: the best of four runs; the paper does not say by what. Here: by PSNR, and by"
    " the misfit to the measurement, which needs no truth."
)
OFFICIAL_IDENTITY = (
    "With four latent channels the released rank rule keeps everything, so the rule here is"
    " per_channel."
)


def subspace_rows() -> tuple[Row, ...]:
    """Table 1: every subspace with both steps, for the paper prints one and does not say which."""
    rows = (
        plain_row("psld")._replace(label="no projection"),
        projected_row("psld", "random matrix", source="random"),
        projected_row("psld", "measurement gradient", source="gradient"),
        projected_row("psld", "DiffStateGrad"),
    )
    print_one = {"no projection": "default", "DiffStateGrad": "large"}
    return tuple(
        row._replace(
            label=f"{row.label}, {step} step",
            step=step,
            printed=row.label if print_one.get(row.label, step) == step else None,
            against=() if row.is_plain else (f"no projection, {step} step",),
        )
        for step in ("default", "large")
        for row in rows
    )


def all_steps(word: str) -> tuple[Row, ...]:
    """Table 7: all four rows have a printed value."""
    named = {"PSLD": "PSLD", f"{word}-PSLD": "projected"}
    return tuple(
        row._replace(printed=f"{named[row.label.split(',')[0]]}, {row.step} step")
        for row in psld_rows(word)
    )


DAPS, RESAMPLE = pair("daps"), pair("resample")
PSLD = psld_rows()
PSLD_SD = psld_rows(fields={"rank_rule": ("per_channel",)}, group="sd")
PLORG_RESAMPLE = pair("resample", "PLoRG")
TABLES = (
    Experiment(
        "table1",
        "DiffStateGrad, Table 1",
        "Which subspace? PSLD's gradient is projected onto nothing, onto the singular vectors of a"
        " random matrix, of the gradient itself, and of the diffusion state.",
        FFHQ,
        ("random_inpainting",),
        subspace_rows(),
        values=SUBSPACES,
        note="The paper prints no step, rank or distribution of the random matrix. Its first and"
        " last rows equal Table 2's, so they have the default and the large step; the step of the"
        " two between is unknown and their value stands at both. Random: Gaussian entries, the same"
        " rank rule.",
    ),
    Experiment(
        "table2",
        "DiffStateGrad, Table 2",
        "Inpainting with three solvers, plain and projected.",
        FFHQ,
        INPAINTING,
        (*DAPS, *PSLD, *RESAMPLE),
        values=FFHQ_INPAINTING,
        note=STEPS,
    ),
    Experiment(
        "table3",
        "DiffStateGrad, Table 3",
        "Blurs and super-resolution with three solvers, plain and projected.",
        FFHQ,
        LINEAR,
        (*DAPS, *PSLD, *RESAMPLE),
        TWO,
        FFHQ_LINEAR,
        note=STEPS,
    ),
    Experiment(
        "table4",
        "DiffStateGrad, Table 4",
        "Nonlinear tasks with the two solvers that allow them, plain and projected.",
        FFHQ,
        NONLINEAR,
        (*DAPS, *RESAMPLE),
        TWO,
        FFHQ_NONLINEAR,
        note=BEST,
    ),
    Experiment(
        "table5",
        "DiffStateGrad, Table 5",
        "Blurs and super-resolution with PSLD on another data set and a larger latent model.",
        IMAGENET,
        LINEAR,
        PSLD_SD,
        TWO,
        IMAGENET_LINEAR,
        note=f"{STEPS} {OFFICIAL_IDENTITY}",
    ),
    Experiment(
        "table6",
        "DiffStateGrad, Table 6",
        "Inpainting with PSLD on another data set and a larger latent model.",
        IMAGENET,
        INPAINTING,
        PSLD_SD,
        values=IMAGENET_INPAINTING,
        note=f"{STEPS} {OFFICIAL_IDENTITY}",
    ),
    Experiment(
        "table7",
        "DiffStateGrad, Table 7 (SSIM: PLoRG, Table 1)",
        "PSLD with the default and a large guidance step: plain it breaks at the large one,"
        " projected it does not.",
        FFHQ,
        INPAINTING + LINEAR,
        all_steps("DiffStateGrad"),
        values=STEP_SIZES,
        note="The paper prints neither step.",
    ),
    Experiment(
        "table8",
        "DiffStateGrad, Table 8",
        "SSIM of Table 3.",
        FFHQ,
        LINEAR,
        (*DAPS, *PSLD, *RESAMPLE),
        ("ssim",),
        SSIM_LINEAR,
        note=STEPS,
    ),
    Experiment(
        "table9",
        "DiffStateGrad, Table 9",
        "SSIM of Table 4.",
        FFHQ,
        NONLINEAR,
        (*DAPS, *RESAMPLE),
        ("ssim",),
        SSIM_NONLINEAR,
        note=BEST,
    ),
    Experiment(
        "plorg-table1",
        "PLoRG, Table 1",
        "PSLD with the default and a large guidance step; its numbers are those of Table 7.",
        FFHQ,
        INPAINTING + LINEAR,
        all_steps("PLoRG"),
        values=STEP_SIZES,
        preset="plorg",
        note="The paper prints neither step.",
    ),
    Experiment(
        "plorg-table2",
        "PLoRG, Table 2",
        "ReSample, plain and projected, over linear tasks and phase retrieval.",
        FFHQ,
        (*INPAINTING, *LINEAR, "phase_retrieval"),
        PLORG_RESAMPLE,
        values=QUOTED,
        preset="plorg",
        note=f"The table's body is missing from the text that we have; the four values are quoted"
        f" in its prose. {BEST}",
    ),
    Experiment(
        "plorg-table3",
        "PLoRG, Table 3",
        "PSLD with the default step beside projected PSLD with the step that serves it best.",
        FFHQ,
        INPAINTING + LINEAR,
        tuple(
            row._replace(printed=None)
            if row.printed in ("PSLD, large step", "projected, default step")
            else row
            for row in all_steps("PLoRG")
        ),
        TWO,
        STEP_SIZES,
        preset="plorg",
        note="The paper prints neither step; its best one is taken to be Table 1's large one, for"
        " the numbers are the same.",
    ),
    Experiment(
        "plorg-table4",
        "PLoRG, Table 4",
        "Phase retrieval with latent solvers.",
        FFHQ,
        ("phase_retrieval",),
        (plain_row("latent-daps"), *PLORG_RESAMPLE),
        TWO,
        PHASE_LATENT,
        preset="plorg",
        note=BEST,
    ),
)
