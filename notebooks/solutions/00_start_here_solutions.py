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
# # 00 Start here: solutions
#
# The exercises of `00_start_here` with one way to solve each, and the expected result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`.

# %%

from clippan_lite import experiments

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})
pair = run.pair

# %% [markdown]
# **Exercise 1.** How wide is an MS pixel on the ground? PAN's geotransform is in `pair.georef["transform"]`; its `a` is the width of a pixel in metres.
# *Expected:* 2 m.

# %% tags=["exercise-1"]
metres = None
# begin solution
metres = pair.georef["transform"].a * pair.ratio
# end solution
print("an MS pixel is", metres, "m wide")

# %%
assert metres == 2.0

# %% [markdown]
# **Exercise 2.** Which sensors have four bands? `from clippan_lite.physics import sensors` brings `sensors.SENSORS`, which holds them all by name. *Expected:* IKONOS, QB, GE1 and six or more others.

# %% tags=["exercise-2"]
four = []
# begin solution
from clippan_lite.physics import sensors

four = [s.name for s in sensors.SENSORS.values() if len(s.bands) == 4]
# end solution
print(len(four), "sensors:", ", ".join(four))

# %%
assert {"IKONOS", "QB", "GE1"} <= set(four) and len(four) >= 8
