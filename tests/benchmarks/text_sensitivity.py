"""Does the sentence matter? Networks trained with the Wald sentence and with others, judged against
the truth.

Run: CLIPPAN_TEST_DATA=<folder> python tests/benchmarks/text_sensitivity.py --variant paper [--seeds
0,1,2] Each variant says how CLIP is adapted, when the sentence is swapped (before Stage I, so that
CLIP is adapted to the other sentence, or after it, so that only L_d's target moves), and the weight
of L_d.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

from stage_one import load_pairs

from clippan_lite import adaptation, clip, prompts
from clippan_lite.config import AdaptConfig, adapt_recipe, recipe
from clippan_lite.experiments import probes

PAPER = adapt_recipe("paper")
#: name -> (Stage I, swapped "before" or "after" it, weight of L_d, more Stage-II settings)
VARIANTS = {
    "paper": (PAPER, "before", 0.03, {}),
    "paper, weight .3": (PAPER, "before", 0.3, {}),
    "swapped after": (AdaptConfig(), "after", 0.1, {}),
    "swapped after, weight .3": (AdaptConfig(), "after", 0.3, {}),
    "frozen texts": (PAPER.changed(text_share=0.0), "before", 0.1, {}),
    "drift": (PAPER.changed(drift=5.0), "before", 0.1, {}),
    "no Stage I": (AdaptConfig(steps=0), "after", 0.1, {}),
    "no Stage I, weight .3": (AdaptConfig(steps=0), "after", 0.3, {}),
    "tokens": (AdaptConfig(), "after", 0.1, {"tokens": True}),
    "tokens, weight .3": (AdaptConfig(), "after", 0.3, {"tokens": True}),
    "no Stage I, tokens": (AdaptConfig(steps=0), "after", 0.1, {"tokens": True}),
}


def main() -> None:
    """Print, per pair, the paired effect of Wald's sentence against each other one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", nargs="*", default=list(VARIANTS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--pairs", default="synthetic1,wv2_urban,ikonos_town")
    parser.add_argument("--prompts", default="wald,wrong,nonsense")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    seeds, everything = [int(s) for s in args.seeds.split(",")], {}
    model = clip.load_clip("bundled", args.weights)
    pairs = load_pairs(args.pairs.split(","))
    for variant in args.variant:
        config, swapped, weight, more = VARIANTS[variant]
        for name, pair in pairs.items():
            start = time.time()
            words = [prompts.get(p) for p in args.prompts.split(",")]
            if swapped == "before":
                guides = [
                    adaptation.adapt(pair, model, w, config, progress=False)[0] for w in words
                ]
            else:
                first = adaptation.adapt(pair, model, words[0], config, progress=False)[0]
                guides = [first.with_prompts(replace(words[0], hrms=w.hrms)) for w in words]
            views = probes.held_out_views(pair, model.input_size)
            supervisors = dict(zip(args.prompts.split(","), guides, strict=True)) | {"no L_d": None}
            compared = probes.sentences_compared(
                pair, supervisors, recipe("quick", direction=weight, **more), seeds
            )
            everything[f"{variant} | {name}"] = compared
            for other, row in compared.items():
                psnr = sum(t["PSNR"] for t in row["tables"]) / len(seeds)
                line = f"{variant:>24} {name:>12} {other:>9} PSNR {psnr:.2f}"
                if row["effect"]:
                    for metric in ("PSNR", "ERGAS", "SAM"):
                        effect = row["effect"][metric]
                        low, high = effect["t95"] or (float("nan"),) * 2
                        line += f" | {metric} {effect['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
                    line += f" | change {row['change'] or float('nan'):.2f}"
                if supervisors[other] is not None and other != args.prompts.split(",")[0]:
                    g = probes.gradient_change(
                        guides[0], supervisors[other], views, bool(more.get("tokens"))
                    )
                    line += f" | gradient cos {g['cosine']:+.2f}"
                print(line, flush=True)
            print(f"{'':>24} {name:>12} {time.time() - start:.0f} s", flush=True)
    if args.json:
        args.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
