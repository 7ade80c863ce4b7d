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
# # 06 Your own scene: solutions
#
# The exercises of `06_your_own_scene` with one way to solve each, and the expected result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`.

# %%
from dataclasses import replace

import numpy as np
import rasterio

from clippan_lite import experiments
from clippan_lite.data import geotiff
from clippan_lite.large_scenes import fusing

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})
pair = run.pair
files = run.files

# %% [markdown]
# **Exercise 1.** Fuse the scene with GSA in windows of 64 and of 512 PAN pixels and subtract the two products. *Expected:* at most one digital number: the means and covariances are those of
# the whole scene in both.

# %% tags=["exercise-1"]
largest = None
# begin solution
images = {}
for side in (64, 512):
    out = run.folder / f"06_exercise_{side}.tif"
    fusing.fuse_scene(*files, out, pair.sensor.name, method="GSA", window=side, progress=False)
    with rasterio.open(out) as file:
        images[side] = file.read().astype(float)
largest = abs(images[64] - images[512]).max()
# end solution
print("largest difference in DN:", largest)

# %%
assert largest <= 1.0

# %% [markdown]
# **Exercise 2.** Cut a stripe of nodata into the pair (`dataclasses.replace(pair, valid=..., pan=..., ms=...)`, then `geotiff.write_pair` of `clippan_lite.data`) and fuse it. *Expected:* the product says what its
# nodata is, and the stripe holds it: a share of .078 for 40 columns of 512.

# %% tags=["exercise-2"]
share = None
# begin solution
valid = np.ones(pair.pan.shape[1:], bool)
valid[:, 200:240] = False
valid = pair.pan.new_tensor(valid).bool()
holed = replace(pair, valid=valid, pan=pair.pan * valid, ms=pair.ms * valid[::4, ::4], truth=None)
folder = geotiff.write_pair(run.folder / "06_exercise_stripe", holed)
out = run.folder / "06_exercise_stripe.tif"
fusing.fuse_scene(
    folder / "pan.tif", folder / "ms.tif", out, pair.sensor.name, method="GSA", progress=False
)
with rasterio.open(out) as file:
    share = float((file.read(1) == file.nodata).mean())
# end solution
print("share of nodata:", share)

# %%
assert share == 40 / 512
