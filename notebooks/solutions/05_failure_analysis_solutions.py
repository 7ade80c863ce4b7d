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
# # 05 Failure analysis: solutions
#
# The exercises of `05_failure_analysis` with one way to solve each, and the expected result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`.

# %%
from clippan_lite import classical, experiments, fusion
from clippan_lite.data import registration, synthetic
from clippan_lite.metrics import evaluation

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})
pair = run.pair
network = run.network(run.config(with_l_d=False))

# %% [markdown]
# **Exercise 1.** Let MS lie two PAN pixels off PAN (`synthetic.make_scene(0, 256, pair.sensor, shift=(2, 0))`), fuse with GSA, and again after `registration.correct(scene, registration.estimate(scene))` (`from clippan_lite.data import registration`).
# Compare ERGAS against the truth. *Expected:* registration takes away more than half of the error.

# %% tags=["exercise-1"]
ergas = {}
# begin solution
scene = synthetic.make_scene(0, 256, pair.sensor, shift=(2, 0))
for name, each in (
    ("as it is", scene),
    ("registered", registration.correct(scene, registration.estimate(scene))),
):
    ergas[name] = evaluation.against_truth(classical.fuse("GSA", each), each)["ERGAS"]
# end solution
print("ERGAS of GSA:", {name: round(value, 2) for name, value in ergas.items()})

# %%
assert ergas["registered"] < 0.5 * ergas["as it is"]

# %% [markdown]
# **Exercise 2.** Give the network a scene of a sensor with another number of bands. *Expected:* a `ValueError` to be caught, one line that says which bands the network takes.

# %% tags=["exercise-2"]
told = ""
# begin solution
few = "IKONOS" if pair.bands != 4 else "WV2"
try:
    fusion.fuse(synthetic.make_scene(0, 256, few), network)
except ValueError as error:
    told = str(error)
# end solution
print(told)

# %%
assert told.startswith(f"the network takes {pair.bands} bands")
