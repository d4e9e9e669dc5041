#!/usr/bin/env python3
"""Makes tests/fixtures/spanbert_pretraining/: spans in a real text, and updates of a small random
SpanBERT with its span boundary objective by PyTorch in float64.

  python spanbert_pretraining_fixtures.py --out tests/fixtures/spanbert_pretraining

spans.json: for some block lengths, seeds and copies of tests/fixtures/text/verses.txt, by the tokenizer
of examples/model, the spans of each block: first token, one past the last, and what is shown there.

model/: config.json, model.safetensors, vocab.txt, text.txt of words of that vocabulary, and
expected.safetensors:
  ids, offsets, positions, spans   a batch of texts with hidden tokens and their spans
  prediction_logits, boundary_logits, targets, loss, gradients.NAME of it; targets are numbers of the
                                   hidden tokens that the boundary objective asks for
  losses, norms, final.NAME        of updates by the recipe in the metadata; norms before clipping
"""

import json
import os
import pathlib
import random
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy, gelu

from model_fixtures import SMALL, parser_of, randomize, readable, save
from pretraining_law import (
    blocks_of,
    derived_seed,
    documents_of,
    shuffled,
    span_masked,
    token_counts,
)
from training_fixtures import decays

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLS, SEP, MASK, WORDS = 2, 3, 4, 5
VOCAB = 41
RECIPE = dict(steps=5, length=24, batch=4, seed=11, lr=0.01, clip=1.0, eps=1e-8, weight_decay=0.01)
MAX_PAIR_TARGETS, PLACE_SIZE = 5, 200


def make_spans(out):
    tokenizer = transformers.AutoTokenizer.from_pretrained(ROOT / "examples/model")
    documents = documents_of(ROOT / "tests/fixtures/text/verses.txt", tokenizer)
    special = set(tokenizer.all_special_ids)
    starts = [
        id in special or token.startswith("\u0120")
        for id, token in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    ]
    counts = token_counts(documents, len(tokenizer))
    cls, sep, mask = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id
    cases = []
    for length, seed, copy in ((16, 1, 0), (64, 2, 3), (128, 2**40 + 1, 7)):
        blocks = []
        for number, ids in enumerate(blocks_of(documents, cls, sep, length, False)):
            stream = copy << 40 | number
            shown, spans = span_masked(ids, stream, seed, mask, {cls, sep}, starts, counts)
            blocks.append([[begin, end, *shown[begin:end]] for begin, end in spans])
        cases.append(dict(length=length, seed=seed, copy=copy, blocks=blocks))
    (out / "spans.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    print(sum(len(block) for case in cases for block in case["blocks"]), "spans")


class SpanBert(torch.nn.Module):
    """BertForMaskedLM with the head of the span boundary objective, which scores all places of a
    span, as facebookresearch/SpanBERT does."""

    def __init__(self, config):
        super().__init__()
        self.lm = transformers.BertForMaskedLM(config)
        size = config.hidden_size
        self.head = torch.nn.Module()
        self.head.position_embeddings = torch.nn.Embedding(config.max_pair_targets, PLACE_SIZE)
        self.head.transform = torch.nn.ModuleList()
        for inputs in (2 * size + PLACE_SIZE, size):
            layer = torch.nn.Module()
            layer.dense = torch.nn.Linear(inputs, size)
            layer.LayerNorm = torch.nn.LayerNorm(size, eps=config.layer_norm_eps)
            self.head.transform.append(layer)
        self.head.bias = torch.nn.Parameter(torch.zeros(config.vocab_size))

    def named(self):
        """Parameters as a folder names them."""
        named = list(self.lm.named_parameters())
        head = self.head.named_parameters()
        return named + [(f"cls.pair_target_predictions.{name}", p) for name, p in head]

    def boundaries(self, left, right):
        """`[places, vocab]` from two hidden states."""
        table = self.head.position_embeddings.weight
        x = torch.cat([left.expand(len(table), -1), right.expand(len(table), -1), table], 1)
        for layer in self.head.transform:
            x = layer.LayerNorm(gelu(layer.dense(x)))
        return x @ self.lm.bert.embeddings.word_embeddings.weight.T + self.head.bias

    def forward(self, texts):
        """Of texts as (what is shown, spans, what is meant): logits of hidden tokens, logits by the
        boundaries, the hidden tokens that these are of, and the loss."""
        logits, labels, by_boundaries, targets = [], [], [], []
        for shown, spans, ids in texts:
            hidden = self.lm.bert(torch.tensor([shown])).last_hidden_state[0]
            scores = self.lm.cls(hidden)
            for begin, end in spans:
                if begin > 0 and end < len(ids):
                    count = min(end - begin, MAX_PAIR_TARGETS)
                    by_boundaries.append(self.boundaries(hidden[begin - 1], hidden[end])[:count])
                    targets += range(len(labels), len(labels) + count)
                logits.append(scores[begin:end])
                labels += ids[begin:end]
        logits, by_boundaries = torch.cat(logits), torch.cat(by_boundaries)
        labels = torch.tensor(labels)
        loss = cross_entropy(logits, labels) + cross_entropy(by_boundaries, labels[targets])
        return logits, by_boundaries, targets, loss


def vocabulary():
    """Tokens of two letters, of which every third begins a word."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    syllables = [a + b for a in "bdgklmnp" for b in "aeiou"]
    for id in range(WORDS, VOCAB):
        tokens.append(syllables[id - WORDS] if id % 3 == 0 else "##" + syllables[id - WORDS])
    return tokens


def text_of(rng, documents, sentences, words):
    starts = [id for id in range(WORDS, VOCAB) if id % 3 == 0]
    inside = [id for id in range(WORDS, VOCAB) if id % 3 != 0]
    return [
        [
            sum(
                (
                    [rng.choice(starts)] + rng.choices(inside, k=rng.choice([0, 0, 1, 2]))
                    for _ in range(rng.randint(1, words))
                ),
                [],
            )
            for _ in range(rng.randint(1, sentences))
        ]
        for _ in range(documents)
    ]


def batches(documents):
    """The updates' blocks: tokens as they are shown, spans, tokens."""
    seed, texts, epoch = RECIPE["seed"], [], 0
    starts = [id < WORDS or id % 3 == 0 for id in range(VOCAB)]
    counts = token_counts(documents, VOCAB)
    blocks = blocks_of(documents, CLS, SEP, RECIPE["length"], False)
    while len(texts) < RECIPE["steps"] * RECIPE["batch"]:
        for number in shuffled(len(blocks), derived_seed(seed, 2), epoch):
            ids, stream = blocks[number], epoch << 40 | number
            masks = derived_seed(seed, 0)
            shown, spans = span_masked(ids, stream, masks, MASK, {CLS, SEP}, starts, counts)
            texts.append((shown, spans, ids))
        epoch += 1
    assert epoch > 1
    for step in range(RECIPE["steps"]):
        yield texts[step * RECIPE["batch"] : (step + 1) * RECIPE["batch"]]


def by_hand(rng):
    """Spans at both ends of a text, next to special tokens and longer than the table, and single
    tokens; some are shown as they are."""
    texts = []
    for length, spans in ((12, [(1, 3), (5, 6), (8, 11)]), (10, [(0, 2), (7, 10)]), (9, [(1, 8)])):
        ids = [CLS] + [rng.randrange(WORDS, VOCAB) for _ in range(length - 2)] + [SEP]
        if spans[0][0] == 0:  # the middle of a text
            ids[0], ids[-1] = WORDS, WORDS + 1
        shown = list(ids)
        for begin, end in spans:
            for at in range(begin, end):
                shown[at] = rng.choice([MASK, MASK, ids[at], WORDS])
        texts.append((shown, spans, ids))
    return texts


def make_model(out):
    folder = out / "model"
    config = transformers.BertConfig(
        **(SMALL | dict(type_vocab_size=2, max_position_embeddings=RECIPE["length"])),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_pair_targets=MAX_PAIR_TARGETS,
        attn_implementation="eager",
    )
    model = SpanBert(config).double().train()
    randomize(model, torch.Generator().manual_seed(6))
    model.lm.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    assert not any(name.startswith("cls.pair") for name in weights)
    weights |= {name: p.detach() for name, p in model.named() if name.startswith("cls.pair")}
    save(weights, folder / "model.safetensors", format="pt")
    tokens = vocabulary()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    documents = text_of(random.Random(5), 6, 5, 9)
    lines = [
        "\n".join(" ".join(tokens[id] for id in s).replace(" ##", "") for s in d)
        for d in documents
    ]
    (folder / "text.txt").write_text("\n\n".join(lines) + "\n")

    named = model.named()
    texts = by_hand(random.Random(8))
    logits, by_boundaries, targets, loss = model(texts)
    loss.backward()
    starts = [0]
    for shown, _, _ in texts:
        starts.append(starts[-1] + len(shown))
    spans = [
        (start + begin, start + end)
        for start, (_, all_spans, _) in zip(starts, texts)
        for begin, end in all_spans
    ]
    of_positions = [(at, *span) for span in spans for at in range(*span)]
    tensors = dict(
        ids=torch.tensor(sum((shown for shown, _, _ in texts), []), dtype=torch.int32),
        labels=torch.tensor(
            [sum((ids for _, _, ids in texts), [])[at] for at, _, _ in of_positions],
            dtype=torch.int32,
        ),
        offsets=torch.tensor(starts),
        spans=torch.tensor(of_positions),  # position, first, one past the last
        targets=torch.tensor(targets),
        prediction_logits=logits.detach(),
        boundary_logits=by_boundaries.detach(),
        loss=loss.detach(),
    )
    tensors |= {f"gradients.{name}": p.grad.clone() for name, p in named}

    adam = torch.optim.AdamW(
        [
            dict(params=[p for n, p in named if decays(n)], weight_decay=RECIPE["weight_decay"]),
            dict(params=[p for n, p in named if not decays(n)], weight_decay=0.0),
        ],
        lr=RECIPE["lr"],
        betas=(0.9, 0.999),
        eps=RECIPE["eps"],
    )
    losses, norms = [], []
    for texts in batches(documents):
        loss = model(texts)[-1]
        model.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE["clip"]).item())
        adam.step()
        losses.append(loss.item())
    tensors |= dict(
        losses=torch.tensor(losses, dtype=torch.float64),
        norms=torch.tensor(norms, dtype=torch.float64),
    )
    tensors |= {f"final.{name}": p.detach().clone() for name, p in named}
    save(tensors, folder / "expected.safetensors", recipe=json.dumps(RECIPE))
    print("losses", *losses, "norms", *norms)


def main():
    out = parser_of(__doc__).parse_args().out
    if out.exists():
        shutil.rmtree(out)
    (out / "model").mkdir(parents=True)
    make_spans(out)
    make_model(out)
    readable(out)


if __name__ == "__main__":
    main()
