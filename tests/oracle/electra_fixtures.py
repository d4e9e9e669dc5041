#!/usr/bin/env python3
"""Makes the fixtures of ELECTRA, as roberta_fixtures.py makes those of RoBERTa; it says what they
hold.

  python electra_fixtures.py --out tests/fixtures/models/electra
  python electra_fixtures.py --out FOLDER/electra --random 150 [--seed 1]   # as many random models;
      then EIGENFORMER_MODEL_FIXTURES=FOLDER models_tests --gtest_filter='*Parity*'
"""

import torch
import transformers

from model_fixtures import HEAD, gamma_beta, holes, main, masked_row, rename, types

BASE = transformers.ElectraModel
MLM = transformers.ElectraForMaskedLM
PRETRAINING = transformers.ElectraForPreTraining
SEQUENCE = transformers.ElectraForSequenceClassification
TOKEN = transformers.ElectraForTokenClassification
QUESTION = transformers.ElectraForQuestionAnswering
CHOICE = transformers.ElectraForMultipleChoice
CLASSES = [BASE, MLM, PRETRAINING, SEQUENCE, TOKEN, QUESTION, CHOICE]
SMALL = dict(type_vocab_size=2, layer_norm_eps=1e-12, embedding_size=5)
SAME = dict(SMALL, embedding_size=8)  # as HEAD's hidden_size: no projection
WORDS = "electra.embeddings.word_embeddings.weight"


def with_decoder(tensors, generator):
    """The decoder as well, with the values that it is tied to."""
    return {**tensors, "generator_lm_head.weight": tensors[WORDS].clone()}


CASES = {
    "base": (BASE, dict(SMALL, num_hidden_layers=2), types([6, 3, 1]), {}),
    "base_same_size": (
        BASE,
        dict(SMALL, hidden_size=7, embedding_size=7, num_attention_heads=1, pad_token_id=None),
        lambda g, c: (torch.randint(0, c.vocab_size, (3, 5), generator=g), None),
        {},
    ),
    "full_length": (
        BASE,
        dict(SMALL, hidden_size=6, num_attention_heads=6, max_position_embeddings=12),
        lambda g, c: (torch.randint(0, c.vocab_size, (2, 12), generator=g), None),
        {},
    ),
    "class_defaults": (
        BASE,
        dict(SMALL, num_attention_heads=4, hidden_act="gelu"),
        types([3, 4]),
        dict(
            drop=(
                "layer_norm_eps",
                "type_vocab_size",
                "num_attention_heads",
                "pad_token_id",
                "hidden_act",
                "tie_word_embeddings",
            )
        ),
    ),
    "masked_lm": (MLM, dict(SMALL, hidden_act="relu"), types([5, 4, 2]), dict(loss=True)),
    "masked_lm_holes": (
        MLM,
        dict(SMALL, num_hidden_layers=2),
        holes,
        dict(change=with_decoder, loss=True),
    ),
    "masked_lm_untied": (
        MLM,
        dict(SMALL, tie_word_embeddings=False),
        [4, 2],
        dict(side="left", loss=True),
    ),
    "masked_row": (MLM, dict(SMALL, num_hidden_layers=2, hidden_size=9), masked_row, {}),
    "no_prefix": (
        MLM,
        SMALL,
        [3, 5],
        dict(change=lambda t, g: rename(t, lambda n: n.removeprefix("electra."))),
    ),
    "pretraining": (PRETRAINING, dict(HEAD, **SMALL, num_hidden_layers=2), types([6, 4, 1]), {}),
    "pretraining_holes": (
        PRETRAINING,
        dict(HEAD, **SAME, hidden_act="gelu_new"),
        holes,
        dict(change=lambda t, g: rename(t, gamma_beta)),
    ),
    "sequence": (
        SEQUENCE,
        dict(
            HEAD,
            **SMALL,
            num_hidden_layers=2,
            id2label={0: "no", 1: "perhaps", 2: "yes"},
            label2id={"no": 0, "perhaps": 1, "yes": 2},
            classifier_dropout=0.2,
        ),
        types([6, 3, 1]),
        {},
    ),
    "sequence_regression": (
        SEQUENCE,
        dict(HEAD, **SAME, num_labels=1),
        [3, 5, 4],
        dict(side="left"),
    ),
    "token": (TOKEN, dict(HEAD, **SMALL, num_labels=5), holes, dict(dtype=torch.bfloat16)),
    "question": (
        QUESTION,
        dict(HEAD, **SMALL, num_hidden_layers=2),
        types([6, 6, 6, 6, 6]),
        dict(dtype=torch.float16),
    ),
    "choice": (
        CHOICE,
        dict(HEAD, **SMALL, summary_last_dropout=0.3),
        types([4, 2, 5, 1, 3, 3]),
        dict(choices=3),
    ),
    "choice_linear": (
        CHOICE,
        dict(HEAD, **SAME, summary_activation=""),
        [4, 4],
        dict(choices=2, dtype=torch.float64, shard="3KB"),
    ),
}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, CASES, CLASSES))
