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
# The exercises of [00 Start here](../00_start_here.ipynb) with one way to solve each. Each cell is the chapter's, with the lines between `begin solution` and `end solution` added. Answers to the questions
# are at the end.

# %%
import clippan_lite as cl
from clippan_lite.course import exercises

place = cl.example("landsat7")

# %% [markdown]
# **Exercise 1.** *Easy, 3 minutes.* How many square kilometres does the real place `place` cover? The last two numbers of `place.pan.shape` are its rows and columns. PAN's geotransform, which turns rows and columns into map coordinates, is in `place.georef["transform"]`;
# its `a` is the width of a pixel in metres. Put the area into `area_km2`. *Expected:* about 59 square kilometres.

# %% tags=["exercise-1"]
area_km2 = None
# begin solution
pixel = place.georef["transform"].a
rows, columns = place.pan.shape[1:]
area_km2 = rows * columns * pixel**2 / 1e6
# end solution
print(exercises.verdict(area_km2, 59, tolerance=0.01, name="the area"))

# %%
assert exercises.verdict(area_km2, 59, tolerance=0.01) == exercises.RIGHT

# %% [markdown]
# **Exercise 2.** *Easy, 5 minutes.* Fuse the other real place that comes with the package, a ship in port: `cl.example("rotterdam")`. Put its ratio (PAN pixels along one MS pixel) and the shape of the fused image into `answer`,
# as `{"ratio": ..., "shape": list(...)}`. Read the line that begins with "Registration", too. *Expected:* ratio 4, and a fused image of 4 bands with 404 rows and 600 columns. MS lies more than one PAN pixel off PAN.

# %% tags=["exercise-2"]
answer = {}
# begin solution
port = cl.example("rotterdam")
answer = {"ratio": port.ratio, "shape": list(cl.fuse(port).shape)}
# end solution
print(exercises.verdict(answer, {"ratio": 4, "shape": [4, 404, 600]}))

# %%
assert exercises.verdict(answer, {"ratio": 4, "shape": [4, 404, 600]}) == exercises.RIGHT

# %% [markdown]
# ## Answers
#
# 1. A narrow band of colour carries little light. To collect enough of it, an MS pixel must be large on the ground. No camera in orbit takes small pixels in narrow bands.
# 2. Grass and turf are both green, but only living plants are bright in the near infrared. That takes MS. Cars are smaller than an MS pixel, so counting them takes PAN.
# 3. It can say whether the fused image, blurred by the camera model, is MS again. It can say whether the edges are PAN's. And it can say whether the image moves from MS and PAN towards what a sentence describes.
# 4. PAN's band is wide and collects more light. So its pixels can be smaller, behind the same telescope.
# 5. It knows the true HRMS, because a program drew it. So every result can be compared with the truth at full resolution, and we can find out which figures without a truth deserve trust.
