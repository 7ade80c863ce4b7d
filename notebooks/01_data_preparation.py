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
# **One question:** what do the two cameras know, and how can a result be judged when nobody has the truth?
#
# The answer in three sentences. A camera blurs what it sees, and we can describe that blur with one number per band. If we can blur as the camera does, we can make a coarse image from a sharp one. So we can
# make a problem whose solution we own.
#
# ```mermaid
# flowchart LR
#   G["the ground"] -- "wide band, small pixels" --> P["PAN"]
#   G -- "narrow bands, large pixels" --> M["MS"]
#   P -- "blur, keep every 4th pixel" --> Q["reduced PAN"]
#   M -- "blur, keep every 4th pixel" --> L["reduced MS"]
#   Q --> F["fuse"]
#   L --> F
#   F --> C["compare"]
#   M -- "serves as the truth" --> C
# ```
#
# ## What you will learn
#
# 1. *Two cameras*: what PAN and MS measure, and why PAN is sharper,
# 2. *Where the pixels lie*: two conventions, and images that do not fit,
# 3. *What the optics take away*: the MTF, the frequency plane, and a camera model that you write,
# 4. *Wald's protocol*: how a truth is made where there is none,
# 5. *Patches*: what the training stages will see.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | [chapter 00](00_start_here.ipynb) | run once |
# | Fourier transform | you know that a blur removes high frequencies |
# | hardware, time | a laptop; 20 minutes of reading, 15 seconds of computing; the same in full mode |
#
# Words that are new to you are in the [glossary](GLOSSARY.md). The functions are described in [the library](../clippan_lite/README.md).

# %%
# On Colab and other hosted machines this brings the package. Where it is installed, nothing happens.
from glob import glob
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("clippan_lite") is None:
    wheel = next(iter(glob("clippan_lite-*.whl")), "clippan-lite")  # the workshop kit has one
    get_ipython().run_line_magic("pip", f'install "{wheel}[notebooks]"')
import clippan_lite as cl  # before torch, because it sets how threads wait

# %% tags=["parameters"]
run_dir = ""  # folder that the chain's notebooks share; "" is the folder "quick" in CLIPPAN_HOME
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
from IPython.display import Markdown, display
from matplotlib import pyplot as plt

from clippan_lite import data, experiments
from clippan_lite.course import exercises, figures, imagery, plotting
from clippan_lite.course.listing import listing
from clippan_lite.data import registration
from clippan_lite.experiments import statistics
from clippan_lite.physics import degrade

run = experiments.begin(globals())

# %% [markdown]
# ## Two cameras
#
# A ship lies in the port of Rotterdam. One satellite, WorldView-2, looks at it with two cameras behind one telescope:
#
# * [PAN](GLOSSARY.md#pan), the panchromatic image, is one grey band.
# * [MS](GLOSSARY.md#ms), the multispectral image, has several [bands](GLOSSARY.md#band), one for each colour, and larger pixels.
#
# The third picture is [EXP](GLOSSARY.md#exp): MS *expanded* to PAN's grid by interpolation.

# %%
figures.use_style()
place = cl.example("rotterdam")
rgb = place.sensor.rgb
bounds = imagery.limits(place.ms, rgb)
exp = degrade.upsample(place.ms, place.ratio, place.convention)
pictures = {
    "PAN": imagery.picture(place.pan, [0], imagery.limits(place.pan, [0])),
    "MS": imagery.picture(place.ms, rgb, bounds),
    "EXP: MS interpolated": imagery.picture(exp, rgb, bounds),
}
figures.show(
    imagery.panels(pictures, zoom=(200, 240, 128)),
    run.folder,
    "01_place",
    "A ship in port as PAN, as MS and as MS interpolated to PAN's grid (EXP); below, the marked window. WorldView-2, SpaceNet 6, CC BY-SA 4.0.",
    photo=True,
)

# %% [markdown]
# **What you see.** One MS pixel covers 4 by 4 PAN pixels. EXP looks smoother than MS, but it is not sharper: interpolation adds pixels, not details. EXP is made of MS alone, so it agrees with MS in everything that MS can hold.
# Every method has to beat it, and it is the first row of each table to come. **What it does not show:** whether PAN and MS lie exactly on each other. The next section looks at that.
#
# Why is PAN sharper? Not because of a better lens. It is a matter of light. The chart and the table show the bands of the *embedded scene*, the synthetic scene of chapter 00. This chapter measures on it from here on.

# %%
pair = run.pair
rgb, ratio, camera = pair.sensor.rgb, pair.ratio, pair.sensor
centres, widths = np.array(camera.wavelengths_nm), np.array(camera.widths_nm)
pan_width = camera.pan_nm[1] - camera.pan_nm[0]
figure, axis = plt.subplots(figsize=(7.5, 0.3 * len(centres) + 1.3), layout="constrained")
axis.barh(["PAN"], [pan_width], left=camera.pan_nm[0], color="grey")
axis.barh(list(camera.bands), widths, left=centres - widths / 2, color=figures.COLOURS[0])
axis.invert_yaxis()
axis.set(xlabel="wavelength in nm (the eye sees about 400 to 700)", xlim=(380, None))
figures.show(
    figure,
    run.folder,
    "01_bands",
    "Wavelengths that PAN and each MS band collect.",
)
rows = [("PAN", f"{pan_width:.0f}", "1.00", "1.00", f"{pair.pan.mean():.0f}")]
for band, width, image in zip(camera.bands, widths, pair.ms, strict=True):
    light = width / pan_width
    cells = (f"{width:.0f}", f"{light:.2f}", f"{light * ratio**2:.2f}", f"{image.mean():.0f}")
    rows.append((band, *cells))
head = ("band", "width, nm", "light in a PAN-sized pixel", "light in its own pixel", "mean, DN")
display(Markdown(statistics.markdown(head, rows)))

# %% [markdown]
# **What you see.** PAN's band is as wide as several MS bands together. In a pixel as small as PAN's, each MS band would collect a tenth to a half of PAN's light, and noise would win. A larger pixel makes up for it:
# `ratio` = 4 times the side is 16 times the area. So MS pays for its colours with pixels, and PAN pays for its pixels with colour. The last column says how bright the ground is in each band, in
# [DN](GLOSSARY.md#dn) (digital numbers, what the file stores). **What it does not show:** how much noise each band has.
#
# Look where PAN's bar ends. PAN covers some MS bands and misses others, such as `NIR2`, the far part of the [near infrared](GLOSSARY.md#nir). Its details say little about those bands, and fusing them is harder.

# %% tags=["nbval-check-output"]
print("bands:", ", ".join(pair.sensor.bands))
print("ratio:", ratio, "| PAN pixels per MS pixel:", pair.pan[0].numel() // pair.ms[0].numel())
print("truth known:", pair.truth is not None)

# %% [markdown]
# ## Where the pixels lie
#
# An MS sample stands for a square of PAN pixels. At which point of the square does it sit? Two [conventions](GLOSSARY.md#convention) are in use:

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.0, 3.8), layout="constrained")
pixels = np.arange(2 * ratio)
for axis, name in zip(axes, ("geo", "benchmark"), strict=True):
    first = (ratio - 1) / 2 if name == "geo" else ratio // 2
    across, down = np.meshgrid(first + ratio * np.arange(2), first + ratio * np.arange(2))
    for border in np.arange(2 * ratio + 1):
        width = 2.0 if border % ratio == 0 else 0.5
        axis.axvline(border - 0.5, color="grey", linewidth=width)
        axis.axhline(border - 0.5, color="grey", linewidth=width)
    axis.plot(across.ravel(), down.ravel(), "o", color=figures.COLOURS[1], markersize=11)
    axis.set(title=f'"{name}"', xticks=pixels, yticks=pixels, xlabel="PAN column", ylabel="PAN row")
    axis.set(xlim=(-0.7, 2 * ratio - 0.3), ylim=(2 * ratio - 0.3, -0.7), aspect="equal")
    axis.grid(visible=False)
figures.show(
    figure,
    run.folder,
    "01_conventions",
    "Where four MS samples sit on PAN's grid under both conventions; thick lines are borders of MS pixels.",
)

# %% [markdown]
# **What you see.** `"geo"` puts a sample into the centre of its square, between four PAN pixels. `"benchmark"` puts it onto a PAN pixel, half a PAN pixel further down and right, as the field's reference code does.
# **What it does not show:** which one your files follow. GeoTIFFs, image files with map coordinates, usually follow `"geo"`. Data sets that were made for benchmarks usually follow the other. Never mix the two: every edge would be half a pixel off.
#
# Real images can be further apart than that, because both cameras look at the ground a moment apart. When a pair is read, a line that begins with "Registration" estimates the shift. For the ship it said that MS lies more
# than one PAN pixel off PAN. [Registration](GLOSSARY.md#registration) mends it:

# %%
before = registration.estimate(place)
place = registration.correct(place, before)
after = registration.estimate(place)
print(f"MS off PAN, in PAN pixels: {before} before, {after} after the correction")

# %% [markdown]
# Your eye would hardly have noticed the shift in the pictures above. But everything that compares PAN and MS pixel by pixel suffers: a patch of PAN shows different ground from the same patch of MS, and details land beside the colours
# they belong to. A wrong convention shows in the same line, as a shift of half a PAN pixel down and right, or up and left. In any chapter, `register = True` corrects the shift. The [log](LOG.md) says what that gained on real pairs.
#
# ## What the optics take away
#
# A camera turns a point of light into a small blur, the [PSF](GLOSSARY.md#psf) (point spread function). This blur takes more contrast from fine patterns than from coarse ones. The [MTF](GLOSSARY.md#mtf), the modulation transfer function,
# says how much contrast is left at each spatial frequency. It is the PSF's Fourier transform.
#
# The finest pattern that MS's grid can hold has one cycle in two MS pixels. That is the grid's [Nyquist frequency](GLOSSARY.md#nyquist-frequency). For each band one number is published or assumed: the contrast left at that frequency. A Gaussian
# with this *gain* imitates the camera. `degrade.mtf_kernel` makes it.

# %%
figure, axis = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
frequencies = np.linspace(0, 0.5, 256)
nyquist = 1 / (2 * ratio)
for gain in sorted(set(camera.mtf_ms)):
    kernel = degrade.mtf_kernel(gain, ratio).double().numpy()
    taps = np.arange(len(kernel)) - len(kernel) // 2
    response = np.abs(np.exp(-2j * np.pi * frequencies[:, None] * taps) @ kernel)
    names = [b for b, g in zip(camera.bands, camera.mtf_ms, strict=True) if g == gain]
    axis.plot(frequencies, response, label=f"gain {gain:.3f}: {', '.join(names)}")
axis.axvline(nyquist, color="black", linewidth=1, linestyle=":")
axis.annotate(" MS's Nyquist", (nyquist, 0.9))
axis.set(xlabel="cycles per PAN pixel", ylabel="contrast left")
axis.legend(fontsize=9)
figures.show(
    figure,
    run.folder,
    "01_mtf",
    "Contrast that each MS band's MTF leaves at each spatial frequency.",
)
at_nyquist = float(np.abs(np.exp(-2j * np.pi * taps * nyquist) @ kernel))
print(f"at MS's Nyquist the kernel leaves {at_nyquist:.3f} of the contrast; {gain:.3f} is meant")

# %% [markdown]
# **What you see.** Right of the dotted line lies what only PAN can tell. Left of it MS already loses contrast: at the line, about two thirds are gone. A fusion should give that back without inventing anything.
# The default kernel copies the field's reference code, whose gain at Nyquist is slightly below the nominal one. With `kind="exact"` it is the nominal one. **What it does not show:** the real optics. Their MTF is no Gaussian, and it changes with age.
#
# ### The frequency plane
#
# An image has frequencies in two directions. The next picture shows how much of PAN lies at each of them. The middle holds what changes slowly over the image, the border holds what changes from pixel to pixel. The white
# square is all that MS's coarser grid can hold.

# %%
gain = camera.mtf_ms[rgb[1]]  # of the green band
point = torch.zeros_like(pair.pan)
point[:, point.shape[1] // 2, point.shape[2] // 2] = 1.0  # blurred, its spectrum is the blur's
spectra = {
    "PAN": pair.pan[0],
    "the MTF of green": degrade.mtf_filter(point, gain, ratio)[0],
    "PAN blurred by it": degrade.mtf_filter(pair.pan, gain, ratio)[0],
}
figures.show(
    plotting.spectra(spectra, nyquist),
    run.folder,
    "01_frequencies",
    "Power of PAN, of the green band's MTF and of PAN blurred by it over the frequency plane; the square is MS's grid.",
)
across, down = (np.abs(np.arange(n) / n - 0.5) for n in pair.pan.shape[:0:-1])
beyond = np.maximum(across, down[:, None]) > nyquist
for name in ("PAN", "PAN blurred by it"):
    found = plotting.power_spectrum(spectra[name])
    print(f"{name}: {found[beyond].sum() / found.sum():.1%} of the power lies outside the square")

# %% [markdown]
# **What you see.** PAN has power up to the border of the plane. The MTF is a round hill. Their product keeps the middle. On the embedded scene about a tenth of PAN's power lies outside the square before the blur, and
# two thousandths after it. Sampling on MS's grid folds that rest back into the square. This is *aliasing*, and every real MS has a little of it. **What it does not show:** where in the image the
# lost detail was. Compare PAN with EXP of the ship above.
#
# ### Write the camera model
#
# Now you have all the pieces of the camera model $\downarrow_r(x * h)$: blur the image $x$ with the kernel $h$, then keep every $r$-th pixel. To [degrade](GLOSSARY.md#degrade) an image means exactly this. The losses of chapter 03 blur the fused image this
# way, and Wald's protocol below needs it, too.
#
# **Exercise 1.** *Medium, 15 minutes.* Write `my_degrade` for images `(B, 1, H, W)` and the convention `"benchmark"`. The kernel has one axis, because the Gaussian is separable: filter the rows with it, then the columns.
# Three steps: pad by half the kernel's length with repeated border pixels (`torch.nn.functional.pad`, mode `"replicate"`), filter twice (`torch.nn.functional.conv2d`), and keep every `ratio`-th pixel, beginning at
# `ratio // 2`. *Expected:* the library's result, gradient included.

# %% tags=["exercise-1"]
kernel = degrade.mtf_kernel(gain, ratio).float()  # (41,)


def my_degrade(image, kernel, ratio):
    """(B, 1, H, W) -> (B, 1, H / ratio, W / ratio)."""
    small = None
    # your code
    return small


def library(image, kernel, ratio):
    return degrade.degrade(image, gain, ratio, "benchmark")


print(exercises.verdict_of(my_degrade, library, pair.pan[None], kernel, ratio))

# %% [markdown]
# The library does the three steps at once, which is faster: its filter computes only the pixels that are kept. The *phase* is the place of the first one, and the convention decides it.

# %%
listing(degrade.degrade, first="phase", folded=True)

# %% [markdown]
# ## Wald's protocol
#
# Nobody has the true [HRMS](GLOSSARY.md#hrms) (the high-resolution MS that fusion looks for). [Wald's protocol](GLOSSARY.md#walds-protocol) goes one scale down instead: degrade *both* images by the ratio, fuse them, and compare with the original MS.
#
# $$\mathrm{MS}_\downarrow = \downarrow_r(\mathrm{MS} * h_{\mathrm{MS}}) \qquad \mathrm{PAN}_\downarrow = \downarrow_r(\mathrm{PAN} * h_{\mathrm{PAN}}) \qquad \mathrm{truth} = \mathrm{MS}$$
#
# It needs no truth, so it works for the ship:

# %%
place_low = data.reduced(place)
rgb_place = place.sensor.rgb
pictures = {
    "reduced PAN": imagery.picture(place_low.pan, [0], imagery.limits(place_low.pan, [0])),
    "reduced MS": imagery.picture(place_low.ms, rgb_place, bounds),
    "its truth: the original MS": imagery.picture(place_low.truth, rgb_place, bounds),
}
figures.show(
    imagery.panels(pictures),
    run.folder,
    "01_wald",
    "Wald's protocol: the reduced pair of the ship, and the original MS as its truth.",
    photo=True,
)

# %% [markdown]
# **What you see.** The same task one scale coarser, and this time with its solution. The reduced PAN is as large as the original MS. The reduced MS has 25 rows of 37 pixels: the ship is a few blocks of colour.
# **What it does not show:** that a network which is good at this scale is good at the next. Cranes that were drawn line by line are specks here. This *domain gap* is why
# [CLIPPan](https://arxiv.org/abs/2511.10896) trains at full resolution, without a truth.
#
# The protocol is only as good as the camera model. Suppose that the assumed blur is too strong. Then the reduced MS is more blurred than any real MS, and a network trained on it learns to sharpen too much. On real images it draws halos.
#
# **Exercise 2.** *Easy, 5 minutes.* Make the reduced pair of `pair` with `degrade.degrade`. MS takes the gains `camera.mtf_ms`, one per band, PAN takes `camera.mtf_pan`, and both take `pair.convention`. Put the two into the dictionary `my_pair` under
# `"ms"` and `"pan"`. *Expected:* what `degrade.wald` gives.

# %% tags=["exercise-2"]
my_pair = {}
# your code
ms_low, pan_low = degrade.wald(pair.ms, pair.pan, camera, pair.convention)
print(exercises.verdict(my_pair, {"ms": ms_low, "pan": pan_low}))

# %% tags=["nbval-check-output"]
low = data.reduced(pair)
print("reduced MS:", tuple(low.ms.shape), "| reduced PAN:", tuple(low.pan.shape))
print("its truth:", tuple(low.truth.shape))

# %% [markdown]
# ## Patches
#
# Both training stages (chapters 02 and 03) see random crops. Each crop is cut at the same place from PAN, MS and EXP. Crops stay at native resolution. [CLIP](GLOSSARY.md#clip) takes small pictures, and shrinking a large crop would remove the very detail that fusion adds.
#
# A crop begins and ends at whole MS pixels. Half an MS pixel cannot be cut: MS would have to be interpolated first, and that is a blur of its own.

# %%
patches = data.Patches(pair, 64)
crops = patches.sample(4, torch.Generator().manual_seed(0))
for name, image in crops.items():
    print(f"{name:>5}: {tuple(image.shape)}")

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
# **What you see.** The same ground three times: 64 by 64 PAN pixels, and MS on its own grid of 16 by 16. Stage I, the training of chapter 02, draws hundreds of such crops. `place` in the printed list says where each one lies.
# **What it does not show:** a whole field or street. While a network trains, it sees nothing that is wider than a crop.
#
# ## Exercises
#
# Exercises 1 and 2 are above. Write your own lines where a cell says `# your code`. The last line of the cell tells whether they are right. One way to solve each exercise, run with its result, is in
# [the solutions](solutions/01_data_preparation_solutions.ipynb), together with answers to the questions.
#
# **Exercise 3.** *Easy, 5 minutes.* How much does half a PAN pixel matter? Interpolate the ship's MS under both conventions (`degrade.upsample(place.ms, place.ratio, ...)`), subtract, and take the mean of the absolute values. Put it into `difference`.
# *Expected:* about 10.4 DN. At edges it is more than ten times as much.

# %% tags=["exercise-3"]
difference = None
# your code
print(exercises.verdict(difference, 10.4, tolerance=0.02, name="the mean difference"))

# %% [markdown]
# **Exercise 4.** *Medium, 10 minutes.* Some programs reduce an image by averaging squares of `ratio` by `ratio` pixels, a *box*. How much contrast does a box leave at MS's Nyquist frequency, `nyquist` cycles per PAN pixel?
# Along one axis, the box covers the `ratio` pixels $t = 0, 1, \dots$. Take the mean of $e^{-2 \pi i f t}$ over them, where $f$ is `nyquist`. Put its absolute value into `left`. *Expected:* nearly twice what the MTF leaves, so a box blurs too little.

# %% tags=["exercise-4"]
left = None
# your code
exact = 1 / (ratio * np.sin(np.pi / (2 * ratio)))  # the same in closed form
print(exercises.verdict(left, exact, name="the contrast"))

# %% [markdown]
# ## Questions
#
# 1. Why does EXP agree with MS so well, and why is that no merit?
# 2. What would happen to a network trained with too strong a blur?
# 3. Which of this page's steps would fail if PAN and MS were shifted by two PAN pixels?
# 4. Why are patches cut at whole MS pixels only?
# 5. A pair is read with the wrong convention. Which figure or line of this page would tell?
#
# ## Summary
#
# You know what PAN and MS measure, and where their pixels lie. You wrote the camera model, and with it a task that has a solution. **Next:** [02 CLIP adaptation](02_clip_adaptation.ipynb), which asks whether CLIP
# can tell the two images from the one we are looking for.
