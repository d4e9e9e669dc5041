#!/usr/bin/env python3
"""Writes tests/fixtures/metrics/: what scikit-learn, SciPy, seqeval and the SQuAD scripts say to random and hand-made cases.

SQuAD's two scripts are restated here from their published description; on the way every result is compared with transformers' own squad_metrics.
Run as: python tests/oracle/metrics_fixtures.py
"""
import collections
import json
import math
import pathlib
import random
import re
import string
import unicodedata
import warnings

import numpy as np
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as lenient
from seqeval.metrics.v1 import precision_recall_fscore_support as strict
from seqeval.scheme import BILOU, IOB2, IOBES, Entities
from sklearn.metrics import accuracy_score, matthews_corrcoef, precision_recall_fscore_support
from transformers.data.metrics import glue_compute_metrics, squad_metrics

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "metrics"
AVERAGES = ("micro", "macro", "weighted")


def write(name, cases):
    FOLDER.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case, allow_nan=False, separators=(",", ":")) for case in cases)
    (FOLDER / f"{name}.json").write_text(f"[\n{lines}\n]\n")


def number(value):
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)


def scores(result):
    """Precision, recall and F1 of one class or average."""
    return [number(value) for value in result[:3]]


# --- classification and regression -------------------------------------------------------------


def classification_case(predictions, labels):
    averages = {a: scores(precision_recall_fscore_support(labels, predictions, average=a, zero_division=0)) for a in AVERAGES}
    names = sorted(set(predictions) | set(labels))
    each = zip(*precision_recall_fscore_support(labels, predictions, labels=names, zero_division=0))
    case = {"predictions": predictions, "labels": labels, "accuracy": float(accuracy_score(labels, predictions)),
            "matthews": float(matthews_corrcoef(labels, predictions)), **averages,
            "classes": {str(name): [*scores(one), int(one[3])] for name, one in zip(names, each)}}
    if set(names) <= {0, 1}:
        case["binary"] = scores(precision_recall_fscore_support(labels, predictions, average="binary", zero_division=0))
        both = glue_compute_metrics("mrpc", np.array(predictions), np.array(labels))
        case["accuracy_and_f1"] = [float(both[key]) for key in ("acc", "f1", "acc_and_f1")]
    return case


def regression_case(predictions, labels):
    p, l = np.array(predictions), np.array(labels)
    return {"predictions": predictions, "labels": labels, "pearson": number(pearsonr(p, l)[0]), "spearman": number(spearmanr(p, l)[0])}


def glue():
    r = random.Random(1)
    cases = [classification_case(p, l) for p, l in (([0], [0]), ([1], [1]), ([0], [1]), ([1], [0]), ([0, 0, 0], [0, 1, 1]), ([1, 1], [1, 1]),
                                                    ([0, 1, 2, 2], [2, 1, 2, 2]), ([-100, 2147483647], [2147483647, -2147483648]))]
    for _ in range(240):
        classes, size, right = r.choice([2, 2, 3, 5]), r.randint(1, 30), r.random()
        labels = [r.randrange(classes) for _ in range(size)]
        cases.append(classification_case([l if r.random() < right else r.randrange(classes) for l in labels], labels))
    write("classification", cases)
    cases = [regression_case(p, l) for p, l in (
        ([1.0, 1.0], [2.0, 3.0]), ([1.0, 2.0], [3.0, 3.0]), ([1.0, 2.0], [2.0, 3.0]), ([1.0, 2.0], [3.0, 2.0]), ([1e300, -1e300, 3.0], [1.0, 2.0, 4.0]),
        ([1e-200, -1e-200, 3e-200], [1.0, 2.0, 4.0]), ([1e8, 1e8 + 1, 1e8 + 2.5], [1.0, 3.0, 2.0]), ([0.1] * 7, [0.1 * i for i in range(7)]))]
    for _ in range(200):
        size, step, noise = r.randint(2, 25), r.choice([0.2, 0.5, 1e-3]), r.choice([0.1, 1, 10])
        labels = [round(round(r.uniform(0, 5) / step) * step, 3) for _ in range(size)]
        cases.append(regression_case([round(l + r.gauss(0, noise), r.choice([0, 1, 4])) for l in labels], labels))
    write("regression", cases)


# --- entities -----------------------------------------------------------------------------------

TYPES = ["-PER", "-LOC", "-A-B", "-\u00c9", "", "-"]


def random_tags(r, prefixes):
    types = r.sample(TYPES, r.randint(1, 3))
    if set(prefixes) & {"L", "U"}:
        types = [t for t in types if t not in ("", "-")] or ["-PER"]
    return ["O" if r.random() < 0.25 else r.choice(prefixes) + r.choice(types) for _ in range(r.randint(0, 9))]


def entities_case(predictions, labels):
    """Results by scheme; null where the scheme refuses a tag."""

    def results(score, unique, **options):
        each = zip(unique, *score(labels, predictions, average=None, **options))
        return {**{a: scores(score(labels, predictions, average=a, **options)) for a in AVERAGES},
                "classes": {name: [*scores(one), int(one[3])] for name, *one in each}}

    def spans(entities):
        return [[[kind, start, end + 1] for kind, start, end in get_entities(tags)] for tags in entities]

    case = {"predictions": [" ".join(tags) for tags in predictions], "labels": [" ".join(tags) for tags in labels]}
    names = {kind for side in (predictions, labels) for kind, _, _ in get_entities(side)}
    case["conll"] = {"spans": spans(labels), **results(lenient, sorted(names))}
    for scheme in IOB2, IOBES, BILOU:
        try:
            found = Entities(labels, scheme)
            names = Entities(predictions, scheme).unique_tags | found.unique_tags
            of_labels = [[[e.tag, e.start, e.end] for e in sentence] for sentence in found.entities]
            case[scheme.__name__.lower()] = {"spans": of_labels, **results(strict, sorted(names), scheme=scheme)}
        except ValueError:
            case[scheme.__name__.lower()] = None
    return case


def entities():
    r = random.Random(2)
    hand = ["", "O", "B-PER", "I-PER I-PER", "B-PER I-LOC", "I-PER B-PER I-PER", "S-PER S-PER", "B-PER E-PER E-PER", "B-PER I-PER E-LOC",
            "E-PER I-PER O I-PER", "B-PER L-PER U-LOC U-LOC", "B-PER L-PER B-PER L-PER", "U-PER O L-PER", "B I O I", "B- B-_ I", "B-A-B I-A-B I-A"]
    cases = [entities_case([s.split()], [s.split()]) for s in hand]
    cases.append(entities_case([["O", "O"], ["B-PER"]], [["B-LOC", "O"], ["B-PER"]]))
    cases.append(entities_case([["B-PER", "I-PER"], ["I-PER"]], [["B-PER", "I-PER"], ["I-PER"]]))  # a sentence ends an entity
    for _ in range(240):
        prefixes = r.choice(["BI", "BI", "IE", "I", "BIES", "BIES", "BILU", "BIESLU"])
        labels = [random_tags(r, prefixes) for _ in range(r.randint(1, 4))]
        keep, other = r.random(), random_tags(r, prefixes) + ["O"]
        cases.append(entities_case([[t if r.random() < keep else r.choice(other) for t in tags] for tags in labels], labels))
    write("entities", cases)


# --- SQuAD --------------------------------------------------------------------------------------


def normalized(text):
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", kept).split())


def pair_scores(prediction, answer, version):
    p, a = normalized(prediction).split(), normalized(answer).split()
    exact = float(p == a)
    if version == 2 and not (p and a):
        return exact, exact
    same = (collections.Counter(p) & collections.Counter(a)).total()
    if same == 0:
        return exact, 0.0
    precision, recall = same / len(p), same / len(a)
    return exact, 2 * precision * recall / (precision + recall)


def question_scores(question, version):
    answers = question["answers"]
    if version == 2:
        answers = [a for a in answers if normalized(a)] or [""]
    pairs = [pair_scores(question["prediction"], a, version) for a in answers]
    return [max(column) for column in zip(*pairs)]


def totals(rows):
    return [100 * sum(row[0] for row in rows) / len(rows), 100 * sum(row[1] for row in rows) / len(rows), len(rows)] if rows else [0, 0, 0]


def best(questions, rows, metric):
    """Starts with no question answered, then answers one after the other, the surest first."""
    total = top = sum(not q["answers"] for q in questions)
    threshold = 0.0
    for question, row in sorted(zip(questions, rows), key=lambda pair: pair[0]["probability"]):
        total += row[metric] if question["answers"] else -bool(question["prediction"])
        if total > top:
            top, threshold = total, question["probability"]
    return [100 * top / len(questions), threshold]


def squad2(questions, threshold):
    raw = [question_scores(q, 2) for q in questions]
    final = [[float(not q["answers"])] * 2 if q["probability"] > threshold else row for q, row in zip(questions, raw)]
    return {"threshold": threshold, "all": totals(final), "has_answer": totals([row for q, row in zip(questions, final) if q["answers"]]),
            "no_answer": totals([row for q, row in zip(questions, final) if not q["answers"]]),
            "best_exact": best(questions, raw, 0), "best_f1": best(questions, raw, 1)}


def agrees_with_transformers(questions, result):
    Example = collections.namedtuple("Example", "qas_id answers")
    examples = [Example(str(i), [{"text": a} for a in q["answers"]]) for i, q in enumerate(questions)]
    theirs = squad_metrics.squad_evaluate(examples, {str(i): q["prediction"] for i, q in enumerate(questions)},
                                          {str(i): q["probability"] for i, q in enumerate(questions)}, result["threshold"])
    ours = dict(zip(("exact", "f1", "total"), result["all"]))
    for prefix, part in (("HasAns", result["has_answer"]), ("NoAns", result["no_answer"])):
        if part[2]:
            ours.update(zip((f"{prefix}_exact", f"{prefix}_f1", f"{prefix}_total"), part))
    ours.update(zip(("best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"), result["best_exact"] + result["best_f1"]))
    assert theirs == ours, (theirs, ours)


PIECES = ["the", "The", "THE", "a", "A", "an", "An", "cat", "Cats", "theory", "aa", " ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u2028", "\u0085", "\x1c", "\x1f",
          "\u200b", "\ufeff", "\u180e", "-", ".", ",", "'", "\u2019", "_", "$", "+", "\u20ac", "\u2013", "\u00ab", "\u3002", "\u00bf", "3.14", "1,000", "42", "\u0663", "\u00bd", "\u00b2",
          "\u216b", "\u2167", "\u0130", "\u0131", "I", "\u0301", "\u0308", "\u00c5", "\u00c9t\u00e9", "\u00df", "\u1e9e", "\u01c5", "\u03a3", "\u039f\u0394\u039f\u03a3", "\u03a3\u0391\u03a3", "\u03c2", "\u0416",
          "\u65e5\u672c", "\u0939\u093f", "\U0001f600", "\U00010400", "\U0001d4d0", "\U0001e900", "\u0345", "\u02b0", "\u24b6", "\u2160", "\ud55c", "x" * 30, "\x00", "\x7f", "\ufffd"]


def random_text(r):
    return "".join(r.choice(PIECES) for _ in range(r.choice([0, 1, 2, 3, 5, 8, 13])))


def random_question(r):
    answers = [random_text(r) for _ in range(r.choice([0, 1, 1, 2, 3]))]
    if answers and r.random() < 0.6:
        words = r.choice(answers).split()
        prediction = " ".join(r.choice([w, w.upper(), w + "."]) for w in words if r.random() < 0.8)
    else:
        prediction = r.choice(["", random_text(r)])
    return {"prediction": prediction, "answers": answers, "probability": r.choice([0.0, 0.25, 0.5, 1.0, round(r.random(), 3)])}


def squad():
    r = random.Random(3)
    texts = PIECES + ["The  Cat.", "a-b", "a.b", "an_a", "x a\u0301 y", "\u0301a\u0301b", "the", "", " ", "...", "A.", "U.S.A.", "don't", "a1", "1a", "\u00bda", "a\u00bd", "a\u200bthe",
                      "'\u03a3", "A'\u03a3'", "A\u03a3'B", "A\u03a3\u0301", "\u03a3\u03a3\u03a3", "1\u03a3", "\u03b1\u03a3.\u03b2", "\u03b1\u03a3. \u03b2", "\u0130\u03a3", "\u02b0\u03a3", "\u0345\u03a3", "\u24b6\u03a3"]
    texts += [random_text(r) for _ in range(400)]
    assert all(normalized(t) == squad_metrics.normalize_answer(t) for t in texts)
    write("squad_normalized", [[t, normalized(t)] for t in texts])

    cases = []
    for size in [1] * 150 + [2, 3, 5, 8, 13, 21, 34, 55]:
        questions = [random_question(r) for _ in range(size)]
        case = {"questions": questions, "squad2": []}
        for threshold in (1.0,) if size == 1 else (1.0, 0.5, 0.25, -1.0):
            case["squad2"].append(squad2(questions, threshold))
            agrees_with_transformers(questions, case["squad2"][-1])
        if all(q["answers"] for q in questions):
            case["squad1"] = totals([question_scores(q, 1) for q in questions])
        cases.append(case)
    questions = [q for q in (random_question(r) for _ in range(100)) if q["answers"]]
    cases.append({"questions": questions, "squad2": [], "squad1": totals([question_scores(q, 1) for q in questions])})
    write("squad", cases)


# --- every code point ---------------------------------------------------------------------------


def fnv(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return f"{h:016x}"


def unicode():
    """Digests, for blocks of 4096 code points, of what normalisation makes of each between letters, articles and sigmas. Left out are the ranges that this
    Python's Unicode does not assign, and a character that a later one classifies otherwise."""
    left_out = {0x1171E}  # no longer Case_Ignorable
    unknown, blocks = [], []
    for begin in range(0, 0x110000, 4096):
        lines = []
        for c in range(begin, begin + 4096):
            if unicodedata.category(chr(c)) in ("Cn", "Cs") or c in left_out:
                if unknown and unknown[-1][1] == c:
                    unknown[-1][1] = c + 1
                else:
                    unknown.append([c, c + 1])
            else:
                lines.append(normalized(f"a{chr(c)}the x{chr(c)}\u03a3 \u03b1\u03a3{chr(c)}\u03b2"))
        blocks.append(fnv("".join(lines)))
    write("squad_unicode", [{"unknown": unknown, "blocks": blocks}])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    glue()
    entities()
    squad()
    unicode()
