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
# # 02 CLIP adaptation: solutions
#
# The exercises of [02 CLIP adaptation](../02_clip_adaptation.ipynb) with one way to solve each. Each cell is the chapter's, with the lines between `begin solution` and `end solution` added. Answers to the questions
# are at the end.

# %%
import clippan_lite as cl
from clippan_lite import adaptation, experiments, prompts
from clippan_lite.adapter import Supervisor
from clippan_lite.course import exercises
from clippan_lite.experiments import probes

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})

# %%
from torch.nn import functional as F

pair, clip_model, sentences = run.pair, run.clip, prompts.get("wald")
target = pair.truth
unadapted = probes.unadapted(pair, clip_model, sentences, run.device)
views = probes.held_out_views(pair, clip_model.input_size, target, device=run.device)


def crops_of(image):
    """Crops of ground that Stage I will not see: MS, PAN, and the image as HRMS."""
    return probes.held_out_views(pair, clip_model.input_size, image, device=run.device)


supervisor = Supervisor(clip_model, sentences, pair.bands, pair.sensor.rgb).to(run.device)

# %% [markdown]
# **Exercise 1.** *Easy, 10 minutes.* Write this equation as `my_adapter`. `first` and `last` are the two linear layers, as `nn.Linear`, and `share` is $s$: 0.2 for images, 0.5 for sentences. `F.normalize(x, dim=-1)` makes vectors of length 1. *Expected:* the library's result, gradient included.

# %% tags=["exercise-1"]
adapter = supervisor.image_adapters["ms"]
first, _, last = adapter.body
features = unadapted.encode("ms", crops_of(target)["ms"])  # (48, d)


def my_adapter(feature, first, last, share):
    """(N, d) -> (N, d), unit features in and out."""
    adapted = None
    # begin solution
    hidden = first(feature).relu()
    mixed = (1 - share) * feature + share * last(hidden)
    adapted = F.normalize(mixed, dim=-1)
    # end solution
    return adapted


def library(feature, first, last, share):
    return adapter(feature)


print(exercises.verdict_of(my_adapter, library, features, first, last, adapter.share))

# %%
said = exercises.verdict_of(my_adapter, library, features, first, last, adapter.share)
assert said == exercises.RIGHT

# %% [markdown]
# **Exercise 2.** *Easy, 5 minutes.* Ask the un-adapted CLIP with sentences that have nothing to do with fusion, `prompts.get("nonsense")`: make a supervisor with `probes.unadapted(pair, clip_model, ..., run.device)`, then put its figures, `probes.figures(..., views)`, into `nonsense`.
# *Expected:* it names the right type for a third of the crops, which is chance. Its direction cosine is near 0.

# %% tags=["exercise-2"]
nonsense = {}
# begin solution
other = probes.unadapted(pair, clip_model, prompts.get("nonsense"), run.device)
nonsense = probes.figures(other, views)
# end solution
print(exercises.verdict(nonsense, {"type accuracy": 1 / 3}, tolerance=0.1))

# %%
assert exercises.verdict(nonsense, {"type accuracy": 1 / 3}, tolerance=0.1) == exercises.RIGHT
assert abs(nonsense["direction cosine"]) < 0.2

# %% [markdown]
# **Exercise 3.** *Medium, 10 minutes.* What can $L_d$ teach a network? Compare the direction cosine of the truth with that of EXP, which has no detail. Put EXP's crops in the place of HRMS: `{**views, "hrms": views["ms"]}`. (`views["ms"]` is MS interpolated to PAN's grid, so it is EXP.) `probes.figures(supervisor, ...)["direction cosine"]` gives either
# cosine. Put the truth's minus EXP's into `gap`. *Expected:* a gap of about 0.48 on the embedded scene.

# %% tags=["exercise-3"]
gap = None
# begin solution
supervisor = run.supervisor
of_truth = probes.figures(supervisor, views)["direction cosine"]
of_exp = probes.figures(supervisor, {**views, "hrms": views["ms"]})["direction cosine"]
gap = of_truth - of_exp
# end solution
print(exercises.verdict(gap, 0.48, tolerance=0.1, name="the gap"))

# %%
assert exercises.verdict(gap, 0.48, tolerance=0.1) == exercises.RIGHT

# %% [markdown]
# **Exercise 4.** *Medium, 10 minutes.* Train Stage I as the paper does, without our direction term: `adaptation.adapt(pair, clip_model, sentences, cl.adapt_recipe("paper", steps=40), run.device)`. It returns a supervisor and the history of its training. Put the supervisor's figures, `probes.figures(..., views)`, into `paper`. What is the direction cosine of the truth now? *Expected:* about 0.56 on the embedded scene, less than
# the 0.80 before Stage I. The paper's three terms never ask for the direction that its Stage II follows.

# %% tags=["exercise-4"]
paper = {}
# begin solution
config = cl.adapt_recipe("paper", steps=40)
as_in_paper, _ = adaptation.adapt(pair, clip_model, sentences, config, run.device, progress=False)
paper = probes.figures(as_in_paper, views)
# end solution
print(exercises.verdict(paper, {"direction cosine": 0.56}, tolerance=0.05))

# %%
assert exercises.verdict(paper, {"direction cosine": 0.56}, tolerance=0.05) == exercises.RIGHT

# %% [markdown]
# ## Answers
#
# 1. Its negatives are crops of other places. With a single place in the batch there would be nothing to push away, and mapping every image to one point would be perfect.
# 2. CLIP's features have both signs. A ReLU at the end makes no negative number, so half of the wanted feature cannot be reached, and the cosine stays near 0.6 however long the training is.
# 3. Nothing that this figure could show. The stems and adapters learned three labels, and any three different vectors would have served. Only figures that the random CLIP does not reach, such as the un-adapted direction cosine, can come from language.
# 4. It is the fixed end of the direction. If all three sentences could move, Stage I could move them to where the images already are, and following the direction would mean nothing.
# 5. The MTF filter carries pixels from one part of the scene into the other. Crops right beside the training ground would share pixels with it, and figures would look better than they are.
