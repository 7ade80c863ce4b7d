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
# **One question:** how do a sharp grey image and a coarse colour one become one image, and who can say whether it is right?
#
# A satellite takes two images of one place. [PAN](GLOSSARY.md#pan), the panchromatic image, is sharp and grey. [MS](GLOSSARY.md#ms), the multispectral image, is coarse and in colour.
# [Pansharpening](GLOSSARY.md#pansharpening) fuses them into [HRMS](GLOSSARY.md#hrms), the high-resolution multispectral image: sharp *and* in colour.
#
# Nobody has the true HRMS, so a network has no target to learn from. The paper [CLIPPan](https://arxiv.org/abs/2511.10896) proposes a supervisor instead of a target. [CLIP](GLOSSARY.md#clip), a network
# that compares images with sentences, reads a sentence about the wanted image, "... adhering to Wald's protocol ...", and says in which direction the fused image should change. Chapter 01 explains that protocol.
#
# ## What you will learn
#
# 1. *The first minute*: what goes in and what comes out, of a real place,
# 2. *Which part does what*: the way from MS and PAN to the fused image,
# 3. *Is everything there?*: whether your machine is ready,
# 4. *The chapters*: what each one asks, and how they hand on their products,
# 5. *A place with an answer*: the scene that most chapters measure on.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | Python and a little PyTorch | you can read a training loop |
# | image processing | you know what a blur and a resampling are |
# | hardware | a laptop; no GPU, no network |
# | time | 10 minutes of reading, 20 seconds of computing; the same in full mode |
#
# Words that are new to you are in the [glossary](GLOSSARY.md). The library behind the chapters has [a page of its own](../clippan_lite/README.md).

# %%
# On Colab and other hosted machines this brings the package. Where it is installed, nothing happens.
from glob import glob
from importlib.util import find_spec

from IPython import get_ipython

if find_spec("clippan_lite") is None:
    wheel = next(iter(glob("clippan_lite-*.whl")), "clippan-lite")  # the workshop kit has one
    get_ipython().run_line_magic("pip", f'install "{wheel}[notebooks]"')
import clippan_lite as cl  # before torch, because it sets how threads wait

# %% tags=["parameters"]
run_dir = ""  # folder that the chain's notebooks share; "" is the folder "quick" in CLIPPAN_HOME
scene = "synthetic:0"  # synthetic:SEED, landsat7, rotterdam, or a scene folder; FOLDER@SENSOR
size = 512  # side of a synthetic scene in PAN pixels
pan = ""  # path of a PAN GeoTIFF, instead of the scene; "" takes the scene
ms = ""  # path of the MS GeoTIFF of the same place
sensor = "WV2"  # sensor name: bands, ratio, bit depth and MTF (clippan-lite sensors lists them)
convention = "benchmark"  # where MS samples sit on PAN's grid: "benchmark" (phase ratio/2) or "geo" (centre-true)
register = False  # shift PAN onto MS by the estimated fraction before anything else

# %%
from clippan_lite import experiments
from clippan_lite.course import check, exercises, figures, imagery
from clippan_lite.physics import degrade

run = experiments.begin(globals())

# %% [markdown]
# ## The first minute
#
# The satellite Landsat-7 saw the edge of a mountain range, a town and lakes. One line reads both images, and the next one fuses them. You can skip the printed notes for now.

# %%
place = cl.example("landsat7")
fused = cl.fuse(place)

# %%
figures.use_style()
rgb = place.sensor.rgb
bounds = imagery.limits(place.ms, rgb)
views = {
    "PAN": imagery.picture(place.pan, [0], imagery.limits(place.pan, [0])),
    "MS": imagery.picture(place.ms, rgb, bounds),
    "fused": imagery.picture(fused, rgb, bounds),
}
figures.show(
    imagery.panels(views, zoom=(20, 300, 128)),
    run.folder,
    "00_real",
    "PAN, MS and the fused image of a real place; below, the marked window. Landsat-7, courtesy of the U.S. Geological Survey.",
    photo=True,
)

# %% [markdown]
# **What you see.** PAN has pixels of 15 m and no colour. MS has pixels of 30 m: the streets of the town melt into its roofs. The fused image has PAN's streets and shores in the colours of MS.
# **What it does not show:** whether the colours of fine details are true. Nobody measured them at this scale. That is the subject of this course.
#
# Drag the border to swipe between MS and the fused image. Here MS is enlarged to PAN's size, without any detail from PAN. This is called [EXP](GLOSSARY.md#exp), from *expanded*. It will be the first row of every table that compares methods.

# %%
exp = degrade.upsample(place.ms, place.ratio, place.convention)
top, left, side = 20, 300, 200
area = (slice(top, top + side), slice(left, left + side))
imagery.swipe(
    {
        "EXP": imagery.picture(exp, rgb, bounds)[area],
        "fused": views["fused"][area],
        "PAN": views["PAN"][area],
    },
    "Streets, a lake and a golf course: EXP on the left of the border, the fused image on the right.",
)

# %% [markdown]
# No CLIP and no sentence took part yet. `cl.fuse` used the [included network](GLOSSARY.md#included-network). It comes with this package: a small network that was trained on synthetic scenes, where the truth is known.
# The course asks whether language can teach such a network *without* the truth.
#
# ## Which part does what
#
# Solid arrows carry images and features, the vectors that CLIP makes. Dotted arrows carry gradients: they teach the network. The numbers in brackets are chapters.
#
# ```mermaid
# flowchart LR
#   MS["MS: coarse, in colour"] --> N["fusion network (03)"]
#   PAN["PAN: sharp, grey"] --> N
#   N --> F["fused image"]
#   MS --> S["stems: bands to three channels (02)"]
#   PAN --> S
#   F --> S
#   S --> C["CLIP, frozen, with adapters (02)"]
#   T["three sentences (02)"] --> C
#   C --> D["L_d: does the image move where the sentences point? (03)"]
#   F --> K["L_spec, L_spat: does it agree with MS and PAN? (01, 03)"]
#   D -.-> N
#   K -.-> N
#   F --> M["metrics, with and without the truth (04)"]
# ```
#
# | part | what goes in | what comes out | learns in | explained in |
# |---|---|---|---|---|
# | camera model, `physics.degrade` | a sharp image | what MS's camera would see of it | never | 01 |
# | stems and adapters, `adapter` | MS, PAN or a fused image | a vector that can be compared with sentences | [Stage I](GLOSSARY.md#stage-i) | 02 |
# | CLIP, `clip` | three channels, or a sentence | a vector | never: it is [frozen](GLOSSARY.md#frozen) | 02 |
# | fusion network, `backbones` | MS and PAN | the fused image | [Stage II](GLOSSARY.md#stage-ii) | 03 |
# | losses, `losses` | the fused image, MS, PAN, vectors | one number to make small | never | 02 and 03 |
# | metrics, `metrics` | the fused image, and the truth where there is one | figures of quality | never | 04 |
#
# A supervisor without a target can still say three useful things. Blurred by the camera model, the fused image must be MS again (L_spec in the diagram). Its edges must be PAN's edges (L_spat). And its vector must move from MS and PAN
# towards what the sentence describes. [L_d](GLOSSARY.md#l_d), the language loss, measures the third.
#
# ## Is everything there?
#
# The next cell prints the same report as the command `clippan-lite check`. With each problem it says what to do.

# %%
lines, problems = check.report()
print("\n".join(lines))
print("problems:", problems or "none")

# %% [markdown]
# ## The chapters
#
# | chapter | question | product |
# |---|---|---|
# | [01 Data preparation](01_data_preparation.ipynb) | what do PAN and MS know, and how is a result judged without the truth? | the pair, Wald's protocol |
# | [02 CLIP adaptation](02_clip_adaptation.ipynb) | Stage I: can CLIP tell MS, PAN and HRMS apart, and could a random one? | stems and six adapters |
# | [03 Full-resolution training](03_full_resolution_training.ipynb) | Stage II: can a sentence train a network? | fusion networks, `fused.tif` |
# | [04 Evaluation](04_evaluation.ipynb) | is the result any good, and who says so? | `results.json` |
# | [05 Failure analysis](05_failure_analysis.ipynb) | when does it break? | failures with figures |
# | [06 Your own scene](06_your_own_scene.ipynb) | how do I fuse a large scene of my own? | GeoTIFFs, fused in windows |
# | [07 How a study works](07_how_a_study_works.ipynb) | is it the method, or luck? | paired differences with intervals |
# | [08 Is it the language?](08_is_it_the_language.ipynb) | does a sentence make the image better, and which of the paper's claims hold here? | a table of claims with verdicts |
#
# Each chapter runs alone. It loads what the chapter before left, or makes it, and prints which. `clippan-lite chain` runs all of them with one set of parameters into one folder, and writes a report page.
#
# *Quick* means the parameters as they are, chosen for two laptop cores. *Full* trains longer networks and more of them. Each chapter says what full mode sets, and how long it takes.
#
# You will meet two things in every chapter. The cell after the parameters makes `run`: it holds the experiment and keeps what it makes. And when a pair is read, a printed line that begins with "Registration" says how far MS lies off PAN.
# The *multiple correlation* in that line says how well the edges of PAN and MS agree. If it is near 1, you can trust the estimate.
#
# ## A place with an answer
#
# Real places have no truth at full resolution, so numbers measured there always lack something. Most chapters therefore measure on a *synthetic* scene that comes with the package, the *embedded scene*. A program drew it, and a model of the cameras
# of the satellite WorldView-2 looked at it. Here the true HRMS is known, and no network sees it while it trains.

# %%
pair = run.pair

# %% tags=["nbval-check-output"]
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
    pictures["HRMS, the truth"] = imagery.picture(pair.truth, rgb, bounds)
figure = imagery.panels(pictures, zoom=imagery.busiest(pair.pan, 128, pair.ms))
figures.show(
    figure,
    run.folder,
    "00_pair",
    "PAN, MS and, for a synthetic scene, the true HRMS; below, the marked window.",
    photo=True,
)

# %% [markdown]
# **What you see.** PAN shows every roof edge and no colour. MS shows colours, and its pixels are 2 m wide on the ground, as wide as a car. The orange square is the window below. The third panel exists only because
# this scene is synthetic. It is what we want and what no satellite delivers. **What it does not show:** whether any method can get there from the first two panels.
#
# Why does no satellite deliver it? A narrow band of colour carries little light. To collect enough of it, an MS pixel must be large on the ground. PAN's band is wide, so the same telescope can afford small pixels.
#
# What does each image know? PAN shows shapes, such as cars. MS shows materials: living plants are bright in the [near infrared](GLOSSARY.md#nir), a band that the eye does not see, and green plastic is not.
#
# ## Exercises
#
# Write your own lines where a cell says `# your code`. The last line of the cell tells whether they are right. One way to solve each exercise, run with its result, is in
# [the solutions](solutions/00_start_here_solutions.ipynb), together with answers to the questions.
#
# **Exercise 1.** *Easy, 3 minutes.* How many square kilometres does the real place `place` cover? The last two numbers of `place.pan.shape` are its rows and columns. PAN's geotransform, which turns rows and columns into map coordinates, is in `place.georef["transform"]`;
# its `a` is the width of a pixel in metres. Put the area into `area_km2`. *Expected:* about 59 square kilometres.

# %% tags=["exercise-1"]
area_km2 = None
# your code
print(exercises.verdict(area_km2, 59, tolerance=0.01, name="the area"))

# %% [markdown]
# **Exercise 2.** *Easy, 5 minutes.* Fuse the other real place that comes with the package, a ship in port: `cl.example("rotterdam")`. Put its ratio (PAN pixels along one MS pixel) and the shape of the fused image into `answer`,
# as `{"ratio": ..., "shape": list(...)}`. Read the line that begins with "Registration", too. *Expected:* ratio 4, and a fused image of 4 bands with 404 rows and 600 columns. MS lies more than one PAN pixel off PAN.

# %% tags=["exercise-2"]
answer = {}
# your code
print(exercises.verdict(answer, {"ratio": 4, "shape": [4, 404, 600]}))

# %% [markdown]
# ## Questions
#
# 1. Why can the true HRMS not simply be measured?
# 2. Which of the two images would you need to tell grass from artificial turf, and which to count cars?
# 3. What could a supervisor say about a fused image without having seen the true one?
# 4. Why is PAN sharper than MS, although both come from the same telescope?
# 5. What does the embedded scene know that no real scene knows, and what is that good for?
#
# ## Summary
#
# Your machine was checked. You have seen PAN, MS and a fused image of a real place, and you know which part of the method does what. **Next:** [01 Data preparation](01_data_preparation.ipynb), which asks what the camera
# takes away and how a result can be judged without the truth.
