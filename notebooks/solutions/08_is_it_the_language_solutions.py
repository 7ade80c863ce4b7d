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
# # 08 Is it the language?: solutions
#
# One way to solve each exercise of [the chapter](../08_is_it_the_language.ipynb), with the expected result checked. Cells with the same tag in the chapter are these, without what lies between
# `begin solution` and `end solution`.

# %%
from clippan_lite.course import exercises
from clippan_lite.experiments import claims, tables

# %% [markdown]
# **Exercise 1.** *Easy, 10 minutes.* What does it cost to ask the opposite sentence of a CLIP that was adapted to Wald's? For each scene of study A, put the mean change of PSNR from `unsup +L_d` to `L_d, swapped after` into `cost`. *Expected:* -2.20, -0.56 and -1.52 dB.

# %% tags=["exercise-1"]
rows, facts = tables.load(claims.results_folder() / "A_losses.csv")
psnr = {(row["arm"], row["scene"], row["seed"]): row["PSNR"] for row in rows}
cost = {}  # scene -> dB
# begin solution
for scene in facts["axes"]["scene"]:
    changes = [
        psnr["L_d, swapped after", scene, seed] - psnr["unsup +L_d", scene, seed]
        for seed in facts["axes"]["seed"]
    ]
    cost[scene] = sum(changes) / len(changes)
# end solution
print(
    exercises.verdict(cost, {"ikonos_town": -2.20, "wv2_urban": -0.56, "synthetic:1": -1.52}, 0.01)
)

# %%
assert (
    exercises.verdict(cost, {"ikonos_town": -2.20, "wv2_urban": -0.56, "synthetic:1": -1.52}, 0.01)
    == exercises.RIGHT
)

# %% [markdown]
# **Exercise 2.** *Medium, 15 minutes.* D_rho ranks all arms better than QNR does. Is that so among the arms that all train with $L_{QNR}$? Leave out EXP, GSA and all arms without $L_{QNR}$ (`spec+spat`, `spec+spat +L_d`). For each other arm on `ikonos_town`, take the means of QNR, D_rho and PSNR over the seeds (`rows` of exercise 1 has all values). Put the rank correlation (`scipy.stats.spearmanr`) of QNR's means with PSNR's, and of D_rho's with PSNR's, into `rank`. *Expected:* about +0.45 for QNR and -0.30 for D_rho (negative: a smaller D_rho goes with a higher PSNR). So among its own kind QNR ranks a little; it fails between arms that train on it and arms that do not.

# %% tags=["exercise-2"]
rank = {}  # "QNR" and "D_rho"
# begin solution
from scipy.stats import spearmanr

left_out = ("EXP", "GSA", "spec+spat", "spec+spat +L_d")
here = [r for r in rows if r["scene"] == "ikonos_town" and r["arm"] not in left_out]
arms = list(dict.fromkeys(row["arm"] for row in here))


def mean(arm, name):
    values = [row[name] for row in here if row["arm"] == arm]
    return sum(values) / len(values)


truth = [mean(arm, "PSNR") for arm in arms]
for name in ("QNR", "D_rho"):
    rank[name] = spearmanr([mean(arm, name) for arm in arms], truth).statistic
# end solution
print(exercises.verdict(rank, {"QNR": 0.455, "D_rho": -0.3}, 0.02))

# %%
assert exercises.verdict(rank, {"QNR": 0.455, "D_rho": -0.3}, 0.02) == exercises.RIGHT

# %% [markdown]
# ## Answers
#
# 1. The full method has a teacher and $L_d$. Without the arm that has the teacher alone, the teacher's gain would be booked to the language. Beside the teacher, $L_d$ still gains 0.19 dB on one scene of three, and nothing clear on the others.
# 2. That what helps is not what CLIP has learned: any pull through such a network would do. In study A a random CLIP gains nothing clear, so on the WorldView-2 scene it does take a trained one.
# 3. Stage I binds whatever sentence it is given to the sharp images, so a CLIP that was adapted to another sentence asks for the same. After Stage I the directions are fixed, and another sentence points elsewhere, here to blurred images with false colours.
# 4. Those with figures of QuickBird or WorldView-3 scenes, which were not at hand: the 79 % of D_lambda, the size of QNR's rise, and the decibels of each loss. The claim of five backbones needs these backbones at their own size, and the claim of the best prompt the large CLIP.
# 5. Twelve times three is 36 differences, and 5 % of them are about two. So one or two clear cells among many prove little; the same sign on all scenes is worth more.
