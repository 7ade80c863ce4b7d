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
# # 04 Evaluation
#
# **The question.** Three images of one place look different. Which one is right, and who says so?
#
# ## What you will learn
#
# 1. *A place and three answers*: why looking is not enough,
# 2. *Without a reference*: what can be measured where nobody knows the truth,
# 3. *What each metric punishes*: known faults in a perfect image, and what every number says to them,
# 4. *By Wald's protocol*: a truth, one scale down,
# 5. *Against the truth*: what only a synthetic scene can tell, and which metrics agree with it,
# 6. *What L_d changed*: an effect with its interval,
# 7. *Traps*: choices that change a number without changing the image.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | [chapter 03](03_full_resolution_training.ipynb) | the networks; this chapter trains them if they are missing |
# | statistics | mean, standard deviation, [confidence interval](GLOSSARY.md#confidence-interval) |
# | hardware, time | a laptop; 35 minutes of reading, about two minutes of computing, less after chapter 03; full mode (`steps=400`, `seeds="0,1,2,3,4"`): about 40 minutes |
#
# Your solutions can be compared with [ours](solutions/04_evaluation_solutions.ipynb). The [page of the library](../clippan_lite/README.md) lists all functions.

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
import numpy as np
import torch
from IPython.display import Markdown, display

from clippan_lite import classical, data, experiments, fusion, metrics
from clippan_lite.config import recipe as recipe_of
from clippan_lite.course import exercises, figures, imagery, plotting, widgets
from clippan_lite.course.listing import listing
from clippan_lite.data import synthetic
from clippan_lite.experiments import scenes, statistics
from clippan_lite.metrics import evaluation, faults
from clippan_lite.runtime import files

run = experiments.begin(globals())

# %% [markdown]
# ## A place and three answers
#
# Landsat-7 looks at the edge of a mountain range. [PAN](GLOSSARY.md#pan) has pixels of 15 m, [MS](GLOSSARY.md#ms) of 30 m. We fuse them in three ways:
#
# * [EXP](GLOSSARY.md#exp) interpolates MS to PAN's grid. It adds nothing. Whoever cannot beat EXP has not fused anything.
# * BDSD-PC, a classical method ([BDSD](GLOSSARY.md#bdsd) with weights that stay physically possible), followed by three rounds of [back-projection](GLOSSARY.md#back-projection), which makes the result agree with MS again. It needs no training.
# * `cl.fuse`, the [included network](GLOSSARY.md#included-network).

# %%
figures.use_style()
place = cl.example("landsat7")
answers = {
    "EXP": classical.fuse("EXP", place),
    "BDSD-PC + 3 rounds": classical.fuse("BDSD-PC", place, rounds=3),
    "included network": cl.fuse(place),
}


def pictures_of(images, pair, side):
    """The window with the most detail of each image, all with MS's stretch."""
    row, column, side = imagery.busiest(pair.pan, side, pair.ms)
    area = (slice(None), slice(row, row + side), slice(column, column + side))
    bounds = imagery.limits(pair.ms, pair.sensor.rgb)
    return {n: imagery.picture(i[area], pair.sensor.rgb, bounds) for n, i in images.items()}


figures.show(
    imagery.panels(pictures_of(answers, place, 128), columns=3, side=3.1),
    run.folder,
    "04_place",
    "One place of a Landsat-7 scene, fused in three ways.",
    photo=True,
)
figures_of_place = {n: evaluation.at_full_resolution(i, place) for n, i in answers.items()}
display(Markdown(statistics.compared(figures_of_place, evaluation.FULL)))

# %% [markdown]
# **What you see.** EXP is blurred. The other two are sharp, and they do not agree: BDSD-PC is grainy, even on the dark water of the lake, and the network is calmer. Now read the table (arrows say which way is better, bold is the best). The next section explains its columns. BDSD-PC wins four of them, EXP, the blurred image, one, and the calm network none. (Neither end of $D_\rho$ is best, so nothing is bold there.)
# Two columns, $D_\lambda^K$ and HQNR, compute with the camera's blur. For this camera that blur is only assumed, as the printed note says. **What it does not show:** the truth. Landsat-7 never took the sharp image in colour, so nobody can say which answer is nearest to it.
#
# So who says what is right? There are three judges, and none of them knows everything:
#
# | judge | what it compares with | what it does not know |
# |---|---|---|
# | full resolution, without a reference | MS and PAN themselves | the truth |
# | [Wald's protocol](GLOSSARY.md#walds-protocol), one scale down | the original MS | edges as sharp as PAN's |
# | a synthetic scene's truth | the [HRMS](GLOSSARY.md#hrms) itself | real cameras |
#
# This chapter asks all three, and then asks which judges can be trusted. From here on, all numbers come from the scene that the parameters name. By default it is the synthetic *embedded scene* of chapter 00, which has a truth.
#
# ## Without a reference
#
# Without a truth you can only measure whether the fused image is consistent with its sources:
#
# | metric | question | best | function in `metrics` |
# |---|---|---|---|
# | [$D_\lambda$](GLOSSARY.md#d_lambda) | Did the relations between bands change? | 0 | `d_lambda` |
# | [$D_s$](GLOSSARY.md#d_s) | Did the relation to PAN change? | 0 | `d_s` |
# | [QNR](GLOSSARY.md#qnr) | both: $(1 - D_\lambda)(1 - D_s)$ | 1 | `qnr` |
# | $D_\lambda^K$ (Khan) | Is the image, blurred as the camera would ([MTF](GLOSSARY.md#mtf)), MS again? | 0 | `d_lambda_khan` |
# | HQNR | $(1 - D_\lambda^K)(1 - D_s)$ | 1 | `hqnr` |
# | [$D_\rho$](GLOSSARY.md#d_rho) | Do details follow PAN locally? | neither end | `d_rho` |
#
# All follow the definitions of the pansharpening toolbox by Vivone et al., and `metrics.full` computes them all at once. The next cells fuse the scene in eight ways. Networks of chapter 03 are loaded, or trained now.

# %%
pair, supervisor, rgb = run.pair, run.supervisor, run.pair.sensor.rgb
LABELS = {False: "network without L_d", True: "network with L_d"}
if not run.config(with_l_d=True, seed=run.seeds[0]).weight("direction"):
    print("direction is 0: there is no network with L_d to compare")
    del LABELS[True]


def without_training(scene):
    """Results that need no training: classical ones, one of them back-projected, and the included network."""
    images = {name: classical.fuse(name, scene) for name in ("EXP", "GSA", "BDSD")}
    images["BDSD-PC + 3 rounds"] = classical.fuse("BDSD-PC", scene, rounds=3)
    return images | {"included network": fusion.fuse(scene)}


best = run.network(recipe_of("best", seed=run.seeds[0]), label="recipe best, ")
fused = without_training(pair) | {"recipe best": fusion.fuse(pair, best)}
full = {name: evaluation.at_full_resolution(image, pair) for name, image in fused.items()}
by_seed = {"full": {}, "reduced": {}, "truth": {}}
jobs = [(with_l_d, number) for with_l_d in LABELS for number in run.seeds]
networks = {
    job: run.network(run.config(*job), label=f"{index} of {len(jobs)}, ")
    for index, job in enumerate(jobs, 1)
}

# %%
for with_l_d, label in LABELS.items():
    images = [fusion.fuse(pair, networks[with_l_d, number]) for number in run.seeds]
    fused[label] = images[0]
    by_seed["full"][label] = [evaluation.at_full_resolution(image, pair) for image in images]
    if pair.truth is not None:
        by_seed["truth"][label] = [evaluation.against_truth(image, pair) for image in images]

# %%
spread = {"full": {}, "reduced": {}, "truth": {}}
for label, tables in by_seed["full"].items():
    full[label], spread["full"][label] = statistics.over_seeds(tables)
of_truth = {}
if pair.truth is not None:
    of_truth = {"the truth itself": evaluation.at_full_resolution(pair.truth, pair)}
display(Markdown(statistics.compared(full | of_truth, evaluation.FULL, spread["full"])))

# %% tags=["nbval-check-output"]
print("EXP's D_lambda is zero by construction:", full["EXP"]["D_lambda"] < 2e-3)

# %% [markdown]
# Read the first row first. EXP has no detail at all, and on the embedded scene it tops the QNR column. An image that leaves MS alone distorts nothing.
#
# Now read the last row. The truth itself gets less QNR than EXP. It also has more than twice the $D_\rho$ of [GSA](GLOSSARY.md#gsa), the lowest of that column. GSA follows PAN more closely than the truth does. So a low $D_\rho$ is no praise.
#
# $D_\lambda^K$ is tiny wherever an image was back-projected, because back-projection removes exactly what it measures. So each metric rewards something, and this is what:
#
# | metric | rewards | so it cannot tell |
# |---|---|---|
# | QNR | bands that relate to each other as MS does, and to PAN as MS does one scale down | EXP or a blurred truth from a sharp image |
# | HQNR | agreement with MS, and the same relation to PAN | a blurred truth from a sharp image; but it ranks the truth above EXP |
# | $D_\rho$ | PAN's shapes in every band | detail that is there from detail that is too much |
#
# ## What each metric punishes
#
# Here is a way to learn what any metric does. Take a perfect image, break it on purpose, and see which metrics notice.
#
# The perfect image is the synthetic scene's truth. For a real pair it is MS itself, and the images to be fused are MS and PAN reduced by one scale. Each picture has one fault.

# %%
low = data.reduced(pair)
judge = data.largest_valid(pair if pair.truth is not None else low)
if min(judge.pan.shape[1:]) < 64:
    print(
        "no 64 PAN pixels each way without nodata: faults and ranks are shown on a synthetic scene instead"
    )
    judge = synthetic.make_scene(scenes.seed_of(scene), 256, pair.sensor, pair.convention)
faulty = {"the truth itself": judge.truth, "EXP": classical.fuse("EXP", judge)}
faulty |= {name: faults.spoil(name, judge.truth) for name in faults.FAULTS}
figures.show(
    imagery.panels(pictures_of(faulty, judge, 96), columns=5, side=1.9),
    run.folder,
    "04_faults",
    "A window of the truth, of EXP and of the truth with one known fault each.",
    photo=True,
)

# %%
no_reference = {}
with_reference = {}
for name, image in faulty.items():
    no_reference[name] = metrics.full(
        image, judge.ms, judge.pan, judge.sensor, judge.convention, judge.mask
    )
    with_reference[name] = metrics.reduced(image, judge.truth, judge.ratio, judge.peak, judge.mask)
SHOWN = ("D_lambda", "D_s", "QNR", "D_lambda_K", "HQNR", "D_rho", "D_s_R", "D_lambda_align")
shown = {n: {m: t[m] for m in SHOWN} for n, t in no_reference.items()}
figures.show(
    plotting.heat(shown, "the truth itself"),
    run.folder,
    "04_no_reference",
    "Metrics without a reference, for the truth and for known faults: red is worse than the truth, blue better; neither end of D_rho is best.",
)
figures.show(
    plotting.heat(with_reference, "the truth itself", {"PSNR": 1, "ERGAS": 2, "SAM": 2}),
    run.folder,
    "04_with_reference",
    "Metrics with a reference for the same images: red is worse than the truth.",
)

# %% [markdown]
# **What you see.** Red is worse than the truth, and blue is where a fault *pays*. In the first table, without a reference:
#
# * The first row is not perfect. MS and PAN relate differently at different scales, even for the truth.
# * QNR and HQNR like blur, noise and a tilted spectrum (the first bands darker, the last ones brighter) better than the truth.
# * $D_\rho$ has no colour, because neither end of it is best. It rises with blur, noise and displacement, and falls for a grey image, where every band looks like PAN.
# * $D_s^R$ (`D_s_R`: the part of PAN that a linear mix of the fused bands cannot explain) sees displacement and blur, and no fault of colour.
# * $D_\lambda^K$ sees haze and grey, but not blur. MS's own blur removes that detail anyway.
#
# With a reference, in the second table, every fault costs something. But each metric has a blind spot. [PSNR](GLOSSARY.md#psnr), the peak signal-to-noise ratio, hardly minds the noise that [Q2n](GLOSSARY.md#q2n), a similarity in blocks, minds a lot. Q (a similarity for each band alone) and [SSIM](GLOSSARY.md#ssim) let the tilted spectrum pass, and [SAM](GLOSSARY.md#sam), the angle between colours, gives it 3 degrees.
# **What it does not show:** how large such faults are in practice. We chose their sizes (`metrics.faults`), so you cannot compare one row with another.
#
# With a running kernel, the sliders spoil a window of the truth by degrees, and the table says what each metric makes of it. Find a fault that QNR rewards and PSNR does not forgive. The window is small, and you choose the size of the fault, so a metric may turn the other way than in the tables above.

# %%
widgets.playground(judge, judge.truth)

# %% [markdown]
# **Exercise 1.** *Easy, 10 minutes.* How much blur does QNR want? Blur the truth with a standard deviation of 0, 0.5, 1 and 1.5 pixels (`faults.graded(judge.truth, blur=...)`) and note the QNR of each in `by_blur` (`evaluation.at_full_resolution(image, judge)` gives all metrics by name).
# Then set `most` to the blur that QNR likes best. *Expected:* not 0.

# %% tags=["exercise-1"]
by_blur = {}  # blur -> QNR
most = None  # the blur with the highest QNR
# your code
theirs = {
    blur: evaluation.at_full_resolution(faults.graded(judge.truth, blur=blur), judge)["QNR"]
    for blur in (0.0, 0.5, 1.0, 1.5)
}
print(exercises.verdict(by_blur, theirs))
print(exercises.verdict(most, max(theirs, key=theirs.get), name="the best-liked blur"))

# %% [markdown]
# ## By Wald's protocol
#
# Reduce both images by the [ratio](GLOSSARY.md#ratio), fuse them, and compare with the original MS. Now there is a truth. It judges here, and no network is trained on it. (Recipe `best` is left out: it takes MS for its own training.)
#
# The standard measure is [ERGAS](GLOSSARY.md#ergas), a relative error over all bands. For a fused image $x$ and a reference $y$ with $B$ bands:
#
# $$\mathrm{ERGAS} = \frac{100}{\mathrm{ratio}} \sqrt{\frac{1}{B} \sum_b \frac{\mathrm{mean}((x_b - y_b)^2)}{\mathrm{mean}(y_b)^2}}$$
#
# **Exercise 2.** *Medium, 10 minutes.* Write this equation as `my_ergas`. *Expected:* "Right."


# %% tags=["exercise-2"]
def my_ergas(x, y, ratio):
    """ERGAS of an image and its reference, both (bands, height, width)."""
    # your code


one = (classical.fuse("GSA", low), low.truth, low.ratio)
print(exercises.verdict_of(my_ergas, metrics.ergas, *one, gradient=False))

# %% [markdown]
# The library's version, which also knows batches and bands that are all dark:

# %%
listing(metrics.ergas, first="mean =", folded=True)

# %% [markdown]
# The networks are trained again, the same way, on the reduced pair. If one patch covers the whole pair and the network has a good start, nothing is left to chance: every [seed](GLOSSARY.md#seed) gives the same network. Then only the first seed is trained.

# %%
trained = run.config(with_l_d=False, seed=run.seeds[0])
all_alike = bool(trained.start) and max(low.pan.shape[1:]) <= trained.patch
low_seeds = run.seeds[:1] if all_alike else run.seeds
reduced_images = without_training(low)
by_wald = {name: evaluation.against_truth(image, low) for name, image in reduced_images.items()}
for with_l_d, label in LABELS.items():
    images = [fusion.fuse(low, run.network(run.config(with_l_d, s), "reduced")) for s in low_seeds]
    reduced_images[label] = images[0]
    by_seed["reduced"][label] = [evaluation.against_truth(image, low) for image in images]
    by_wald[label], spread["reduced"][label] = statistics.over_seeds(by_seed["reduced"][label])
display(Markdown(statistics.compared(by_wald, evaluation.REDUCED, spread["reduced"])))

# %% [markdown]
# On the embedded scene, EXP is now last in three of the four columns. In SAM it beats GSA and BDSD, because it has MS's own colours. BDSD-PC, which was back-projected, beats EXP in SAM, and the networks lead every column.
#
# This judge knows a truth, but a strange one. One scale down, an edge is four times as coarse as PAN's. What is best there need not be best at full resolution.
#
# ## Against the truth
#
# A synthetic scene knows its own HRMS. No real scene does.

# %%
by_truth = {}
if pair.truth is None:
    print("a real pair: the truth at full resolution is unknown")
else:
    by_truth = {
        name: evaluation.against_truth(image, pair)
        for name, image in fused.items()
        if name not in LABELS.values()
    }
    for label, tables in by_seed["truth"].items():
        by_truth[label], spread["truth"][label] = statistics.over_seeds(tables)
    display(Markdown(statistics.compared(by_truth, evaluation.REDUCED, spread["truth"])))

# %%
DRAWN = ("EXP", "BDSD", "BDSD-PC + 3 rounds", "included network", "recipe best")
if pair.truth is not None:
    seen, known = fused, pair
else:  # the truth is known one scale down only, where recipe best has no result
    seen, known, DRAWN = reduced_images, low, DRAWN[:-1]
errors = {n: (seen[n] - known.truth).abs().mean(0, keepdim=True) for n in DRAWN}
white = float(np.quantile(torch.stack(list(errors.values())).numpy(), 0.99))
row, column, side = imagery.busiest(known.pan, 160, known.ms)
maps = {
    f"{name}: mean error {float(errors[name].mean()):.0f} DN": imagery.picture(
        errors[name][:, row : row + side, column : column + side], [0], ([0.0], [white])
    )
    for name in ("BDSD-PC + 3 rounds", DRAWN[-1])
}
figures.show(
    imagery.panels(maps, columns=2, side=4.4),
    run.folder,
    "04_true_errors",
    f"Mean absolute error over the bands against the truth in a window: black is 0, white is {white:.0f} DN.",
    photo=True,
)
images = {name: fused[name] for name in DRAWN}
if pair.truth is not None:
    images["truth"] = pair.truth
figures.show(
    imagery.panels(pictures_of(images, pair, 96), columns=3, side=2.8),
    run.folder,
    "04_methods",
    "A window of five results at full resolution and of the truth, with one stretch.",
    photo=True,
)

# %% [markdown]
# **What you see.** In the two error maps bright is wrong. Both images are wrong along edges, where detail must come from PAN. BDSD-PC is wrong along more of them, and by more. The second figure shows five images beside the truth: look at the cars, which lose their colour first.
# On the embedded scene the networks lead every column of the table. Most of that lead was there before they saw this scene. Recipe `best` gains 0.3 dB by training on it, without truth. The paper's losses, with or without $L_d$, gain nothing here. **What it does not show:** a real camera. The included network learned on scenes from the same generator (with other seeds), so this judge is kind to it. Chapter 05 takes other cameras.
#
# ### Which metrics agree with the truth?
#
# Here the truth can judge the judges. We fuse with all classical methods, with and without back-projection, and rank them twice: by a metric without a reference, and by the truth (ERGAS). Spearman's rank correlation says how alike the two rankings are: 1 the same, 0 unrelated, -1 reversed. Four scenes of 256 pixels give an idea of the spread.
#
# Some metrics look back at MS in other ways, and their names carry letters:
#
# | letters | what they mean |
# |---|---|
# | `_K` | after Khan: the fused image is blurred as the camera would, and compared with MS |
# | `R_`, `_align` | reprojected: the same, after the two grids were aligned |
# | `_und` | undecimated: compared on PAN's grid instead of MS's |
# | `_R` | regression: how well a mix of the bands explains PAN |

# %%
judges = [data.largest_valid(judge)]
if pair.truth is not None:
    judges = [
        synthetic.make_scene(scenes.seed_of(scene) + k, 256, pair.sensor, pair.convention)
        for k in range(4)
    ]
rankings, NETWORK = [], "included network"
for each in judges:
    images = {name: classical.fuse(name, each) for name in classical.METHODS}
    images |= {f"{name} + 3 rounds": classical.fuse(name, each, rounds=3) for name in images}
    images[NETWORK] = fusion.fuse(each)
    without_truth = {
        n: metrics.full(i, each.ms, each.pan, each.sensor, each.convention, each.mask)
        for n, i in images.items()
    }
    true_rank = {
        n: {"ERGAS": float(metrics.ergas(i, each.truth, each.ratio))} for n, i in images.items()
    }
    rankings.append(statistics.agreement(without_truth, true_rank))
    if each is judges[0]:
        true_ergas = {n: t["ERGAS"] for n, t in true_rank.items()}
        drawn = {n: t for n, t in without_truth.items() if true_ergas[n] <= 1.5 * true_ergas["EXP"]}
        print(
            "far worse than EXP, not drawn:",
            ", ".join(n for n in images if n not in drawn) or "none",
        )
figures.show(
    plotting.against_truth(
        drawn,
        SHOWN,
        true_ergas,
        "ERGAS (truth)",
        {"EXP": "EXP", NETWORK: "network"}
        | {name: "back-projected" for name in drawn if name.endswith("rounds")},
    ),
    run.folder,
    "04_metric_against_truth",
    "Each method's metric without reference (across) and its error against the truth (up, smaller is better).",
)
head = ("metric", "rank correlation with the truth, mean", "lowest", "highest", "scenes")
rows = []
for name in sorted(rankings[0], key=lambda n: -np.mean([r[n] for r in rankings])):
    values = [r[name] for r in rankings]
    spans = [f"{value:+.2f}" for value in (np.mean(values), min(values), max(values))]
    rows.append((name, *spans, str(len(values))))
display(Markdown(statistics.markdown(head, rows)))

# %% [markdown]
# **What you see.** Each dot is a method, and lower is truly better. A good metric would draw a line from one corner to the other. On the embedded scenes:
#
# * Metrics that look back at MS, $D_\lambda^K$ and the reprojected family, rank methods nearly as the truth does.
# * HQNR and QNR do so only in part. On the worst of the four scenes, the ranking by QNR has almost nothing to do with the truth's.
# * $D_\rho$ says almost nothing about the truth among these methods.
#
# But $D_\lambda^K$ cannot rank back-projected images: all of them are near 0, even EXP with three rounds, which has hardly any detail. So rank one scale down, let $D_\lambda^K$ find images that disagree with MS and $D_\rho$ warn of missing detail, and put EXP and a back-projected classical method beside whatever you show. **What it does not show:** real cameras. The synthetic MS was made by the very MTF that $D_\lambda^K$ and back-projection take, which flatters both.
#
# ## What L_d changed
#
# Does the sentence help? Take each seed with and without [$L_d$](GLOSSARY.md#l_d), and look at the difference. Chance is the same on both sides, so it cancels; that is what *paired* means. The table gives the mean difference, and Student's 95 % [interval](GLOSSARY.md#confidence-interval) over the seeds.
# If the interval holds 0, no effect was measured with this many seeds. If it leaves out 0, that is a hint. A verdict needs five seeds, and [chapter 07](07_how_a_study_works.ipynb) says why.

# %%
effects = {
    scale: statistics.paired_effects(tables[LABELS[True]], tables[LABELS[False]])
    for scale, tables in by_seed.items()
    if len(tables) == 2
}


def in_words(name, e):
    """An effect's interval, and what it says."""
    if e["t95"] is None:
        return "none: one network on each side" if e["n"] == 1 else "none: no spread", "cannot tell"
    low_end, high_end = e["t95"]
    beside_zero = low_end > 0 or high_end < 0
    change = evaluation.change_in_words(name, e["difference"])
    reading = f"leaves out 0: {change}" if beside_zero else "holds 0"
    return f"{low_end:+.2g} to {high_end:+.2g}", reading


rows = [
    (view, name, f"{e['difference']:+.2g}", *in_words(name, e), str(e["n"]))
    for view, effect in effects.items()
    for name, e in effect.items()
]
head = ("judge", "metric", "with minus without L_d", "95 % interval", "reading", "pairs")
display(Markdown(statistics.markdown(head, rows)))

# %%
if effects.get("truth"):
    psnr = effects["truth"]["PSNR"]
    display(
        Markdown(
            f"Against the truth, $L_d$ changes PSNR by **{psnr['difference']:+.3f} dB**. "
            f"Whether that is clear of 0 and whether it matters are two questions: EXP and the included "
            f"network are {by_truth['included network']['PSNR'] - by_truth['EXP']['PSNR']:.1f} dB apart."
        )
    )

# %% [markdown]
# On the embedded scene most intervals hold 0. Those that leave it out are figures without a reference, and HQNR is made of the others, so they do not count three times. Three seeds make a hint, not a verdict, and among so many intervals some may leave out 0 by luck. What the table does show is the size: whatever $L_d$ does here is far too small to matter. These networks begin as the included network, which is good already.
# From nothing, where there is more to learn, $L_d$ gains about 0.3 dB (chapter 05). Other scenes, other sensors and more seeds may say something else.
#
# **Exercise 3.** *Easy, 10 minutes.* Two methods were run on the same three seeds, and their PSNR in dB is given. Is the second one better? Set `effect` to the paired effect on PSNR (`statistics.paired_effects(with_it, without)["PSNR"]`; here `other` takes the place of `with_it`, and `one` that of `without`). Compare its interval with the deviations of the two rows.
# *Expected:* yes, when paired, although the two rows overlap almost entirely.

# %% tags=["exercise-3"]
one = [{"PSNR": v} for v in (28.1, 29.0, 30.1)]
other = [{"PSNR": v} for v in (28.3, 29.2, 30.33)]
effect = None  # the paired effect on PSNR
# your code
for name, row in (("one", one), ("other", other)):
    print(f"{name}: deviation over its seeds {statistics.over_seeds(row)[1]['PSNR']:.2f} dB")
known = isinstance(effect, dict) and "difference" in effect
if known:
    print(
        f"other minus one: {effect['difference']:+.2f} dB, interval {effect['t95'][0]:+.2f} to {effect['t95'][1]:+.2f}"
    )
theirs = statistics.paired_effects(other, one)["PSNR"]["difference"]
print(exercises.verdict(effect["difference"] if known else effect, theirs, name="the difference"))

# %% [markdown]
# ## Traps
#
# The image stays the same (GSA's, unless another is named). Only a choice in the measuring changes.

# %%
gsa, exp_image, args = fused["GSA"], fused["EXP"], (pair.ms, pair.pan, pair.sensor)
low_gsa, other_way = reduced_images["GSA"], "geo" if pair.convention == "benchmark" else "benchmark"
table = metrics.full(gsa, *args, pair.convention, pair.mask)
against_low = metrics.reduced(low_gsa, low.truth, low.ratio, low.peak, low.mask)
inside = metrics.reduced(
    low_gsa, low.truth, low.ratio, low.peak, torch.ones(low.pan.shape[1:], dtype=torch.bool)
)
paper = metrics.d_lambda(
    exp_image, pair.ms, pair.ratio, pair.convention, mask=pair.mask, flavour="paper"
)
mixed = metrics.full(exp_image, *args, other_way, pair.mask)
traps = [
    ("D_lambda_K: on MS's grid / on PAN's", table["D_lambda_K"], table["D_lambda_K_und"]),
    ("D_lambda of EXP: the toolbox's flavour / the paper's", full["EXP"]["D_lambda"], float(paper)),
    (f"HQNR of EXP: its own convention / {other_way}", full["EXP"]["HQNR"], mixed["HQNR"]),
    ("ERGAS: 100 / ratio / 100 x ratio", against_low["ERGAS"], against_low["ERGAS"] * pair.ratio**2),
    ("SAM: degrees / radians", against_low["SAM"], np.deg2rad(against_low["SAM"])),
    ("PSNR: peak of the sensor / of the image", against_low["PSNR"],
     float(metrics.psnr(low_gsa, low.truth, float(low.truth.max())))),
    ("SCC: on a black ground (toolbox) / inside only", against_low["SCC"], inside["SCC"]),
    ("Q: blocks of 32 / of 8", against_low["Q"], float(metrics.q(low_gsa, low.truth, 8))),
]  # fmt: skip
rows = [(what, f"{a:.3f}", f"{b:.3f}") for what, a, b in traps]
display(Markdown(statistics.markdown(("one choice / another", "one", "another"), rows)))

# %% [markdown]
# Differences of this size can decide which of two papers looks better. On the embedded scene $D_\lambda^K$ grows nearly seven times with its grid, and ERGAS sixteen times with a ratio turned over. A number without its definition is no number. `metrics` names each variant, and its tests hold them to closed forms, to loops and to other people's numbers.
#
# More traps, measured elsewhere:
#
# | where | what happens |
# |---|---|
# | sewar's UQI | Two independent noise images get 0.78 instead of 0, a bug in the formula. So its QNR is high for anything. |
# | torchmetrics' QNR | It takes Gaussian windows of 11 pixels. One flat patch of 32 x 32 in DN makes $D_\lambda$ 1e10. |
# | torchmetrics' ERGAS | It was 16 times too large before version 1.4. |
# | torchmetrics' SAM | It is in radians, and one black pixel makes it NaN. |
#
# The last cell of the text keeps all numbers of this chapter, for the report and for chapter 05.

# %%
methods = {}
for name in full:
    row = {"full": full[name]}
    if name in by_wald:
        row["reduced"] = by_wald[name]
    if by_truth:
        row["truth"] = by_truth[name]
    if name in LABELS.values():
        row |= {"seeds": run.seeds, **{f"{scale}_std": spread[scale][name] for scale in row}}
    methods[name] = row
results = {
    "scene": pair.name, "sensor": pair.sensor.name, "convention": pair.convention, "ratio": pair.ratio,
    "bands": pair.bands, "methods": methods, "l_d_effect": effects,
    "provenance": {
        "clip": run.clip.label, "prompt": supervisor.prompts.hrms, "adapt_steps": run.experiment.adapt.steps,
        "backbone": trained.backbone, "recipe": recipe, "steps": trained.steps, "direction": trained.weight("direction"),
        "qnr": trained.weight("qnr"), "device": run.device, "torch": torch.__version__,
    },
}  # fmt: skip
files.write_json(run.folder / "results.json", results)

# %% tags=["nbval-check-output"]
print("rows:", ", ".join(methods))
print("judges:", ", ".join(sorted(methods["EXP"])))

# %% [markdown]
# ## Exercises
#
# Exercises 1 to 3 are above. Write your own lines where a cell says `# your code`. One way to solve each, with its result, is in the [solutions](solutions/04_evaluation_solutions.ipynb).
#
# **Exercise 4.** *Easy, 10 minutes, without a cell.* Buy a score. Set `qnr=1.0` and `direction=0.0` in the parameters, and run the chapter again. *Expected:* QNR and HQNR of the networks rise above those of the truth itself, to about 0.90 and 0.94, while their PSNR against the truth falls by half a decibel.
#
# ## Questions
#
# 1. Why is $D_\lambda$ of EXP zero, and what does that say about $D_\lambda$?
# 2. Why must the effect of $L_d$ be paired by seed?
# 3. A paper reports a QNR of 0.97 and no row for EXP. What do you ask?
# 4. Why does blurring the truth raise its QNR?
# 5. Which of the three judges would you trust on a real scene, and what would you show beside it?
#
# ## Summary
#
# Three judges look at an image, and none of them suffices. A metric is known by what it punishes, and by whether it ranks as the truth does. An effect is known by its size and its interval.
# **Next:** [`05_failure_analysis`](05_failure_analysis.ipynb) breaks things on purpose.
