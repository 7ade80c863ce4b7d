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
# # 03 Full-resolution training: solutions
#
# The exercises of `03_full_resolution_training` with one way to solve each, and the expected result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`.

# %%
import torch

from clippan_lite import batches, experiments, losses, training
from clippan_lite.config import TrainConfig

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})
pair = run.pair
one_patch = TrainConfig(batch=1, stride=1, crops_in_turn=1, seed=2)
crops = batches.Batches([pair], one_patch, device=run.device).draw(step=0)["full"]

# %% [markdown]
# **Exercise 1.** What stops a network from returning EXP? Measure `losses.spectral(x, crops)` and `losses.spatial(x, crops)` of EXP
# itself, `x = crops.exp`. *Expected:* `spectral` has almost nothing against it (0.01), `spatial` twenty times as much.

# %% tags=["exercise-1"]
spectral = spatial = None
# begin solution
with torch.no_grad():
    spectral = losses.spectral(crops.exp, crops).item()
    spatial = losses.spatial(crops.exp, crops).item()
# end solution
print("EXP: spectral", spectral, "| spatial", spatial)

# %%
assert spatial > 5 * spectral

# %% [markdown]
# **Exercise 2.** Train 20 steps without $L_d$, with `qnr` at the paper's weight 1 and at 0 (`run.config(with_l_d=False, seed=0).changed(steps=20, qnr=...)`), and compare the last `qnr` that both
# reach; measure it at weight 1e-6 where 0 would leave it out. *Expected:* lower where it was asked for; notebook 04 tells what that is worth.

# %% tags=["exercise-2"]
reached = {}
# begin solution
for weight in (1e-6, 1.0):
    config = run.config(with_l_d=False, seed=0).changed(steps=20, qnr=weight)
    _, history = training.train(pair, config, device=run.device, progress=False)
    reached[weight] = sum(row["qnr"] for row in history[-5:]) / 5
# end solution
print("qnr at the end, by its weight:", reached)

# %%
assert reached[1.0] < reached[1e-6]
