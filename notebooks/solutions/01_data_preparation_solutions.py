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
# The exercises of `01_data_preparation` with one way to solve each, and the expected result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`.

# %%
import numpy as np

from clippan_lite import experiments
from clippan_lite.physics import degrade

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})
pair = run.pair
rgb, ratio = pair.sensor.rgb, pair.ratio

# %% [markdown]
# **Exercise 1.** Interpolate MS under both conventions (`degrade.upsample(pair.ms, ratio, ...)`) and subtract. *Expected:* half a PAN pixel lies between them,
# so every edge shows; on the embedded scene a mean absolute difference of about 12 DN, at edges ten times as much.

# %% tags=["exercise-1"]
difference = None
# begin solution
difference = degrade.upsample(pair.ms, ratio, "geo") - degrade.upsample(pair.ms, ratio, "benchmark")
# end solution
if difference is not None:
    print(
        f"mean {difference.abs().mean():.1f} DN, at edges {difference.abs().quantile(0.999):.0f} DN"
    )

# %%
assert (
    difference.abs().mean() > 2 and difference.abs().quantile(0.999) > 10 * difference.abs().mean()
)

# %% [markdown]
# **Exercise 2.** What would a box of `ratio` x `ratio` pixels leave of the contrast at MS's Nyquist frequency, 1 / (2 `ratio`) cycles per PAN pixel? *Expected:* about .65,
# twice what the MTF leaves.

# %% tags=["exercise-2"]
left = None
# begin solution
taps = np.arange(ratio) - (ratio - 1) / 2
left = abs(np.exp(-2j * np.pi * taps / (2 * ratio)).mean())
# end solution
if left is not None:
    print(f"a box leaves {left:.3f}, the MTF {max(pair.sensor.mtf_ms):.3f}")

# %%
assert abs(left - 0.653) < 0.001
