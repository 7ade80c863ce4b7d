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
# # 02 CLIP adaptation (Stage I)
#
# CLIP compares images with sentences, but it has only ever seen three-channel photographs. Stage I teaches it, with
# CLIP itself frozen, to tell MS, PAN and HRMS apart and to agree with three sentences about them.
#
# ## What you will learn
#
# 1. *The supervisor*: stems and adapters around a frozen CLIP,
# 2. *The words*: what this CLIP sees in a faulty image before anything is adapted,
# 3. *The sentences*: what each image type is called,
# 4. *Training*: the losses and their floors,
# 5. *What it knows*: figures on held-out ground beside two controls,
# 6. *What the sentence asks for*: the gradient of the language loss, and how it changes with the sentence.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | `01_data_preparation` | pair, EXP, patches |
# | contrastive learning | the idea: pull matching pairs together, push others apart |
# | hardware, time | a laptop; 15 minutes of reading, about a minute of computing; full mode (`adapt_steps=80`, `control_seeds="0,1,2"`): three minutes; a GPU for ViT-B/32 |

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
control_seeds = "0"  # seeds of Stage I in the table of controls, commas between: 15 s each
device = "auto"  # "auto", "cpu" or "cuda"

# %%
from dataclasses import replace

import torch

from clippan_lite import adaptation, classical, experiments, losses, prompts
from clippan_lite.adapter import Supervisor
from clippan_lite.course import figures, plotting, widgets
from clippan_lite.course.listing import listing
from clippan_lite.experiments import probes, statistics
from clippan_lite.metrics import faults

run = experiments.begin(globals())
figures.use_style()
pair = run.pair

# %% [markdown]
# ## The supervisor
#
# A *stem* turns C bands into the three channels CLIP takes; MS and HRMS have one each, PAN is repeated three times. It starts as a plain choice of red, green and blue.
# *Adapters* bend CLIP's output features a little: `ms` and `pan` those of one image or sentence; *IFA* (`image_fusion`) and *TFA* (`text_fusion`) join MS's and PAN's
# to what HRMS's should be. HRMS has a stem and no adapter. Only these parts are trained. Below, $f$ are features of images, $t$ of sentences (`Supervisor.encode`, `encode_texts`).

# %%
clip_model = run.clip
sentences = prompts.get(prompt)
supervisor = Supervisor(clip_model, sentences, pair.bands, pair.sensor.rgb)
frozen = sum(p.numel() for p in clip_model.model.parameters())
for name, part in supervisor.named_children():
    print(f"{name:>15}: {sum(p.numel() for p in part.parameters()):7,} parameters")
print(f"    frozen CLIP: {frozen:7,} parameters")

# %% [markdown]
# ## The words
#
# Before anything is adapted: known faults are put into an image, and CLIP chooses between two sentences for each of 48
# crops. A number is the share of crops for which it takes the *second* one. All crops are of the right part of the
# scene, behind a gap as wide as the MTF filter reaches, which Stage I will not see. For a scene without truth, the classical BDSD result stands for the faultless image.

# %%
unadapted = probes.unadapted(pair, clip_model, sentences, run.device)
target = pair.truth if pair.truth is not None else classical.fuse("BDSD", pair)
faulty = {"untouched": target} | {
    name: faults.spoil(name, target)
    for name in ("blurred", "oversharpened", "noisy", "hazy", "greyed")
}
twice = {f"{name}, more": faults.spoil(name, faulty[name]) for name in list(faulty)[1:]}
answers = {
    name: probes.word_answers(
        unadapted, probes.held_out_views(pair, clip_model.input_size, image, device=run.device)
    )
    for name, image in {**faulty, **twice}.items()
}
figure = plotting.heat(answers, (), "untouched", dict.fromkeys(answers["untouched"], 2))
caption = "Share of crops that the un-adapted CLIP calls blurred, noisy and so on, by the fault put into them."
figures.show(figure, run.folder, "02_words", caption)

# %% [markdown]
# **What you see.** Each row is one fault, each column one question; colours run from grey to the largest number of a
# column. The untouched truth is called faultless in nearly every crop. On the embedded scene the faults themselves are slight
# and mostly pass (blur .06, oversharpening .33), the same fault twice is mostly named: blurred .79, oversharpened .67, noisy
# .56. Slight haze and greying pass even twice. A word thus has a threshold, and below it the supervisor is blind. **What it does
# not show:** real images, where thresholds shift (the model card has the figures).
#
# ## The sentences

# %%
for kind in losses.KINDS:
    print(f"{kind:>5}: {getattr(sentences, kind)}")
cosines = torch.cat([clip_model.encode_text([getattr(sentences, kind)]) for kind in losses.KINDS])
print("cosines between them, before adaptation:")
print((cosines @ cosines.T).cpu().numpy().round(2))

# %% [markdown]
# The direction loss of Stage II follows the *differences* between these features. Two sentences that CLIP takes for
# the same (a cosine near 1) would leave a direction made of rounding.
#
# ## Training
#
# $L_{s1} = L_{inter} + 0.3\,L_{intra} + L_{fusion} + 10\,L_{direction}$ (`losses.ADAPT_TERMS`; the paper has the first three, each with weight 1):
#
# * `inter` (InterMCL, `losses.inter_mcl`): each image type against the sentences, **by type**: cross entropy of $\cos(f, t) / 0.07$, both ways. Targets by batch index, as in
#   ordinary CLIP training, would make it $\ln B$ for any batch of $B$ images, since all images of a type share one sentence;
# * `intra` (IntraMCL, `losses.intra_mcl`): MS, PAN and HRMS of one place together, other places apart: cross entropy of $\cos(f, f') / 0.07$;
# * `fusion` (`losses.fusion_aware`): $|TFA(t_{MS}, t_{PAN}) - t_{Wald}|_1 + |IFA(f_{MS}, f_{PAN}) - f_{HRMS}|_1$, each divided by $\sqrt{d}$, the root of a feature's length;
# * `direction` (`losses.direction_of_features`; ours, not in the paper): $L_d$ of the HRMS examples, so that a true fusion moves where the sentences
#   point. Its formula is in notebook 03. `drift`, how far the adapted sentences went from CLIP's own, is only watched.
#
# There is no true HRMS at this scale. Three classical methods make the examples, a random one for each crop, so that no
# single method's look is learned (the paper takes BDSD alone: `adapt_recipe="paper"`).
#
# This is the whole loop, as it is installed (`adaptation.adapt`):

# %%
listing(adaptation.adapt, first="for step in steps:", last="return")

# %% [markdown]
# Line by line:
#
# | line | what happens |
# |---|---|
# | `stage_one_views` | crops of the same places as MS, PAN and HRMS |
# | `supervisor.encode` | each goes through its stem, the frozen CLIP and its adapter |
# | `losses.Guide.of` | the three sentences go through CLIP and the text adapters |
# | `term.function` | the five terms, from the features and the sentences alone |
# | `losses.weighted_sum` | their sum with the weights of the recipe |
# | `loss.backward`, `optimiser.step` | stems and adapters learn; CLIP has no trainable weights |
# | `read_row`, `steps.finish` | the terms become a row of the history; progress bar and Ctrl-C |

# %%
supervisor, history = run.adapt()
print("kept", run.supervisor_path.name)
figure = plotting.curves({"Stage I": history}, ["inter", "intra", "fusion", "direction", "drift"])
figures.show(
    figure,
    run.folder,
    "02_losses",
    "Stage I's losses, floors subtracted; drift is watched, not trained.",
)

# %% tags=["nbval-check-output"]
print("loss fell:", history[-1]["loss"] < history[0]["loss"])
print("fusion fell:", history[-1]["fusion"] < history[0]["fusion"])
print("trained parts:", sorted(name for name, _ in supervisor.named_children()))
print("CLIP still frozen:", not any(p.requires_grad for p in clip_model.model.parameters()))

# %% [markdown]
# The floors ($\ln B$ of the text-to-image half of `inter`, $\ln 2$ of `intra`) are subtracted, so 0 means perfect.
#
# **What you see.** `inter` begins at .2 and ends at .07, for the CLIP knew the types. `fusion` falls from 2.4 to .5 and `direction` from .45 to .1; `intra` only from 6.4 to 4.4: it would
# have to tell the 12 places of a batch apart. `drift` starts at .38, for an adapter's output is half CLIP's own feature and half the adapter's, which is untrained, falls to .24 while that one settles, and rises again
# as the sentences of MS and PAN leave CLIP's own features. **What it does not show:** anything about ground that was not trained on.
#
# ## What it knows
#
# Four figures on the right part of the scene, which was not trained on, with true HRMS where the truth is known (else
# BDSD's result). Beside them the same for an **un-adapted** CLIP and for one with **random weights**, adapted alike: a
# figure that a random CLIP reaches proves nothing about language.

# %%
views = probes.held_out_views(pair, clip_model.input_size, target, device=run.device)
table = probes.controls(
    pair,
    clip_model,
    sentences,
    run.experiment.adapt,
    run.control_seeds,
    views,
    run.device,
    {run.experiment.adapt.seed: supervisor},
)
names = list(table["adapted"][0])
print(f"{'seeds ' + str(control_seeds):>24}" + "".join(f"{name:>18}" for name in names))
for row, tables in table.items():
    mean, spread = statistics.over_seeds(tables)
    print(f"{row:>24}" + "".join(f"{mean[n]:18.2f}" for n in names))
    if spread[names[0]] is not None:
        print(f"{'standard deviation':>24}" + "".join(f"{spread[n]:18.2f}" for n in names))

# %% [markdown]
# **What you see.** Read each column downwards; chance is 0.33 for the type and 0.02 for the place. On the embedded scene
# the *un-adapted* CLIP names all types and has a direction cosine of .80 already, since it was trained on such words;
# Stage I takes it to .91 and makes the fusion adapter (cos .88; before Stage I that column means nothing). And a CLIP with
# *random* weights, adapted alike, gets 1.00 of the types, .99 and .96: as good or better but for the sense of place. Such figures measure what
# stems and adapters can memorise; only un-adapted do the two differ (.80 here, .00 for random weights: notebook 05). With five seeds, on four real scenes and with 80 steps the figures are
# alike but for the sense of place, which differs from scene to scene (`LOG.md`). **What it does not show:** whether
# following the direction improves a fused image.
#
# ### A picture of the feature space

# %%
maps = {
    title: probes.feature_map(model, views)
    for title, model in (("before adaptation", unadapted), ("after adaptation", supervisor))
}
figure = plotting.scatter_types(maps, losses.KINDS)
figures.show(
    figure,
    run.folder,
    "02_features",
    "CLIP's features of MS, PAN and HRMS crops (dots) and of the sentences (stars), first two principal axes.",
)

# %% [markdown]
# **What you see.** Dots are held-out crops, stars the sentences. The arrows lead from the MS and the PAN sentence to
# the HRMS sentence: the directions that Stage II will ask the fused image to follow. Before adaptation (cosine .80) one half of the HRMS dots lies at its sentence, the other half
# nearer to PAN; after it (.91) the dots form three clouds, and both arrows lead from a cloud's side to HRMS's. **What it does not show:** the
# other 126 axes; points far apart in them can lie together here.
#
# ## What the sentence asks for
#
# $L_d$'s gradient at an image says how Stage II will be asked to change it. Here it is taken close to EXP, 2 % of the way to HRMS, where
# a fusion begins, and the sentence for HRMS is swapped *after* Stage I. The cosine says how alike two sentences pull.

# %%
near_exp = {
    **views,
    "hrms": views["ms"] + 0.02 * (views["hrms"] - views["ms"]),
}  # where details begin
swaps = {
    name: supervisor.with_prompts(replace(sentences, hrms=prompts.get(name).hrms))
    for name in prompts.PROMPTS
}
pulls = {name: probes.gradient_change(supervisor, other, near_exp) for name, other in swaps.items()}
for name, change in pulls.items():
    print(
        f"{name:>10}: cosine {change['cosine']:+.2f}, {change['norm ratio']:.2f} times as strong   {swaps[name].prompts.hrms}"
    )
figure = plotting.bars(
    {n: c["cosine"] for n, c in pulls.items()},
    label="cosine of L_d's gradients",
    better="1: same pull",
)
caption = "How alike the language loss pulls at EXP with other sentences than the one CLIP was adapted to."
figures.show(figure, run.folder, "02_pull", caption)

# %% [markdown]
# **What you see.** On the embedded scene Wald, Khan and the short form pull alike (cosines of 1.00): this CLIP knows a
# protocol as a name of "sharp, clean, in natural colours" and no more, and says so, for plain quality words pull nearly
# the same way (.89). Content (.43) and nonsense (.09) pull elsewhere, and half as hard. "A blurred image with false
# colours" keeps half of the direction (.48): away from MS and PAN is a way of its own. **What it does not show:** a CLIP
# that read more than our captions; and what the pull does to the result, which is notebook 05's question.
#
# With a running kernel: type a sentence of your own, and see how like it each image type is and what $L_d$ says of three fused images.

# %%
candidates = {
    "HRMS": target,
    "GSA": classical.fuse("GSA", pair),
    "EXP": classical.fuse("EXP", pair),
}
widgets.sentences(pair, supervisor, candidates)

# %% [markdown]
# **What to look for.** A smaller $L_d$ means that the supervisor likes the image better. Does your sentence put HRMS before EXP? Does nonsense?
#
# ## Exercises
#
# Write your own lines where a cell says `# your code`. One way to solve each that has a cell, run with its result, is in
# `solutions/02_clip_adaptation_solutions.ipynb`.
#
# **Exercise 1.** Ask the un-adapted CLIP with the sentences of `prompts.get("nonsense")`: `probes.unadapted`, then `probes.figures`. *Expected:* it names a third of
# the types, which is chance, and its direction cosine is about -.05; Wald's sentences give .80.

# %% tags=["exercise-1"]
nonsense = None
# your code
if nonsense is not None:
    print({name: round(value, 2) for name, value in nonsense.items()})

# %% [markdown]
# **Exercise 2.** $L_d$ is 1 minus the direction cosine: does the way from MS and PAN to the fused image point where the sentences point? (Notebook 03 has the formula.) What does $L_d$ say of EXP, which has no detail? Put EXP's crops in the place of HRMS (`{**views, "hrms": views["ms"]}`) and compare the direction cosine
# with the true one. *Expected:* lower, .43 against .91: that gap is what $L_d$ can teach a network.

# %% tags=["exercise-2"]
of_exp = of_truth = None
# your code
print("direction cosine of EXP:", of_exp, "| of true HRMS:", of_truth)

# %% [markdown]
# **Exercise 3.** Set `adapt_steps=5` and run again. *Expected:* cos(IFA, HRMS) drops from .88 to about .28, while the type accuracy stays at 1: our CLIP knew the types before.
#
# **Exercise 4.** Set `adapt_direction=0` and `adapt_examples="BDSD"`, nearer to the paper's Stage I. *Expected:* the direction cosine of true HRMS is about .65, less than before Stage I.
#
# ## Questions
#
# 1. Why does IntraMCL need crops of several places in a batch?
# 2. What would a final ReLU on the fusion adapter do to the cosine with signed CLIP features?
# 3. If a random-weight CLIP reaches the same accuracy, what did the text encoder contribute?
# 4. Why is the text feature of HRMS not adapted, while those of MS and PAN are?
# 5. Why must the crops that judge Stage I lie behind a gap?
#
# ## Summary
#
# A frozen CLIP, two stems and six adapters now name MS, PAN and HRMS. **Next:** `03_full_resolution_training`.
