"""What the student was taught: which positions train, how labels differ from the text, and by which tokens.

The labels counted here are those of training.arrow, the very ones that were trained on. What needs the logits is read
from a few shards, evenly spread; `sampled` says how many positions that were.
"""

from pathlib import Path
from typing import Any

from storage.reader import Row, rows, spread
from storage.shards import read_shard

CURVE_ROWS = 4_000_000
"""Vertices read for the curve's statistics."""
LOGIT_ROWS = 200_000
"""Positions read with their candidates."""
ALPHAS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 50.0)
MOVED = 15
"""Tokens listed in each direction."""
RARE = 5
"""A token seen less often than this on both sides is not listed."""

PAIRS = """
CREATE OR REPLACE TEMP TABLE pairs AS
SELECT text, label, count(*) AS n FROM (
    SELECT unnest(input_ids[2:]) AS text, unnest(labels[:-2]) AS label FROM training)
WHERE label >= 0 GROUP BY ALL
"""
COUNTED = """
SELECT coalesce(sum(n), 0)::BIGINT AS labels, coalesce(sum(n) FILTER (text <> label), 0)::BIGINT AS differ FROM pairs
"""
MOVES = """
WITH texts AS (
    SELECT text AS token, sum(n) AS in_text, sum(n) FILTER (text = label) AS stayed FROM pairs GROUP BY text),
     labels AS (SELECT label AS token, sum(n) AS as_label FROM pairs GROUP BY label)
SELECT token, coalesce(in_text, 0)::BIGINT AS in_text, coalesce(as_label, 0)::BIGINT AS as_label,
       coalesce(stayed, 0)::BIGINT AS stayed, (as_label - in_text) / sqrt(as_label + in_text) AS z
FROM (SELECT token, coalesce(in_text, 0) AS in_text, coalesce(as_label, 0) AS as_label, stayed
      FROM texts FULL JOIN labels USING (token))
WHERE greatest(in_text, as_label) >= ? AND z * ? > 0 ORDER BY z * ? DESC, token LIMIT ?
"""
INSTEAD = """
SELECT label, n FROM pairs WHERE text = ? AND label <> text ORDER BY n DESC, label LIMIT 3
"""
VERTICES = """
SELECT vertex + 1 AS vertices, count(*) AS positions FROM read_parquet(?)
WHERE isinf(alpha_to) GROUP BY ALL ORDER BY ALL
"""
# A token is one line, so it has one piece of the envelope: two alphas agree exactly where one piece holds both.
AGREEMENT = """
SELECT a.alpha, count(*) AS positions,
       count(*) FILTER (alpha_from <= $alpha::FLOAT AND $alpha::FLOAT < alpha_to) AS agree
FROM read_parquet($shards) c JOIN (SELECT unnest($alphas)::FLOAT AS alpha) a
  ON c.alpha_from <= a.alpha AND a.alpha < c.alpha_to
GROUP BY a.alpha ORDER BY a.alpha
"""
SAMPLE = """
CREATE OR REPLACE TEMP TABLE sample AS
WITH wanted AS (SELECT DISTINCT block_id FROM read_parquet($logits)),
     texts AS (SELECT block_id, unnest(original_ids[2:]) AS text, unnest(range(len(original_ids) - 1)) AS position
               FROM blocks SEMI JOIN wanted USING (block_id))
SELECT l.block_id, l.position, t.text, l.baseline_lse, l.reinforced_lse,
       l.baseline[list_position(l.ids, t.text)] AS baseline, l.reinforced[list_position(l.ids, t.text)] AS reinforced
FROM read_parquet($logits) l JOIN texts t USING (block_id, position) WHERE l.reason IS NULL
"""
DIFFER = """
SELECT a.alpha, count(*) AS positions, count(*) FILTER (c.token <> s.text) AS differ
FROM read_parquet($curves) c JOIN (SELECT unnest($alphas)::FLOAT AS alpha) a
  ON c.alpha_from <= a.alpha AND a.alpha < c.alpha_to
JOIN sample s USING (block_id, position) GROUP BY a.alpha ORDER BY a.alpha
"""
# Rounded: the threads of a query add up in any order, and a report made again shall be the same to the last digit.
PROBABILITIES = """
SELECT text AS token, count(baseline) AS seen, round(avg(exp(baseline - baseline_lse)), 9) AS before,
       round(avg(exp(reinforced - reinforced_lse)), 9) AS after
FROM sample WHERE baseline IS NOT NULL GROUP BY text
"""


def label_facts(connection: Any, blocks: Path, logits: Path, labels: Path, alpha: float) -> Row:
    """Vertices a position, sensitivity to alpha, and the tokens that labels moved away from and towards."""
    connection.register("training", read_shard(labels / "training.arrow"))
    connection.register("blocks", read_shard(blocks / "blocks.arrow"))
    connection.execute(PAIRS)
    (facts,) = rows(connection, COUNTED)
    facts |= _curves(connection, logits, alpha) | _sample(connection, logits)
    probabilities = facts.pop("probabilities")
    for name, sign in (("away", -1), ("towards", 1)):
        facts[name] = rows(connection, MOVES, [RARE, sign, sign, MOVED])
        for row in facts[name]:
            row["instead"] = rows(connection, INSTEAD, [row["token"]]) if sign < 0 else []
            row |= probabilities.get(row["token"], dict.fromkeys(("seen", "before", "after")))
    return facts


def _curves(connection: Any, logits: Path, alpha: float) -> Row:
    shards = spread(sorted(logits.glob("label_curves-*.parquet")), CURVE_ROWS)
    if not shards:
        return {"vertices": [], "agreement": []}
    values = {"shards": shards, "alphas": sorted({*ALPHAS, alpha}), "alpha": alpha}
    return {
        "vertices": rows(connection, VERTICES, [shards]),
        "agreement": rows(connection, AGREEMENT, values),
    }


def _sample(connection: Any, logits: Path) -> Row:
    shards = spread(sorted(logits.glob("logits-*.parquet")), LOGIT_ROWS)
    if not shards:
        return {"sampled": 0, "differ_by_alpha": [], "probabilities": {}}
    connection.execute(SAMPLE, {"logits": shards})
    curves = [shard.replace("/logits-", "/label_curves-") for shard in shards]
    return {
        "sampled": rows(connection, "SELECT count(*) AS n FROM sample")[0]["n"],
        "differ_by_alpha": rows(connection, DIFFER, {"curves": curves, "alphas": list(ALPHAS)}),
        "probabilities": {row.pop("token"): row for row in rows(connection, PROBABILITIES)},
    }
