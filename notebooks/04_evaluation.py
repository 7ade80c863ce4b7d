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
# ## What you will learn
#
# 1. *At full resolution*: metrics without a reference, and why interpolation does well by them,
# 2. *What each metric punishes*: known faults in a perfect image, and what every figure says to them,
# 3. *By Wald's protocol*: metrics with a reference, one scale down,
# 4. *Against the truth*: what only a synthetic scene can tell, and which metrics agree with it,
# 5. *What L_d changed*: paired by seed, with an interval,
# 6. *Traps*: choices that change a figure without changing the image.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | `03_full_resolution_training` | the networks; trained here when missing |
# | statistics | mean, standard deviation, confidence interval |
# | hardware, time | a laptop; 25 minutes of reading, about a minute and a half of computing, half of it after notebook 03; full mode: about 40 minutes |

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
import numpy as np
import torch
from IPython.display import Markdown, display

from clippan_lite import classical, data, experiments, fusion, metrics
from clippan_lite.config import recipe as recipe_of
from clippan_lite.course import figures, imagery, plotting, widgets
from clippan_lite.data import synthetic
from clippan_lite.experiments import scenes, statistics
from clippan_lite.metrics import evaluation, faults
from clippan_lite.runtime import files

run = experiments.begin(globals())
figures.use_style()
pair = run.pair
rgb = pair.sensor.rgb
clip_model = run.clip
supervisor = run.supervisor
LABELS = {False: "network without L_d", True: "network with L_d"}


def without_training(scene):
    """Results that need no training: classical ones, one of them back-projected, and the network on board."""
    images = {name: classical.fuse(name, scene) for name in ("EXP", "GSA", "BDSD")}
    images["BDSD-PC + 3 rounds"] = classical.fuse("BDSD-PC", scene, rounds=3)
    return images | {"network on board": fusion.fuse(scene)}


def best_of(scale):
    """Recipe best, the chain's product: trained on the scene at a scale."""
    return run.network(recipe_of("best", seed=run.seeds[0]), scale)


# %% [markdown]
# ## At full resolution
#
# No truth, so consistency is measured. $D_\lambda$: did the relations between bands change? $D_s$: did the relation
# to PAN change? $QNR = (1 - D_\lambda)(1 - D_s)$. $D_\lambda^K$ (Khan): is the fused image, blurred by the MTF, still
# MS? $HQNR = (1 - D_\lambda^K)(1 - D_s)$. $D_\rho$: do details follow PAN locally? All by the definitions of the field's toolbox (Vivone et al.)
# (`metrics.d_lambda`, `d_s`, `d_lambda_khan`, `d_rho`; all at once: `metrics.full`). Further down: $D_s^R$, what a regression on the fused bands leaves unexplained of PAN; *Q*, local similarity in blocks; *SCC*,
# correlation of edges; *SSIM*, structural similarity (1 is best). QNR and HQNR are best at 1, the distortions $D$ at 0.

# %%
fused = without_training(pair) | {"recipe best": fusion.fuse(pair, best_of("full"))}
full = {name: evaluation.at_full_resolution(image, pair) for name, image in fused.items()}
by_seed = {"full": {}, "reduced": {}, "truth": {}}
for with_l_d, label in LABELS.items():
    images = [fusion.fuse(pair, run.network(run.config(with_l_d, s))) for s in run.seeds]
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
print("EXP's D_lambda is zero by construction:", full["EXP"]["D_lambda"] < 2e-3)

# %% [markdown]
# **What you see.** Look at EXP first. It has no detail at all, and on the embedded scene it tops the QNR column. Leaving MS alone distorts nothing, and its $D_\lambda$ is 0 by construction.
# Now look at the last row. The truth itself gets less QNR than EXP, and twice the $D_\rho$ of GSA: a $D_\rho$ below the truth's own is no merit, for details were injected that the ground does not have.
# $D_\lambda^K$ is tiny wherever an image was back-projected, because back-projection removes what it measures. **What it does not show:** which of the sharp images is true.
#
# What each figure pays for:
#
# | figure | rewards | so it cannot tell |
# |---|---|---|
# | QNR | bands that relate to each other as MS does, and to PAN as MS does one scale down | EXP or a blurred truth from a sharp image |
# | HQNR | agreement with MS, and the same relation to PAN | the same, a little less |
# | $D_\rho$ | PAN's shapes in every band | detail that is there from detail that is too much |
#
# ## What each metric punishes
#
# Take a perfect image and break it on purpose. The perfect image is the synthetic scene's truth; for a real pair it is
# MS itself, with PAN and MS reduced one scale (Wald), in the largest part without nodata. Each picture below has one
# fault.

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
row, column, side = imagery.busiest(judge.pan, 96)
window = (slice(None), slice(row, row + side), slice(column, column + side))
stretch = imagery.limits(judge.truth, rgb)
figures.show(
    imagery.panels(
        {n: imagery.picture(i[window], rgb, stretch) for n, i in faulty.items()},
        columns=5,
        side=1.7,
    ),
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
better = evaluation.LARGER_IS_BETTER
figures.show(
    plotting.heat(
        {n: {m: t[m] for m in SHOWN} for n, t in no_reference.items()}, better, "the truth itself"
    ),
    run.folder,
    "04_no_reference",
    "Metrics without a reference, for the truth and for known faults: red is worse than the truth, blue better.",
)
figures.show(
    plotting.heat(with_reference, better, "the truth itself", {"PSNR": 1, "ERGAS": 2, "SAM": 2}),
    run.folder,
    "04_with_reference",
    "Metrics with a reference for the same images: red is worse than the truth.",
)

# %% [markdown]
# **What you see.** Read the first row first: without a reference not even the truth is perfect (QNR .88, HQNR .93 on the
# embedded scene), for MS and PAN relate differently at different scales. Blue is where a fault *pays*. Blurring the
# truth lifts QNR to .95 and HQNR to .98; noise and a tilted spectrum raise both, too. $D_\rho$ sees blur, noise and
# displacement, and rewards grey, since then every band looks like PAN. $D_s^R$ (`D_s_R`) sees displacement and blur, no
# fault of colour. $D_\lambda^K$ sees haze and grey and not the blur: MS's own blur removes that detail anyway. With a
# reference every fault costs, but each metric has its blind spot: PSNR hardly minds the noise (38 dB) that Q2n does
# (.92), Q and SSIM pass the tilted spectrum (.996) that SAM gives 3.0 degrees. **What it does not show:** how large such
# faults are in practice; their sizes here are our choice (`metrics.faults`), so rows cannot be compared with each other.
#
# With a running kernel, the sliders spoil a window of the truth by degrees; the table says what each metric makes of it. Find a fault that QNR
# rewards and PSNR does not forgive.

# %%
widgets.playground(judge, judge.truth)

# %% [markdown]
# ## By Wald's protocol
#
# The networks are trained again, the same way, on the degraded pair. Truth (the original MS) is used to judge, not to
# train.

# %%
reduced_images = without_training(low) | {"recipe best": fusion.fuse(low, best_of("reduced"))}
by_wald = {name: evaluation.against_truth(image, low) for name, image in reduced_images.items()}
for with_l_d, label in LABELS.items():
    images = [fusion.fuse(low, run.network(run.config(with_l_d, s), "reduced")) for s in run.seeds]
    reduced_images[label] = images[0]
    by_seed["reduced"][label] = [evaluation.against_truth(image, low) for image in images]
    by_wald[label], spread["reduced"][label] = statistics.over_seeds(by_seed["reduced"][label])
display(Markdown(statistics.compared(by_wald, evaluation.REDUCED, spread["reduced"])))


# %%
DRAWN = ("EXP", "BDSD", "BDSD-PC + 3 rounds", LABELS[True])


def error_maps(images, reference):
    """Mean absolute error over the bands as pictures, one scale for all: black is 0, white is large."""
    errors = {
        name: (image - reference).abs().mean(0, keepdim=True) for name, image in images.items()
    }
    white = float(np.quantile(torch.stack(list(errors.values())).numpy(), 0.99))
    print(
        "mean error in DN:",
        {name: round(float(e.mean()), 1) for name, e in errors.items()},
        f"| white: {white:.0f}",
    )
    return {name: imagery.picture(errors[name], [0], ([0.0], [white])) for name in DRAWN}


figures.show(
    imagery.panels(error_maps(reduced_images, low.truth), side=2.6),
    run.folder,
    "04_errors",
    "Mean absolute error over the bands by Wald's protocol, one scale for all: black is 0, white is large.",
    photo=True,
)

# %% [markdown]
# **What you see.** Bright is wrong. EXP errs along every edge, BDSD in whole fields, where its weights inject the wrong amount. Three rounds of back-projection take a third of that error away (38 DN against 56),
# and the network is best along edges (34 DN). The embedded pair is only 128 PAN pixels wide here. One patch fills it, so all seeds see the same, and there is no spread. **What it does not show:** how a method fares at full resolution,
# where edges are as sharp as PAN's.
#
# ## Against the truth
#
# A synthetic scene knows its own HRMS. Nobody else's does.

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
    figures.show(
        imagery.panels(error_maps(fused, pair.truth), side=2.6),
        run.folder,
        "04_true_errors",
        "Mean absolute error over the bands against the true HRMS, one scale for all: black is 0, white is large.",
        photo=True,
    )

# %%
pictures = {
    name: imagery.picture(fused[name], rgb, imagery.limits(pair.ms, rgb))
    for name in (*DRAWN, "network on board")
}
if pair.truth is not None:
    pictures["truth"] = imagery.picture(pair.truth, rgb, imagery.limits(pair.ms, rgb))
figure = imagery.panels(pictures, columns=3, zoom=imagery.busiest(pair.pan, 96), side=2.0)
figures.show(
    figure,
    run.folder,
    "04_methods",
    "Five results at full resolution and the truth with one stretch; below each, the marked window.",
    photo=True,
)

# %% [markdown]
# **What you see.** The networks win every column, by 1.5 dB against BDSD-PC with back-projection, and by 3 dB against BDSD. Most of that they brought with them: training on the scene adds 0.03 dB to the network on board,
# and recipe `best` 0.12 dB. It matters that nothing is lost, because no truth was used. The maps agree. **What it does not show:** a real camera, see chapter 05.
#
# ### Which metrics agree with the truth?
#
# Those that look one scale down or back at MS carry letters: `_K` after Khan, `_R` and `R_` *reprojected* (the fused image brought back to MS's
# scale and compared there), `_und` undecimated, `_align` with the grids aligned first, which changes nothing where they are.
#
# All classical methods with and without back-projection, and on the first scene the networks too, ranked by a metric that needs no reference, and ranked by the truth (ERGAS). Spearman's rank
# correlation says how alike the rankings are: 1 the same, 0 unrelated, -1 reversed. Three more synthetic scenes give an
# idea of the spread.

# %%
judges = [judge]
if pair.truth is not None:
    judges += [
        synthetic.make_scene(scenes.seed_of(scene) + k, 256, pair.sensor, pair.convention)
        for k in (1, 2, 3)
    ]
NETWORKS = ("network on board", "recipe best", *LABELS.values())
rankings = []
for each in judges:
    images = {name: classical.fuse(name, each) for name in classical.METHODS}
    images |= {f"{name} + 3 rounds": classical.fuse(name, each, rounds=3) for name in images}
    if each is pair:
        images |= {name: fused[name] for name in NETWORKS}
    without_truth = {
        n: metrics.full(i, each.ms, each.pan, each.sensor, each.convention, each.mask)
        for n, i in images.items()
    }
    true_rank = {
        n: {"ERGAS": float(metrics.ergas(i, each.truth, each.ratio))} for n, i in images.items()
    }
    rankings.append(statistics.agreement(without_truth, true_rank))
    if each is judge:
        true_ergas = {n: t["ERGAS"] for n, t in true_rank.items()}
        shown = {n: t for n, t in without_truth.items() if true_ergas[n] <= 1.5 * true_ergas["EXP"]}
        print(
            "far worse than EXP, not drawn:",
            ", ".join(n for n in images if n not in shown) or "none",
        )
figures.show(
    plotting.against_truth(
        shown,
        SHOWN,
        true_ergas,
        "ERGAS (truth)",
        {"EXP": "EXP"}
        | dict.fromkeys(NETWORKS, "networks")
        | {name: "back-projected" for name in shown if name.endswith("rounds")},
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
# **What you see.** Each dot is a method, and lower is truly better. The measures of consistency with MS, $D_\lambda^K$ and the reprojected family, rank methods as the truth does to about 0.8 in the mean of four scenes. HQNR follows with 0.46 and QNR with 0.26.
# $D_\rho$ is at -0.05: among sharp images it says nothing about the truth. So rank by $D_\lambda^K$ or one scale down, let $D_\rho$ warn of missing detail, and put EXP and a back-projected classical method beside whatever you show. **What
# it does not show:** real cameras. Synthetic MS was made by the very MTF that $D_\lambda^K$ and back-projection take, which flatters both. Chapter 05 takes other cameras.
#
# ## What L_d changed
#
# The same seed with and without $L_d$, their difference, and Student's 95 % interval over the seeds. An interval that
# holds 0 means: no measurable effect with this many seeds.

# %%
with_it, without = LABELS[True], LABELS[False]
effects = {
    scale: statistics.paired_effects(tables[with_it], tables[without])
    for scale, tables in by_seed.items()
    if tables
}
for view, effect in effects.items():
    print(f"\n{view}:")
    for name, e in effect.items():
        interval = (
            "no spread, no interval"
            if e["t95"] is None
            else f"95 % [{e['t95'][0]:+.4f}, {e['t95'][1]:+.4f}]"
        )
        clear = e["t95"] is not None and (e["t95"][0] > 0 or e["t95"][1] < 0)
        verdict = ("better" if e["better"] else "worse") if clear else "no measurable effect"
        print(f"  {name:>10} {e['difference']:+.4f}  {interval}  n={e['n']}  {verdict}")

# %% [markdown]
# **What you see.** Signs and sizes, not only a winner. These networks begin on board, where they are good already, and $L_d$ changes next to nothing. Against the truth PSNR falls by 0.006 dB. All intervals leave out 0, on the side of worse, so the effect is *clear*, and yet
# far too small to matter. One scale down the seeds do not differ, so there is no interval. From nothing, where there is more to learn, $L_d$ gains 0.3 dB (chapter 05). **What it does not show:** other scenes, other sensors, more seeds.

# %% [markdown]
# ## Traps, in figures
#
# The image stays the same (GSA's, unless another is named); only a choice in the measuring changes.

# %%
gsa, exp_image, args = fused["GSA"], fused["EXP"], (pair.ms, pair.pan, pair.sensor)
low_gsa, other = reduced_images["GSA"], "geo" if pair.convention == "benchmark" else "benchmark"
table = metrics.full(gsa, *args, pair.convention, pair.mask)
against_low = metrics.reduced(low_gsa, low.truth, low.ratio, low.peak, low.mask)
inside = metrics.reduced(
    low_gsa, low.truth, low.ratio, low.peak, torch.ones(low.pan.shape[1:], dtype=torch.bool)
)
paper = metrics.d_lambda(
    exp_image, pair.ms, pair.ratio, pair.convention, mask=pair.mask, flavour="paper"
)
mixed = metrics.full(exp_image, *args, other, pair.mask)
traps = [
    ("D_lambda_K on MS's grid / on PAN's", table["D_lambda_K"], table["D_lambda_K_und"]),
    ("D_lambda of EXP, the toolbox's flavour / the paper's", full["EXP"]["D_lambda"], float(paper)),
    (f"HQNR of EXP, its own convention / {other}", full["EXP"]["HQNR"], mixed["HQNR"]),
    ("ERGAS with 100 / ratio / with 100 x ratio", against_low["ERGAS"], against_low["ERGAS"] * pair.ratio**2),
    ("SAM in degrees / in radians", against_low["SAM"], np.deg2rad(against_low["SAM"])),
    ("PSNR, peak of the sensor / of the image", against_low["PSNR"],
     float(metrics.psnr(low_gsa, low.truth, float(low.truth.max())))),
    ("SCC on a black ground (toolbox) / inside only", against_low["SCC"], inside["SCC"]),
    ("Q in blocks of 32 / of 8", against_low["Q"], float(metrics.q(low_gsa, low.truth, 8))),
]  # fmt: skip
rows = [(what, f"{a:.4f}", f"{b:.4f}") for what, a, b in traps]
display(Markdown(statistics.markdown(("one choice / another", "one", "another"), rows)))

# %% [markdown]
# **What you see.** Sizes that decide between two papers. Nearly seven times in $D_\lambda^K$ for its grid; sixteen times in
# ERGAS for a ratio turned over; 1.5 dB for another peak; .04 in SCC for edges that are not in the image. A figure
# without its definition is no figure: `metrics` names each, and its tests hold them to closed forms, to loops and to
# other people's numbers. More traps, measured elsewhere: sewar's UQI of two independent noise images is .78 instead of 0
# (a formula bug), so its QNR is high for anything; torchmetrics takes QNR in 11-pixel Gaussian windows, where one flat
# 32 x 32 patch in DN makes $D_\lambda$ 1e10; its ERGAS was 16 times too large before 1.4, its SAM is in radians and
# becomes NaN for one black pixel. **What it does not show:** how often these happen in print.

# %%
methods = {}
for name in full:
    row = {"full": full[name], "reduced": by_wald[name]}
    if by_truth:
        row["truth"] = by_truth[name]
    if name in LABELS.values():
        row |= {"seeds": run.seeds, **{f"{scale}_std": spread[scale][name] for scale in row}}
    methods[name] = row
trained = run.config(with_l_d=True, seed=run.seeds[0])
results = {
    "scene": pair.name, "sensor": pair.sensor.name, "convention": pair.convention, "ratio": pair.ratio,
    "bands": pair.bands, "methods": methods, "l_d_effect": effects,
    "provenance": {
        "clip": clip_model.label, "prompt": supervisor.prompts.hrms, "adapt_steps": run.experiment.adapt.steps,
        "backbone": trained.backbone, "recipe": recipe, "steps": trained.steps, "direction": trained.weight("direction"),
        "qnr": trained.weight("qnr"), "device": run.device, "torch": torch.__version__,
    },
}  # fmt: skip
files.write_json(run.folder / "results.json", results)

# %% tags=["nbval-check-output"]
print("rows:", list(methods))
print("scales:", sorted(k for k in methods["EXP"]))

# %% [markdown]
# ## Exercises
#
# Write your own lines where a cell says `# your code`. One way to solve each that has a cell, run with its result, is in
# `solutions/04_evaluation_solutions.ipynb`.
#
# **Exercise 1.** Blur the truth more and more (`faults.graded(judge.truth, blur=...)`, 0 to 1.5 PAN pixels) and watch its QNR (`evaluation.at_full_resolution`). *Expected:* it rises up to
# one pixel (.88 to .95) and stays above the truth's: a fault that pays.

# %% tags=["exercise-1"]
by_blur = {}
# your code
print("QNR of the truth, by its blur:", {blur: round(q, 3) for blur, q in by_blur.items()})

# %% [markdown]
# **Exercise 2.** Two methods on three seeds, PSNR in dB, are given. Is the second one better? Give the 95 % interval of the mean difference, paired by seed (`statistics.paired_effects`), and judge
# by the spread of the two rows alone. *Expected:* paired, yes ([+0.17, +0.25]); the rows, a deviation of 1 dB each, overlap all over.

# %% tags=["exercise-2"]
one = [{"PSNR": v} for v in (28.1, 29.0, 30.1)]
other = [{"PSNR": v} for v in (28.3, 29.2, 30.33)]
effect = None
# your code
print(
    "difference:",
    effect,
    "| deviation of each:",
    statistics.over_seeds(one)[1],
    statistics.over_seeds(other)[1],
)

# %% [markdown]
# **Exercise 3.** Set `qnr=1.0` and `direction=0.0` and run again. *Expected:* the networks' QNR and HQNR rise to about 0.94 and 0.97, above the truth's own, while their PSNR against the truth falls by 1.3 dB: a score
# can be bought.
#
# ## Questions
#
# 1. Why is $D_\lambda$ of EXP zero, and what does that say about $D_\lambda$?
# 2. Why must L_d's effect be paired by seed?
# 3. A paper reports a QNR of .97 and no EXP row. What do you ask?
# 4. Why does blurring the truth raise its QNR?
# 5. Which of the three views would you trust on a scene whose MS lies two pixels off PAN?
#
# ## Summary
#
# Three views of quality, none of which suffices alone, what each metric sees and misses, and a measured effect of the
# sentence. **Next:**
# `05_failure_analysis`.
