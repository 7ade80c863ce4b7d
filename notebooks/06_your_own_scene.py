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
# # 06 Your own scene
#
# ## What you will learn
#
# 1. *Where imagery comes from*: what can be had without a login, and under which licence,
# 2. *Two files*: what is checked before anything is computed,
# 3. *Fusing in windows*: a scene of any size in constant memory, and whether its seams show,
# 4. *The product*: what a Cloud-Optimised GeoTIFF brings, and how to look at it.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | `03_full_resolution_training` | its network; trained here if it is not there |
# | GeoTIFF | you know what a transform and a CRS are |
# | hardware, time | a laptop; 10 minutes of reading, 25 seconds of computing; full mode: two minutes; a large scene of yours takes longer |

# %% tags=["parameters"]
run_dir = ""  # folder that the chain's notebooks share; "" is "quick" in the package's home (CLIPPAN_HOME)
scene = "synthetic:0"  # synthetic:SEED, landsat7, rotterdam, or a scene folder; FOLDER@SENSOR
size = 512  # side of a synthetic scene in PAN pixels
pan = ""  # path of a PAN GeoTIFF, instead of the scene; "" takes the scene
ms = ""  # path of the MS GeoTIFF of the same place
sensor = "WV2"  # sensor name: bands, ratio, bit depth and MTF (clippan-lite sensors lists them)
convention = "benchmark"  # where MS samples sit on PAN's grid: "benchmark" (phase ratio/2) or "geo" (centre-true)
register = False  # shift PAN onto MS by the estimated fraction before anything else
backbone = ""  # fusion network, a name of the table of backbones; "": the recipe's
recipe = "course"  # Stage II settings: course (begins with the network on board), scratch, quick, paper, best
steps = -1  # Stage II optimiser steps; -1: the recipe's
seeds = "0,1,2"  # seeds of Stage II, with commas between
device = "auto"  # "auto", "cpu" or "cuda"
search = ""  # words that entries of the catalogue must mention, such as "wv3 chip"; "" shows all
window = 256  # PAN pixels fused at once; small here, so that a small scene has seams to look for

# %%
import numpy as np
import rasterio
import torch
from IPython.display import Markdown, display

from clippan_lite import experiments, fusion
from clippan_lite.course import figures, imagery, widgets
from clippan_lite.data import grids
from clippan_lite.large_scenes import fusing
from clippan_lite.physics import degrade
from data_download.registry import find

run = experiments.begin(globals())
figures.use_style()

# %% [markdown]
# ## Where imagery comes from
#
# `python -m data_download get NAME` fetches any of these. Chips and windows become a folder with `pan.tif`, `ms.tif` and
# `scene.json`; the rest stays as published and is read by `clippan_lite.data.readers`.

# %%
rows = [
    f"| `{name}` | {e.sensor} | {type(e).__name__.lower()} | {e.content} | {e.licence} |"
    for name, e in find(*search.split()).items()
]
display(
    Markdown(
        "\n".join(["| name | sensor | kind | content | licence |", "|---|---|---|---|---|", *rows])
    )
)

# %% [markdown]
# **What you see.** Kinds: an *entry* is a file to download, *chips* and *windows* are read piece by piece. Synthetic scenes (MIT) and Landsat (public
# domain) are free for any use, SpaceNet asks to be named and for the same terms, one source excludes commercial use (Maxar Open Data), and the benchmark files state no licence at all: compute with them, but do not
# publish them. **What it does not show:** whether an address still answers today.
#
# ## Two files
#
# From here on the scene is two GeoTIFFs on disk: yours (`pan`, `ms`), or the embedded one. Before a pixel is read, sizes,
# CRS, transforms and bands are held against each other and against the sensor.

# %%
pair = run.pair
files = run.files
grid = grids.inspect(*files, pair.sensor, pair.convention)
count = -(-grid.height // window) * -(-grid.width // window)
print(f"PAN {grid.height} x {grid.width}, {grid.dtype}, {grid.where}: {count} windows of {window}")

# %% [markdown]
# ## Fusing in windows
#
# `fusing.fuse_scene` reads a scene twice: once to survey it (checks of all values, PAN's brightness, a classical method's means
# and covariances), once to fuse window by window, each with a margin as wide as the method looks. Nodata in it is 0 while fusing, so that fill
# values such as 65535 do not spread; windows around a hole see it as dark ground, and the product holds nodata there.

# %%
network = run.network(run.config(with_l_d=False, seed=run.seeds[0]))
of_a_folder = not (pan or scene.startswith("synthetic:"))  # its scene.json names the sensor
sensor_name = pair.sensor.name if of_a_folder else sensor
products = {"GSA": {"method": "GSA"}, "network": {"network": network}}
given = {"convention": pair.convention, "window": window, "device": run.device, "progress": False}
if pan:  # the embedded scene is kept as it was registered
    given["register"] = register
for name, how in products.items():
    out = run.folder / f"06_{name.lower()}.tif"
    fusing.fuse_scene(*files, out, sensor_name, **how, **given)
    print(f"{out.name}: {out.stat().st_size / 1e6:.1f} MB")

# %%
with rasterio.open(run.folder / "06_network.tif") as file:
    parts = torch.from_numpy(file.read().astype(np.float32))
    tags, levels = file.tags(), file.overviews(1)
whole = fusion.fuse(pair, network)
apart = (parts - whole).abs().amax(0)
inside = torch.zeros_like(apart, dtype=torch.bool)
inside[32:-32, 32:-32] = True  # classical results wrap around the image in one piece
alike = (apart <= 1)[inside if pair.mask is None else inside & pair.mask].float().mean()
print(f"within one digital number of the result in one piece: {100 * alike:.1f} % of the pixels")
print(
    "overviews:",
    levels,
    "| tags:",
    {k: v for k, v in tags.items() if k in ("METHOD", "SENSOR", "CONVENTION")},
)
assert alike > 0.97 or register  # a shift found in one window may differ in its second decimal

# %% [markdown]
# **What you see.** Nearly all pixels are the same to one digital number, which is what rounding does. The others lie on the dark river: MTF-GLP-HPM, one of the three results that the network mends, divides by PAN's low frequencies,
# which are nearly 0 there, and the last digits of its statistics decide. A kill half way would lose
# one window: the finished ones lie in `*.tif.parts`, and the same call goes on from them. **What it does not show:** the frame of 32 pixels at
# the scene's border, where classical methods in one piece wrap around the image and windows do not.
#
# ## The product
#
# A Cloud-Optimised GeoTIFF is stored in tiles and, beyond 512 pixels, holds smaller copies of itself (overviews; this small scene
# needs none): a viewer, or a browser over the network, reads only what it shows.

# %%
rgb = pair.sensor.rgb
images = {"EXP": degrade.upsample(pair.ms, pair.ratio, pair.convention)}
for name in products:
    with rasterio.open(run.folder / f"06_{name.lower()}.tif") as file:
        images[name] = torch.from_numpy(file.read().astype(np.float32))
bounds = imagery.limits(images["EXP"], rgb, pair.mask)
pictures = {"PAN": imagery.picture(pair.pan, [0], imagery.limits(pair.pan, [0], pair.mask))}
pictures |= {name: imagery.picture(image, rgb, bounds) for name, image in images.items()}
figures.show(
    imagery.panels(pictures, zoom=imagery.busiest(pair.pan, 128)),
    run.folder,
    "06_products",
    "PAN, MS interpolated (EXP), GSA and the network, fused in windows; below, the marked window.",
    photo=True,
)

# %% [markdown]
# **What you see.** Both products have PAN's edges in MS's colours, and no line at 256 pixels, where the four windows meet. GSA smears colours at small bright things, the network less. **What it does not show:** which of the two is nearer to
# the truth.
#
# With a running kernel, the next cell lets you swipe between any two of the pictures.

# %%
widgets.swipe(
    {name: picture for name, picture in pictures.items() if name != "PAN"}
    | {"PAN": pictures["PAN"]}
)

# %%
half = widgets.composite(pictures["EXP"], pictures["network"], 0.5)
figures.show(
    imagery.panels({"EXP | network": half}, side=6),
    run.folder,
    "06_swipe",
    "The swipe with its border in the middle: EXP on the left, the network on the right.",
    photo=True,
)

# %% [markdown]
# **What you see.** The same ground left and right of the orange line at 256 pixels (ours, not a seam): colours go on unbroken, details begin at it. **What it does not show:** whether
# the details are true. Notebook 04 measures that; a swipe only persuades.
#
# ## Exercises
#
# Write your own lines where a cell says `# your code`. One way to solve each that has a cell, run with its result, is in
# `solutions/06_your_own_scene_solutions.ipynb`.
#
# **Exercise 1.** Fuse the scene with GSA in windows of 64 and of 512 PAN pixels and subtract the two products. *Expected:* at most one digital number: the means and covariances are those of
# the whole scene in both.

# %% tags=["exercise-1"]
largest = None
# your code
print("largest difference in DN:", largest)

# %% [markdown]
# **Exercise 2.** Cut a stripe of nodata into the pair (`dataclasses.replace(pair, valid=..., pan=..., ms=...)`, then `geotiff.write_pair` of `clippan_lite.data`) and fuse it. *Expected:* the product says what its
# nodata is, and the stripe holds it: a share of .078 for 40 columns of 512.

# %% tags=["exercise-2"]
share = None
# your code
print("share of nodata:", share)

# %% [markdown]
# **Exercise 3.** `python -m data_download get spacenet3-paris-chip`, then run this notebook with its `pan.tif`, `ms.tif` and `sensor="WV3"`. *Expected:* the line "Registration" tells how far
# its MS lies off PAN.
#
# ## Questions
#
# 1. Why must a classical method's statistics be those of the whole scene, not of each window?
# 2. What would a network trained on one window do wrong in the others?
# 3. Why is the margin of a window as wide as the method looks and not a fixed number?
# 4. What does a nodata stripe do to the windows around it?
# 5. Which of the sources above may appear in a paper's figure?
#
# ## Summary
#
# Two GeoTIFFs became a georeferenced product in windows, equal to the result in one piece. **Next:** a pair of your own, on the command line:
# `clippan-lite train PAN MS RUN --sensor NAME`, then `clippan-lite fuse PAN MS OUT --sensor NAME --checkpoint RUN`.
