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
# # 03 Full-resolution training: solutions
#
# The exercises of [chapter 03](../03_full_resolution_training.ipynb) with one way to solve each, and the result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`. The answers to the questions follow.

# %%
import torch

from clippan_lite import batches, checkpoints, experiments, losses, training
from clippan_lite.config import TrainConfig
from clippan_lite.course import exercises

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})

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
    # begin solution
    pairs = ((f_out - f_ms, t_wald - t_ms), (f_out - f_pan, t_wald - t_pan))
    cosines = [(a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)) for a, b in pairs]
    return 1 - sum(cosines).mean() / 2
    # end solution


def library_l_d(f_out, f_ms, f_pan, t_wald, t_ms, t_pan):
    """The library's version, which takes the features by name."""
    guide = losses.Guide(None, {"hrms": t_wald, "ms": t_ms, "pan": t_pan})
    return losses.direction_of_features({"hrms": f_out, "ms": f_ms, "pan": f_pan}, guide)


print(exercises.verdict_of(my_l_d, library_l_d, f_out, f_ms, f_pan, t_wald, t_ms, t_pan))

# %%
said = exercises.verdict_of(my_l_d, library_l_d, f_out, f_ms, f_pan, t_wald, t_ms, t_pan)
assert said == exercises.RIGHT

# %% [markdown]
# The step of exercise 2 is prepared as in the chapter.

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
    # begin solution
    batch = drawn.draw(step=0)["full"]
    fused = network(batch.ms, batch.pan)
    loss = sum(
        weight * losses.TERMS[name].function(fused, batch) for name, weight in weights.items()
    )
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()
    # end solution


network, drawn, optimiser = fresh_start()
loss = exercises.tried(my_step, network, drawn, optimiser, one_step.weights)
mine = loss
if loss is not None and not isinstance(loss, Exception):
    mine = {"the loss": loss, "the change": change_of(network)}
trained, history = training.train(pair, one_step, supervisor, device=run.device, progress=False)
theirs = {"the loss": history[0]["loss"], "the change": change_of(trained)}
print(exercises.verdict(mine, theirs))

# %%
assert exercises.verdict(mine, theirs) == exercises.RIGHT

# %% [markdown]
# **Exercise 3.** *Easy, 5 minutes.* What stops a network from returning EXP? Measure `losses.spectral(x, crops)` and `losses.spatial(x, crops)` of EXP itself, `x = crops.exp`, and put the two numbers into `of_exp`.
# *Expected:* `spectral` is tiny. `spatial` is about twenty times as large.

# %% tags=["exercise-3"]
of_exp = {}  # "spectral" and "spatial", each with its number
# begin solution
with torch.no_grad():
    of_exp["spectral"] = losses.spectral(crops.exp, crops).item()
    of_exp["spatial"] = losses.spatial(crops.exp, crops).item()
# end solution
for name, value in of_exp.items():
    print(f"{name} of EXP: {value:.3f}")
with torch.no_grad():
    terms = {
        "spectral": losses.spectral(crops.exp, crops),
        "spatial": losses.spatial(crops.exp, crops),
    }
print(exercises.verdict(of_exp, terms))

# %%
assert exercises.verdict(of_exp, terms) == exercises.RIGHT
assert of_exp["spatial"] > 5 * of_exp["spectral"]

# %% [markdown]
# **Exercise 4.** *Medium, 10 minutes.* Does a loss get what it asks for? Train 20 steps without $L_d$, with the weight of `qnr` at the paper's 1, and at almost nothing, 0.000001 (at 0 the term is not even computed): `run.config(False, 0).changed(steps=20, qnr=...)`. `training.train(pair, config, device=run.device)` returns a network and its history, a list with one row per step. Put the mean `qnr` of the last five rows into `reached`, under the weight.
# *Expected:* it ends lower where it was asked for. Chapter 04 tells what that is worth.

# %% tags=["exercise-4"]
reached = {}  # weight of qnr -> mean qnr of the last five steps
# begin solution
for weight in (1e-6, 1.0):
    config = run.config(with_l_d=False, seed=0).changed(steps=20, qnr=weight)
    _, history = training.train(pair, config, device=run.device, progress=False)
    reached[weight] = sum(row["qnr"] for row in history[-5:]) / 5
# end solution
for weight, value in reached.items():
    print(f"weight {weight}: qnr {value:.3f} at the end")
by_weight = {float(weight): value for weight, value in reached.items()}
lower = None if len(reached) < 2 else by_weight[max(by_weight)] < by_weight[min(by_weight)]
print(exercises.verdict(lower, True, name="lower with the larger weight"))

# %%
assert exercises.verdict(lower, True) == exercises.RIGHT

# %% [markdown]
# **Exercise 5** has no cell: change two parameters of the chapter and run it again. `spat` ends near 0.01 with `"pannet"`, and with `"pnn"` it stays near 0.30 where $L_d$ takes part.
#
# ## Answers
#
# 1. MS and PAN are given, and no weight of the network changes them. So their features are constants, and they can even be remembered between steps. The output is what the network makes: without its gradient, $L_d$ cannot tell any weight which way to go.
# 2. With a zero last layer the network returns EXP at first, which has the right colours and is a sensible place to begin. But a zero layer passes nothing back to the layers behind it, so their gradient is zero whatever the loss does. The test therefore looks at the image, where every term must arrive.
# 3. `spat` does. EXP agrees with MS almost perfectly, but a mix of its blurred bands is not PAN, and the loss says so in every pixel with detail.
# 4. The terms pull with forces of very different size. At equal weights the strongest one decides alone, and the colours, which `spec` guards with a weak pull, are lost. Weights bring the pulls nearer to each other. Small ones keep the sentence from deciding alone.
# 5. Look at the losses that an image can please without being right: `qnr` and `direction`. Both have a large pull and do not look at single pixels' colours. Then compare with a training without the suspect, with the same seed.
