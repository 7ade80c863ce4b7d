"""The table of claims: its rule, its arms, and that the README shows the recorded one."""

import csv
import json
import tomllib

import pytest

from clippan_lite.experiments import claims, tables

RESULTS = claims.results_folder()
STUDIES = RESULTS.parent


def cell(says, n=5):
    """A cell that says one thing beyond doubt."""
    p, p_equal = {"up": (1e-9, 1), "down": (1e-9, 1), "same": (0.5, 1e-9), "open": (0.5, 0.5)}[says]
    return {"difference": -1 if says == "down" else 1, "n": n, "p": p, "p_equal": p_equal}


@pytest.mark.parametrize(
    ("says", "rises", "said"),
    [
        (["up", "up"], True, "reproduced (2 of 2)"),
        (["up"], True, "reproduced"),
        (["down", "down"], False, "reproduced (2 of 2)"),
        (["up", "open"], True, "partly (1 of 2, 1 open)"),
        (["up", "down", "same"], True, "partly (1 of 3, 1 the other way, 1 equal within 0.1 dB)"),
        (["open", "open"], True, "open (2 of 2)"),
        (["down", "open"], True, "not (0 of 2, 1 the other way, 1 open)"),
        (["same", "same"], True, "equal within 0.1 dB (2 of 2)"),
        (["same", "open"], True, "open (0 of 2, 1 equal within 0.1 dB, 1 open)"),
    ],
)
def test_verdicts_follow_from_the_cells(says, rises, said):
    found = claims.verdict([cell(one) for one in says], rises, all_help="reproduced")
    assert found == said


def test_no_verdict_from_fewer_than_five_pairs():
    few = [cell("up", n=4), cell("up", n=2)]
    assert claims.verdict(few, True) == "open (fewer than 5 pairs)"
    assert claims.verdict([cell("up"), *few], True) == "partly (1 of 3, 2 with fewer than 5 pairs)"


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda c: c.says)
def test_arms_of_a_claim_are_arms_of_its_study(claim):
    arms = tomllib.loads((STUDIES / f"{claim.study}.toml").read_text(encoding="utf-8"))["arms"]
    assert {arm for pair in claim.pairs for arm in pair} <= set(
        arms
    ) and claim.metric in claims.SHOWN


def made_up(folder, change):
    """A recorded table in which every arm but the first of each seed is better by ``change``."""
    claim = claims.CLAIMS[0]
    (arm, other), rows = claim.pairs[0], []
    for seed in range(5):
        rows += [{"arm": other, "scene": "a", "seed": seed, "D_lambda": 0.1 + seed / 100}]
        rows += [
            {
                "arm": arm,
                "scene": "a",
                "seed": seed,
                "D_lambda": 0.1 + seed / 100 + change * (1 + seed / 10),
            }
        ]
    with (folder / "A_losses.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    facts = {
        "axes": {"scene": ["a"], "seed": list(range(5))},
        "against": {},
        "arms": {},
        "points": {"finished": 10},
    }
    (folder / "A_losses.json").write_text(json.dumps(facts))
    return claims.judged(claim, folder)


def test_a_table_is_judged(tmp_path):
    assert made_up(tmp_path, -0.05)["verdict"] == "reproduced in sign, not in size"
    assert made_up(tmp_path, 0.05)["verdict"] == "not (0 of 1, 1 the other way)"
    assert made_up(tmp_path, -0.002)["verdict"] == "equal within 0.005"
    assert made_up(tmp_path, 0.0)["verdict"] == "open"  # no spread, so nothing can be tested


@pytest.mark.slow
def test_no_claim_is_without_a_verdict_and_size_counts():
    found = {claim.says: claims.judged(claim) for claim in claims.CLAIMS}
    assert len(found) == len(claims.CLAIMS) >= 10 and all(
        entry["verdict"] for entry in found.values()
    )
    assert any("in sign, not in size" in entry["verdict"] for entry in found.values())


def test_a_study_that_was_not_measured_says_so(tmp_path):
    assert claims.judged(claims.CLAIMS[0], tmp_path)["verdict"].startswith("cannot be tested here")


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.csv")), ids=lambda p: p.stem)
def test_recorded_tables_say_where_they_come_from(path):
    rows, facts = tables.load(path)
    made = facts["provenance"]
    assert (
        made["device"]
        and made["code"]
        and made["versions"]["torch"]
        and made["date"]
        and made["data"]
        and made["note"]
    )
    assert len(rows) == facts["points"]["finished"] > 0 and facts["points"]["failed"] == 0
    arms = tomllib.loads((STUDIES / f"{path.stem}.toml").read_text(encoding="utf-8"))["arms"]
    assert {row["arm"] for row in rows} <= set(arms)
    assert path.stat().st_size < 60_000


@pytest.mark.slow
def test_the_page_of_studies_has_the_table_of_claims():
    readme = (STUDIES / "README.md").read_text(encoding="utf-8")
    assert claims.markdown() in readme, "python notebooks/build.py --claims"
