#!/usr/bin/env python3
"""Makes the fixtures of DistilBERT, as roberta_fixtures.py makes those of RoBERTa.

  python distilbert_fixtures.py --out tests/fixtures/models/distilbert
  python distilbert_fixtures.py --out FOLDER/distilbert --random 150 [--seed 1]   # as many random
      models; then EIGENFORMER_MODEL_FIXTURES=FOLDER models_tests --gtest_filter='*Parity*'
"""

import functools

import torch
import transformers

import model_fixtures
from model_fixtures import HEAD, gamma_beta, holes, main, masked_row, pads_without_mask, rename

BASE = transformers.DistilBertModel
MLM = transformers.DistilBertForMaskedLM
SEQUENCE = transformers.DistilBertForSequenceClassification
TOKEN = transformers.DistilBertForTokenClassification
QUESTION = transformers.DistilBertForQuestionAnswering
CHOICE = transformers.DistilBertForMultipleChoice
CLASSES = [BASE, MLM, SEQUENCE, TOKEN, QUESTION, CHOICE]
WORDS = "distilbert.embeddings.word_embeddings.weight"
OWN = dict(
    hidden_size="dim",
    num_hidden_layers="n_layers",
    num_attention_heads="n_heads",
    intermediate_size="hidden_dim",
    hidden_act="activation",
    type_vocab_size=None,
    layer_norm_eps=None,
    is_decoder=None,
)


def own_values(values):
    """Values named as DistilBERT names them; it has no others."""
    named = {OWN.get(key, key): value for key, value in values.items()}
    named.pop(None, None)
    return named


def with_decoder(tensors, generator):
    """The decoder as well, with the values that it is tied to."""
    return {**tensors, "vocab_projector.weight": tensors[WORDS].clone()}


def untie(tensors, generator):
    """A decoder in the file that differs from the word embeddings, while the config says tied."""
    noise = torch.randn(tensors[WORDS].shape, generator=generator)
    return {**tensors, "vocab_projector.weight": tensors[WORDS] + noise}


CASES = {
    "base": (BASE, dict(num_hidden_layers=2), [6, 3, 1], {}),
    "base_tanh": (
        BASE,
        dict(hidden_size=7, num_attention_heads=1, hidden_act="tanh", pad_token_id=None),
        lambda g, c: (torch.randint(0, c.vocab_size, (3, 5), generator=g), None),
        {},
    ),
    "full_length": (
        BASE,
        dict(hidden_size=6, num_attention_heads=6, max_position_embeddings=12),
        lambda g, c: (torch.randint(0, c.vocab_size, (2, 12), generator=g), None),
        {},
    ),
    "class_defaults": (
        BASE,
        dict(num_attention_heads=12, intermediate_size=11),
        [3, 4],
        dict(drop=("n_heads", "pad_token_id", "activation", "tie_word_embeddings", "dropout")),
    ),
    "masked_lm": (MLM, dict(hidden_act="relu"), [5, 4, 2], dict(loss=True)),
    "masked_lm_holes": (
        MLM,
        dict(num_hidden_layers=2),
        holes,
        dict(change=with_decoder, loss=True),
    ),
    "masked_lm_untied": (
        MLM,
        dict(tie_word_embeddings=False),
        [4, 2],
        dict(side="left", loss=True),
    ),
    "masked_lm_tied_but_different": (MLM, dict(), [4, 5], dict(change=untie)),
    "masked_row": (MLM, dict(num_hidden_layers=2, hidden_size=9), masked_row, {}),
    "pads_without_mask": (MLM, dict(), pads_without_mask, dict(shard="3KB")),
    "no_prefix": (
        MLM,
        dict(),
        [3, 5],
        dict(change=lambda t, g: rename(t, lambda n: n.removeprefix("distilbert."))),
    ),
    "sequence": (
        SEQUENCE,
        dict(
            HEAD,
            num_hidden_layers=2,
            id2label={0: "no", 1: "perhaps", 2: "yes"},
            label2id={"no": 0, "perhaps": 1, "yes": 2},
            seq_classif_dropout=0.3,
        ),
        [6, 3, 1],
        {},
    ),
    "sequence_regression": (SEQUENCE, dict(HEAD, num_labels=1), [3, 5, 4], dict(side="left")),
    "sequence_multi_label": (
        SEQUENCE,
        dict(HEAD, num_labels=4, problem_type="multi_label_classification"),
        [4, 2],
        dict(dtype=torch.float16),
    ),
    "token": (TOKEN, dict(HEAD, num_labels=5), holes, dict(dtype=torch.bfloat16)),
    "token_old": (
        TOKEN,
        dict(HEAD, num_labels=3, num_hidden_layers=2),
        [4, 6],
        dict(change=lambda t, g: rename(t, gamma_beta)),
    ),
    "question": (QUESTION, dict(HEAD, num_hidden_layers=2, qa_dropout=0.2), [6] * 5, {}),
    "choice": (
        CHOICE,
        dict(HEAD),
        [4, 2, 5, 1, 3, 3],
        dict(choices=3, dtype=torch.float64),
    ),
}


if __name__ == "__main__":
    make = functools.partial(model_fixtures.make, own_values=own_values)
    raise SystemExit(main(__doc__, CASES, CLASSES, make=make))
