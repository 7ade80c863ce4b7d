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
# # 05 Failure analysis: solutions
#
# One way to solve each exercise of [the chapter](../05_failure_analysis.ipynb), with the expected result checked. Cells with the same tag in the chapter are these, without what lies between
# `begin solution` and `end solution`.

# %%
from clippan_lite import classical
from clippan_lite.course import exercises
from clippan_lite.data import registration, synthetic
from clippan_lite.metrics import evaluation

# %% [markdown]
# **Exercise 1.** *Easy, 5 minutes.* MS lies two pixels off PAN. Fuse the scene with GSA as it is, and again after `registration.correct(place, registration.estimate(place))`. Put both ERGAS against the truth (`evaluation.against_truth(image, place)["ERGAS"]`) into `ergas`. *Expected:* it falls from about 5.1 to 2.0.

# %% tags=["exercise-1"]
place = synthetic.make_scene(0, 256, "WV2", shift=(2, 0))
ergas = {}  # "as it is" and "registered"
# begin solution
for name, each in {
    "as it is": place,
    "registered": registration.correct(place, registration.estimate(place)),
}.items():
    ergas[name] = evaluation.against_truth(classical.fuse("GSA", each), each)["ERGAS"]
# end solution
print(exercises.verdict(ergas, {"as it is": 5.1, "registered": 2.0}, tolerance=0.05))

# %%
said = exercises.verdict(ergas, {"as it is": 5.1, "registered": 2.0}, tolerance=0.05)
assert said == exercises.RIGHT

# %% [markdown]
# **Exercise 2.** *Medium, 15 minutes.* Three scenes have one fault each: haze, misregistration or noise. Find out which, without looking at the first line of the cell, and put the fault of each letter into `found`. *Expected:* three names. Two measurements are enough (see the table of signatures).

# %% tags=["exercise-2"]
hidden = dict(zip("ABC", ("noise", "misregistration", "haze"), strict=True))
HOW = {"noise": {"snr": 15}, "misregistration": {"shift": (3, 1)}, "haze": {"haze": 0.4}}
unknown = {
    letter: synthetic.make_scene(3, 256, "WV2", **HOW[fault]) for letter, fault in hidden.items()
}
found = {}  # such as {"A": "haze", "B": ..., "C": ...}
# begin solution
for letter, each in unknown.items():
    shift = registration.estimate(each)
    blue = each.ms[0]
    darkest = float(blue.quantile(0.01) / blue.mean())  # haze leaves nothing dark
    print(f"{letter}: MS lies {shift}; the darkest blue is {darkest:.2f} of the mean")
    if max(abs(shift.down), abs(shift.right)) > 0.5:
        found[letter] = "misregistration"
    else:
        found[letter] = "haze" if darkest > 0.7 else "noise"
# end solution
print(exercises.verdict(found, hidden))

# %%
assert exercises.verdict(found, hidden) == exercises.RIGHT

# %% [markdown]
# ## Answers
#
# 1. $L_d$ has a slope wherever the feature of the fused image does not point exactly where the sentences say. Random features turn with the image too, so the slope leads somewhere. It leads nowhere useful, because the features know nothing.
# 2. HQNR, and D_s: both are best for the blurred ship with false colours. D_rho warns. It asks for PAN's fine detail, and a blurred image has none.
# 3. ERGAS divides the error of each band by the band's mean. Haze adds light, so the mean rises, and it takes contrast, so the error falls. The truth is hazy too, so nothing counts as wrong.
# 4. Misregistration moves everything by the same amount, so the line "Registration" reports it, and shadows lie on the same side of all edges. Cars leave pairs of ghosts on roads only, and the line says 0. Their direction differs from road to road.
# 5. A round pulls the result towards what the assumed camera would have made of it. If that camera is wrong, or MS is noisy, the pull is partly wrong. The first round takes away large true errors; later ones have little left to mend and amplify what is false.
