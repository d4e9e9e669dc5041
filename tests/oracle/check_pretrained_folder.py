#!/usr/bin/env python3
"""Loads what `pretrain` wrote in Hugging Face transformers and computes its held-out loss there.

  python check_pretrained_folder.py FOLDER DEV --length 128 [--doc-sentences]

Text, blocks and masks are made anew here: tokens by the folder's tokenizer as transformers loads it,
blocks of whole sentences, and masks by the law of masking.hpp from the random numbers of rng.hpp.
Missing and unexpected keys are errors, and so is a loss that differs from the last "dev_loss" of
FOLDER/log.jsonl by more than 1e-4 (float32 there, float64 here).
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers


def philox(counter, key):
    key0, key1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        product0, product1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = (
            (product1 >> 32) ^ counter[1] ^ key0,
            product1 & 0xFFFFFFFF,
            (product0 >> 32) ^ counter[3] ^ key1,
            product0 & 0xFFFFFFFF,
        )
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return counter


def uniform(stream, seed=0):
    """Numbers of one stream in [0, 1), one after the other."""
    position = 0
    while True:
        low, high = philox((position, 0, stream & 0xFFFFFFFF, stream >> 32), seed)[:2]
        yield (high << 32 | low) / 2**11 // 1 * 2.0**-53
        position += 1


def blocks_of(path, tokenizer, length, doc_sentences):
    """Whole sentences up to the length; an empty line ends a document."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    blocks, block, new_document = [], [bos], False
    text = path.read_bytes().decode(errors="replace")
    documents = [[]]
    for line in text.split("\n"):
        line = line.strip(" \t\r")
        if line:
            documents[-1].append(tokenizer(line, add_special_tokens=False)["input_ids"] + [eos])
        elif documents[-1]:
            documents.append([])
    for document in documents:
        for i, sentence in enumerate(document):
            separator = [eos] if new_document and i == 0 and len(block) > 1 else []
            if len(block) + len(separator) + len(sentence) > length:
                if len(block) > 1:
                    blocks.append(block)
                block = [bos]
            else:
                block = block + separator
            while 1 + len(sentence) > length:
                blocks.append(block + sentence[: length - 1])
                block, sentence = [bos], sentence[length - 1 :]
            block = block + sentence
        new_document = True
        if doc_sentences and len(block) > 1:
            blocks.append(block)
            block = [bos]
    return blocks + ([block] if len(block) > 1 else [])


def masked(block, number, mask, vocab):
    """What the model sees, and the positions that it has to guess."""
    draws = uniform(number)
    count = min(int(0.15 * len(block) + next(draws)), len(block))
    order = list(range(len(block)))
    for i in range(min(count, len(order) - 1)):
        other = i + int(next(draws) * (len(order) - i))
        order[i], order[other] = order[other], order[i]
    shown, chosen = list(block), sorted(order[:count])
    for at in chosen:
        draw = next(draws)
        if draw < 0.8:
            shown[at] = mask
        elif draw < 0.8 + 0.1:
            shown[at] = 4 + int(next(draws) * (vocab - 4))
    return shown, chosen


def score(model, tokenizer, blocks):
    """Mean loss and share of right guesses over the hidden tokens of these blocks, and their count."""
    total, right, count = 0.0, 0, 0
    with torch.no_grad():
        for number, block in enumerate(blocks):
            shown, chosen = masked(block, number, tokenizer.mask_token_id, len(tokenizer))
            if not chosen:
                continue
            logits = model(torch.tensor([shown])).logits[0, chosen]
            labels = torch.tensor(block)[chosen]
            total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(1) == labels).sum().item()
            count += len(chosen)
    return total / count, right / count, count


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("dev", type=pathlib.Path)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--doc-sentences", action="store_true")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.folder)
    model, report = transformers.AutoModelForMaskedLM.from_pretrained(
        arguments.folder, output_loading_info=True, dtype=torch.float64
    )
    failures = [
        f"{kind}: {key}"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        for key in sorted(map(str, report[kind]))
    ]
    model.eval()
    blocks = blocks_of(arguments.dev, tokenizer, arguments.length, arguments.doc_sentences)
    loss, accuracy, count = score(model, tokenizer, blocks)
    reports = [json.loads(line) for line in (arguments.folder / "log.jsonl").open()]
    ours = next(report for report in reversed(reports) if "dev_loss" in report)
    print(f"{len(blocks)} blocks, {count} masks: loss {loss:.6f}, the log has {ours['dev_loss']:.6f};")
    print(f"right at first guess {accuracy:.4f}, the log has {ours['dev_accuracy']:.4f}")
    if not abs(loss - ours["dev_loss"]) < 1e-4:
        failures.append("the losses differ")
    if not abs(accuracy - ours["dev_accuracy"]) < 2e-3:
        failures.append("the shares that are right differ")
    for failure in failures:
        print("error:", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
