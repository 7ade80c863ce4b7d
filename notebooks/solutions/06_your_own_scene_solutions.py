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
# One way to solve each exercise of [the chapter](../06_your_own_scene.ipynb), with the expected result checked. Cells with the same tag in the chapter are these, without what lies between
# `begin solution` and `end solution`.

# %%
from dataclasses import replace

import clippan_lite as cl
from clippan_lite import experiments
from clippan_lite.course import exercises
from clippan_lite.data import example, geotiff
from clippan_lite.large_scenes import fusing

run = experiments.begin({})

import rasterio
import torch

# %% [markdown]
# **Exercise 1.** *Easy, 5 minutes.* Fuse the ship with GSA in windows of 64 and of 512 PAN pixels (`fusing.fuse_scene(folder / "pan.tif", folder / "ms.tif", out, "WV2_4", method="GSA", window=64, progress=False)`, where `out` is a path of your choice). Read both results with rasterio, and put the largest difference between them into `largest`. *Expected:* at most one digital number, because both use the means and covariances of the whole scene.

# %% tags=["exercise-1"]
folder = example.FOLDER / "rotterdam"
largest = None
# begin solution
images = {}
for side in (64, 512):
    out = run.folder / f"06_exercise_{side}.tif"
    files = (folder / "pan.tif", folder / "ms.tif")
    fusing.fuse_scene(*files, out, "WV2_4", method="GSA", window=side, progress=False)
    with rasterio.open(out) as file:
        images[side] = file.read().astype(float)
largest = abs(images[64] - images[512]).max()
# end solution
answer = None if largest is None else bool(largest <= 1)
print(exercises.verdict(answer, True, name="at most one digital number"))

# %%
assert exercises.verdict(answer, True) == exercises.RIGHT

# %% [markdown]
# **Exercise 2.** *Medium, 15 minutes.* Cut a stripe of nodata into the ship: columns 200 to 239 of PAN. Make a new pair, `holed = dataclasses.replace(place, valid=..., pan=..., ms=...)`. Its `valid` is a boolean tensor of PAN's size that is False in the stripe; there, `pan` and `ms` are zero. Write it with `geotiff.write_pair(new_folder, holed)` (from `clippan_lite.data`), and fuse the two new files with GSA as in exercise 1. Put the share of nodata pixels in the result into `share`. *Expected:* 40 of 600 columns, 0.067.

# %% tags=["exercise-2"]
place = cl.example("rotterdam")
share = None
# begin solution
valid = torch.ones(place.pan.shape[1:], dtype=torch.bool)
valid[:, 200:240] = False
coarse = valid[:: place.ratio, :: place.ratio]
holed = replace(place, valid=valid, pan=place.pan * valid, ms=place.ms * coarse)
folder = geotiff.write_pair(run.folder / "06_exercise_stripe", holed)
out = run.folder / "06_exercise_stripe.tif"
files = (folder / "pan.tif", folder / "ms.tif")
fusing.fuse_scene(*files, out, "WV2_4", method="GSA", progress=False)
with rasterio.open(out) as file:
    share = float((file.read(1) == file.nodata).mean())
# end solution
print(exercises.verdict(share, 40 / 600, name="the share of nodata"))

# %%
assert exercises.verdict(share, 40 / 600) == exercises.RIGHT

# %% [markdown]
# ## Answers
#
# 1. A window over water has another mean and another covariance than one over a town. Each window would then be fused in its own way, and their borders would show. A survey of the whole scene gives all windows the same numbers.
# 2. A filter of 41 pixels needs 20 pixels around each window, and a network its own reach. A fixed margin would be too small for some methods, which shows as seams, and a waste of time for others.
# 3. HQNR asks for agreement with MS and PAN as they are, and the last layer of the network gives that agreement even to a misregistered pair. The line "Registration" measures the shift itself, the edges in the picture show it, and one scale down ERGAS gets better.
# 4. A wrong camera with as many bands, and bands in another order: sizes, types and values are all possible. Only somebody who knows what water and vegetation look like in each band can tell.
# 5. Synthetic scenes and Landsat, without conditions. SpaceNet's may if they are named and the figure goes on under the same terms. Maxar Open Data may where nothing is sold. The benchmark files state no licence, so ask first.
