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
# # 04 Evaluation: solutions
#
# The exercises of `04_evaluation` with one way to solve each, and the expected result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`.

# %%

from clippan_lite import experiments
from clippan_lite.experiments import statistics
from clippan_lite.metrics import evaluation, faults

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})
pair = run.pair
judge = pair

# %% [markdown]
# **Exercise 1.** Blur the truth more and more (`faults.graded(judge.truth, blur=...)`, 0 to 1.5 PAN pixels) and watch its QNR (`evaluation.at_full_resolution`). *Expected:* it rises up to
# one pixel (.88 to .95) and stays above the truth's: a fault that pays.

# %% tags=["exercise-1"]
by_blur = {}
# begin solution
for blur in (0.0, 0.5, 1.0, 1.5):
    by_blur[blur] = evaluation.at_full_resolution(faults.graded(judge.truth, blur=blur), judge)[
        "QNR"
    ]
# end solution
print("QNR of the truth, by its blur:", {blur: round(q, 3) for blur, q in by_blur.items()})

# %%
assert by_blur[0.0] < by_blur[0.5] < by_blur[1.0]

# %% [markdown]
# **Exercise 2.** Two methods on three seeds, PSNR in dB, are given. Is the second one better? Give the 95 % interval of the mean difference, paired by seed (`statistics.paired_effects`), and judge
# by the spread of the two rows alone. *Expected:* paired, yes ([+0.17, +0.25]); the rows, a deviation of 1 dB each, overlap all over.

# %% tags=["exercise-2"]
one = [{"PSNR": v} for v in (28.1, 29.0, 30.1)]
other = [{"PSNR": v} for v in (28.3, 29.2, 30.33)]
effect = None
# begin solution
effect = statistics.paired_effects(other, one)["PSNR"]
# end solution
print(
    "difference:",
    effect,
    "| deviation of each:",
    statistics.over_seeds(one)[1],
    statistics.over_seeds(other)[1],
)

# %%
assert effect["t95"][0] > 0 and statistics.over_seeds(one)[1]["PSNR"] > 4 * effect["difference"]
