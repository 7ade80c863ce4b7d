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
# The exercises of `02_clip_adaptation` with one way to solve each, and the expected result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`.

# %%
from clippan_lite import experiments, prompts
from clippan_lite.experiments import probes

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})
pair = run.pair
clip_model = run.clip
supervisor = run.supervisor
views = probes.held_out_views(pair, clip_model.input_size, pair.truth, device=run.device)

# %% [markdown]
# **Exercise 1.** Ask the un-adapted CLIP with the sentences of `prompts.get("nonsense")`: `probes.unadapted`, then `probes.figures`. *Expected:* it names a third of
# the types, which is chance, and its direction cosine is about -.05; Wald's sentences give .80.

# %% tags=["exercise-1"]
nonsense = None
# begin solution
nonsense = probes.figures(
    probes.unadapted(pair, clip_model, prompts.get("nonsense"), run.device), views
)
# end solution
if nonsense is not None:
    print({name: round(value, 2) for name, value in nonsense.items()})

# %%
assert nonsense["type accuracy"] < 0.5 and abs(nonsense["direction cosine"]) < 0.2

# %% [markdown]
# **Exercise 2.** $L_d$ is 1 minus the direction cosine: does the way from MS and PAN to the fused image point where the sentences point? (Notebook 03 has the formula.) What does $L_d$ say of EXP, which has no detail? Put EXP's crops in the place of HRMS (`{**views, "hrms": views["ms"]}`) and compare the direction cosine
# with the true one. *Expected:* lower: that gap is what $L_d$ can teach a network.

# %% tags=["exercise-2"]
of_exp = of_truth = None
# begin solution
of_truth = probes.figures(supervisor, views)["direction cosine"]
of_exp = probes.figures(supervisor, {**views, "hrms": views["ms"]})["direction cosine"]
# end solution
print("direction cosine of EXP:", of_exp, "| of true HRMS:", of_truth)

# %%
assert of_exp < of_truth - 0.2
