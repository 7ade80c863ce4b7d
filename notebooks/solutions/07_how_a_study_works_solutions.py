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
# # 07 How a study works: solutions
#
# One way to solve each exercise of [the chapter](../07_how_a_study_works.ipynb), with the expected result checked. Cells with the same tag in the chapter are these, without what lies between
# `begin solution` and `end solution`.

# %%
from clippan_lite.course import exercises
from clippan_lite.experiments import claims, tables

# %% [markdown]
# **Exercise 1.** *Easy, 10 minutes.* Write the interval yourself. For the differences at the same seed on `wv2_urban`, compute the mean, and the lower and upper end of the 95 % interval, from the formula above (`scipy.stats.t.ppf(0.975, n - 1)` is $t_n$, and $s$ is NumPy's `std(ddof=1)`). Put the three into `mine`. *Expected:* +0.23 dB, 0.19 to 0.28.

# %% tags=["exercise-1"]
rows, facts = tables.load(claims.results_folder() / "A_losses.csv")
psnr = {(row["arm"], row["scene"], row["seed"]): row["PSNR"] for row in rows}
mine = {}  # "mean", "low" and "high"
# begin solution
import numpy as np
from scipy import stats

where = "wv2_urban"
changes = np.array([psnr["unsup +L_d", where, s] - psnr["unsup", where, s] for s in range(5)])
half = stats.t.ppf(0.975, 4) * changes.std(ddof=1) / np.sqrt(5)
mine = {"mean": changes.mean(), "low": changes.mean() - half, "high": changes.mean() + half}
# end solution
cells = tables.effects(rows, facts, by=("scene",))
wanted = ("unsup +L_d", "wv2_urban", "PSNR")
(cell,) = [cell for cell in cells if (cell["arm"], cell["scene"], cell["metric"]) == wanted]
low, high = cell["t95"]
print(exercises.verdict(mine, {"mean": cell["difference"], "low": low, "high": high}))

# %%
assert (
    exercises.verdict(mine, {"mean": 0.234, "low": 0.185, "high": 0.283}, 0.01) == exercises.RIGHT
)

# %% [markdown]
# **Exercise 2.** *Medium, 10 minutes.* Had the seeds not been paired, how wide would the interval be? Take the two lists on `wv2_urban` as independent: half the width is $t\, \sqrt{s_1^2 / n + s_2^2 / n}$, with $t$ for $2n - 2 = 8$ degrees of freedom, and $s_1$, $s_2$ the standard deviations of the two lists. Put it into `half_width`. *Expected:* 0.057 dB instead of 0.049. Pairing narrows the interval only a little here, because two runs of one seed share little. It pays where scenes or patches differ more than methods.

# %% tags=["exercise-2"]
half_width = None
# begin solution
with_it, without = (
    np.array([psnr[arm, "wv2_urban", seed] for seed in range(5)]) for arm in ("unsup +L_d", "unsup")
)
error = np.sqrt(with_it.var(ddof=1) / 5 + without.var(ddof=1) / 5)
half_width = stats.t.ppf(0.975, 8) * error
# end solution
print(exercises.verdict(half_width, 0.0569, 0.01, "half the width"))

# %%
assert exercises.verdict(half_width, 0.0569, 0.01) == exercises.RIGHT

# %% [markdown]
# **Exercise 3.** *Medium, 10 minutes.* On `synthetic:1` the same differences scatter more. How many seeds would it take until half the width of the interval is 0.1 dB or less, if the standard deviation stays as it is? Put the number into `needed`. *Expected:* 13.

# %% tags=["exercise-3"]
needed = None
# begin solution
where = "synthetic:1"
changes = np.array([psnr["unsup +L_d", where, s] - psnr["unsup", where, s] for s in range(5)])
needed = 2
while stats.t.ppf(0.975, needed - 1) * changes.std(ddof=1) / np.sqrt(needed) > 0.1:
    needed += 1
# end solution
print(exercises.verdict(needed, 13, name="the number of seeds"))

# %%
assert exercises.verdict(needed, 13) == exercises.RIGHT

# %% [markdown]
# ## Answers
#
# 1. It fixes all random choices of a run: the first weights of the network and the adapters, and the order of the patches. It does not fix the scene, the settings, or the order in which a GPU adds numbers.
# 2. It keeps everything but the knowledge: the same loss, the same adapters, a pull of the same kind. If it gains as much, what helps is not what CLIP has learned.
# 3. With two values, Student's factor is 12.7, so the interval reaches far below 0. The third seed of this chapter indeed says the opposite.
# 4. You may say that an effect was not shown, for these scenes and settings, and which sizes of effect the interval still allows. You may not say that there is no effect.
# 5. Of many arms and scenes, some will look clear by chance. Who chooses afterwards what to report, chooses these.
