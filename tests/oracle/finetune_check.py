#!/usr/bin/env python3
"""Measures a folder that `finetune` made in Hugging Face transformers, and compares.

  python finetune_check.py FOLDER [--dev FILE]

FOLDER/finetune.json names task, dev file and the reports. The model and the tokenizer are loaded by
transformers' Auto classes in float64; loss and metrics of the dev file are computed as run_glue.py,
run_ner.py and run_qa.py do, by scikit-learn, SciPy, seqeval and SQuAD's script, and compared with
the report of the epoch that is saved: the loss must agree to 1e-3 of it, metrics to one example in
two hundred (near ties of float32 go either way). Exits 1 where they do not.
"""

import argparse
import csv
import json
import math
import os
import pathlib
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

PAIRS = [("sentence1", "sentence2"), ("question1", "question2"), ("question", "sentence")]


def read_table(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    names = next(([a, b] for a, b in PAIRS if a in rows[0] and b in rows[0]), ["sentence"])
    label = "label" if "label" in rows[0] else "score"
    return [[row[name] for name in names] for row in rows], [row[label] for row in rows]


def logits_of(model, tokenizer, texts, settings):
    """One text at a time: no padding."""
    limits = dict(truncation=True, max_length=settings["max_length"]) if settings["max_length"] else {}
    for text in texts:
        encoded = tokenizer(*text, return_tensors="pt", **limits)
        yield model(**encoded).logits[0]


def classification(model, tokenizer, path, settings):
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
    texts, labels = read_table(path)
    ids = [model.config.label2id[label] for label in labels]
    logits = torch.stack(list(logits_of(model, tokenizer, texts, settings)))
    guesses = logits.argmax(-1).tolist()
    return {"dev_loss": torch.nn.functional.cross_entropy(logits, torch.tensor(ids)).item(),
            "accuracy": accuracy_score(ids, guesses),
            "f1": f1_score(ids, guesses, average="binary" if logits.shape[1] == 2 else "macro"),
            "matthews_correlation": matthews_corrcoef(ids, guesses)}


def regression(model, tokenizer, path, settings):
    from scipy.stats import pearsonr, spearmanr
    texts, labels = read_table(path)
    numbers = torch.tensor([float(label) for label in labels], dtype=torch.float64)
    values = torch.cat(list(logits_of(model, tokenizer, texts, settings)))
    pearson = float(pearsonr(values, numbers)[0])
    spearman = float(spearmanr(values, numbers)[0])
    return {"dev_loss": torch.nn.functional.mse_loss(values, numbers).item(), "pearson": pearson,
            "spearman": spearman, "pearson_spearman": (pearson + spearman) / 2}


def ner(model, tokenizer, path, settings):
    from seqeval.metrics import f1_score, precision_score, recall_score
    sentences = [[]]
    for line in open(path, encoding="utf-8-sig", newline="\n"):
        line = line.rstrip("\n")
        if not line.lstrip("\ufeff").strip(" \t\r") or line.startswith("-DOCSTART-"):
            sentences.append([])
        else:
            columns = line.split("\t") if "\t" in line else line.rstrip(" ").split(" ")
            sentences[-1].append((columns[0], columns[-1].rstrip("\r")))
    sentences = [sentence for sentence in sentences if sentence]
    limits = dict(truncation=True, max_length=settings["max_length"]) if settings["max_length"] else {}
    losses, golds, guesses = [], [], []
    for sentence in sentences:
        text = " ".join(word for word, _ in sentence)
        encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True, **limits)
        offsets = encoded.pop("offset_mapping")[0].tolist()
        logits = model(**encoded).logits[0]
        guess, begin = ["O"] * len(sentence), 0
        for i, (word, tag) in enumerate(sentence):
            inside = [t for t, (a, b) in enumerate(offsets) if begin <= a < begin + len(word) and a < b]
            if inside:
                losses.append(-logits[inside[0]].log_softmax(-1)[model.config.label2id[tag]].item())
                guess[i] = model.config.id2label[logits[inside[0]].argmax().item()]
            begin += len(word) + 1
        golds.append([tag for _, tag in sentence])
        guesses.append(guess)
    return {"dev_loss": sum(losses) / len(losses), "f1": f1_score(golds, guesses),
            "precision": precision_score(golds, guesses), "recall": recall_score(golds, guesses)}


def qa(model, tokenizer, path, settings):
    from metrics_fixtures import question_scores, totals
    from question_answering_fixtures import squad_choice, squad_features, squad_logits
    squad = json.loads(pathlib.Path(path).read_text())
    paragraphs = [p for article in squad["data"] for p in article["paragraphs"]]
    negative = any("is_impossible" in q for p in paragraphs for q in p["qas"])
    most = model.config.max_position_embeddings - model.config.pad_token_id - 1
    length = settings["max_length"] or min(384, most)
    stride = settings["stride"] if settings["stride"] >= 0 else min(128, length // 2)
    losses, questions, edges = [], [], 0
    for paragraph in paragraphs:
        context = paragraph["context"]
        for question in paragraph["qas"]:
            features = squad_features(tokenizer, question["question"], context, length, stride)
            logits = squad_logits(model, features)
            prediction = squad_choice(context, features, logits, negative)[0]
            golds = [answer["text"] for answer in question.get("answers", [])]
            questions.append({"prediction": prediction, "answers": golds})
            for (_, offsets), (starts, ends) in zip(features, logits):
                inside = [i for i, o in enumerate(offsets) if o is not None]
                first = last = 0
                if golds and inside:
                    begin = question["answers"][0]["answer_start"]
                    end = begin + len(golds[0])
                    if offsets[inside[0]][0] <= begin and offsets[inside[-1]][1] >= end:
                        first = max(i for i in inside if offsets[i][0] <= begin)
                        last = min(i for i in inside if offsets[i][1] >= end)
                        edges += first == inside[-1]
                losses += [math.log(sum(math.exp(x - values[i]) for x in values))
                           for values, i in ((starts, first), (ends, last))]
    exact, f1, _ = totals([question_scores(q, 2 if negative else 1) for q in questions])
    print(f"{len(questions)} questions, {len(losses) // 2} windows; {edges} answers begin with the "
          "last token of a window, where run_qa.py takes the separator")
    return {"dev_loss": sum(losses) / len(losses), "exact_match": exact, "f1": f1}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dev")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    state = json.loads((arguments.folder / "finetune.json").read_text())
    settings = state["settings"]
    best = max(state["reports"], key=lambda report: report[settings["metric"]] or -1)
    task, auto = {
        "classification": (classification, transformers.AutoModelForSequenceClassification),
        "regression": (regression, transformers.AutoModelForSequenceClassification),
        "ner": (ner, transformers.AutoModelForTokenClassification),
        "qa": (qa, transformers.AutoModelForQuestionAnswering)}[settings["task"]]
    model, report = auto.from_pretrained(arguments.folder, output_loading_info=True,
                                         dtype=torch.float64, attn_implementation="eager")
    wrong = [f"{kind}: {key}" for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
             for key in report[kind]]
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.folder)
    with torch.no_grad():
        found = task(model.eval(), tokenizer, arguments.dev or settings["dev"], settings)
    print(f"{arguments.folder}: {type(model).__name__}, {type(tokenizer).__name__}, epoch {best['epoch']}")
    for name, value in found.items():
        scale = 100 if settings["task"] == "qa" and name != "dev_loss" else 1
        limit = 1e-3 * abs(value) if name == "dev_loss" else 5e-3 * scale
        print(f"  {name}: {best[name]:.6f} here, {value:.6f} in transformers")
        if abs(best[name] - value) > limit:
            wrong.append(f"{name} differs")
    for line in wrong:
        print("error:", line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
