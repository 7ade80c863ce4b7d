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
# # 00 Start here
#
# Two images of one place: **MS**, in colour but coarse, and **PAN**, grey but `ratio` times finer. Pansharpening
# fuses them into **HRMS**, fine *and* in colour. At full resolution nobody has the true HRMS, so a network has no
# target to learn from. CLIPPan (arXiv 2511.10896) proposes a supervisor instead of a target: an adapted CLIP and a
# sentence, "adhering to Wald's protocol ...", say in which direction the fused image should move.
#
# ## What you will learn
#
# 1. whether your machine is ready (*Is everything there?*),
# 2. how the notebooks hand on their products (*The chain*),
# 3. what goes in and what comes out (*One look ahead*).
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | Python and a little PyTorch | you can read a training loop |
# | image processing | you know what a blur and a resampling are |
# | hardware | a laptop; no GPU, no network |
# | time | 5 minutes of reading, 15 seconds of computing; the same in full mode |
#
# *Quick* is the parameters as they are, for two laptop cores. In chapters 03 to 06 *full* is `recipe="best"` and `seeds="0,1,2,3,4"` in the cell of
# parameters: networks trained longer, and more of them; 02 and 07 say their own. The cell after the parameters hands them on: `run` holds the experiment, and keeps what it makes. Every pair that is read
# prints how far MS lies off PAN; a *multiple correlation* near 1 says that this figure can be trusted.

# %% tags=["parameters"]
run_dir = ""  # folder that the chain's notebooks share; "" is "quick" in the package's home (CLIPPAN_HOME)
scene = "synthetic:0"  # synthetic:SEED, landsat7, rotterdam, or a scene folder; FOLDER@SENSOR
size = 512  # side of a synthetic scene in PAN pixels
pan = ""  # path of a PAN GeoTIFF, instead of the scene; "" takes the scene
ms = ""  # path of the MS GeoTIFF of the same place
sensor = "WV2"  # sensor name: bands, ratio, bit depth and MTF (clippan-lite sensors lists them)
convention = "benchmark"  # where MS samples sit on PAN's grid: "benchmark" (phase ratio/2) or "geo" (centre-true)
register = False  # shift PAN onto MS by the estimated fraction before anything else

# %%
import clippan_lite as cl
from clippan_lite import experiments
from clippan_lite.course import check, figures, imagery

run = experiments.begin(globals())
figures.use_style()

# %% [markdown]
# ## A real place
#
# The edge of a mountain range, a town and lakes, by Landsat-7: two images go in, and one line fuses them with what is on board.

# %%
place = cl.example("landsat7")
sharp = cl.fuse(place)

# %%
rgb = place.sensor.rgb
bounds = imagery.limits(place.ms, rgb)
views = {
    "PAN, 15 m": imagery.picture(place.pan, [0], imagery.limits(place.pan, [0])),
    "MS, 30 m": imagery.picture(place.ms, rgb, bounds),
    "fused": imagery.picture(sharp, rgb, bounds),
}
figures.show(
    imagery.panels(views, zoom=(180, 240, 128)),
    run.folder,
    "00_real",
    "PAN, MS and the fused image of a real place; below, the marked window. Landsat-7, courtesy of the U.S. Geological Survey.",
    photo=True,
)

# %% [markdown]
# **What you see.** Roads and shores are as sharp as in PAN, with pixels of 15 m, in the colours of MS. **What it does not show:** whether the colours of fine details are true. Nobody knows them at this
# scale, and that is what this course is about.
#
# ## Is everything there?
#
# The same report as `clippan-lite check` prints. A problem comes with what to do about it.

# %%
lines, problems = check.report()
print("\n".join(lines))
print("problems:", problems or "none")

# %% [markdown]
# ## The chain
#
# | notebook | question | product |
# |---|---|---|
# | `01_data_preparation` | what do PAN and MS know, and what is missing? | the pair, Wald's protocol |
# | `02_clip_adaptation` | Stage I: can CLIP tell MS, PAN and HRMS apart? | stems and six adapters |
# | `03_full_resolution_training` | Stage II: can a sentence train a network? | fusion networks, `fused.tif` |
# | `04_evaluation` | is the result any good, and who says so? | `results.json` |
# | `05_failure_analysis` | when does it break? | failures with figures |
# | `06_your_own_scene` | where do I get images, and how do I fuse a large one? | GeoTIFFs, fused in windows |
# | `07_reproduction` | which of the paper's claims hold here, and is it the language? | tables and verdicts |
#
# Each notebook runs alone: it loads what the one before left, or makes it, and prints which. `clippan-lite chain`
# runs all of them with one set of parameters into one folder and writes a report page.
#
# ## One look ahead

# %% tags=["nbval-check-output"]
pair = run.pair
print(
    f"PAN {tuple(pair.pan.shape)}, MS {tuple(pair.ms.shape)}, ratio {pair.ratio}, sensor {pair.sensor.name}"
)

# %%
rgb = pair.sensor.rgb
bounds = imagery.limits(pair.ms, rgb)
pictures = {
    "PAN": imagery.picture(pair.pan, [0], imagery.limits(pair.pan, [0])),
    "MS": imagery.picture(pair.ms, rgb, bounds),
}
if pair.truth is not None:
    pictures["HRMS, the unknown truth"] = imagery.picture(pair.truth, rgb, bounds)
figure = imagery.panels(pictures, zoom=imagery.busiest(pair.pan, 128))
figures.show(
    figure,
    run.folder,
    "00_pair",
    "PAN, MS and, for a synthetic scene, the true HRMS; below, the marked window.",
    photo=True,
)

# %% [markdown]
# **What you see.** PAN, 512 x 512 pixels, shows every roof edge and no colour; MS, 128 x 128, shows colours, with pixels of 2 m, as wide as a car. The orange
# square is the window below. The third panel exists only because this scene is synthetic (of a real one there are two panels): it is what we want and what
# no satellite delivers. **What it does not show:** whether any method can get there from the first two.
#
# ## Exercises
#
# The questions are answered in the next chapters, too. Write your own lines where a cell says `# your code`. One way to solve each that has a cell, run with its result, is in
# `solutions/00_start_here_solutions.ipynb`.
#
# **Exercise 1.** How wide is an MS pixel on the ground? PAN's geotransform is in `pair.georef["transform"]`; its `a` is the width of a pixel in metres.
# *Expected:* 2 m.

# %% tags=["exercise-1"]
metres = None
# your code
print("an MS pixel is", metres, "m wide")

# %% [markdown]
# **Exercise 2.** Which sensors have four bands? `from clippan_lite.physics import sensors` brings `sensors.SENSORS`, which holds them all by name. *Expected:* IKONOS, QB, GE1 and six or more others.

# %% tags=["exercise-2"]
four = []
# your code
print(len(four), "sensors:", ", ".join(four))

# %% [markdown]
# ## Questions
#
# 1. Why can the true HRMS not simply be measured?
# 2. Which of the two images would you need to tell grass from artificial turf? Which to count cars?
# 3. What could a supervisor say about a fused image without having seen the true one?
# 4. Why is PAN sharper than MS, although both come from the same telescope?
# 5. What does the embedded scene know that no real scene knows, and what is that good for?
#
# ## Summary
#
# Your machine was checked, and you have seen PAN, MS and what is sought. **Next:** `01_data_preparation`.
