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
# # 01 Data preparation: solutions
#
# The exercises of [01 Data preparation](../01_data_preparation.ipynb) with one way to solve each. Each cell is the chapter's, with the lines between `begin solution` and `end solution` added. Answers to the questions
# are at the end.

# %%
import clippan_lite as cl

place = cl.example("rotterdam")

# %%
import numpy as np

from clippan_lite import experiments
from clippan_lite.course import exercises
from clippan_lite.physics import degrade

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})
pair = run.pair
rgb, ratio, camera = pair.sensor.rgb, pair.ratio, pair.sensor
gain, nyquist = camera.mtf_ms[rgb[1]], 1 / (2 * ratio)

# %% [markdown]
# **Exercise 1.** *Medium, 15 minutes.* Write `my_degrade` for images `(B, 1, H, W)` and the convention `"benchmark"`. The kernel has one axis, because the Gaussian is separable: filter the rows with it, then the columns.
# Three steps: pad by half the kernel's length with repeated border pixels (`torch.nn.functional.pad`, mode `"replicate"`), filter twice (`torch.nn.functional.conv2d`), and keep every `ratio`-th pixel, beginning at
# `ratio // 2`. *Expected:* the library's result, gradient included.

# %% tags=["exercise-1"]
kernel = degrade.mtf_kernel(gain, ratio).float()  # (41,)


def my_degrade(image, kernel, ratio):
    """(B, 1, H, W) -> (B, 1, H / ratio, W / ratio)."""
    small = None
    # begin solution
    from torch.nn import functional as F

    reach = len(kernel) // 2
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    blurred = F.conv2d(rows, kernel.view(1, 1, -1, 1))
    small = blurred[..., ratio // 2 :: ratio, ratio // 2 :: ratio]
    # end solution
    return small


def library(image, kernel, ratio):
    return degrade.degrade(image, gain, ratio, "benchmark")


print(exercises.verdict_of(my_degrade, library, pair.pan[None], kernel, ratio))

# %%
said = exercises.verdict_of(my_degrade, library, pair.pan[None], kernel, ratio)
assert said == exercises.RIGHT

# %% [markdown]
# **Exercise 2.** *Easy, 5 minutes.* Make the reduced pair of `pair` with `degrade.degrade`. MS takes the gains `camera.mtf_ms`, one per band, PAN takes `camera.mtf_pan`, and both take `pair.convention`. Put the two into the dictionary `my_pair` under
# `"ms"` and `"pan"`. *Expected:* what `degrade.wald` gives.

# %% tags=["exercise-2"]
my_pair = {}
# begin solution
my_pair = {
    "ms": degrade.degrade(pair.ms, camera.mtf_ms, ratio, pair.convention),
    "pan": degrade.degrade(pair.pan, camera.mtf_pan, ratio, pair.convention),
}
# end solution
ms_low, pan_low = degrade.wald(pair.ms, pair.pan, camera, pair.convention)
print(exercises.verdict(my_pair, {"ms": ms_low, "pan": pan_low}))

# %%
assert exercises.verdict(my_pair, {"ms": ms_low, "pan": pan_low}) == exercises.RIGHT

# %% [markdown]
# **Exercise 3.** *Easy, 5 minutes.* How much does half a PAN pixel matter? Interpolate the ship's MS under both conventions (`degrade.upsample(place.ms, place.ratio, ...)`), subtract, and take the mean of the absolute values. Put it into `difference`.
# *Expected:* about 10.4 DN. At edges it is more than ten times as much.

# %% tags=["exercise-3"]
difference = None
# begin solution
one, other = (degrade.upsample(place.ms, place.ratio, name) for name in ("geo", "benchmark"))
difference = (one - other).abs().mean()
# end solution
print(exercises.verdict(difference, 10.4, tolerance=0.02, name="the mean difference"))

# %%
assert exercises.verdict(difference, 10.4, tolerance=0.02) == exercises.RIGHT
assert (one - other).abs().quantile(0.999) > 10 * difference

# %% [markdown]
# **Exercise 4.** *Medium, 10 minutes.* Some programs reduce an image by averaging squares of `ratio` by `ratio` pixels, a *box*. How much contrast does a box leave at MS's Nyquist frequency, `nyquist` cycles per PAN pixel?
# Along one axis, the box covers the `ratio` pixels $t = 0, 1, \dots$. Take the mean of $e^{-2 \pi i f t}$ over them, where $f$ is `nyquist`. Put its absolute value into `left`. *Expected:* nearly twice what the MTF leaves, so a box blurs too little.

# %% tags=["exercise-4"]
left = None
# begin solution
places = np.arange(ratio)
left = abs(np.exp(-2j * np.pi * nyquist * places).mean())
# end solution
exact = 1 / (ratio * np.sin(np.pi / (2 * ratio)))  # the same in closed form
print(exercises.verdict(left, exact, name="the contrast"))

# %%
assert exercises.verdict(left, exact) == exercises.RIGHT
assert 1.5 < left / max(camera.mtf_ms) < 2

# %% [markdown]
# ## Answers
#
# 1. EXP is made of MS alone, so it holds what MS holds and nothing else. Agreeing with MS is therefore no work. What is missing, the detail, is what PAN has and EXP has not.
# 2. It would see reduced pairs that are more blurred than any real pair, and learn to sharpen that much. On real images it would sharpen too much and draw halos along edges.
# 3. Patches would show different ground in PAN and MS. The reduced pair of Wald's protocol would be out of register as well, so even the right fusion would not equal the truth. The MTF and the frequency plane look at one image alone and would not change.
# 4. Because half an MS pixel cannot be cut. MS would have to be interpolated before cutting, which blurs it and moves its samples.
# 5. The line that begins with "Registration": it would report a shift of half a PAN pixel both ways. No picture on this page would show it to the eye.
