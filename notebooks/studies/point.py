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
# # One point of a study
#
# `clippan-lite sweep` runs this notebook once for each point of a grid, with papermill. It fuses one scene in one way
# and writes its figures; chapter 08 reads the tables that come of it.

# %% tags=["parameters"]
settings = {}  # flat settings of the experiment that differ from the defaults, such as {"steps": 20}
out = ""  # JSON file for the row; "" writes none

# %%
from clippan_lite.experiments import Experiment, measurement

experiment = Experiment.of(settings)
defaults = Experiment().flat()
changed = {name: v for name, v in experiment.flat().items() if v != defaults[name]}
print("this point differs from the default in:", changed or "nothing")

# %%
row = measurement.measure(experiment)
for name, value in row.items():
    print(f"{name:>16} {value:.4f}")

# %%
if out:
    measurement.write_row(out, settings, row)
