"""Kernels and masks, drawn on the host with numpy.

The reference code draws all of them from numpy's legacy generator, whose streams never change. The
functions here take such a generator (`numpy.random.RandomState`) and consume it in the same order,
so the same seed gives the same kernel or mask.
"""

import math

import numpy as np

_RASTER_SIZE = 61
# Below this the reference's line width, floor(diagonal / 150), is 0 and nothing may be drawn.
_SMALLEST_RASTER = 54
_EPSILON = 0.1
# Pixels; more than any image needs, and few enough to draw a kernel in a second.
_LARGEST_SIDE, _LARGEST_STD = 4095, 10_000


def mirrored_index(j: np.ndarray, n: int) -> np.ndarray:
    """Index into n samples under half-sample symmetry: ... 1, 0 | 0, 1, ... n-1 | n-1, n-2 ..."""
    j = np.mod(j, 2 * n)
    return np.minimum(j, 2 * n - 1 - j)


def cartesian_mask(
    rng: np.random.RandomState, shape: tuple[int, ...], acceleration: float, centre: float
) -> np.ndarray:
    """Whole columns of Fourier coefficients, coefficient 0 in the middle; (h, w, 1) float32.

    round(w / acceleration) columns are measured, at least one: round(centre w) in the middle, the
    others anywhere.

    Raises:
      ValueError: an ``acceleration`` below 1, or a ``centre`` that is more than there are.
    """
    if not 1 <= acceleration < math.inf or not 0 <= centre <= 1 / acceleration:
        raise ValueError(
            f"acceleration={acceleration:g}, centre={centre:g}: give an acceleration of at least 1,"
            " and a centre from 0 to 1 / acceleration"
        )
    h, w = shape[:2]
    count, middle = max(1, round(w / acceleration)), round(centre * w)
    columns = np.roll(np.arange(w), middle // 2 - w // 2)
    chosen = np.append(columns[:middle], rng.permutation(columns[middle:])[: count - middle])
    mask = np.zeros((h, w, 1), np.float32)
    mask[:, chosen] = 1
    return mask


def gaussian_taps(size: int, std: float) -> np.ndarray:
    """One axis of the reference's Gaussian; (size,) float64 with sum 1.

    g_i is proportional to exp(-i^2 / (2 std^2)) for |i| <= floor(4 std + 1/2) and 0 beyond. What
    would fall outside ``size`` is mirrored back inside, as when `scipy.ndimage.gaussian_filter`
    smooths a unit impulse.

    Raises:
      ValueError: an even ``size``, which has no centre, or ``std`` <= 0.
    """
    _check_odd(size)
    if not 0 < std <= _LARGEST_STD:
        raise ValueError(f"std must be positive and at most {_LARGEST_STD:,} pixels, got {std}")
    radius = math.floor(4 * std + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / std) ** 2)
    taps = np.zeros(size)
    np.add.at(taps, mirrored_index(size // 2 + offsets, size), weights / weights.sum())
    return taps


def gaussian_kernel(size: int = 61, std: float = 3.0) -> np.ndarray:
    """The two-dimensional Gaussian g g'; (size, size) float64 with sum 1.

    Raises:
      ValueError: as `gaussian_taps`.
    """
    taps = gaussian_taps(size, std)
    return np.outer(taps, taps)


def motion_kernel(rng: np.random.RandomState, size: int = 61, intensity: float = 0.5) -> np.ndarray:
    """A random camera shake (Levi Borodenko's generator, which all the references use).

    A path of Beta-distributed steps and random headings is drawn on a canvas of twice the size,
    smoothed, reduced and normalised. Departs from the generator below size 54, where its line has
    width 0: the path is then drawn for 61 pixels and the kernel reduced to ``size`` by averaging
    over areas.

    Args:
      rng: consumed in the reference's order.
      size: odd side of the kernel in pixels.
      intensity: in [0, 1]; 0 gives a nearly straight path, 1 a long and shaky one.

    Returns:
      (size, size) float32, not negative, sum 1. The last digits depend on Pillow's version.

    Raises:
      ValueError: an even ``size`` or ``intensity`` outside [0, 1].
    """
    _check_odd(size)
    if not 0 <= intensity <= 1:
        raise ValueError(f"intensity must lie in [0, 1], got {intensity}")
    drawn = size if size >= _SMALLEST_RASTER else _RASTER_SIZE
    kernel = _rasterise(_motion_path(rng, drawn, intensity), drawn)
    if drawn != size:
        kernel = reduce_kernel(kernel, size)
    return (kernel / kernel.sum()).astype(np.float32)


def reference_motion_kernel(seed: int, size: int = 61, intensity: float = 0.5) -> np.ndarray:
    """The kernel that the reference code uses after ``numpy.random.seed(seed)``; (size, size).

    Its blur layer draws one kernel when it is built and its operator replaces that by a second one.

    Raises:
      ValueError: as `motion_kernel`.
    """
    rng = np.random.RandomState(seed)
    motion_kernel(rng, size, intensity)
    return motion_kernel(rng, size, intensity)


def reduce_kernel(kernel: np.ndarray, size: int) -> np.ndarray:
    """Shrink a square kernel to (size, size) by averaging over areas; keeps the sum, float64."""
    old = kernel.shape[0]
    edges = np.arange(size + 1) * old / size
    low = np.maximum(edges[:-1, None], np.arange(old))
    high = np.minimum(edges[1:, None], np.arange(1, old + 1))
    overlap = np.maximum(high - low, 0)
    return overlap @ kernel @ overlap.T


def box_mask(
    rng: np.random.RandomState, shape: tuple[int, ...], box: int, margin: int
) -> np.ndarray:
    """A square hole at a random place; (h, w) float32, 0 in the hole and 1 elsewhere.

    Top and left are uniform in [margin, side - margin - box), the upper end excluded.

    Raises:
      ValueError: a box that is not positive, a negative margin, or no place left for the box.
    """
    h, w = shape[:2]
    if box < 1 or margin < 0 or min(h, w) - margin - box <= margin:
        raise ValueError(
            f"a box of {box} with margin {margin} has no place in {h} x {w} pixels: "
            "box must be positive and box + 2 margin less than the shorter side"
        )
    top = rng.randint(margin, h - margin - box)
    left = rng.randint(margin, w - margin - box)
    mask = np.ones((h, w), np.float32)
    mask[top : top + box, left : left + box] = 0
    return mask


def random_mask(
    rng: np.random.RandomState, shape: tuple[int, ...], low: float = 0.70, high: float = 0.71
) -> np.ndarray:
    """Drop floor(h w p) pixels chosen without replacement, p ~ U[low, high); (h, w) float32.

    The defaults are what the references call 70 %.

    Raises:
      ValueError: not 0 <= low <= high <= 1.
    """
    if not 0 <= low <= high <= 1:
        raise ValueError(f"expected 0 <= low <= high <= 1, got low={low}, high={high}")
    h, w = shape[:2]
    dropped = int(h * w * rng.uniform(low, high))
    mask = np.ones(h * w, np.float32)
    mask[rng.choice(h * w, dropped, replace=False)] = 0
    return mask.reshape(h, w)


def _check_odd(size: int) -> None:
    if not 1 <= size <= _LARGEST_SIDE or size % 2 == 0:
        raise ValueError(
            f"the kernel size must be odd and positive, at most {_LARGEST_SIDE}, got {size}"
        )


def _motion_path(rng: np.random.RandomState, size: int, intensity: float) -> np.ndarray:
    """Points of the shake on the (2 size)^2 canvas, as column + i row; complex (steps,)."""
    diagonal = math.sqrt(2) * 2 * size
    longest = 0.75 * diagonal * (rng.uniform() + rng.uniform(0, intensity**2))
    lengths: list[float] = []
    while sum(lengths) < longest:
        length = rng.beta(1, 30) * (1 - intensity + _EPSILON) * diagonal
        if length < longest:
            lengths.append(length)
    widest = rng.uniform(0, intensity * math.pi)
    flip = rng.beta(2, 20)
    headings = [rng.uniform(-widest, widest)]
    while len(headings) < len(lengths):
        heading = rng.triangular(0, intensity * widest, widest + _EPSILON)
        sign = np.sign(headings[-1])
        headings.append(-heading * sign if rng.uniform() < flip else heading * sign)
    path = np.cumsum(np.array(lengths) * np.exp(1j * np.array(headings)))
    path = (path - path.mean()) * np.exp(1j * rng.uniform(0, math.pi))
    return path + size * (1 + 1j)


def _rasterise(path: np.ndarray, size: int) -> np.ndarray:
    """The path as a grey picture of (size, size), float64, in 0..255."""
    from PIL import Image, ImageDraw, ImageFilter

    diagonal = math.sqrt(2) * 2 * size
    canvas = Image.new("L", (2 * size, 2 * size))
    points = [(float(p.real), float(p.imag)) for p in path]
    ImageDraw.Draw(canvas).line(points, fill=255, width=int(diagonal / 150))
    canvas = canvas.filter(ImageFilter.GaussianBlur(radius=int(diagonal * 0.01)))
    return np.asarray(canvas.resize((size, size), Image.Resampling.LANCZOS), np.float64)
