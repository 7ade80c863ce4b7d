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
# # 07 How a study works
#
# **A loss made the image 0.2 dB better. How do I find out whether that was the loss, or luck?**
#
# Chapter 03 trained with and without the language loss, and chapter 05 broke things. Both mostly showed one training each. A *study* asks the same question in a way that can fail: one thing is changed, a
# [control](GLOSSARY.md#control) keeps everything except that thing, and several [seeds](GLOSSARY.md#seed) tell how much is chance. Here you build a small one; chapter 08 reads the large ones.
#
# ## What you will learn
#
# 1. *What chance looks like*: two trainings that differ in nothing but the seed,
# 2. *One question*: arms, a control, seeds,
# 3. *Paired differences*: why the same seed is used in both arms,
# 4. *An interval*: what two, three and five seeds can tell,
# 5. *A study of your own*: a file of a dozen lines, and `clippan-lite sweep`,
# 6. *First experiments*: where to begin.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | [chapter 03](03_full_resolution_training.ipynb), [chapter 04](04_evaluation.ipynb) | the losses, and what the metrics reward |
# | hardware, time | a laptop; 15 minutes of reading, a minute and a quarter of computing; full mode: `clippan-lite sweep ... --full`, hours on a laptop or a GPU |
#
# ```mermaid
# flowchart LR
#   Q[one question] --> A[arms: without, with, control]
#   A --> R[one training per arm, seed and scene]
#   R --> D[differences at the same seed]
#   D --> I[mean and interval]
#   I --> V{five seeds or more, and a difference or equality shown?} -- yes --> Y[a verdict, for these scenes]
#   V -- no --> N[no verdict: more seeds]
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
device = "auto"  # "auto", "cpu" or "cuda"
place_steps = 60  # Stage II steps of the networks that fuse the real place
mini_steps = 20  # Stage II steps of the small study

# %%
import contextlib

from IPython.display import Markdown, display

from clippan_lite import cli, experiments, training
from clippan_lite.course import exercises, figures, imagery, plotting
from clippan_lite.experiments import Experiment, claims, measurement, statistics, tables

run = experiments.begin(globals())

# %% [markdown]
# ## What chance looks like
#
# Fields and a lake at the edge of the mountains, by Landsat-7. A small network is trained on this place three times from nothing: with seed 0, with seed 1, and with seed 0 and the language loss [$L_d$](GLOSSARY.md#l_d) as well. A seed fixes the first weights and the order of the patches, and nothing else.

# %%
figures.use_style()
place = cl.example("landsat7")
guided = cl.recipe("scratch", patch=64, steps=place_steps)
plain = guided.changed(direction=0.0)
supervisor, _ = cl.adapt(
    place, config=cl.adapt_recipe("course", steps=10, examples="BDSD"), device=run.device
)
trained = {
    "seed 0": training.train(place, plain, device=run.device)[0],
    "seed 1": training.train(place, plain.changed(seed=1), device=run.device)[0],
    "seed 0, with L_d": training.train(place, guided, supervisor, device=run.device)[0],
}
fused = {name: cl.fuse(place, network) for name, network in trained.items()}

# %%
rgb = place.sensor.rgb
bounds = imagery.limits(place.ms, rgb)
apart = {
    name: (image - fused["seed 0"]).abs().mean(0, keepdim=True) for name, image in fused.items()
}
stretch = imagery.limits(apart["seed 1"], [0])
pictures = {name: imagery.picture(image, rgb, bounds) for name, image in fused.items()}
pictures["the seed's doing"] = imagery.picture(apart["seed 1"], [0], stretch)
pictures["L_d's doing"] = imagery.picture(apart["seed 0, with L_d"], [0], stretch)
rows, columns = slice(180, 340), slice(240, 400)
figures.show(
    imagery.panels({k: v[rows, columns] for k, v in pictures.items()}, columns=5, side=2.3),
    run.folder,
    "07_chance",
    "Fields and a lake by networks of two seeds and by one with L_d, and what the seed and L_d each changed against seed 0, at the same brightness.",
    photo=True,
)
for name, title in (("seed 1", "another seed"), ("seed 0, with L_d", "L_d")):
    print(f"{title} changes a pixel by {apart[name].mean():.2f} digital numbers on average")

# %% [markdown]
# **What you see.** By eye, the three images are nearly one. The two grey pictures have the same scale: bright is where an image differs from seed 0's. Another seed changes more than $L_d$ does, and mostly at edges and in noise. So never compare a training with $L_d$ at one seed with a training without it at another: the seed alone changes more.
# **What it does not show:** which image is better. Nobody knows the truth of this place.
#
# ## One question
#
# *Does $L_d$ bring the fused image nearer to the truth?* The study has three *arms* that differ in one thing each:
#
# | arm | loss | it asks |
# |---|---|---|
# | `without` | no $L_d$ | what there is to beat |
# | `with L_d` | $L_d$, a trained CLIP, [Wald's sentence](GLOSSARY.md#walds-protocol) | the question |
# | `random CLIP` | $L_d$, a CLIP with random weights, adapted alike | the control: the same formula, with a CLIP that knows nothing |
#
# Five seeds make fifteen trainings of a few steps on a small synthetic scene. `measurement.measure` does one of them: it adapts, trains, fuses and judges. `clippan-lite sweep` calls the same function.

# %%
ARMS = {
    "without": {"direction": 0.0},
    "with L_d": {"direction": 0.3},
    "random CLIP": {"direction": 0.3, "clip_random": True},
}
SEEDS = (0, 1, 2, 3, 4)
fixed = {"scene": "synthetic:1", "size": 256, "recipe": "scratch", "steps": mini_steps,
         "adapt_steps": 10, "scale": "truth", "device": run.device}  # fmt: skip
measured = []
for number in SEEDS:
    for arm, change in ARMS.items():
        with contextlib.redirect_stdout(None):  # each would tell which CLIP it loads
            figures_of = measurement.measure(Experiment.of({**fixed, **change, "seed": number}))
        measured.append({"arm": arm, "scene": "synthetic:1", "seed": number, **figures_of})
print(f"{len(measured)} trainings, {sum(row['minutes'] for row in measured):.1f} minutes")

# %% [markdown]
# ## Paired differences
#
# The same seed gives the same first weights and the same patches in every arm. So the arms are compared seed by seed, and what the seed does to both drops out.

# %%
psnr = {(row["arm"], row["seed"]): row["PSNR"] for row in measured}
rows = []
for number in SEEDS:
    values = [psnr[arm, number] for arm in ARMS]
    changes = [value - values[0] for value in values[1:]]
    rows.append((str(number), *(f"{v:.2f}" for v in values), *(f"{c:+.2f}" for c in changes)))
head = ("seed", *(f"{arm}, dB" for arm in ARMS), "L_d: change", "random CLIP: change")
display(Markdown(statistics.markdown(head, rows)))

# %% [markdown]
# Look at the last two columns. Seeds 0 and 1 both say that $L_d$ helps. Whoever stops there has "a gain, repeated", and publishes it. Seed 2 says the opposite, and by more. The control moves up and down as well, although its CLIP knows nothing.
#
# ## An interval
#
# The mean of the differences is one number. A [confidence interval](GLOSSARY.md#confidence-interval) says how far off it may be. For $n$ differences with mean $m$ and standard deviation $s$ it is $m \pm t_n\, s / \sqrt{n}$. Student's
# factor $t_n$ pays for the fact that $s$ itself is a guess: it is 12.7 for two seeds, 4.3 for three and 2.8 for five. Here is the same question after two, three and five seeds.

# %%
facts = {
    "axes": {"scene": ["synthetic:1"], "seed": list(SEEDS)},
    "against": {"with L_d": "without", "random CLIP": "without"},
}
cells = []
for count in (2, 3, 5):
    first = [row for row in measured if row["seed"] < count]
    for cell in tables.effects(first, facts):
        if cell["metric"] == "PSNR":
            cells.append({**cell, "seeds": f"{count} seeds"})
figure = plotting.effects(cells, "change of PSNR, dB", "right is better", by="seeds")
caption = "What L_d with a trained and with a random CLIP changes in PSNR after two, three and five seeds: mean and 95 % interval."
figures.show(figure, run.folder, "07_interval", caption)
for cell in cells:
    low, high = cell["t95"]
    print(
        f"{cell['arm']:>11}, {cell['seeds']}: {cell['difference']:+.2f} dB [{low:+.2f}, {high:+.2f}]"
    )

# %% [markdown]
# **What you see.** Look at $L_d$ first. With two seeds its mean is above 0, and the interval is far wider than the mean. With three the mean has changed its sign. With five, the intervals of both arms hold 0, and each holds the mean of the other: neither $L_d$ nor the random CLIP has been shown to do anything here. That is no proof of "no effect". The interval of $L_d$ leaves room for an effect of 0.2 dB.
# **What it does not show:** longer trainings, other weights and other scenes. The study speaks of one small scene, a few steps and one weight, and of nothing more.
#
# ## A study of your own
#
# A study is a file. `[fixed]` holds what all runs share, `[quick.grid]` the scenes and seeds to repeat over, and each `[arms.NAME]` one arm. `against` names the arm that it is compared with. `[quick...]` counts in the short form and `[full...]` in the long one. The file takes most [parameters of the chapters](README.md), and settings that only studies have, such as `fault` and `swap`; our own files show them.

# %%
MINE = """
title = "Does a louder L_d do more?"
question = "What does L_d change at two weights?"

[fixed]
recipe = "scratch"
size = 256
adapt_steps = 5
adapt_examples = "BDSD"
scale = "truth"

[quick.fixed]
steps = 8

[quick.grid]
scene = ["synthetic:1"]
seed = [0, 1]

[full.fixed]
steps = 80

[full.grid]
scene = ["synthetic:1", "landsat7"]
seed = [0, 1, 2, 3, 4]

[arms.without]
direction = 0.0

[arms.quiet]
direction = 0.03
against = "without"

[arms.loud]
direction = 1.0
against = "without"
"""
path = run.folder / "mine.toml"
path.write_text(MINE.lstrip(), encoding="utf-8")
print("$ clippan-lite sweep mine.toml --direct")
code = cli.main(
    ["sweep", str(path), "--direct", "--out", str(run.folder / "sweep"), "--device", run.device]
)
assert code == 0

# %% [markdown]
# Six trainings were measured, kept in a table, and compared. Some intervals leave out 0. Do not trust them here: with two seeds, an interval is narrow or wide by luck, as the two arms show. `clippan-lite sweep mine.toml` without `--direct` measures each in a notebook of its own, which is slower and leaves pictures of what went wrong. `--full` takes the long form, and `--workers 2` two processes. `--minutes 60` stops after an hour; the same command goes on later. How all of that works is on [the page of the studies](studies/README.md).
#
# Four habits keep a study honest. Write the question and the arms down *before* the first run. Give it a control. Report all arms and scenes, not only the best ones. And draw no verdict from fewer than five seeds.
#
# ## First experiments
#
# Each needs a file like the one above, and an evening on a laptop.
#
# | question | arms | control | next check |
# |---|---|---|---|
# | does L_QNR lead away from the truth? | `qnr` 0, 0.03, 1 | the same without `direction` | an unseen sensor (`test_scene`) |
# | is it the sentence? | `prompt` wald, nonsense, wrong | `swap = "wrong"` | another metric family: D_rho beside PSNR |
# | does a teacher help? | `ship` 0, 1 | a teacher with another seed | more seeds, a real scene |
# | which backbone bears noise? | `fault` "", "noise:0.1" | `method = "EXP"` | another fault |
# | how long must Stage I be? | `adapt_steps` 0, 10, 40, 160 | `clip_random = true` | a larger CLIP |

# %% [markdown]
# ## Exercises
#
# Write your own lines where a cell says `# your code`. One way to solve each, run with its result, is in the [solutions](solutions/07_how_a_study_works_solutions.ipynb). The numbers are from a recorded study of chapter 08: PSNR with (`unsup +L_d`) and without $L_d$ (`unsup`), five seeds each.
#
# **Exercise 1.** *Easy, 10 minutes.* Write the interval yourself. For the differences at the same seed on `wv2_urban`, compute the mean, and the lower and upper end of the 95 % interval, from the formula above (`scipy.stats.t.ppf(0.975, n - 1)` is $t_n$, and $s$ is NumPy's `std(ddof=1)`). Put the three into `mine`. *Expected:* +0.23 dB, 0.19 to 0.28.

# %% tags=["exercise-1"]
rows, facts = tables.load(claims.results_folder() / "A_losses.csv")
psnr = {(row["arm"], row["scene"], row["seed"]): row["PSNR"] for row in rows}
mine = {}  # "mean", "low" and "high"
# your code
cells = tables.effects(rows, facts, by=("scene",))
wanted = ("unsup +L_d", "wv2_urban", "PSNR")
(cell,) = [cell for cell in cells if (cell["arm"], cell["scene"], cell["metric"]) == wanted]
low, high = cell["t95"]
print(exercises.verdict(mine, {"mean": cell["difference"], "low": low, "high": high}))

# %% [markdown]
# **Exercise 2.** *Medium, 10 minutes.* Had the seeds not been paired, how wide would the interval be? Take the two lists on `wv2_urban` as independent: half the width is $t\, \sqrt{s_1^2 / n + s_2^2 / n}$, with $t$ for $2n - 2 = 8$ degrees of freedom, and $s_1$, $s_2$ the standard deviations of the two lists. Put it into `half_width`. *Expected:* 0.057 dB instead of 0.049. Pairing narrows the interval only a little here, because two runs of one seed share little. It pays where scenes or patches differ more than methods.

# %% tags=["exercise-2"]
half_width = None
# your code
print(exercises.verdict(half_width, 0.0569, 0.01, "half the width"))

# %% [markdown]
# **Exercise 3.** *Medium, 10 minutes.* On `synthetic:1` the same differences scatter more. How many seeds would it take until half the width of the interval is 0.1 dB or less, if the standard deviation stays as it is? Put the number into `needed`. *Expected:* 13.

# %% tags=["exercise-3"]
needed = None
# your code
print(exercises.verdict(needed, 13, name="the number of seeds"))

# %% [markdown]
# ## Questions
#
# 1. What does a seed fix, and what not?
# 2. Why does the study have an arm with a random CLIP?
# 3. Two seeds give +0.13 and +0.09 dB. Why is that no finding?
# 4. An interval of five seeds holds 0. What may you say, and what not?
# 5. Why should arms be written down before the first run?
#
# ## Summary
#
# One question, one change, a control, five seeds or more, paired differences and an interval: that is a study. Here it shows nothing clear, and says so. The commands are on [the page of the library](../clippan_lite/README.md).
#
# **Next:** [chapter 08](08_is_it_the_language.ipynb), where the same question is asked with the recorded studies.
