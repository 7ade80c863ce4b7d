"""The table of claims: its rule, its arms, and that the README shows the recorded one."""

import csv
import json
import tomllib

import pytest

from clippan_lite.experiments import claims, tables

RESULTS = claims.results_folder()
STUDIES = RESULTS.parent


def cell(difference, clear):
    return {
        "difference": difference,
        "clear": clear,
        "n": 5,
        "t95": [difference - 1, difference + 1],
    }


@pytest.mark.parametrize(
    ("cells", "rises", "said"),
    [
        ([cell(1, True), cell(2, True)], True, "reproduced (2 of 2)"),
        ([cell(1, True)], True, "reproduced"),
        ([cell(-1, True), cell(-2, True)], False, "reproduced (2 of 2)"),
        ([cell(1, True), cell(2, False)], True, "partly (1 of 2 clear)"),
        ([cell(1, True), cell(-2, True)], True, "partly (1 of 2 clear, 1 the other way)"),
        ([cell(1, False), cell(2, False)], True, "not shown (0 of 2 clear)"),
        ([cell(-1, True), cell(2, False)], True, "not (0 of 2 clear, 1 the other way)"),
    ],
)
def test_verdicts_follow_from_the_cells(cells, rises, said):
    assert claims.verdict(cells, rises) == said


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
        "points": {"finished": 10},
    }
    (folder / "A_losses.json").write_text(json.dumps(facts))
    return claims.judged(claim, folder)


def test_a_table_is_judged(tmp_path):
    assert made_up(tmp_path, -0.05)["verdict"] == "reproduced"
    assert made_up(tmp_path, 0.05)["verdict"] == "not (0 of 1 clear, 1 the other way)"
    assert made_up(tmp_path, 0.0)["verdict"] == "not shown (0 of 1 clear)"


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


def test_the_page_of_studies_has_the_table_of_claims():
    readme = (STUDIES / "README.md").read_text(encoding="utf-8")
    assert claims.markdown() in readme, "python notebooks/build.py --claims"
