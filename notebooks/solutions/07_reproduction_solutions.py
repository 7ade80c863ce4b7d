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
# # 07 Reproduction: solutions
#
# The exercises of `07_reproduction` with one way to solve each, and the expected result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`.

# %%
import numpy as np
from scipy import stats

from clippan_lite.experiments import claims, tables

# %% [markdown]
# **Exercise 1.** The table of study A has PSNR for each seed. Compute the mean difference of `unsup +L_d` and `unsup` on `wv2_urban`, paired by seed, and its 95 % interval, with numpy and `stats.t.ppf` alone.
# *Expected:* +.23 dB, .19 to .28.

# %% tags=["exercise-1"]
rows, _ = tables.load(claims.results_folder() / "A_losses.csv")
psnr = {(row["arm"], row["seed"]): row["PSNR"] for row in rows if row["scene"] == "wv2_urban"}
mean, low, high = 0.0, 0.0, 0.0
# begin solution
difference = np.array([psnr["unsup +L_d", seed] - psnr["unsup", seed] for seed in range(5)])
mean, half = difference.mean(), stats.t.ppf(0.975, 4) * difference.std(ddof=1) / np.sqrt(5)
low, high = mean - half, mean + half
# end solution
print(f"{mean:+.2f} dB [{low:+.2f}, {high:+.2f}]")

# %%
assert abs(mean - 0.23) < 0.01 and abs(low - 0.19) < 0.01 and abs(high - 0.28) < 0.01

# %% [markdown]
# **Exercise 2.** Had the seeds not been paired, how wide would the interval be? Take the two lists as independent (Welch's interval, or twice the standard error of the difference).
# *Expected:* hardly wider, .06 instead of .05 dB: two runs of one seed share little here; pairing pays where scenes or patches differ more than methods.

# %% tags=["exercise-2"]
width = 0.0
# begin solution
with_it, without = (
    np.array([psnr[arm, seed] for seed in range(5)]) for arm in ("unsup +L_d", "unsup")
)
width = stats.t.ppf(0.975, 8) * np.sqrt(with_it.var(ddof=1) / 5 + without.var(ddof=1) / 5)
# end solution
print(f"half width {width:.2f} dB")

# %%
assert 1 < width / ((high - low) / 2) < 1.5
