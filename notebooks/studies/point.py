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
# and writes its figures; chapter 07 reads the tables that come of it.

# %% tags=["parameters"]
scene = "synthetic:1"  # "synthetic:SEED", a scene folder or its name below CLIPPAN_TEST_DATA; FOLDER@SENSOR
size = 256  # side of a synthetic scene in PAN pixels
sensor = "WV2"  # of a synthetic scene
bands = ""  # names of the bands to use, with commas between, such as "B,G,R,NIR"; "" takes all
register = False  # shift PAN onto MS first
scale = "both"  # judge at "full" resolution, against the "truth" (real scenes: one scale down), or "both"
method = ""  # a classical method instead of a network, such as "EXP"
backbone = "fusionnet"  # fusion network
recipe = "quick"  # Stage II settings that the following ones change
steps = -1  # Stage II optimiser steps
batch = -1  # patches per step
patch = -1  # side of a patch, PAN pixels
spec = -1.0  # weight of L_spec
spat = -1.0  # weight of L_spat
rho = -1.0  # weight of L_rho
qnr = -1.0  # weight of L_QNR
ship = -1.0  # weight of L_ship
direction = -1.0  # weight of L_d
words = -1.0  # weight of L_words
guard = False  # language moves details only
tokens = False  # L_d on CLIP's patches
clip = "bundled"  # or an open_clip architecture
clip_pretrained = ""  # its tag or file
clip_random = False  # control: random weights
prompt = "wald"  # sentences of Stage I
swap = ""  # sentences asked in Stage II instead of those of Stage I, un-adapted to
adapt_steps = 80  # Stage I optimiser steps; 0 leaves CLIP un-adapted
inter = 1.0  # weight of InterMCL
intra = 0.3  # weight of IntraMCL
fusion = 1.0  # weight of the fusion-aware L1
adapt_direction = 10.0  # weight of the direction term in Stage I; 0 is the paper's
examples = "mixed"  # HRMS examples of Stage I
text_share = 0.5  # of the text adapters; 0 leaves the sentences CLIP's own
stem = "learned"  # or "rgb", "pca"
fault = ""  # put into the input, such as "noise:0.1" or "haze:0.2+shift:2"
test_scene = ""  # judge the network on another scene than it was trained on; as `scene`
seed = 0  # of Stage I, Stage II and their crops
device = "cpu"  # "auto", "cpu" or "cuda"
out = ""  # JSON file for the row; "" writes none

# %%
from dataclasses import fields

from clippan_lite.experiments import study

point = study.Point(**{field.name: globals()[field.name] for field in fields(study.Point)})
changed = {
    name: value for name, value in vars(point).items() if value != getattr(study.Point(), name)
}
print("this point differs from the default in:", changed or "nothing")

# %%
row = study.measure(point)
for name, value in row.items():
    print(f"{name:>16} {value:.4f}")

# %%
if out:
    study.write_row(out, point, row)
