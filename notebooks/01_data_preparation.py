# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 Data preparation
#
# ## What you will learn
#
# 1. *The pair*: what a PAN / MS pair holds, and where their pixels lie,
# 2. *What the optics take away*: the MTF and how it is imitated,
# 3. *Wald's protocol*: how a truth is made where there is none,
# 4. *Patches*: what the training stages will see.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | `00_start_here` | run once |
# | Fourier transform | you know that a blur removes high frequencies |
# | hardware, time | a laptop; 12 minutes of reading, 15 seconds of computing; the same in full mode |

# %% tags=["parameters"]
run_dir = ""  # folder that the chain's notebooks share; "" is "quick" in the package's home (CLIPPAN_HOME)
scene = "synthetic:0"  # synthetic:SEED, landsat7, rotterdam, or a scene folder; FOLDER@SENSOR
size = 512  # side of a synthetic scene in PAN pixels
pan = ""  # path of a PAN GeoTIFF, instead of the scene; "" takes the scene
ms = ""  # path of the MS GeoTIFF of the same place
sensor = "WV2"  # sensor name: bands, ratio, bit depth and MTF (clippan-lite sensors lists them)
convention = "benchmark"  # where MS samples sit on PAN's grid: "benchmark" (phase ratio/2) or "geo" (centre-true)
register = False  # shift PAN onto MS by the estimated fraction before anything else

# %%
import numpy as np
import torch
from matplotlib import pyplot as plt

from clippan_lite import data, experiments
from clippan_lite.course import figures, imagery, plotting
from clippan_lite.physics import degrade

run = experiments.begin(globals())
figures.use_style()
pair = run.pair
rgb, ratio = pair.sensor.rgb, pair.ratio

# %% [markdown]
# ## The pair
#
# PAN's band is wide and collects more light, so its pixels can be smaller than those of MS. Two *conventions* say where an MS sample lies among its `ratio` x `ratio` PAN pixels: in their centre (`"geo"`), or half a
# PAN pixel off it, on one of them (`"benchmark"`). Names that come up from here on: *GSA*, *BDSD*, *MTF-GLP-HPM* are classical methods. *ERGAS* is a relative error (0 is best), *SAM* the angle
# between spectra in degrees (0), *PSNR* a logarithmic error in dB (large), *Q2n* a similarity over all bands at once (1). *The toolbox* is the field's reference code (Vivone et al.).

# %% tags=["nbval-check-output"]
print("bands:", ", ".join(pair.sensor.bands))
print("ratio:", ratio, "| PAN pixels per MS pixel:", pair.pan[0].numel() // pair.ms[0].numel())
print("truth known:", pair.truth is not None)

# %%
print(
    f"PAN: {pair.pan.min():.0f} to {pair.pan.max():.0f} DN, mean {pair.pan.mean():.0f}; {pair.sensor.bits} bits allow {pair.peak:.0f}"
)
for band, image in zip(pair.sensor.bands, pair.ms, strict=True):
    print(f"{band:>8}: {image.min():5.0f} to {image.max():5.0f} DN, mean {image.mean():6.1f}")
print(f"networks see {pair.scale:.0f} DN as 1.0")

# %%
bounds = imagery.limits(pair.ms, rgb)
exp = degrade.upsample(pair.ms, ratio, pair.convention)
pictures = {
    "PAN": imagery.picture(pair.pan, [0], imagery.limits(pair.pan, [0])),
    "MS": imagery.picture(pair.ms, rgb, bounds),
    "EXP: MS interpolated": imagery.picture(exp, rgb, bounds),
}
window = imagery.busiest(pair.pan, 128)
figures.show(
    imagery.panels(pictures, zoom=window),
    run.folder,
    "01_pair",
    "PAN, MS and MS interpolated to PAN's grid (EXP), with a zoom.",
    photo=True,
)

# %% [markdown]
# **What you see.** EXP (MS *expanded* to PAN's grid, here from 128 to 512 pixels each way) is as smooth as MS is coarse: interpolation adds pixels, not details. Every method has to beat
# EXP. It is the first row of each table to come. **What it does not show:** whether PAN and MS are aligned to a
# fraction of a pixel. Real pairs are often off by 0.5 to 2.8 PAN pixels, and no panel shows that to the eye; the line
# "Registration" above estimates it (`registration.estimate`), and `register=True` moves PAN onto MS. On five GaoFen-2
# pairs, 1.5 to 2.8 PAN pixels off, that took 31 to 68 % of GSA's and MTF-GLP-HPM's ERGAS away.
#
# ## What the optics take away
#
# A sensor's sharpness is its *modulation transfer function* (MTF): how much contrast is left at each spatial
# frequency. Of each band the gain at MS's Nyquist frequency is known (or assumed). A Gaussian with that gain imitates
# it: `degrade.mtf_kernel`.

# %%
figure, axis = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
frequencies = np.linspace(0, 0.5, 256)
for gain in sorted(set(pair.sensor.mtf_ms)):
    kernel = degrade.mtf_kernel(gain, ratio).double().numpy()
    taps = np.arange(len(kernel)) - len(kernel) // 2
    response = np.abs(np.exp(-2j * np.pi * frequencies[:, None] * taps) @ kernel)
    names = [b for b, g in zip(pair.sensor.bands, pair.sensor.mtf_ms, strict=True) if g == gain]
    axis.plot(frequencies, response, label=f"gain {gain:.3f}: {', '.join(names)}")
axis.axvline(1 / (2 * ratio), color="black", linewidth=1, linestyle=":")
axis.annotate(" MS's Nyquist", (1 / (2 * ratio), 0.9))
axis.set(xlabel="cycles per PAN pixel", ylabel="contrast left")
axis.legend(fontsize=9)
figures.show(
    figure,
    run.folder,
    "01_mtf",
    "Contrast that each MS band's MTF leaves at each spatial frequency.",
)
at_nyquist = float(np.abs(np.exp(-2j * np.pi * taps / (2 * ratio)) @ kernel))
print(
    f"at MS's Nyquist the toolbox's kernel leaves {at_nyquist:.3f} of the contrast where {gain:.3f} is meant"
)

# %% [markdown]
# **What you see.** Right of the dotted line is what only PAN can tell. Left of it MS already loses contrast, which a
# fusion should restore without inventing. The toolbox's kernel is slightly below its nominal gain (for WorldView-2
# 0.332 instead of 0.350), a slip that papers that use it share; `kind="exact"` gives the nominal gain.
# **What it does not show:** the real optics, whose MTF is no Gaussian and changes with age.
#
# The same blur in two directions, in the *frequency plane*: the middle holds what changes slowly over the image, the
# border what changes from pixel to pixel. The square is all that MS's coarser grid can hold.

# %%
gain = pair.sensor.mtf_ms[rgb[1]]  # of the green band
point = torch.zeros_like(pair.pan)
point[:, point.shape[1] // 2, point.shape[2] // 2] = (
    1.0  # the spectrum of a blurred point is that of the blur
)
spectra = {
    "PAN": pair.pan[0],
    "the MTF of green": degrade.mtf_filter(point, gain, ratio)[0],
    "PAN blurred by it": degrade.mtf_filter(pair.pan, gain, ratio)[0],
}
figures.show(
    plotting.spectra(spectra, 1 / (2 * ratio)),
    run.folder,
    "01_frequencies",
    "Power of PAN, of the green band's MTF and of PAN blurred by it over the frequency plane; the square is MS's grid.",
)
across, down = (np.abs(np.arange(n) / n - 0.5) for n in pair.pan.shape[:0:-1])
beyond = np.maximum(across, down[:, None]) > 1 / (2 * ratio)
for name in ("PAN", "PAN blurred by it"):
    found = plotting.power_spectrum(spectra[name])
    print(f"{name}: {found[beyond].sum() / found.sum():.2%} of the power lies outside the square")

# %% [markdown]
# **What you see.** PAN has power up to the border of the plane. The MTF is a round hill, and the product of the two keeps the middle. Outside the square
# lie 11 % of PAN's power before the blur, and 0.2 % after it. Sampling on MS's grid folds this rest back into the square as *aliasing*: a little is
# there in every real MS, too. **What it does not show:** where in the image the lost detail was; the zoom above shows that.
#
# ## Wald's protocol
#
# Degrade both images by `ratio`: the *original MS* is then the truth of the degraded pair. Of a real pair, all
# figures with a reference come from there. $\mathrm{MS}_\downarrow = (\mathrm{MS} * h_{\mathrm{MTF}})\downarrow_r$ is
# `degrade.degrade`, both together `degrade.wald`.

# %% tags=["nbval-check-output"]
low = data.reduced(pair)
print(
    "degraded MS:",
    tuple(low.ms.shape),
    "| degraded PAN:",
    tuple(low.pan.shape),
    "| its truth:",
    tuple(low.truth.shape),
)

# %%
pictures = {
    "degraded PAN": imagery.picture(low.pan, [0], imagery.limits(low.pan, [0])),
    "degraded MS": imagery.picture(low.ms, rgb, bounds),
    "truth: the original MS": imagery.picture(low.truth, rgb, bounds),
}
figures.show(
    imagery.panels(pictures),
    run.folder,
    "01_wald",
    "Wald's protocol: the degraded pair, and the original MS as its truth.",
    photo=True,
)

# %% [markdown]
# **What you see.** The same task, one scale coarser, with its solution: 128 x 128 PAN pixels here, 32 x 32 of MS. **What it does not show:** that a network
# good at this scale is good at the next. Houses shrink to dots here; this *domain gap* is why CLIPPan trains at full
# resolution.
#
# ## Patches
#
# Both stages see random crops, cut alike from all images, at native resolution. Shrinking a crop to fit CLIP would
# remove the very detail that fusion adds.

# %%
patches = data.Patches(pair, 64)
crops = patches.sample(4, torch.Generator().manual_seed(0))
print({name: tuple(image.shape) for name, image in crops.items()})

# %%
first = {name: image[0] for name, image in crops.items()}
limits = imagery.limits(first["exp"], rgb)
pictures = {
    "PAN crop": imagery.picture(first["pan"], [0], imagery.limits(first["pan"], [0])),
    "MS crop": imagery.picture(first["ms"], rgb, limits),
    "EXP crop": imagery.picture(first["exp"], rgb, limits),
}
figures.show(
    imagery.panels(pictures),
    run.folder,
    "01_patch",
    "One training patch: PAN, MS and EXP of the same ground.",
    photo=True,
)

# %% [markdown]
# **What you see.** The same ground three times, 64 x 64 PAN pixels of it, MS on its own grid of 16 x 16. Stage I draws hundreds of such crops, Stage II sixty or more of 128 PAN pixels;
# `place` says where they lie. **What it does not show:** a whole field or street: what is wider than a crop, no network sees.
#
# ## Exercises
#
# Write your own lines where a cell says `# your code`. One way to solve each that has a cell, run with its result, is in
# `solutions/01_data_preparation_solutions.ipynb`.
#
# **Exercise 1.** Interpolate MS under both conventions (`degrade.upsample(pair.ms, ratio, ...)`) and subtract. *Expected:* half a PAN pixel lies between them,
# so every edge shows; on the embedded scene a mean absolute difference of about 12 DN, at edges more than ten times as much.

# %% tags=["exercise-1"]
difference = None
# your code
if difference is not None:
    print(
        f"mean {difference.abs().mean():.1f} DN, at edges {difference.abs().quantile(0.999):.0f} DN"
    )

# %% [markdown]
# **Exercise 2.** What would a box of `ratio` x `ratio` pixels leave of the contrast at MS's Nyquist frequency, 1 / (2 `ratio`) cycles per PAN pixel? *Expected:* about .65,
# nearly twice what the MTF leaves.

# %% tags=["exercise-2"]
left = None
# your code
if left is not None:
    print(f"a box leaves {left:.3f}, the MTF {max(pair.sensor.mtf_ms):.3f}")

# %% [markdown]
# ## Questions
#
# 1. Why does EXP keep the spectrum of MS exactly, and why is that no merit?
# 2. What would happen to a network trained with too strong a blur?
# 3. Which of this page's steps would fail if PAN and MS were shifted by two PAN pixels?
# 4. Why are patches cut at whole MS pixels only?
# 5. A pair is read with the wrong convention. Which figure or line of this page would tell?
#
# ## Summary
#
# A pair, its MTF, the same pair one scale down with a truth, and patches. **Next:** `02_clip_adaptation`.
