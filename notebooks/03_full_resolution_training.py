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
# # 03 Full-resolution training (Stage II)
#
# ## What you will learn
#
# 1. *The losses*: what can be asked of a fused image without knowing the truth,
# 2. *Does the sentence reach the network?*: the gradient of $L_d$ as a picture,
# 3. *Training*: with and without $L_d$, several seeds,
# 4. *The product*: a fused GeoTIFF on PAN's grid.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | `02_clip_adaptation` | the supervisor; made here when missing |
# | PyTorch | you can read a training loop (`training.train`) |
# | hardware, time | a laptop; 15 minutes of reading, about a minute of computing; full mode: about 20 minutes, less with a GPU |

# %% tags=["parameters"]
run_dir = ""  # folder that the chain's notebooks share; "" is "quick" in the package's home (CLIPPAN_HOME)
scene = "synthetic:0"  # synthetic:SEED, landsat7, rotterdam, or a scene folder; FOLDER@SENSOR
size = 512  # side of a synthetic scene in PAN pixels
pan = ""  # path of a PAN GeoTIFF, instead of the scene; "" takes the scene
ms = ""  # path of the MS GeoTIFF of the same place
sensor = "WV2"  # sensor name: bands, ratio, bit depth and MTF (clippan-lite sensors lists them)
convention = "benchmark"  # where MS samples sit on PAN's grid: "benchmark" (phase ratio/2) or "geo" (centre-true)
register = False  # shift PAN onto MS by the estimated fraction before anything else
clip = "bundled"  # "bundled", or an open_clip architecture such as "ViT-B-32-quickgelu"
clip_pretrained = ""  # open_clip tag such as "openai", or a local weights file; "" for "bundled"
prompt = "wald"  # a prompt set (wald, khan, notes, quality, content, wrong, nonsense) or your own sentence
adapt_recipe = "course"  # settings of Stage I: "course" (40 steps), "ours" (80) or "paper"
adapt_steps = -1  # Stage I optimiser steps, 1 or more; -1: the recipe's
adapt_direction = -1.0  # weight of the direction term in Stage I; -1: the recipe's
adapt_examples = ""  # HRMS examples: "mixed", one classical method, or "reduced" (true MS)
backbone = ""  # fusion network, a name of the table of backbones; "": the recipe's
recipe = "course"  # Stage II settings: course (begins with the network on board), scratch, quick, paper, best
steps = -1  # Stage II optimiser steps; -1: the recipe's
direction = 0.03  # weight of L_d, the language loss; -1: the recipe's
qnr = -1.0  # weight of L_QNR, 1 in the paper, which buys QNR with lost truth; -1: the recipe's
seeds = "0,1,2"  # seeds of Stage II, with commas between
device = "auto"  # "auto", "cpu" or "cuda"

# %%

from clippan_lite import batches, experiments, fusion, losses, training
from clippan_lite.config import TrainConfig
from clippan_lite.config import recipe as recipe_of
from clippan_lite.course import figures, imagery, plotting, widgets
from clippan_lite.course.listing import listing
from clippan_lite.data import geotiff
from clippan_lite.experiments import probes
from clippan_lite.physics import degrade

run = experiments.begin(globals())
figures.use_style()
pair = run.pair
rgb = pair.sensor.rgb

# %%
clip_model = run.clip
supervisor = run.supervisor

# %% [markdown]
# ## The losses
#
# $L_{s2} = L_{spec} + L_{spat} + L_{QNR} + L_{ship} + L_d$ (`losses.TERMS`), each with a weight of its own:
#
# * `spec` (`losses.spectral`): the output, blurred by the MTF and decimated, must be MS again: mean squared error (MSE) + 1 - SSIM of the two;
# * `spat` (`losses.spatial`): $\phi$(output), a learned 1x1 mix of the bands, must be PAN: MSE + 1 - SSIM;
# * `qnr` (`losses.quality`): $1 - (1 - D_\lambda)(1 - D_s)$, the metric itself; notebook 04 explains it;
# * `ship` (`losses.pseudo`): L1 to the result of a teacher. The paper's teacher is trained one scale down. Ours is the network that the training begins with;
# * `direction` (`losses.direction_in_crops`): $L_d = 1 - \frac12(\cos(F_{out} - F_{MS}, T_{wald} - T_{MS}) + \cos(F_{out} - F_{PAN}, T_{wald} -
#   T_{PAN}))$.
#
# The paper weighs all by 1. Here `qnr` and `direction` get .03: the norms printed below the next figure show how much harder they pull at the
# image than `spec`, which guards the colours. `spat` keeps its 1, although it pulls hardest at first: it comes to rest as soon as PAN's edges are there.
#
# ## Does the sentence reach the network?
#
# In the authors' published code it does not: the image encoder runs without gradients, and $L_d$ is a constant to the
# network. An untrained network's last layer starts at zero here, and gradients would stop at it. So what follows looks at the image: the gradient of each term at EXP.

# %% tags=["nbval-check-output"]
one_patch = TrainConfig(batch=1, stride=1, crops_in_turn=1, seed=2)
crops = batches.Batches([pair], one_patch, supervisor, device=run.device).draw(step=0)["full"]
gradients = {}
for name in ("spec", "spat", "qnr", "direction"):
    fused = crops.exp.clone().requires_grad_()
    losses.TERMS[name].function(fused, crops).backward()
    gradients[name] = fused.grad[0]
print(
    "every term reaches every band:",
    all((g.abs().amax(dim=(1, 2)) > 0).all().item() for g in gradients.values()),
)

# %%
for term, gradient in gradients.items():
    print(f"{term:>10}: gradient norm at the fused image {gradient.norm():.4f}")
exp = crops.exp[0].cpu()
pictures = {"EXP": imagery.picture(exp, rgb, imagery.limits(exp, rgb))}
for term, gradient in gradients.items():
    strength = gradient.cpu().pow(2).sum(0, keepdim=True).sqrt()
    pictures[term] = imagery.picture(strength, [0], imagery.limits(strength, [0]))
figure = imagery.panels(pictures, columns=5, side=2.2)
figures.show(
    figure,
    run.folder,
    "03_gradients",
    "Where each loss term would change EXP: size of its gradient per pixel, each panel with a stretch of its own.",
    photo=True,
)

# %% [markdown]
# **What you see.** Four different wishes. `spat` asks for PAN's texture everywhere; `spec` only inside the frame where
# its filter stays within the patch; `qnr` counts in blocks of 32 pixels; `direction` asks in most places a little and in a few strongly, with CLIP's
# 8-pixel patches shining through. On the embedded scene the norms are .01 (`spec`), .19 (`spat`), .11 (`qnr`) and 2.07
# (`direction`): at equal weights the sentence would pull 180 times harder than the colours, hence its small weight. **What
# it does not show:** whether the change it asks for is right.
#
# ## Training
#
# This is the whole loop, as it is installed (`training.train`):

# %%
listing(training.train, first="for step in steps:", last="state.remove")

# %% [markdown]
# Line by line:
#
# | line | what happens |
# |---|---|
# | `batches.draw` | random patches of MS, PAN and EXP; one scale down, too, if the term `reduced` has a weight |
# | `forward` | the network fuses the patches |
# | `images = ...` | the fused images, cut off from the network: here the terms of the loss meet |
# | `losses.balanced` | weights scaled by how hard each term pulls, if the setting `balance` asks for it |
# | `losses.backward` | each term, and its gradient at the fused image; the weighted gradients are added up |
# | `read_row` | the loss, the terms and the gradients' norms become one row of the history; a number that is not finite stops the training here |
# | `torch.autograd.backward` | the sum of the gradients goes back through the network |
# | `average_gradients` | several processes share a batch and agree on a gradient; a lone one does nothing here |
# | `optimiser.step`, `schedule.step` | Adam moves the weights; the learning rate follows its cosine |
# | `steps.finish` | the progress bar, your callbacks, and Ctrl-C |
# | `state.finish` | the state is kept now and then, so that a stopped training goes on |
#
# A term is a function of the fused image and the batch, and `losses.TERMS` names them all.
#
# ### From nothing
#
# First the loop begins with a network that knows nothing (recipe `scratch`, the backbone `fusionnet`), once without and once with $L_d$. Its last layer starts at zero, so at first it
# returns EXP.

# %%
histories, stages, first = {}, {}, run.seeds[0]


def look(step, network, *_):
    """Keep what the network makes of the scene at a few steps."""
    if step + 1 in (1, 10, 25):
        stages[f"step {step + 1}"] = fusion.fuse(pair, network)


from_nothing = {}
for with_l_d in (False, True):
    name = f"{'with' if with_l_d else 'without'} L_d"
    config, callbacks = run.from_nothing(with_l_d, first), [look] if with_l_d else []
    network, histories[name] = run.train(config, callbacks=callbacks)
    from_nothing[with_l_d] = fusion.fuse(pair, network)

# %% tags=["nbval-check-output"]
print("loss fell:", all(h[-1]["loss"] < h[0]["loss"] for h in histories.values()))

# %%
figure = plotting.curves(histories, ["spec", "spat", "qnr", "direction"])
figures.show(
    figure,
    run.folder,
    "03_losses",
    "Stage II's unweighted terms from nothing, with and without L_d, first seed, running mean of 5 steps.",
)
last = {
    name: {term: sum(r[term] for r in h[-10:]) / len(h[-10:]) for term in h[-1] if term != "step"}
    for name, h in histories.items()
}
for name, row in last.items():
    print(name, {term: round(value, 4) for term, value in row.items()})

# %% [markdown]
# **What you see.** `spat` falls fastest (.3 to .01): PAN's edges enter. `spec` jumps to .1 just before and then comes back: edges first
# cost colour. `direction` falls from .5 to .12 where it is trained, which shows that the gradient arrives.
# `qnr` begins low, for EXP does well by it (notebook 04), rises with the edges, and
# ends higher with $L_d$ (.12 against .10 without it, mean of the last ten steps): the two pull against each other. **What it does not
# show:** that the image got better for it; that is the next notebook's question.
#
# ### From the network on board
#
# A network that was trained where the truth is known is on board: `bandwise`, the default backbone of this page's recipe. It mends the mean of three classical results, and its last layer is *back-projection*: what
# the image lacks in MS's eyes, `MS - degrade(image)`, is interpolated and added, twice. So it agrees with MS whatever it does, and `spec` has little left to ask. The same loop now trains it on the scene,
# without and with $L_d$, for each seed. The paper's tables lack such a control for $L_d$ beside $L_{ship}$. Ours has the same seed on both sides, so the difference can be paired.

# %%
networks = {}
for with_l_d in (False, True):
    for number in run.seeds:
        networks[with_l_d, number], _ = run.train(run.config(with_l_d, number))

# %% tags=["nbval-check-output"]
print("networks trained:", len(networks))

# %% [markdown]
# With a running kernel, *start* trains once more before your eyes: the terms, and PAN, EXP and the network's result side by side. *stop*, then
# *start*, goes on where it was, to the very same weights.

# %%
widgets.dashboard(pair, run.config(False, first), folder=run.folder / "dashboard")

# %% [markdown]
# ### What $L_d$ turns
#
# $L_d = 1 - \frac{1}{2}\left(\cos(F_{out} - F_{MS},\ T_{wald} - T_{MS}) + \cos(F_{out} - F_{PAN},\ T_{wald} - T_{PAN})\right)$ (`losses.direction_of_features`): the
# displacement from MS and from PAN to the fused image shall point where the sentences' difference points. Here are these
# vectors at a few steps from nothing, for crops that the supervisor was not adapted on.

# %%
for with_l_d in (True, False):
    name = f"step {config.steps}" + ("" if with_l_d else ", no L_d")
    stages[name] = from_nothing[with_l_d]
moved = probes.displacements(supervisor, pair, stages)
print({title: round(one["cosine"], 2) for title, one in moved.items()})
figures.show(
    plotting.displacements(moved),
    run.folder,
    "03_displacements",
    "Features of MS, PAN and fused crops while a network trains; arrows to the fused image, dashed where the sentences point.",
)

# %% [markdown]
# **What you see.** At first the fused image is EXP, whose features lie apart from MS's own, since each has a stem of its own. Then the
# triangles move, the solid arrows turn towards the dashed ones, and the cosine rises from .42 to .89 on the embedded scene. The last panel is the
# control: without $L_d$ it reaches .75. Sharp edges in MS's colours alone bring most of the turn. **What it does not show:** more than two axes
# of 128; the cosines are those of all.
#
# ## The product
#
# The best image that this package makes of a pair comes from recipe `best`: the network on board, trained on the scene with MS as the truth one scale down (`reduced`), held by `ship`, with some `qnr` and
# without CLIP. `clippan-lite fuse --adapt` does the same.

# %%
product = fusion.fuse(pair, run.network(recipe_of("best", seed=first)))
geotiff.write_fused(run.folder / "fused.tif", product, pair)
bounds = imagery.limits(pair.ms, rgb)
pictures = {
    "EXP": imagery.picture(degrade.upsample(pair.ms, pair.ratio, pair.convention), rgb, bounds),
    f"{config.steps} steps from nothing": imagery.picture(from_nothing[True], rgb, bounds),
    "network without L_d": imagery.picture(fusion.fuse(pair, networks[False, first]), rgb, bounds),
    "network with L_d": imagery.picture(fusion.fuse(pair, networks[True, first]), rgb, bounds),
    "recipe best": imagery.picture(product, rgb, bounds),
}
if pair.truth is not None:
    pictures["truth"] = imagery.picture(pair.truth, rgb, bounds)
window = imagery.busiest(pair.pan, 128)
figures.show(
    imagery.panels(pictures, columns=3, zoom=window),
    run.folder,
    "03_fused",
    "EXP and the fused images, same stretch; below, the marked window.",
    photo=True,
)

# %% tags=["nbval-check-output"]
print(
    "fused:", tuple(product.shape), "| as large as PAN:", product.shape[-2:] == pair.pan.shape[-2:]
)
print("GeoTIFF written:", (run.folder / "fused.tif").is_file())

# %% [markdown]
# **What you see.** Sixty steps from nothing leave soft edges, and coloured fringes at bright roofs. The three networks that began on board have neither. With and without $L_d$ they can hardly be
# told apart: from a good start, the sentence has little left to say. The cars are redder in the truth than in any of them. Whether one image is better than another has to be measured. **What it does not show:** colours that are wrong by
# a few per cent.
#
# ## Exercises
#
# Write your own lines where a cell says `# your code`. One way to solve each that has a cell, run with its result, is in
# `solutions/03_full_resolution_training_solutions.ipynb`.
#
# **Exercise 1.** What stops a network from returning EXP? Measure `losses.spectral(x, crops)` and `losses.spatial(x, crops)` of EXP
# itself, `x = crops.exp`. *Expected:* `spectral` has almost nothing against it (0.01), `spatial` twenty times as much.

# %% tags=["exercise-1"]
spectral = spatial = None
# your code
print("EXP: spectral", spectral, "| spatial", spatial)

# %% [markdown]
# **Exercise 2.** Train 20 steps without $L_d$, with `qnr` at the paper's weight 1 and at 0 (`run.config(with_l_d=False, seed=0).changed(steps=20, qnr=...)`), and compare the last `qnr` that both
# reach; measure it at weight 1e-6 where 0 would leave it out. *Expected:* lower where it was asked for; notebook 04 tells what that is worth.

# %% tags=["exercise-2"]
reached = {}
# your code
print("qnr at the end, by its weight:", reached)

# %% [markdown]
# **Exercise 3.** Set `recipe="scratch"` and `backbone="pannet"`, and run again. *Expected:* the same behaviour from a network with another structure (`spat` ends near .01, `direction` near .13); the losses
# know nothing of it. With `"pnn"`, 60 steps are too few: with $L_d$ it hardly leaves EXP (`spat` .30).
#
# ## Questions
#
# 1. Why may the features of MS and PAN be constants in $L_d$ while that of the output may not?
# 2. Why is a zero last layer a good start for a residual network, and why must the gradient test not use it?
# 3. What stops the network from simply returning EXP?
# 4. Why do the terms need weights although the paper gives each 1?
# 5. The loss falls and the picture gets worse. Which loss would you look at first?
#
# ## Summary
#
# Networks were trained on the scene itself, without truth, with and without a sentence. **Next:** `04_evaluation`.
