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
# **The question.** Can a network learn to fuse two images if nobody can show it the right answer? And does a sentence help?
#
# ## What you will learn
#
# 1. *A place without an answer*: what you can ask of a fused image,
# 2. *The losses*: four wishes, and what each of them cannot see,
# 3. *The sentence as a loss*: you write $L_d$ yourself,
# 4. *One step of training*: you write that too, and read the library's loop line by line,
# 5. *Training*: from nothing and from a good start, with and without the sentence,
# 6. *The product*: the best image that this package makes of a pair.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | [chapter 02](02_clip_adaptation.ipynb) | the [supervisor](GLOSSARY.md#supervisor); this chapter makes it if it is missing |
# | PyTorch | you can read a training loop |
# | hardware, time | a laptop; 30 minutes of reading, about a minute and a half of computing; full mode (`steps=400`, `seeds="0,1,2,3,4"`): about 20 minutes, less with a GPU |
#
# Your solutions can be compared with [ours](solutions/03_full_resolution_training_solutions.ipynb). The [page of the library](../clippan_lite/README.md) lists all functions.

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
clip = "bundled"  # "bundled", or an open_clip architecture such as "ViT-B-32-quickgelu"
clip_pretrained = ""  # open_clip tag such as "openai", or a local weights file; "" for "bundled"
prompt = "wald"  # a prompt set (wald, khan, notes, quality, content, wrong, nonsense) or your own sentence
adapt_recipe = "course"  # settings of Stage I: "course" (40 steps), "ours" (80) or "paper"
adapt_steps = -1  # Stage I optimiser steps, 1 or more; -1: the recipe's
adapt_direction = -1.0  # weight of the direction term in Stage I; -1: the recipe's
adapt_examples = ""  # HRMS examples: "mixed", one classical method, or "reduced" (true MS)
backbone = ""  # fusion network, a name of the table of backbones; "": the recipe's
recipe = "course"  # Stage II settings: course (begins with the included network), scratch, quick, paper, best
steps = -1  # Stage II optimiser steps; -1: the recipe's
direction = 0.03  # weight of L_d, the language loss; -1: the recipe's
qnr = -1.0  # weight of L_QNR, 1 in the paper, which raises QNR but can cost truth; -1: the recipe's
seeds = "0,1,2"  # seeds of Stage II, separated by commas
device = "auto"  # "auto", "cpu" or "cuda"

# %%
import torch
from IPython.display import Markdown, display

from clippan_lite import batches, checkpoints, experiments, fusion, losses, training
from clippan_lite.config import TrainConfig
from clippan_lite.course import exercises, figures, imagery, plotting, widgets
from clippan_lite.course.listing import listing
from clippan_lite.data import geotiff
from clippan_lite.experiments import probes, statistics
from clippan_lite.physics import degrade

run = experiments.begin(globals())

# %% [markdown]
# ## A place without an answer
#
# A ship lies in the port of Rotterdam. The satellite WorldView-2 took two images of it:
#
# * [PAN](GLOSSARY.md#pan), the panchromatic image, has small pixels and no colour.
# * [MS](GLOSSARY.md#ms), the multispectral image, has colour and large pixels. Here it is drawn as [EXP](GLOSSARY.md#exp): MS interpolated to PAN's grid, without any detail from PAN.
#
# We look for the image that has both: PAN's pixels in MS's colours ([HRMS](GLOSSARY.md#hrms)). No camera took it.

# %%
figures.use_style()
wish = {"scene": "rotterdam", "register": True, "recipe": "best", "steps": 30, "batch": 1}
port = experiments.Run(
    experiments.Experiment.of({**wish, "device": run.device}), run.folder / "rotterdam"
)
harbour = port.pair
SHIP = imagery.busiest(harbour.pan, 200, harbour.ms)


def shown(image, pair, bands=None):
    """An image as a picture. Colours of one pair share a stretch, so that they can be compared."""
    bands = bands or pair.sensor.rgb
    bounds = imagery.limits(image if len(bands) == 1 else pair.ms, bands)
    return imagery.picture(image, bands, bounds)


def window(picture, place):
    """The part of a picture at (row, column, side)."""
    row, column, side = place
    return picture[row : row + side, column : column + side]


def exp_of(pair):
    """MS interpolated to PAN's grid."""
    return degrade.upsample(pair.ms, pair.ratio, pair.convention)


views = {
    "PAN: sharp, grey": shown(harbour.pan, harbour, [0]),
    "EXP: in colour, blurred": shown(exp_of(harbour), harbour),
}
figures.show(
    imagery.panels({name: window(view, SHIP) for name, view in views.items()}, side=4.2),
    run.folder,
    "03_place",
    "A ship in the port of Rotterdam as PAN and MS see it.",
    photo=True,
)

# %% [markdown]
# **What you see.** Two halves of one answer. In PAN, with pixels of half a metre, you can follow single pipes on the deck, and find the circle of the helipad. But PAN has no colour. EXP has the colours, and its pipes are smears. **What it does not show:** the answer. It does not exist,
# so no loss can compare with it.
#
# What is left? You cannot ask *is it right?* But you can ask *does it agree with what we know?* If a camera with MS's blur looked at the fused image, it should see MS again.
# If the bands were mixed into one, PAN should come out. And a model of language and images, [CLIP](GLOSSARY.md#clip), can be asked whether the image is what a sentence describes.
#
# ```mermaid
# flowchart LR
#   MS --> N[network] --> F[fused image]
#   PAN --> N
#   F -- "blur, keep every 4th pixel" --> A["is it MS again?<br>L_spec"]
#   F -- "mix the bands" --> B["is it PAN again?<br>L_spat"]
#   F -- "compare bands in blocks" --> C["are the relations kept?<br>L_QNR"]
#   F -- "CLIP" --> D["did it move where<br>the sentence points? L_d"]
# ```
#
# Training of this kind is called [unsupervised](GLOSSARY.md#unsupervised). It has one great advantage: the network trains on the very image that it will fuse, at *full resolution*.
# [Wald's protocol](GLOSSARY.md#walds-protocol) of chapter 01 gives a truth, but one scale down, where edges look different.
#
# ## The losses
#
# The paper ([arXiv 2511.10896](https://arxiv.org/abs/2511.10896)) takes the sum of five terms: $L_{s2} = L_{spec} + L_{spat} + L_{QNR} + L_{ship} + L_d$. Four are the wishes of the diagram, and $L_{ship}$ brings in a teacher. `losses.TERMS` names them here, and each has a weight of its own.
#
# | term | name here, function | what it asks | what it cannot see |
# |---|---|---|---|
# | $L_{spec}$ | `spec`, `losses.spectral` | The fused image, blurred by the [MTF](GLOSSARY.md#mtf) (the camera's blur) and decimated, is MS. | everything that the blur removes: sharpness |
# | $L_{spat}$ | `spat`, `losses.spatial` | A learned mix of the bands is PAN. | which band the detail is in: colour |
# | $L_{QNR}$ | `qnr`, `losses.quality` | Bands relate to each other, and to PAN, as they do in MS. It is one minus the metric [QNR](GLOSSARY.md#qnr). | blur (chapter 04) |
# | $L_{ship}$ | `ship`, `losses.pseudo` | The image stays near a teacher's result. | where the teacher is wrong |
# | $L_d$ | `direction`, `losses.direction_in_crops` | Fusing moves the image, in CLIP's eyes, where the sentence points. | you will see |
#
# `spec` and `spat` are mean squared error plus one minus [SSIM](GLOSSARY.md#ssim) (structural similarity). `ship` is a mean absolute difference. The paper trains its teacher one scale down.
# Ours is the network that the training begins with.
#
# No term suffices alone. An image with a perfect `spec` may be blurred, and one with a perfect `spat` may be grey. Together they leave little room.
#
# ## The sentence as a loss
#
# The supervisor of chapter 02 turns an image into a [feature](GLOSSARY.md#embedding) $F$, and a sentence into a feature $T$, both of 128 numbers. (Chapter 02 wrote $f$ and $t$.) $L_d$ compares *steps*.
# Among the features of images, fusing is a step from MS to the output, and another step from PAN to the output. Among the features of sentences, one step leads from "a multispectral image" to the sentence about the fused image, and another leads there from "a panchromatic image".
# Each step of the images should point the same way as its step of the sentences:
#
# $$L_d = 1 - \tfrac{1}{2}\left(\cos(F_{out} - F_{MS},\ T_{wald} - T_{MS}) + \cos(F_{out} - F_{PAN},\ T_{wald} - T_{PAN})\right)$$
#
# $\cos(a, b) = a \cdot b / (|a| |b|)$ is 1 for vectors of one direction, and 0 for vectors at a right angle ([cosine](GLOSSARY.md#cosine)). The next cell takes a patch of the scene and makes the six features. The image is EXP for now.

# %%
pair, supervisor = run.pair, run.supervisor
rgb = pair.sensor.rgb
one_patch = TrainConfig(batch=1, stride=1, crops_in_turn=1, seed=2)
crops = batches.Batches([pair], one_patch, supervisor, device=run.device).draw(step=0)["full"]
with torch.no_grad():
    f_out, f_ms = (supervisor.encode(kind, supervisor.tiles(crops.exp)) for kind in ("hrms", "ms"))
    f_pan = supervisor.encode("pan", supervisor.tiles(crops.pan))
    t_wald, t_ms, t_pan = (crops.guide.texts[kind] for kind in ("hrms", "ms", "pan"))
print("sentence of the fused image:", supervisor.prompts.hrms)
print(
    "features of", len(f_out), "crops:", tuple(f_out.shape), "| of a sentence:", tuple(t_wald.shape)
)

# %% [markdown]
# **Exercise 1.** *Medium, 15 minutes.* Write $L_d$ from the equation. `f_out`, `f_ms` and `f_pan` hold one row per crop, the sentences one row for all. Take the mean over the crops.
# The check compares your value with the library's, and the gradient at `f_out` too. *Expected:* "Right."
#
# Three hints: subtraction broadcasts the sentence's one row; `(a * b).sum(-1)` is a dot product; nothing may be detached.


# %% tags=["exercise-1"]
def my_l_d(f_out, f_ms, f_pan, t_wald, t_ms, t_pan):
    """L_d of features (crops, 128) and sentences (1, 128): a number in [0, 2]."""
    # your code


def library_l_d(f_out, f_ms, f_pan, t_wald, t_ms, t_pan):
    """The library's version, which takes the features by name."""
    guide = losses.Guide(None, {"hrms": t_wald, "ms": t_ms, "pan": t_pan})
    return losses.direction_of_features({"hrms": f_out, "ms": f_ms, "pan": f_pan}, guide)


print(exercises.verdict_of(my_l_d, library_l_d, f_out, f_ms, f_pan, t_wald, t_ms, t_pan))

# %% [markdown]
# This is how the library writes it (`losses.direction_of_features`). The small `eps` keeps a vector without length from becoming a division by 0.

# %%
listing(losses.direction_of_features, folded=True)

# %% [markdown]
# ### Does the gradient reach the image?
#
# A loss only teaches if its gradient arrives. In the authors' published code it does not: the image encoder runs without gradients, so $L_d$ is a constant to the network.
# Here is the test, and it is one that every loss should pass. We start at EXP and ask each term in which pixels it would change the image.
#
# (Why not ask the network's weights? The last layer of an untrained network is zero here, and a zero layer stops every gradient behind it.)

# %% tags=["nbval-check-output"]
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
pictures = {"EXP": shown(crops.exp[0].cpu() * pair.scale, pair)}
for term, gradient in gradients.items():
    strength = gradient.cpu().pow(2).sum(0, keepdim=True).sqrt()
    pictures[term] = shown(strength, pair, [0])
figures.show(
    imagery.panels(pictures, columns=5, side=2.0),
    run.folder,
    "03_gradients",
    "Where each loss term would change EXP: size of its gradient per pixel, each panel with a stretch of its own.",
    photo=True,
)
norms = {term: float(gradient.norm()) for term, gradient in gradients.items()}
rows = [(term, f"{n:.3f}", f"{n / norms['spec']:.0f}") for term, n in norms.items()]
head = ("term", "length of its gradient at EXP", "times as long as that of spec")
display(Markdown(statistics.markdown(head, rows)))

# %% [markdown]
# **What you see.** Four different wishes for one patch. `spat` wants PAN's texture everywhere. `spec` leaves out a frame along the border, where its filter would look beyond the patch. Inside, it asks weakly, as the table says. `qnr` counts in blocks of 32 pixels.
# `direction` asks strongly in a few places, and CLIP's own patches, 8 pixels wide, shine through. **What it does not show:** whether any of these wishes is right.
#
# The table explains the weights. At equal weights, as in the paper, the sentence would pull at the image far harder than `spec`, which guards the colours. Here `qnr` and `direction` get the weight 0.03.
# Even so, the sentence pulls six times as hard as `spec` at EXP. `spat` keeps its 1, although it pulls hardest at first: it comes to rest as soon as PAN's edges are in the image.
#
# ## One step of training
#
# All parts are there: patches, a network, losses with weights. One step puts them together. This cell prepares a step from nothing: a small network that knows nothing yet (the [backbone](GLOSSARY.md#backbone) `fusionnet`), and Adam, which will change its weights.

# %%
first = run.seeds[0]
one_step = run.from_nothing(with_l_d=True, seed=first).changed(steps=1)


def fresh_start():
    """A network before its first step, what draws its patches, and its optimiser."""
    torch.manual_seed(one_step.seed)
    network = checkpoints.start(one_step, pair.bands, pair.ratio, pair.convention).to(run.device)
    drawn = batches.Batches([pair], one_step, supervisor, device=run.device)
    parameters = [*network.parameters(), *drawn.parameters()]
    return network, drawn, torch.optim.Adam(parameters, one_step.lr / 25)  # the warm-up begins low


def change_of(network):
    """How far the weights moved from where they began."""
    begun = fresh_start()[0].parameters()
    return torch.cat([(a - b).flatten() for a, b in zip(network.parameters(), begun, strict=True)])


terms = [f"{term} {one_step.weight(term)}" for term in one_step.active()]
print("weights of the terms:", ", ".join(terms))

# %% [markdown]
# **Exercise 2.** *Medium, 15 minutes.* Write one step. There are five things to do:
#
# 1. draw a batch: `drawn.draw(step=0)["full"]`;
# 2. forward: the network takes `batch.ms` and `batch.pan` and returns the fused patches;
# 3. the loss: the sum of `weights[name] * losses.TERMS[name].function(fused, batch)` over the names in `weights`;
# 4. backward;
# 5. let the optimiser step, and return the loss.
#
# The check lets the library train for one step and compares the loss and the change of every weight. *Expected:* "Right."


# %% tags=["exercise-2"]
def my_step(network, drawn, optimiser, weights):
    """Change the network once, and return the loss before the change."""
    # your code


network, drawn, optimiser = fresh_start()
loss = exercises.tried(my_step, network, drawn, optimiser, one_step.weights)
mine = loss
if loss is not None and not isinstance(loss, Exception):
    mine = {"the loss": loss, "the change": change_of(network)}
trained, history = training.train(pair, one_step, supervisor, device=run.device, progress=False)
theirs = {"the loss": history[0]["loss"], "the change": change_of(trained)}
print(exercises.verdict(mine, theirs))

# %% [markdown]
# And this is the whole loop, as it is installed (`training.train`):

# %%
listing(training.train, first="for step in steps:", last="state.remove")

# %% [markdown]
# Your five lines are in it. The others keep accounts. Line by line:
#
# | line | what happens |
# |---|---|
# | `batches.draw` | **Draw:** random patches of MS, PAN and EXP. If the term `reduced` (a loss against MS, one scale down) has a weight, also patches for it. |
# | `forward` | **Forward:** the network fuses the patches. |
# | `images = ...` | The fused images, cut off from the network. Here the terms of the loss meet. |
# | `losses.balanced` | Scales the weights by how hard each term pulls, if the setting `balance` asks for it. |
# | `losses.backward` | **Loss:** each term, and its gradient at the fused image. The weighted gradients are added up. |
# | `read_row` | The loss, the terms and the gradients' lengths become a row of the history. A number that is not finite stops the training here. |
# | `torch.autograd.backward` | **Backward:** the sum of the gradients goes back through the network. |
# | `average_gradients` | If several processes share a batch, they agree on a gradient. |
# | `optimiser.step`, `schedule.step` | **Step:** Adam moves the weights. The learning rate follows its cosine. |
# | `steps.finish` | Moves the progress bar, calls your callbacks, and hears Ctrl-C. |
# | `state.finish` | Keeps the state now and then, so that a stopped training can go on. |
#
# A term is a function of the fused image and the batch. Whatever you can write as such a function can be a loss (`losses.register`).
#
# ## Training
#
# ### From nothing
#
# We repeat the step with a network that knows nothing, once without and once with $L_d$. Its last layer starts at zero, so at first it returns EXP.
# A callback keeps what the network makes of the scene on its way.

# %%
histories, stages, from_nothing = {}, {}, {}


def look(step, network, *_):
    """Keep what the network makes of the scene at a few steps."""
    if step + 1 in (1, 10, 25):
        stages[f"step {step + 1}"] = fusion.fuse(pair, network)


for with_l_d in (False, True):
    name = f"{'with' if with_l_d else 'without'} L_d"
    config, callbacks = run.from_nothing(with_l_d, first), [look] if with_l_d else []
    label = f"from nothing, {1 + with_l_d} of 2, "
    network, histories[name] = run.train(config, callbacks=callbacks, label=label)
    from_nothing[with_l_d] = fusion.fuse(pair, network)
stages[f"step {config.steps}"] = from_nothing[True]

# %% tags=["nbval-check-output"]
print("loss fell:", all(h[-1]["loss"] < h[0]["loss"] for h in histories.values()))

# %%
HOUSES = imagery.busiest(pair.pan, 96, pair.ms)
pictures = {name: window(shown(image, pair), HOUSES) for name, image in stages.items()}
pictures["PAN"] = window(shown(pair.pan, pair, [0]), HOUSES)
figures.show(
    imagery.panels(pictures, columns=5, side=2.0),
    run.folder,
    "03_stages",
    "A window of the scene as the network fuses it while it trains from nothing with L_d, and PAN.",
    photo=True,
)

# %% [markdown]
# **What you see.** The network starts at EXP. Within 25 steps PAN's edges are in the image. After that mainly the colours change, little by little. Nobody has shown it a fused image. **What it does not show:** which loss did it. For that we look at the curves.

# %%
figures.show(
    plotting.curves(histories, ["spec", "spat", "qnr", "direction"]),
    run.folder,
    "03_losses",
    "The loss terms of Stage II, without their weights, while a network trains from nothing, with and without L_d. First seed, running mean of 5 steps.",
)
head = ("mean of the last 10 steps", "spec", "spat", "qnr", "direction")
rows = []
for name, rows_of in histories.items():
    last = rows_of[-10:]
    means = [
        sum(row[term] for row in last) / len(last) if term in last[0] else None for term in head[1:]
    ]
    rows.append((name, *("not trained" if mean is None else f"{mean:.3f}" for mean in means)))
display(Markdown(statistics.markdown(head, rows)))

# %% [markdown]
# **What you see.** On the embedded scene, one seed:
#
# * `spat` falls when PAN's edges enter the image.
# * At the seventh step all terms jump: that step was too large. The next ones repair it. In the mean of five steps it is a bump.
# * `direction` falls from about 0.5 to about 0.1 where it is trained. So its gradient arrives.
# * `qnr` begins low, because EXP does well by it (chapter 04 says why). It rises while the edges come, and ends a little above its start. It ends higher with $L_d$, so in this run the two pull against each other.
#
# **What it does not show:** whether the image became better. A loss that falls only says that the network does what it was asked.
#
# ### What $L_d$ turns
#
# Here are the vectors of the equation at a few steps. The crops are some that the supervisor was not adapted on.

# %%
panels = {**stages, f"step {config.steps}, no L_d": from_nothing[False]}
moved = probes.displacements(supervisor, pair, panels)
figures.show(
    plotting.displacements(moved),
    run.folder,
    "03_displacements",
    "Features of MS, PAN and fused crops while a network trains; arrows to the fused image, dashed where the sentences point.",
)
cosines = [f"{one['cosine']:.2f}" for one in moved.values()]
display(Markdown(statistics.markdown(("", *moved), [("mean cosine, 1 - L_d", *cosines)])))

# %% [markdown]
# **What you see.** Solid arrows lead from MS and PAN to the fused image. Dashed arrows lead where the sentences point. By step 60 the solid arrows have turned towards the dashed ones.
# The last of the five panels is the [control](GLOSSARY.md#control): it never saw the sentence, and its arrows turned a good part of the way too. Sharp edges in MS's colours alone do much of what the sentence asks for. **What it does not show:** more than two axes of 128. The cosines in the table are those of all axes.
#
# ### Train it before your eyes
#
# With a running kernel, *start* trains with $L_d$ from nothing once more. You see the terms, and PAN, EXP and the network's result side by side. The slider sets the weight of $L_d$. If you press *stop* and then *start*, the training goes on where it was, and ends with the very same weights. Each weight has a training of its own, so the slider changes to another one. *reset* begins anew, with the weight that was there at first.

# %%
widgets.dashboard(pair, run.from_nothing(True, first), supervisor, folder=run.folder / "dashboard")

# %% [markdown]
# ### From a good start
#
# The package brings a network that was trained where the truth is known: the [included network](GLOSSARY.md#included-network) (`bandwise`). It starts from the mean of three classical results and corrects it.
# Its last layer is [back-projection](GLOSSARY.md#back-projection): it blurs and shrinks the image as the camera would, compares it with MS, and adds the difference. So the result agrees with MS whatever the layers before it do, and `spec` has little left to ask.
#
# The same loop now trains this network on the scene, once without and once with $L_d$. Both trainings share their [seed](GLOSSARY.md#seed), so chance is the same on both sides. The term $L_{ship}$ takes part in both, so only $L_d$ differs. The paper's tables lack this control.
# Two networks are enough to look at. Whether a small difference is more than chance takes more seeds, and chapter 04 trains those. Each network is kept when it is done: if you interrupt this cell and run it again, it goes on with the next one.

# %%
networks = {
    with_l_d: run.network(run.config(with_l_d, first), label=f"{1 + with_l_d} of 2, ")
    for with_l_d in (False, True)
}

# %% tags=["nbval-check-output"]
print("networks trained:", len(networks))

# %% [markdown]
# ## The product
#
# The best image that this package makes of a pair comes from the recipe `best`. It is unsupervised too: the included network is trained on the scene itself, with MS as the truth one scale down (`reduced`), and `ship` keeps it near its start. It takes some `qnr`, and no CLIP.
# `clippan-lite fuse --adapt` does the same from the command line. The result becomes a [GeoTIFF](GLOSSARY.md#geotiff) on PAN's grid.

# %%
best = run.network(cl.recipe("best", seed=first), label="recipe best, ")
product = fusion.fuse(pair, best)
geotiff.write_fused(run.folder / "fused.tif", product, pair)
images = {
    "EXP": exp_of(pair),
    f"{config.steps} steps from nothing": from_nothing[True],
    "network without L_d": fusion.fuse(pair, networks[False]),
    "network with L_d": fusion.fuse(pair, networks[True]),
    "recipe best": product,
}
if pair.truth is not None:
    images["truth"] = pair.truth
figures.show(
    imagery.panels(
        {name: window(shown(image, pair), HOUSES) for name, image in images.items()},
        columns=3,
        side=2.8,
    ),
    run.folder,
    "03_fused",
    "A window of EXP and of the fused images with one stretch, beside the truth where it is known.",
    photo=True,
)

# %% tags=["nbval-check-output"]
print(
    "fused:", tuple(product.shape), "| as large as PAN:", product.shape[-2:] == pair.pan.shape[-2:]
)
print("GeoTIFF written:", (run.folder / "fused.tif").is_file())

# %% [markdown]
# **What you see.** The network from nothing leaves softer edges than the three networks with a good start. Two of those differ only in $L_d$, and they can hardly be told apart. From a good start, the sentence seems to have little left to say.
# **What it does not show:** colours that are wrong by a few per cent. Your eyes do not measure. Chapter 04 does.
#
# ### Back in the port
#
# The synthetic scene has a truth, so that we can measure. Rotterdam has none, so look. The recipe `best` now trains on the ship itself. To save time here, it takes 30 steps of one patch instead of 60 steps of four.

# %%
views = {
    "EXP": exp_of(harbour),
    "included network": fusion.fuse(harbour),
    "recipe best, 30 steps": fusion.fuse(harbour, port.network(label="Rotterdam, recipe best, ")),
}
figures.show(
    imagery.panels(
        {name: window(shown(image, harbour), SHIP) for name, image in views.items()},
        columns=3,
        side=3.1,
    ),
    run.folder,
    "03_port",
    "The ship in Rotterdam: EXP, the included network, and the same network after training on this image.",
    photo=True,
)

# %% [markdown]
# **What you see.** EXP shows colours without objects. Both networks show the pipes and the containers, in MS's colours, and the 30 steps on the ship itself change little that eyes can see. **What it does not show:** which of the two sharp images is closer to the ship. That is the question of [chapter 04](04_evaluation.ipynb).
#
# ## Exercises
#
# Exercises 1 and 2 are above. Write your own lines where a cell says `# your code`. One way to solve each, with its result, is in the [solutions](solutions/03_full_resolution_training_solutions.ipynb).
#
# **Exercise 3.** *Easy, 5 minutes.* What stops a network from returning EXP? Measure `losses.spectral(x, crops)` and `losses.spatial(x, crops)` of EXP itself, `x = crops.exp`, and put the two numbers into `of_exp`.
# *Expected:* `spectral` is tiny. `spatial` is about twenty times as large.

# %% tags=["exercise-3"]
of_exp = {}  # "spectral" and "spatial", each with its number
# your code
for name, value in of_exp.items():
    print(f"{name} of EXP: {value:.3f}")
with torch.no_grad():
    terms = {
        "spectral": losses.spectral(crops.exp, crops),
        "spatial": losses.spatial(crops.exp, crops),
    }
print(exercises.verdict(of_exp, terms))

# %% [markdown]
# **Exercise 4.** *Medium, 10 minutes.* Does a loss get what it asks for? Train 20 steps without $L_d$, with the weight of `qnr` at the paper's 1, and at almost nothing, 0.000001 (at 0 the term is not even computed): `run.config(False, 0).changed(steps=20, qnr=...)`. `training.train(pair, config, device=run.device)` returns a network and its history, a list with one row per step. Put the mean `qnr` of the last five rows into `reached`, under the weight.
# *Expected:* it ends lower where it was asked for. Chapter 04 tells what that is worth.

# %% tags=["exercise-4"]
reached = {}  # weight of qnr -> mean qnr of the last five steps
# your code
for weight, value in reached.items():
    print(f"weight {weight}: qnr {value:.3f} at the end")
by_weight = {float(weight): value for weight, value in reached.items()}
lower = None if len(reached) < 2 else by_weight[max(by_weight)] < by_weight[min(by_weight)]
print(exercises.verdict(lower, True, name="lower with the larger weight"))

# %% [markdown]
# **Exercise 5.** *Easy, 5 minutes, without a cell.* Set `recipe="scratch"` and `backbone="pannet"` in the parameters, and run the chapter again. *Expected:* a network of another structure behaves the same way, because the losses know nothing of it. With `"pnn"`, 60 steps are too few: it hardly leaves EXP.
#
# ## Questions
#
# 1. Why may the features of MS and PAN be constants in $L_d$, while that of the output may not?
# 2. Why is a zero last layer a good start for a network that adds to EXP, and why must the gradient test not use it?
# 3. What stops the network from simply returning EXP?
# 4. Why do the terms need weights, although the paper gives each 1?
# 5. The loss falls and the picture gets worse. Which loss would you look at first?
#
# ## Summary
#
# A network can learn to fuse a scene from what its result must agree with. You wrote the loss that lets a sentence take part, and the step that trains with it. The gradient arrives, and the vectors turn. Much of that turn comes from sharpness alone, and from a good start the sentence changes little that eyes can see.
# **Next:** [`04_evaluation`](04_evaluation.ipynb) measures it.
