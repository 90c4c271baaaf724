"""Every printed number of the two papers' tables, mean (std) over images.

The reports put them beside our own.
"""

from experiments.papers.entry import INPAINTING, LINEAR, NONLINEAR, Value, values

ALL = ("lpips", "ssim", "psnr")
TWO = ("lpips", "psnr")

SUBSPACES = values(
    ("random_inpainting",),
    ALL,
    {
        "no projection": "0.246 0.809 29.05",
        "random matrix": "0.299 0.753 27.30",
        "measurement gradient": "0.242 0.808 29.21",
        "DiffStateGrad": "0.165 0.898 31.68",
    },
)
FFHQ_INPAINTING = values(
    INPAINTING,
    ALL,
    {
        "DAPS": "0.136 (0.027) 0.806 (0.028) 24.57 (2.61) 0.130 (0.022) 0.829 (0.022) 30.79 (1.60)",
        "DiffStateGrad-DAPS": "0.113 (0.020) 0.849 (0.029) 24.78 (2.62)"
        " 0.099 (0.020) 0.887 (0.023) 32.04 (1.79)",
        "PSLD": "0.158 (0.023) 0.819 (0.031) 24.22 (2.80) 0.246 (0.053) 0.809 (0.049) 29.05 (1.98)",
        "DiffStateGrad-PSLD": "0.092 (0.019) 0.880 (0.028) 24.32 (2.78)"
        " 0.165 (0.035) 0.898 (0.024) 31.68 (1.74)",
        "ReSample": "0.198 (0.032) 0.807 (0.036) 19.91 (1.78)"
        " 0.115 (0.028) 0.892 (0.030) 31.27 (2.35)",
        "DiffStateGrad-ReSample": "0.156 (0.027) 0.841 (0.032) 23.59 (2.38)"
        " 0.106 (0.023) 0.913 (0.023) 31.91 (1.84)",
    },
)
FFHQ_LINEAR = values(
    LINEAR,
    TWO,
    {
        "DAPS": "0.216 (0.045) 27.92 (1.90) 0.154 (0.030) 30.13 (1.70) 0.197 (0.032) 28.64 (1.69)",
        "DiffStateGrad-DAPS": "0.180 (0.031) 29.02 (1.86)"
        " 0.119 (0.023) 31.74 (1.57) 0.181 (0.028) 29.35 (1.70)",
        "PSLD": "0.357 (0.060) 22.87 (1.67) 0.322 (0.048) 24.25 (1.47) 0.313 (0.098) 24.51 (2.98)",
        "DiffStateGrad-PSLD": "0.355 (0.043) 22.95 (1.32)"
        " 0.319 (0.039) 24.31 (1.18) 0.320 (0.079) 24.56 (2.46)",
        "ReSample": "0.253 (0.039) 27.78 (1.79)"
        " 0.160 (0.028) 30.55 (1.75) 0.204 (0.038) 28.02 (2.05)",
        "DiffStateGrad-ReSample": "0.245 (0.030) 28.04 (1.66)"
        " 0.153 (0.024) 30.82 (1.71) 0.200 (0.031) 28.27 (1.84)",
    },
)
FFHQ_NONLINEAR = values(
    NONLINEAR,
    TWO,
    {
        "DAPS": "0.139 (0.026) 30.52 (2.61) 0.184 (0.032) 27.80 (1.97) 0.170 (0.075) 26.91 (3.94)",
        "DiffStateGrad-DAPS": "0.105 (0.023) 32.25 (1.34)"
        " 0.145 (0.027) 29.51 (2.16) 0.143 (0.070) 27.76 (3.18)",
        "ReSample": "0.237 (0.189) 27.61 (8.07)"
        " 0.188 (0.037) 29.54 (1.89) 0.190 (0.067) 24.88 (3.46)",
        "DiffStateGrad-ReSample": "0.154 (0.104) 31.19 (4.33)"
        " 0.185 (0.035) 29.91 (1.60) 0.164 (0.041) 25.50 (3.07)",
    },
)
IMAGENET_LINEAR = values(
    LINEAR,
    TWO,
    {
        "PSLD": "0.466 (0.085) 20.70 (3.01) 0.435 (0.102) 21.26 (3.44) 0.416 (0.063) 22.29 (3.08)",
        "DiffStateGrad-PSLD": "0.446 (0.076) 22.34 (3.19)"
        " 0.399 (0.060) 23.80 (3.27) 0.370 (0.081) 23.53 (3.52)",
    },
)
IMAGENET_INPAINTING = values(
    INPAINTING,
    ALL,
    {
        "PSLD": "0.182 (0.033) 0.780 (0.044) 16.28 (3.49) 0.217 (0.073) 0.846 (0.070) 26.56 (2.98)",
        "DiffStateGrad-PSLD": "0.176 (0.030) 0.803 (0.045) 18.90 (3.82)"
        " 0.169 (0.050) 0.878 (0.051) 28.48 (4.04)",
    },
)
STEP_SIZES = values(
    INPAINTING + LINEAR,
    ALL,
    {
        "PSLD, default step": "0.158 0.819 24.22 0.246 0.809 29.05 0.357 0.537 22.87"
        " 0.322 0.615 24.25 0.313 0.650 24.51",
        "projected, default step": "0.095 0.875 23.76 0.265 0.793 28.14 0.366 0.516 22.24"
        " 0.335 0.585 23.34 0.392 0.516 22.12",
        "PSLD, large step": "0.252 0.728 11.99 0.463 0.551 20.62 0.549 0.318 17.47"
        " 0.514 0.390 18.81 0.697 0.075 7.700",
        "projected, large step": "0.092 0.880 24.32 0.165 0.898 31.68 0.355 0.542 22.95"
        " 0.319 0.620 24.31 0.320 0.640 24.56",
    },
)
SSIM_LINEAR = values(
    LINEAR,
    ("ssim",),
    {
        "DAPS": "0.786 (0.051) 0.837 (0.040) 0.797 (0.044)",
        "DiffStateGrad-DAPS": "0.803 (0.044) 0.853 (0.028) 0.801 (0.039)",
        "PSLD": "0.537 (0.094) 0.615 (0.075) 0.650 (0.140)",
        "DiffStateGrad-PSLD": "0.542 (0.077) 0.620 (0.065) 0.640 (0.123)",
        "ReSample": "0.757 (0.049) 0.854 (0.034) 0.790 (0.048)",
        "DiffStateGrad-ReSample": "0.767 (0.041) 0.860 (0.031) 0.795 (0.044)",
    },
)
SSIM_NONLINEAR = values(
    NONLINEAR,
    ("ssim",),
    {
        "DAPS": "0.823 (0.033) 0.723 (0.034) 0.817 (0.109)",
        "DiffStateGrad-DAPS": "0.868 (0.026) 0.818 (0.035) 0.852 (0.098)",
        "ReSample": "0.750 (0.246) 0.842 (0.038) 0.819 (0.109)",
        "DiffStateGrad-ReSample": "0.855 (0.130) 0.847 (0.035) 0.857 (0.059)",
    },
)
PHASE_LATENT = values(
    ("phase_retrieval",),
    TWO,
    {"LatentDAPS": "0.199 29.16", "ReSample": "0.237 27.61", "PLoRG-ReSample": "0.154 31.19"},
)
QUOTED = {
    ("ReSample", "box_inpainting", "psnr"): Value(19.91, None),
    ("PLoRG-ReSample", "box_inpainting", "psnr"): Value(23.59, None),
    ("ReSample", "phase_retrieval", "psnr"): Value(27.61, None),
    ("PLoRG-ReSample", "phase_retrieval", "psnr"): Value(31.19, None),
}
