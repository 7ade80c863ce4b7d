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
# # 08 Is it the language?
#
# **Does a sentence make the fused image better, and when?**
#
# [CLIPPan](https://arxiv.org/abs/2511.10896) says that language supervises its training. But a loss can help even if its sentence means nothing, because any new pull changes a training. So this chapter takes the meaning away and looks at what is left. It reads nine recorded studies; only the first picture is computed now. If one paragraph
# is enough for you, go to "The answer" below.
#
# ## What you will learn
#
# 1. *What was measured*: nine studies, and whose settings they ran,
# 2. *Does the language loss help?*: each loss against the truth,
# 3. *Is it the meaning?*: controls that keep everything but the meaning,
# 4. *On strong ground*: a network that is good already,
# 5. *Who judges?*: a figure that the loss trains on is no judge,
# 6. *The other studies*: sentences, Stage I, backbones, sensors, faults, other supervisors,
# 7. *The answer*: one paragraph,
# 8. *The paper's claims*: each with our figure and a verdict, and what the verdicts mean,
# 9. *Next checks*: what would change our mind.
#
# ## Prerequisites
#
# | you need | how much |
# |---|---|
# | [chapter 07](07_how_a_study_works.ipynb) | arms, controls, paired differences, intervals |
# | hardware, time | a laptop; 20 minutes of reading, a minute of computing; full mode: `clippan-lite sweep ... --full`, hours on a laptop or a GPU |

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

# %%
from dataclasses import replace

import numpy as np
from IPython.display import Markdown, display

from clippan_lite import experiments, prompts, training
from clippan_lite.course import exercises, figures, imagery, plotting
from clippan_lite.experiments import claims, statistics, tables
from clippan_lite.metrics import evaluation

run = experiments.begin(globals())

# %% [markdown]
# Fields and a lake by Landsat-7, and one network, trained three times with the same seed: without the language loss [$L_d$](GLOSSARY.md#l_d), with [Wald's sentence](GLOSSARY.md#walds-protocol), and with the opposite sentence, asked of the CLIP that was adapted to Wald's. $L_d$ has the paper's weight 1.

# %%
figures.use_style()
place = cl.example("landsat7")
supervisor, _ = cl.adapt(place, config=cl.adapt_recipe("course"), device=run.device)
asked = supervisor.prompts
opposite = supervisor.with_prompts(replace(asked, hrms=prompts.get("wrong").hrms))
fused = {}
for name, guide in {"without L_d": None, "Wald": supervisor, "the opposite": opposite}.items():
    config = cl.recipe("scratch", steps=place_steps, direction=1.0 if guide else 0.0)
    network, _ = training.train(place, config, guide, device=run.device)
    fused[name] = cl.fuse(place, network)

# %%
rgb = place.sensor.rgb
bounds = imagery.limits(place.ms, rgb)
pictures = {name: imagery.picture(image, rgb, bounds) for name, image in fused.items()}
crops = {name: picture[180:308, 240:368] for name, picture in pictures.items()}
figures.show(
    imagery.panels(crops, columns=3, side=3.0),
    run.folder,
    "08_sentence",
    "Fields and a lake by networks trained without L_d, with Wald's sentence and with the opposite one.",
    photo=True,
)
table = {name: evaluation.at_full_resolution(image, place) for name, image in fused.items()}
display(Markdown(statistics.compared(table, evaluation.FULL)))

# %% [markdown]
# **What you see.** The opposite sentence turns the place violet and adds stripes, and [HQNR](GLOSSARY.md#qnr) falls from 0.92 with Wald's to 0.85: words can reach an image. Wald's sentence makes it calmer than no $L_d$, with less coloured noise between the pixels. Five of the six figures without a truth find it slightly *worse*, and its D_rho rises. **What it does not show:** other seeds, and the truth: nobody has it for this place. Three pictures raise the question; the studies below try to answer it.
#
# ## What was measured
#
# Each study is a table in `studies/results`; a file beside it says how it was made. The studies use small networks and the included CLIP (1.4 million parameters, 1364 words). Which Stage I they ran matters, because ours differs from the paper's: it adds a direction term (weight 10), gives IntraMCL, which keeps images of one place together, a weight of 0.3, and takes its HRMS examples from several classical methods.

# %%
STUDIES = ("A_losses", "B_backbones", "C_prompts", "D_cross_sensor", "E_robustness",
           "F_stage_one", "G_supervisor", "H_strong_ground", "I_long_training")  # fmt: skip
recorded = {name: tables.load(claims.results_folder() / f"{name}.csv") for name in STUDIES}
rows = []
for name, (_, facts) in recorded.items():
    points, made = facts["points"], facts["provenance"]
    trained = next(arm for arm, given in facts["arms"].items() if "method" not in given)
    stage_one = "the paper's, varied" if facts["fixed"].get("adapt_intra") == 1 else "ours"
    if any(arm.get("adapt_recipe") == "paper" for arm in facts["arms"].values()):
        stage_one = "both"
    rows.append((
        name, facts["question"], f"{points['finished']} of {sum(points.values())}",
        f"up to {len(facts['axes']['seed'])}", claims.setting(facts, trained), stage_one, made["device"],
    ))  # fmt: skip
head = (
    "study",
    "question",
    "points measured",
    "seeds",
    "networks",
    "Stage I",
    "device",
)
display(Markdown(statistics.markdown(head, rows)))

# %% [markdown]
# Study F ran the paper's Stage I (its terms, weights and examples), study H both, all others ours. Most studies are short: the paper has 1000 steps of 32 patches. `ikonos_town` and `wv2_urban` are crops of real IKONOS and WorldView-2 images, which are not part of the package. By mean PSNR, [GSA](GLOSSARY.md#gsa) is ahead of every network of study A on all three scenes: these are small networks, trained briefly. The networks of study H are ahead of it.
#
# ## Does the language loss help?
#
# Study A trains one network (fusionnet) with each combination of losses. On each real scene it is trained twice: one scale down, where the original MS is the truth ([PSNR](GLOSSARY.md#psnr)), and at full resolution, where only metrics without truth exist ([QNR](GLOSSARY.md#qnr)).
#
# | arm | losses, all with weight 1 | the paper's change of PSNR (WorldView-3) |
# |---|---|---|
# | `spec+spat` | $L_{spec} + L_{spat}$: agree with MS, agree with PAN | |
# | `unsup` | these and $L_{QNR}$ | +2.92 dB |
# | `unsup +L_d` | these and the language loss | +0.18 dB |
# | `unsup +L_ship` | `unsup` and a teacher: the same network, trained one scale down with MS as truth | +2.35 dB, beside $L_d$ |

# %%
rows_a, facts_a = recorded["A_losses"]
found = tables.effects(rows_a, facts_a)


def change(found, metric, arms=()):
    """The differences of one metric, of some arms or all, that have an interval."""
    return [
        cell
        for cell in found
        if cell["metric"] == metric and cell["n"] > 1 and (not arms or cell["arm"] in arms)
    ]


LOSSES = (
    "spec+spat +L_d",
    "unsup",
    "unsup +L_d",
    "unsup +L_ship",
    "unsup +L_ship +L_d",
    "L_d x 10",
)
figure = plotting.effects(change(found, "PSNR", LOSSES), "change of PSNR, dB", "right is better")
caption = "What each loss changes in PSNR against the truth: differences paired by five seeds with 95 % intervals."
figures.show(figure, run.folder, "08_losses", caption)

# %% [markdown]
# **What you see.** $L_{QNR}$ at weight 1 costs 1.7 dB on the IKONOS scene, and gains nothing clear on the other two. $L_d$ beside it gains 0.23 dB on the WorldView-2 scene, where every seed agrees, and nothing clear on the others. Without $L_{QNR}$ (first row) it gains there too, but clearly costs on the IKONOS scene. A teacher ($L_{ship}$) gains on all three. Ten times as much $L_d$ costs about one decibel on two of them.
# **What it does not show:** the paper's data, teacher and length of training. And PSNR is one figure: [SAM](GLOSSARY.md#sam) gets *worse* with $L_d$ on all three scenes, clearly on two.
#
# ## Is it the meaning?
#
# Five [controls](GLOSSARY.md#control) keep the formula of the loss and change one thing each: CLIP's weights, Stage I, or the sentence:
#
# | arm | CLIP | sentence |
# |---|---|---|
# | `L_d, random CLIP` | random weights, adapted | Wald's |
# | `L_d, no Stage I` | the included CLIP, not adapted | Wald's |
# | `L_d, nonsense` | adapted to nonsense | nonsense for all three images: "a red car", "a white roof", "a road beside a river" |
# | `L_d, wrong` | adapted to the opposite | for the fused image: "a blurred image with false colours" |
# | `L_d, swapped after` | adapted to Wald's | the opposite, asked afterwards |

# %%
CONTROLS = (
    "L_d, random CLIP",
    "L_d, no Stage I",
    "L_d, nonsense",
    "L_d, wrong",
    "L_d, swapped after",
)
figure = plotting.effects(change(found, "PSNR", CONTROLS), "change of PSNR, dB", "right is better")
caption = "Controls of L_d: PSNR against training without L_d (first two) and against L_d with Wald's sentence (last three)."
figures.show(figure, run.folder, "08_controls", caption)

# %% [markdown]
# **What you see.** Adapted to nonsense or to the opposite sentence, CLIP was not shown to supervise worse than with Wald's: six differences of at most 0.11 dB, none clear. In Stage I (ours), CLIP seems to learn whatever sentence it is given as the name of the fused image. Another sentence, asked afterwards, is another name, and moves the image: the opposite costs 0.6 to 2.2 dB.
#
# A random CLIP gains nothing clear. But after Stage I its arrows point the right way already (cosine 0.98 to 1.00), so hardly any loss is left. A random CLIP that pulls as hard was not tested. An un-adapted CLIP gains as much as an adapted one on the WorldView-2 scene (0.29 dB): there, CLIP's own training seems to help, and Stage I adds nothing that we could see. **What it does not show:** a large CLIP. The included one knows few words.
#
# ## On strong ground
#
# A small network that loses to a classical method may gain from anything. So study H begins where a user would: with the included network, adapted to the scene by recipe `best`, one scale down, where the truth is known. $L_d$ comes on top with weight 1, after our Stage I or after one with the paper's weights. The two differ in the direction term, the weight of IntraMCL and the examples; steps and CLIP are ours in both.

# %%
rows_h, facts_h = recorded["H_strong_ground"]
found_h = tables.effects(rows_h, facts_h)
figure = plotting.effects(change(found_h, "PSNR"), "change of PSNR, dB", "right is better")
caption = "L_d on a network that is good already: against none, and with the opposite sentence or nonsense asked afterwards; five seeds."
figures.show(figure, run.folder, "08_strong_ground", caption)
level = {
    (arm, place_name): np.mean(
        [r["PSNR"] for r in rows_h if r["arm"] == arm and r["scene"] == place_name]
    )
    for arm in ("EXP", "GSA", "MTF-GLP-HPM", "adapted")
    for place_name in facts_h["axes"]["scene"]
}
rows = [
    (arm, *(f"{level[arm, p]:.2f}" for p in facts_h["axes"]["scene"]))
    for arm in ("EXP", "GSA", "MTF-GLP-HPM", "adapted")
]
head = ("PSNR, dB", *facts_h["axes"]["scene"])
display(Markdown(statistics.markdown(head, rows)))

# %% [markdown]
# **What you see.** By PSNR this network is ahead of the three classical methods in the table. MTF-GLP-HPM with two rounds of back-projection is not in it: 33.19 dB on ikonos_town, above the network. The recipe was chosen on these two scenes, among others.
#
# $L_d$ gains 0.05 dB on one scene and costs 0.06 dB on the other, both *equal* in the sense of the verdicts below: too small to matter. With the paper's weights in Stage I it costs 0.09 and 0.15 dB. A CLIP with random weights changes next to nothing, and has hardly any loss left.
#
# The sentence reaches this image, too. Asked after our Stage I, the opposite one costs 0.12 and 0.18 dB; with the paper's weights, more than twice as much. But *nonsense* ("a road beside a river"), asked after our Stage I, makes the image better than Wald's sentence does, by 0.28 and 0.10 dB. With the paper's weights it does so, too.
#
# On ikonos_town, nonsense is even better than no $L_d$ at all, by 0.33 and 0.26 dB; on wv2_urban it is equal (+0.04), or worse (-0.09) with the paper's weights. So $L_d$ can move this network. It is Wald's sentence that does not help it.
#
# Study I trains from nothing for 1000 steps, as many as the paper's, on the WorldView-2 scene. There, where $L_d$ gained 0.23 dB in study A, it costs 0.14 dB (interval in the table of claims). Without it, the network is 0.13 dB better than GSA; with it, as good as GSA. The steps are not the only change: batches are smaller, and $L_{ship}$, the learning rate and the crops of $L_d$ differ. Which of these turns the sign was not tested.
#
# **What it does not show:** a large CLIP, and a weight of $L_d$ chosen for this network.
#
# ## Who judges?
#
# The paper reports [QNR](GLOSSARY.md#qnr) and [D_lambda](GLOSSARY.md#d_lambda), which need no truth. Its loss $L_{QNR}$ trains on them. Do they still rank the arms as the truth does? In the figure, blue means better than [EXP](GLOSSARY.md#exp), and red means worse.

# %%
from scipy import stats

JUDGES = ("QNR", "HQNR", "D_rho", "PSNR", "SAM")
means = {}
for place_name in facts_a["axes"]["scene"]:
    here = [row for row in rows_a if row["scene"] == place_name]
    means[place_name] = {
        arm: {
            name: float(np.mean([row[name] for row in here if row["arm"] == arm]))
            for name in JUDGES
        }
        for arm in dict.fromkeys(row["arm"] for row in here)
    }
figure = plotting.heat(means["ikonos_town"], "EXP", {"PSNR": 2, "SAM": 2})
caption = "Metrics without truth beside PSNR (dB) and SAM (degrees), IKONOS scene, means over five seeds; blue: better than EXP, red: worse."
figures.show(figure, run.folder, "08_judges", caption)
rows = []
for place_name, arms in means.items():
    ranks = [
        stats.spearmanr([a[judge] for a in arms.values()], [a["PSNR"] for a in arms.values()])
        for judge in JUDGES[:3]
    ]
    rows.append((place_name, *(f"{rank.statistic:+.2f}" for rank in ranks)))
head = ("scene", *(f"rank correlation of {judge} with PSNR" for judge in JUDGES[:3]))
display(Markdown(statistics.markdown(head, rows)))

# %% [markdown]
# **What you see.** The best QNR, 0.99, belongs to arms that train on it. Against the truth, these are worse than GSA, whose QNR is 0.71. EXP, an image without any detail, has 0.87. Over all arms, QNR's rank correlation with PSNR is near 0: here it tells next to nothing about the truth. That is *metric gaming*: the loss trains on the judge. D_rho ranks the arms better: among them, a smaller D_rho goes with a higher PSNR (-1 would be perfect).
#
# **What it does not show:** how other weights of $L_{QNR}$ would rank; this package uses 0.03. On real scenes, QNR and PSNR come from two trainings at two scales.
#
# ## The other studies
#
# One table shows the seven other studies. A verdict needs five seeds: with fewer, a statement stays *open*. Each row is corrected for all its differences, more than a claim has, so a row can be open where a claim is not.

# %%
ASKED = (
    ("C_prompts", ("scene",), "", True, "another sentence is better than Wald's"),
    ("F_stage_one", ("scene",), "", True, "Stage I without a part, or with another one, is better"),
    (
        "B_backbones",
        ("scene", "backbone"),
        "",
        True,
        "L_d helps each of seven backbones",
    ),
    (
        "D_cross_sensor",
        ("scene", "test_scene"),
        "",
        True,
        "L_d helps on the same and another sensor",
    ),
    (
        "E_robustness",
        ("scene", "fault"),
        "",
        True,
        "L_d helps under noise, haze, shifts, saturation",
    ),
    ("I_long_training", ("scene",), "", True, "L_d helps after 1000 steps from nothing"),
    (
        "G_supervisor",
        ("scene",),
        "nonsense",
        False,
        "nonsense costs two supervisors something",
    ),
    (
        "G_supervisor",
        ("scene",),
        "swapped",
        False,
        "the opposite costs five supervisors something",
    ),
)
rows = []
for name, axes, word, rises, what in ASKED:
    found_here = change(tables.effects(*recorded[name], by=axes), "PSNR")
    cells = [c for c in found_here if word in c["arm"] and c["arm"] != "no L_d"]  # no sentence
    seeds = sorted({cell["n"] for cell in cells})
    counts = " to ".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
    changes = [cell["difference"] for cell in cells]
    spread = f"{min(changes):+.2f} to {max(changes):+.2f}"
    rows.append((name, what, str(len(cells)), counts, spread, claims.verdict(cells, rises)))
head = ("study", "statement", "differences", "seeds", "change of PSNR, dB", "verdict")
display(Markdown(statistics.markdown(head, rows)))

# %% [markdown]
# *Open* is not "no effect". With five seeds, an interval on the IKONOS scene reaches up to 0.4 dB to each side in study C and 1.0 dB in study F. So an effect of 0.2 dB can stay unseen there. Study H, whose networks all begin with the same weights, sees 0.05 dB. In study C no sentence was shown to be better or worse than Wald's, not even its opposite.
#
# Study D trains on one of three sensors and judges on each of them. $L_d$ helps none of the nine pairs, and costs 0.7 dB on GeoEye-1 itself; one more seems to lose (-0.24 dB), but not after the correction. For most others the interval is wide, and nothing is shown. On the WorldView-2 scene of study F, arms with a larger direction cosine also have more PSNR (rank correlation 0.89 over ten arms); on the IKONOS scene this is not clear.
#
# Study G has five seeds. It asks whether words can do better: a *guard* that leaves colours to $L_{spec}$, text adapters that do nothing (*frozen texts*), CLIP's patches (*tokens*), and antonyms asked of an un-adapted CLIP (*words*: "a sharp image" against "a blurred image").

# %%
rows_g, facts_g = recorded["G_supervisor"]
found_g = tables.effects(rows_g, facts_g)
figure = plotting.effects(change(found_g, "PSNR"), "change of PSNR, dB", "right is better")
caption = "Other ways to let language supervise: against no language, and with the text swapped for the opposite or nonsense; five seeds."
figures.show(figure, run.folder, "08_supervisor", caption)

# %% [markdown]
# **What you see.** Does a supervisor beat no language, and does a wrong text cost something? Swapping the text for its opposite costs about 0.6 dB or more on two scenes in every variant, so a text can harm. Two variants were adapted to nonsense; it was not shown to do worse than the right text, so the meaning does not seem to bring what is gained.
#
# In the three guarded forms of $L_d$, the right text gains 0.3 dB on the synthetic scene, and costs 0.5 to 0.8 dB on the WorldView-2 scene. There the opposite does better in all three, clearly in two after the correction. Study A, with other weights, found a gain of $L_d$ on that very scene, so its sign depends on the settings.
# Only *words* harms no scene clearly, and it helps none clearly. No variant wins; all stay options of `train()`, off by default. **What it does not show:** a weight that suits each scene. Without truth, nothing can choose it.
#
# ## The answer

# %%
by_arm = {
    arm: {cell["scene"]: cell for cell in change(found, "PSNR", (arm,))}
    for arm in ("unsup +L_d", *CONTROLS)
}
helped = {scene: cell for scene, cell in by_arm["unsup +L_d"].items() if cell["clear"]}
gained = ", ".join(f"{cell['difference']:+.2f} dB on {scene}" for scene, cell in helped.items())
meaningless = max(abs(cell["difference"]) for arm in CONTROLS[2:4] for cell in by_arm[arm].values())
swapped = min(-cell["difference"] for cell in by_arm["L_d, swapped after"].values())
strong = [cell["difference"] for cell in change(found_h, "PSNR", ("adapted +L_d",))]
(trained_long,) = change(tables.effects(*recorded["I_long_training"]), "PSNR")
display(Markdown(
    f"**Does language supervision help, and when?** Hardly, and it was not shown to help by its meaning. Beside the other losses without truth, $L_d$ gains {gained}, and nothing clear on the other "
    f"{len(by_arm['unsup +L_d']) - len(helped)} scenes. A CLIP that was adapted to nonsense or to the opposite sentence was not shown to do worse than one adapted to Wald's: the results differ by at most "
    f"{meaningless:.2f} dB. The sentence does reach the image: asked of a CLIP that was adapted to Wald's, the opposite sentence costs {swapped:.2f} dB or more in study A. On the scene where $L_d$ helps, it takes a trained CLIP, and makes the colours (SAM) worse. "
    "Study C found that gain again; with other settings (studies D and G) it was not found, or turned into a loss. "
    f"With 1000 steps of 2 patches and a teacher, it costs {-trained_long['difference']:.2f} dB there (study I). "
    f"A network that is good already changes by {min(strong):+.2f} and {max(strong):+.2f} dB (study H). This holds for five seeds, one to three scenes, small networks, a small CLIP and, but for studies F and H, our Stage I."
))  # fmt: skip

# %% [markdown]
# ## The paper's claims
#
# Each row has the claim, the paper's figure, the study, our figure with its interval, and a verdict. Where the question is ours, not the paper's, it says so. A *cell* is one difference: one scene and one pair of arms, paired by seed. The tests are corrected for the number of cells, because among many cells some look clear by chance alone.
#
# | verdict | what it means | what it does not mean |
# |---|---|---|
# | reproduced (a claim of the paper), shown (our question) | all cells help the claim | that the size agrees; "in sign, not in size" says that it does not |
# | partly | some cells help | that the claim holds on your scene |
# | equal | all differences lie within a margin, such as 0.1 dB | that they are 0 |
# | not | no cell helps, and at least one says the opposite | that the paper is wrong: data, length and networks differ |
# | open | neither a difference nor equality is shown, or there are fewer than five seeds | that there is no effect |

# %%
Markdown(claims.markdown())

# %% tags=["nbval-check-output"]
verdicts = {claim.says: claims.judged(claim)["verdict"] for claim in claims.CLAIMS}
print(f"claims: {len(verdicts)}, without a verdict line: {sum(not v for v in verdicts.values())}")

# %% [markdown]
# A rule gives each verdict. No one chose the words by hand.
#
# ## Next checks
#
# What would change our mind? Each row can be run with this package, given time. Some need a GPU, a download, or real scenes of your own.
#
# | check | why | how |
# |---|---|---|
# | another unseen sensor | study D has three, and four of their bands | a copy of `D_cross_sensor.toml` with scenes of your own |
# | another metric family | PSNR is one figure, and QNR is trained on | D_rho beside HQNR; Wald's protocol; eyes |
# | more seeds | five see no effect below 0.2 dB | a copy of `C_prompts.toml` with ten seeds |
# | the paper's Stage I | only studies F and H ran its weights | `adapt_recipe = "paper"` under `[fixed]` of another study |
# | a large CLIP | the included one knows 1364 words | `clip = "ViT-B-32-quickgelu"`, `clip_pretrained = "openai"` under `[fixed]` (a download, or a local file) |
# | the paper's batches | study I takes 1000 steps, but of 2 patches instead of 32 | `tests/benchmarks/paper_table.py` on a GPU |
#
# ## Exercises
#
# Write your own lines where a cell says `# your code`. One way to solve each, run with its result, is in the [solutions](solutions/08_is_it_the_language_solutions.ipynb).
#
# **Exercise 1.** *Easy, 10 minutes.* What does it cost to ask the opposite sentence of a CLIP that was adapted to Wald's? For each scene of study A, put the mean change of PSNR from `unsup +L_d` to `L_d, swapped after` into `cost`. *Expected:* -2.20, -0.56 and -1.52 dB.

# %% tags=["exercise-1"]
rows, facts = tables.load(claims.results_folder() / "A_losses.csv")
psnr = {(row["arm"], row["scene"], row["seed"]): row["PSNR"] for row in rows}
cost = {}  # scene -> dB
# your code
print(
    exercises.verdict(cost, {"ikonos_town": -2.20, "wv2_urban": -0.56, "synthetic:1": -1.52}, 0.01)
)

# %% [markdown]
# **Exercise 2.** *Medium, 15 minutes.* D_rho ranks all arms better than QNR does. Is that so among the arms that all train with $L_{QNR}$? Leave out EXP, GSA and all arms without $L_{QNR}$ (`spec+spat`, `spec+spat +L_d`). For each other arm on `ikonos_town`, take the means of QNR, D_rho and PSNR over the seeds (`rows` of exercise 1 has all values). Put the rank correlation (`scipy.stats.spearmanr`) of QNR's means with PSNR's, and of D_rho's with PSNR's, into `rank`. *Expected:* about +0.45 for QNR and -0.30 for D_rho (negative: a smaller D_rho goes with a higher PSNR). So among its own kind QNR ranks a little; it fails between arms that train on it and arms that do not.

# %% tags=["exercise-2"]
rank = {}  # "QNR" and "D_rho"
# your code
print(exercises.verdict(rank, {"QNR": 0.455, "D_rho": -0.3}, 0.02))

# %% [markdown]
# **Exercise 3.** *Hard, an afternoon, without a cell.* Choose a row of "Next checks", write its study and run it. *Expected:* a table with five seeds, and one sentence that says what it shows and what it does not.
#
# ## Questions
#
# 1. Why is the arm "L_ship without L_d" needed before anything is said of L_d?
# 2. What would you conclude if a random CLIP helped as much as a trained one?
# 3. Why does a sentence cost much when it is swapped after Stage I, and nothing when CLIP was adapted to it from the start?
# 4. Which claims could only be tested with the paper's own data or networks?
# 5. A study has 12 differences on each of 3 scenes. About how many will look clear by chance alone, at 5 % each?
#
# ## Summary
#
# On our scenes D_lambda falls and QNR rises, too, against a weaker baseline; this comes from $L_{QNR}$, which trains on them. With study A's settings, $L_d$ adds 0.2 dB on one scene of three. On a good network it changes less than 0.1 dB with our Stage I, and costs up to 0.15 dB with the paper's weights. Once CLIP is adapted to a sentence, the meaning of that sentence was not shown to matter. How to run a study is described on [the page of the studies](studies/README.md), and the package on [its own page](../clippan_lite/README.md).
#
# **Next:** a study of your own, with a question that can fail.
