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
# **I have two GeoTIFFs of one place. How do I get a sharp colour image that I can trust?**
#
# Your own scene differs from the embedded one in three ways. Nobody tells you what is wrong with it, nobody knows its truth, and it may not fit into your computer's memory. So this chapter takes the steps of a real job:
# look at the files, register, fuse, measure, compare methods, and only then believe. Without files of yours, two real ones stand in: a ship in the port of Rotterdam by WorldView-2.
#
# ## What you will learn
#
# 1. *Two files*: what is checked before anything is computed,
# 2. *Fuse and measure*: the two commands, with and without registration,
# 3. *Fusing in windows*: a scene of any size in constant memory, and whether its seams show,
# 4. *Which method?*: swiping between results of the same place,
# 5. *Other people's files*: what goes wrong, and who notices,
# 6. *Where imagery comes from*: what can be had without a login, and under which licence.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | [chapter 03](03_full_resolution_training.ipynb) | what training on a scene means; the network is trained here |
# | [GeoTIFF](GLOSSARY.md#geotiff) | you know what a geotransform and a CRS (coordinate reference system) are; the glossary has both |
# | hardware, time | a laptop; 15 minutes of reading, three quarters of a minute of computing; full mode: two minutes; a large scene of yours takes longer |
#
# ```mermaid
# flowchart LR
#   F[pan.tif, ms.tif] --> C{checks} -- one line says what is wrong --> F
#   C --> R[register] --> U[fuse, window by window] --> M[measure] --> S[swipe: look]
#   S --> T[fused.tif]
# ```

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
backbone = ""  # fusion network, a name of the table of backbones; "": the recipe's
recipe = "course"  # Stage II settings: course (begins with the included network), scratch, quick, paper, best
steps = -1  # Stage II optimiser steps; -1: the recipe's
seeds = "0,1,2"  # seeds of Stage II, separated by commas
device = "auto"  # "auto", "cpu" or "cuda"
search = ""  # words that entries of the catalogue must mention, such as "wv3 chip"; "" shows all
window = 256  # PAN pixels fused at once; small here, so that a small scene has seams to look for

# %%
from pathlib import Path

from IPython.display import Markdown, display

from clippan_lite import classical, cli, experiments, fusion
from clippan_lite.course import exercises, figures, imagery
from clippan_lite.data import example, grids
from clippan_lite.experiments import scenes, statistics
from clippan_lite.large_scenes import fusing, measuring
from clippan_lite.metrics import evaluation
from data_download.registry import find

stand_in = (
    {} if pan or not scene.startswith("synthetic:") else {"scene": "rotterdam", "register": True}
)
run = experiments.begin({**globals(), **stand_in})

# %% [markdown]
# ## Two files
#
# Give yours as `pan` and `ms` in the cell of parameters, with the name of the camera as `sensor`. Before a pixel is read, sizes, CRS, transforms and bands are checked against each other and against the camera. Then come the values: range, bit depth, [nodata](GLOSSARY.md#nodata).

# %%
pair = run.pair
if pan:
    own = (Path(pan), Path(ms))
else:
    folder = scenes.folder_of(run.experiment.scene)
    own = (folder / "pan.tif", folder / "ms.tif")
shifted = run.experiment.register  # whether PAN is shifted onto MS
camera = sensor if pan else pair.sensor.name
grid = grids.inspect(*own, pair.sensor, pair.convention)
print(f"PAN {grid.height} x {grid.width}, {grid.dtype}, {grid.where}")

# %%
figures.use_style()
rgb = pair.sensor.rgb
exp = classical.fuse("EXP", pair)
bounds = imagery.limits(exp, rgb, pair.mask)
area = imagery.busiest(pair.pan, 128)
pictures = {
    "PAN": imagery.picture(pair.pan, [0], imagery.limits(pair.pan, [0], pair.mask)),
    "MS, interpolated": imagery.picture(exp, rgb, bounds),
    "fused, no training": imagery.picture(cl.fuse(pair), rgb, bounds),
}
figures.show(
    imagery.panels(pictures, zoom=area, columns=3, side=2.8),
    run.folder,
    "06_files",
    "The two files of the scene, and what the included network makes of them; below, the marked window.",
    photo=True,
)

# %% [markdown]
# **What you see.** PAN shows every barrier on the quay, all in grey. MS shows that they are yellow, in pixels of 2 m. The fused image has both. It took a second or two and no training. The lines above the picture tell two things that you should check first: the camera's name, and how far MS lies off PAN. **What it does not show:** whether the colours of fine details are true.
#
# ## Fuse and measure
#
# Two commands do the work. `clippan-lite fuse` writes a sharp [GeoTIFF](GLOSSARY.md#geotiff) on PAN's grid, and `clippan-lite measure` shows its figures beside those of other methods. The first command runs twice here, without and with `--register`. The cell runs what you would type.

# %%
given = [str(own[0]), str(own[1])]
flags = ["--sensor", camera, "--convention", pair.convention]


def typed(*words):
    """Show a command as it is typed, and run it."""
    print("$ clippan-lite", *[Path(word).name if "/" in word else word for word in words])
    assert cli.main(words) == 0


as_is, registered = (str(run.folder / f"06_{name}.tif") for name in ("as_is", "registered"))
typed("fuse", *given, as_is, *flags)
typed("fuse", *given, registered, *flags, "--register")

# %%
typed("measure", registered, "--pan", given[0], "--ms", given[1], *flags, "--register")

# %%
figures_of = {}
for name, path, moved in (("as it is", as_is, False), ("registered", registered, True)):
    found = measuring.measure(
        path, *own, camera, convention=pair.convention, register=moved, beside=False
    )
    figures_of[name] = next(iter(found.values()))
display(Markdown(statistics.compared(figures_of, evaluation.FULL)))

# %% [markdown]
# The line "Registration" says 1.4 pixels, so `--register` is right. The table does not simply agree: D_lambda_K gets better, and [HQNR](GLOSSARY.md#qnr) gets worse. [D_rho](GLOSSARY.md#d_rho) falls, so details now follow PAN more closely. No figure without a truth is a judge on its own. Believe the registration, the edges in the picture, and Wald's protocol, in this order ([chapter 05](05_failure_analysis.ipynb)).
# Compare the figures of an image only with rows of the same table: `measure` sets [EXP](GLOSSARY.md#exp) and back-projected classical results beside yours.
#
# ## Fusing in windows
#
# A satellite scene has a hundred million pixels, too many for a laptop's memory. `fuse` therefore reads the scene twice. The first time it surveys the scene: it collects what a method must know of the whole, such as the means and covariances of the bands. The second time it fuses window by window. Each window has a margin, as wide as the method looks beyond a pixel.
# Here the windows are small on purpose, so that a small scene has seams to look for. Two methods: [GSA](GLOSSARY.md#gsa), and a network trained on this scene.

# %%
count = -(-grid.height // window) * -(-grid.width // window)
print(f"{count} windows of {window} PAN pixels")
network = run.network(run.config(with_l_d=False, seed=run.seeds[0]))
how = {"GSA": {"method": "GSA"}, "trained here": {"network": network}}
given = {"convention": pair.convention, "window": window, "device": run.device, "progress": False}
given["register"] = bool(pan) and shifted  # a scene by name has been registered already
for name, choice in how.items():
    out = run.folder / f"06_{name.replace(' ', '_')}.tif"
    fusing.fuse_scene(*run.files, out, camera, **choice, **given)
    print(f"{out.name}: {out.stat().st_size / 1e6:.1f} MB")

# %%
import numpy as np
import rasterio
import torch


def read(name):
    """The pixels of a product."""
    with rasterio.open(run.folder / f"06_{name.replace(' ', '_')}.tif") as file:
        return torch.from_numpy(file.read().astype(np.float32)), file.tags()


parts, tags = read("trained here")
whole = fusion.fuse(pair, network)
apart = (parts - whole).abs().amax(0)
alike = (apart <= 2)[pair.valid_pixels].float().mean()
print(f"within two digital numbers of the result in one piece: {100 * alike:.1f} % of the pixels")
print("the file says:", ", ".join(f"{k} {tags[k]}" for k in ("METHOD", "SENSOR", "CONVENTION")))
assert (
    alike > 0.95 or given["register"]
)  # a shift found in one window may differ in its second decimal

# %%
seam = (slice(window - 64, window + 64), slice(window - 64, window + 64))
zero_to_ten = (np.zeros(1), np.full(1, 10.0))
pictures = {
    "in windows": imagery.picture(parts[:, *seam], rgb, bounds),
    "in one piece": imagery.picture(whole[:, *seam], rgb, bounds),
    "difference, 0 to 10 DN": imagery.picture(apart[None, *seam], [0], zero_to_ten),
}
figures.show(
    imagery.panels(pictures, columns=3, side=2.8),
    run.folder,
    "06_seams",
    "Where four windows meet, in the middle: fused in windows, in one piece, and the difference of the two.",
    photo=True,
)

# %% [markdown]
# **What you see.** No line runs through the middle, where four windows meet. Nearly all pixels agree to within two digital numbers of 2047, in all bands. The grey specks are roundings. (The line "MS starts ..." above says that MS's pixels lie half a PAN pixel further on in these files, as the convention wants it.) If you stop the command half way, one window is lost: finished ones lie in `*.tif.parts`, and the same call goes on from them.
# **What it does not show:** a large scene. There the time grows with the number of pixels, and the memory does not.
#
# ## Which method?
#
# Four results of one place, and PAN. Choose two, and drag the border between them: with the mouse, a finger or the arrow keys. Look first, then read the table: the figures need no truth, and none of them replaces it.

# %%
images = {
    "EXP": exp,
    "GSA": read("GSA")[0],
    "included network": cl.fuse(pair),
    "trained here": parts,
}
pictures = {name: imagery.picture(image, rgb, bounds) for name, image in images.items()}
grey = imagery.picture(pair.pan, [0], imagery.limits(pair.pan, [0], pair.mask))
imagery.swipe(
    {
        "EXP": pictures["EXP"],
        "included network": pictures["included network"],
        **pictures,
        "PAN": grey,
    },
    "Two of five pictures of the scene beside a border that moves: EXP, the included network, GSA, one trained here, PAN.",
)
table = {name: evaluation.at_full_resolution(image, pair) for name, image in images.items()}
display(Markdown(statistics.compared(table, evaluation.FULL)))

# %% [markdown]
# **What you see.** EXP is soft, GSA is the sharpest and has the hardest edges, and the two networks lie between. The table prefers EXP in four columns of six, because an image without detail agrees with its inputs. GSA has the lowest D_rho, because it copies PAN's detail, and the included network agrees best with MS (D_lambda_K). So read EXP first, and let no single column choose. And beware: a swipe persuades, it does not measure. **What it does not show:** which of the four is nearest to the truth. For that, reduce the scene by [Wald's protocol](GLOSSARY.md#walds-protocol) and compare with the original MS ([chapter 04](04_evaluation.ipynb)).
#
# ## Other people's files
#
# Some mistakes are loud: a check finds them and says in one line what to do. Three of them, made on purpose with the included examples:

# %%
harbour, town = (example.FOLDER / name for name in example.REAL[::-1])
mistakes = {
    "PAN and MS swapped": (harbour / "ms.tif", harbour / "pan.tif", "WV2_4"),
    "the wrong camera": (harbour / "pan.tif", harbour / "ms.tif", "WV2"),
    "MS of another place": (harbour / "pan.tif", town / "ms.tif", "LANDSAT7"),
}
rows = []
for name, (grey_file, colour_file, its_camera) in mistakes.items():
    try:
        cl.read_pair(grey_file, colour_file, its_camera)
        rows.append((name, "(no check found it)"))
    except ValueError as error:
        rows.append((name, str(error)))
display(Markdown(statistics.markdown(("mistake", "what you are told"), rows)))

# %% [markdown]
# Others are half loud: a line is printed, and fusing goes on. Landsat's pixel centres lie where the geotransforms say ([convention](GLOSSARY.md#convention) `geo`). Read with the other convention, `benchmark`, they are half a pixel off:

# %%
_ = cl.read_pair(town / "pan.tif", town / "ms.tif", "LANDSAT7")

# %% [markdown]
# The quiet ones are yours to find:
#
# | mistake | how it shows | what to do |
# |---|---|---|
# | bands in another order | water is red, vegetation is not bright in [NIR](GLOSSARY.md#nir) | name the right camera, or write a [camera file](../clippan_lite/README.md#your-own-sensor) |
# | PAN and MS of different days | ghosts of ships, cars, clouds and shadows | take files of one acquisition |
# | nodata without a tag | dark or white collar; the darkest or brightest value fills whole areas | set the tag (`gdal_edit.py -a_nodata 0 pan.tif`) |
# | MS resampled to another grid | the ratio is no whole number, or MS looks soft | ask for the original; do not reproject before fusing |
# | only one of the two files is corrected for the air, or scaled to 8 bit | the ranges of PAN and MS do not fit | give both in the same digital numbers |
# | stretched for the screen, or JPEG | clipped highlights, blocks of 8 pixels | ask for the original |
# | a wrong camera with as many bands | nothing at first sight, but its MTF is wrong | look the camera up (`clippan-lite sensors`) |
# | MS shifted by different amounts in the corners | "corners differ by ..." in the line "Registration" | cut the scene, or ask for a better pair |
#
# ## Where imagery comes from
#
# `python -m data_download get NAME` fetches any of these. Chips and windows become a folder with `pan.tif`, `ms.tif` and `scene.json`; the rest stays as published and is read by `clippan_lite.data.readers`. To see fewer, set `search` in the cell of parameters, or give papermill `-p search "wv3 chip"`.

# %%
rows = [
    (f"`{name}`", entry.sensor, type(entry).__name__.lower(), entry.content, entry.licence)
    for name, entry in find(*search.split()).items()
]
display(Markdown(statistics.markdown(("name", "sensor", "kind", "content", "licence"), rows)))

# %% [markdown]
# Kinds: an *entry* is a file to download, *chips* and *windows* are read piece by piece. Synthetic scenes and Landsat are free for any use. Whoever uses SpaceNet must name it, and must publish the results under the same terms. One source excludes commercial use (Maxar Open Data). The benchmark files state no licence at all: compute with them, but do not publish them. The table cannot tell whether an address still answers today.
#
# ## Exercises
#
# Write your own lines where a cell says `# your code`. One way to solve each, run with its result, is in the [solutions](solutions/06_your_own_scene_solutions.ipynb).
#
# **Exercise 1.** *Easy, 5 minutes.* Fuse the ship with GSA in windows of 64 and of 512 PAN pixels (`fusing.fuse_scene(folder / "pan.tif", folder / "ms.tif", out, "WV2_4", method="GSA", window=64, progress=False)`, where `out` is a path of your choice). Read both results with rasterio, and put the largest difference between them into `largest`. *Expected:* at most one digital number, because both use the means and covariances of the whole scene.

# %% tags=["exercise-1"]
folder = example.FOLDER / "rotterdam"
largest = None
# your code
answer = None if largest is None else bool(largest <= 1)
print(exercises.verdict(answer, True, name="at most one digital number"))

# %% [markdown]
# **Exercise 2.** *Medium, 15 minutes.* Cut a stripe of nodata into the ship: columns 200 to 239 of PAN. Make a new pair, `holed = dataclasses.replace(place, valid=..., pan=..., ms=...)`. Its `valid` is a boolean tensor of PAN's size that is False in the stripe; there, `pan` and `ms` are zero. Write it with `geotiff.write_pair(new_folder, holed)` (from `clippan_lite.data`), and fuse the two new files with GSA as in exercise 1. Put the share of nodata pixels in the result into `share`. *Expected:* 40 of 600 columns, 0.067.

# %% tags=["exercise-2"]
place = cl.example("rotterdam")
share = None
# your code
print(exercises.verdict(share, 40 / 600, name="the share of nodata"))

# %% [markdown]
# **Exercise 3.** *Medium, 10 minutes, needs a network, without a cell.* Type `python -m data_download get spacenet3-paris-chip`, then run this chapter with its `pan.tif`, `ms.tif` and `sensor = "WV3"`. *Expected:* the line "Registration" tells how far its MS lies off PAN.
#
# ## Questions
#
# 1. Why must a classical method's means and covariances be those of the whole scene, not of each window?
# 2. Why is the margin of a window as wide as the method looks, and not a fixed number?
# 3. Registration makes HQNR worse here. Why do you register all the same?
# 4. Which of the mistakes in the tables does no program find, and why?
# 5. Which of the sources above may appear in a paper's figure?
#
# ## Summary
#
# Two GeoTIFFs became a georeferenced product: checked, registered, fused in windows, measured and looked at. Loud mistakes are found by checks, quiet ones by you. The commands are on [the page of the library](../clippan_lite/README.md#files-of-any-size).
#
# **Next:** [chapter 07](07_how_a_study_works.ipynb), how to find out whether one method is really better than another.
