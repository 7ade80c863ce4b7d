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
# # 04 Evaluation: solutions
#
# The exercises of [chapter 04](../04_evaluation.ipynb) with one way to solve each, and the result checked. Cells with the same tag in the chapter are these, without
# what lies between `begin solution` and `end solution`. The answers to the questions follow.

# %%
from clippan_lite import classical, data, experiments, metrics
from clippan_lite.course import exercises
from clippan_lite.experiments import statistics
from clippan_lite.metrics import evaluation, faults

run = experiments.begin({"recipe": "course", "adapt_recipe": "course"})

# %%
pair = judge = run.pair
low = data.reduced(pair)

# %% [markdown]
# **Exercise 1.** *Easy, 10 minutes.* How much blur does QNR want? Blur the truth with a standard deviation of 0, 0.5, 1 and 1.5 pixels (`faults.graded(judge.truth, blur=...)`) and note the QNR of each in `by_blur` (`evaluation.at_full_resolution(image, judge)` gives all metrics by name).
# Then set `most` to the blur that QNR likes best. *Expected:* not 0.

# %% tags=["exercise-1"]
by_blur = {}  # blur -> QNR
most = None  # the blur with the highest QNR
# begin solution
for blur in (0.0, 0.5, 1.0, 1.5):
    image = faults.graded(judge.truth, blur=blur)
    by_blur[blur] = evaluation.at_full_resolution(image, judge)["QNR"]
most = max(by_blur, key=by_blur.get)
# end solution
theirs = {
    blur: evaluation.at_full_resolution(faults.graded(judge.truth, blur=blur), judge)["QNR"]
    for blur in (0.0, 0.5, 1.0, 1.5)
}
print(exercises.verdict(by_blur, theirs))
print(exercises.verdict(most, max(theirs, key=theirs.get), name="the best-liked blur"))

# %%
assert exercises.verdict(by_blur, theirs) == exercises.RIGHT
assert exercises.verdict(most, max(theirs, key=theirs.get)) == exercises.RIGHT
assert most == 1.0 and by_blur[0.0] < by_blur[0.5] < by_blur[1.0]

# %% [markdown]
# **Exercise 2.** *Medium, 10 minutes.* Write this equation as `my_ergas`. *Expected:* "Right."


# %% tags=["exercise-2"]
def my_ergas(x, y, ratio):
    """ERGAS of an image and its reference, both (bands, height, width)."""
    # begin solution
    relative = ((x - y) ** 2).mean((1, 2)) / y.mean((1, 2)) ** 2
    return 100 / ratio * relative.mean().sqrt()
    # end solution


one = (classical.fuse("GSA", low), low.truth, low.ratio)
print(exercises.verdict_of(my_ergas, metrics.ergas, *one, gradient=False))

# %%
assert exercises.verdict_of(my_ergas, metrics.ergas, *one, gradient=False) == exercises.RIGHT

# %% [markdown]
# **Exercise 3.** *Easy, 10 minutes.* Two methods were run on the same three seeds, and their PSNR in dB is given. Is the second one better? Set `effect` to the paired effect on PSNR (`statistics.paired_effects(with_it, without)["PSNR"]`; here `other` takes the place of `with_it`, and `one` that of `without`). Compare its interval with the deviations of the two rows.
# *Expected:* yes, when paired, although the two rows overlap almost entirely.

# %% tags=["exercise-3"]
one = [{"PSNR": v} for v in (28.1, 29.0, 30.1)]
other = [{"PSNR": v} for v in (28.3, 29.2, 30.33)]
effect = None  # the paired effect on PSNR
# begin solution
effect = statistics.paired_effects(other, one)["PSNR"]
# end solution
for name, row in (("one", one), ("other", other)):
    print(f"{name}: deviation over its seeds {statistics.over_seeds(row)[1]['PSNR']:.2f} dB")
known = isinstance(effect, dict) and "difference" in effect
if known:
    print(
        f"other minus one: {effect['difference']:+.2f} dB, interval {effect['t95'][0]:+.2f} to {effect['t95'][1]:+.2f}"
    )
theirs = statistics.paired_effects(other, one)["PSNR"]["difference"]
print(exercises.verdict(effect["difference"] if known else effect, theirs, name="the difference"))

# %%
assert exercises.verdict(effect["difference"], theirs) == exercises.RIGHT
assert effect["t95"][0] > 0 and statistics.over_seeds(one)[1]["PSNR"] > 4 * effect["difference"]

# %% [markdown]
# **Exercise 4** has no cell: change two parameters of the chapter and run it again.
#
# ## Answers
#
# 1. $D_\lambda$ compares the relations between the bands of the fused image with those between the bands of MS. EXP *is* MS, interpolated, so all relations stay. A metric that is perfect for an image without any detail cannot measure sharpness.
# 2. The seed changes the first weights or the patches, and with them every number. If both sides have the same seed, this change is the same on both and cancels in the difference. What is left is the effect, and its interval becomes narrow enough to see it.
# 3. "What does EXP get, and what does BDSD-PC with back-projection get, with your code on your images?" EXP alone can reach a QNR above 0.9. Ask also for the definition: blocks, grid and convention change the number.
# 4. QNR asks that the fused bands relate to each other and to PAN as MS and PAN do one scale down, where everything is softer. Blur makes the truth more like that soft image. Nothing in QNR counts the detail that is lost.
# 5. None alone. On a real scene the third judge does not exist, so rank by Wald's protocol. $D_\lambda^K$ agrees well with the truth too, except among back-projected images, which it cannot tell apart. Beside them show EXP, a back-projected classical method, $D_\rho$ and the picture itself, because both judges miss blur at full resolution.
