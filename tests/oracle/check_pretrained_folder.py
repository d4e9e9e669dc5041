#!/usr/bin/env python3
"""Loads what `pretrain` wrote in Hugging Face transformers and computes its held-out loss there.

  python check_pretrained_folder.py FOLDER DEV --length 128 [--doc-sentences] [--corpus FILE ...]

Text, blocks and masks are made anew here: tokens by the folder's tokenizer as transformers loads it,
blocks or pairs, and masks, by pretraining_law.py as the folder's pretraining.json asks; for spans,
--corpus is the text that it was trained on. Missing and unexpected keys are errors, but for those of
the span boundary objective, which is computed beside transformers' model; and so is a loss that
differs from the last "dev_loss" of FOLDER/log.jsonl by more than 1e-4 (float32 there, float64 here).
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy, gelu, layer_norm

from pretraining_law import (
    bert_masked,
    blocks_of,
    documents_of,
    roberta_masked,
    segment_pairs,
    span_masked,
    token_counts,
)

HEAD = "cls.pair_target_predictions."


def by_boundaries(model, weights, left, right):
    """Logits of all places of a span, `[places, vocab]`, from the hidden states beside it."""
    table = weights["position_embeddings.weight"]
    x = torch.cat([left.expand(len(table), -1), right.expand(len(table), -1), table], 1)
    for layer in ("transform.0.", "transform.1."):
        x = gelu(x @ weights[layer + "dense.weight"].T + weights[layer + "dense.bias"])
        norm = weights[layer + "LayerNorm.weight"], weights[layer + "LayerNorm.bias"]
        x = layer_norm(x, x.shape[1:], *norm, eps=model.config.layer_norm_eps)
    return x @ model.get_input_embeddings().weight.T + weights["bias"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("dev", type=pathlib.Path)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--doc-sentences", action="store_true")
    parser.add_argument("--corpus", type=pathlib.Path, action="append", default=[])
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    settings = json.loads((arguments.folder / "pretraining.json").read_text())
    if settings["whole-words"]:
        parser.error("a folder of --whole-words, whose masks are not made anew here")
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.folder)
    cls, sep, mask = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id
    pairs = settings["segment-pairs"]
    kind = transformers.AutoModelForPreTraining if pairs else transformers.AutoModelForMaskedLM
    model, report = kind.from_pretrained(
        arguments.folder, output_loading_info=True, dtype=torch.float64
    )
    failures = [
        f"{kind}: {key}"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        for key in sorted(map(str, report[kind]))
        if not (settings["masking"] == "span" and key.startswith(HEAD))
    ]
    spanned = {}  # weights of the boundary objective
    if settings["masking"] == "span":
        all_weights = load_file(arguments.folder / "model.safetensors").items()
        spanned = {k.removeprefix(HEAD): w.double() for k, w in all_weights if k.startswith(HEAD)}
        texts = [document for path in arguments.corpus for document in documents_of(path, tokenizer)]
        counts = token_counts(texts, len(tokenizer))
        starts = [
            id in tokenizer.all_special_ids or token.startswith("\u0120")
            for id, token in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
        ]
    model.eval()
    documents = documents_of(arguments.dev, tokenizer)
    if pairs:
        blocks = segment_pairs(documents, cls, sep, arguments.length, 0, 0)
    else:
        blocks = blocks_of(documents, cls, sep, arguments.length, arguments.doc_sentences)
        blocks = [(block, [0] * len(block), 0) for block in blocks]
    names = ("loss", "accuracy", "nsp_loss", "nsp_accuracy", "sbo_loss", "sbo_accuracy")
    sums, count, sbo_count = dict.fromkeys(names, 0.0), 0, 0
    with torch.no_grad():
        for number, (block, types, is_random) in enumerate(blocks):
            spans = []
            if settings["masking"] == "span":
                shown, spans = span_masked(block, number, 0, mask, {cls, sep}, starts, counts)
                masked = shown, [at for span in spans for at in range(*span)]
            elif settings["masking"] == "bert":
                masked = bert_masked(block, number, 0, mask, len(tokenizer), {cls, sep})
            else:
                masked = roberta_masked(block, number, 0, mask, len(tokenizer))
            shown, chosen = masked
            output = model(
                torch.tensor([shown]),
                token_type_ids=torch.tensor([types]),
                output_hidden_states=True,
            )
            hidden = output.hidden_states[-1][0]
            for begin, end in spans:
                if begin == 0 or end == len(block):
                    continue
                logits = by_boundaries(model, spanned, hidden[begin - 1], hidden[end])
                labels = torch.tensor(block[begin:end][: len(logits)])
                logits = logits[: len(labels)]
                sums["sbo_loss"] += cross_entropy(logits, labels, reduction="sum").item()
                sums["sbo_accuracy"] += (logits.argmax(1) == labels).sum().item()
                sbo_count += len(labels)
            if pairs:
                label = torch.tensor([is_random])
                sums["nsp_loss"] += cross_entropy(output.seq_relationship_logits, label).item()
                sums["nsp_accuracy"] += (output.seq_relationship_logits.argmax(1) == label).item()
            if not chosen:
                continue
            logits = (output.prediction_logits if pairs else output.logits)[0, chosen]
            labels = torch.tensor(block)[chosen]
            sums["loss"] += cross_entropy(logits, labels, reduction="sum").item()
            sums["accuracy"] += (logits.argmax(1) == labels).sum().item()
            count += len(chosen)
    reports = [json.loads(line) for line in (arguments.folder / "log.jsonl").open()]
    ours = next(report for report in reversed(reports) if "dev_loss" in report)
    print(f"{len(blocks)} blocks, {count} masks")
    for name, total in sums.items():
        if f"dev_{name}" not in ours:
            continue
        found = total / {"nsp": len(blocks), "sbo": sbo_count}.get(name[:3], count)
        print(f"{name} {found:.6f}, the log has {ours[f'dev_{name}']:.6f}")
        if not abs(found - ours[f"dev_{name}"]) < (1e-4 if name.endswith("loss") else 2e-3):
            failures.append(f"{name} differs")
    if pairs and "dev_nsp_loss" not in ours:
        failures.append("the log has no next sentences")
    if spanned and "dev_sbo_loss" not in ours:
        failures.append("the log has no boundaries")
    pair = tokenizer("and", "the")
    if pairs and pair.get("token_type_ids", [])[-1:] != [1]:
        failures.append("the tokenizer gives pairs no types")
    for failure in failures:
        print("error:", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
