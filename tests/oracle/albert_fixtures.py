#!/usr/bin/env python3
"""Makes the fixtures of ALBERT, as roberta_fixtures.py makes those of RoBERTa; it says what they
hold.

  python albert_fixtures.py --out tests/fixtures/models/albert
  python albert_fixtures.py --out FOLDER/albert --random 150 [--seed 1]   # as many random models;
      then EIGENFORMER_MODEL_FIXTURES=FOLDER models_tests --gtest_filter='*Parity*'
"""

import torch
import transformers

import model_fixtures
from model_fixtures import HEAD, gamma_beta, holes, main, masked_row, rename, types

BASE = transformers.AlbertModel
MLM = transformers.AlbertForMaskedLM
PRETRAINING = transformers.AlbertForPreTraining
SEQUENCE = transformers.AlbertForSequenceClassification
TOKEN = transformers.AlbertForTokenClassification
QUESTION = transformers.AlbertForQuestionAnswering
CHOICE = transformers.AlbertForMultipleChoice
CLASSES = [BASE, MLM, PRETRAINING, SEQUENCE, TOKEN, QUESTION, CHOICE]
SMALL = dict(type_vocab_size=2, layer_norm_eps=1e-12, embedding_size=5)
SAME = dict(SMALL, embedding_size=8)  # as HEAD's hidden_size: projected all the same
TINY = dict(SMALL, vocab_size=13, hidden_size=6, intermediate_size=7, embedding_size=6)
WORDS = "albert.embeddings.word_embeddings.weight"


def with_decoder(tensors, generator):
    """The decoder as well, with the values that it is tied to."""
    return {
        **tensors,
        "predictions.decoder.weight": tensors[WORDS].clone(),
        "predictions.decoder.bias": tensors["predictions.bias"].clone(),
    }


def random_case(draw, classes):
    """The same with embeddings, groups and layers of groups of random sizes."""
    cls, different, inputs, options = model_fixtures.random_case(draw, classes)
    different |= dict(
        embedding_size=draw.choice([different["hidden_size"], draw.randint(3, 20)]),
        num_hidden_groups=draw.randint(1, 5),
        inner_group_num=draw.randint(1, 3),
        classifier_dropout_prob=draw.random(),
    )
    return cls, different, inputs, options


CASES = {
    "base": (BASE, dict(SMALL, num_hidden_layers=3), types([6, 3, 1]), {}),
    "base_groups": (
        BASE,
        dict(TINY, num_hidden_layers=5, num_hidden_groups=2),
        types([4, 2]),
        {},
    ),
    "base_unused_group": (
        BASE,
        dict(TINY, num_hidden_layers=2, num_hidden_groups=3),
        [3, 4],
        dict(side="left"),
    ),
    "base_same_size": (
        BASE,
        dict(SMALL, hidden_size=7, embedding_size=7, num_attention_heads=1, pad_token_id=None),
        lambda g, c: (torch.randint(0, c.vocab_size, (3, 5), generator=g), None),
        {},
    ),
    "class_defaults": (
        BASE,
        dict(SMALL, hidden_act="gelu_new"),
        types([3, 4]),
        dict(
            drop=(
                "attention_probs_dropout_prob",
                "classifier_dropout_prob",
                "hidden_act",
                "hidden_dropout_prob",
                "inner_group_num",
                "layer_norm_eps",
                "num_hidden_groups",
                "pad_token_id",
                "tie_word_embeddings",
                "type_vocab_size",
            )
        ),
    ),
    "masked_lm": (
        MLM,
        dict(HEAD, **SMALL, num_hidden_layers=3, hidden_act="relu"),
        types([5, 4, 2]),
        dict(loss=True),
    ),
    "masked_lm_holes": (
        MLM,
        dict(HEAD, **SMALL, num_hidden_layers=2),
        holes,
        dict(change=with_decoder, loss=True),
    ),
    "masked_lm_untied": (
        MLM,
        dict(HEAD, **SMALL, num_hidden_layers=2, tie_word_embeddings=False),
        [4, 2],
        dict(side="left", loss=True),
    ),
    "masked_row": (MLM, dict(HEAD, **SMALL, num_hidden_layers=2), masked_row, {}),
    "no_prefix": (
        MLM,
        dict(HEAD, **SMALL),
        [3, 5],
        dict(change=lambda t, g: rename(t, lambda n: n.removeprefix("albert."))),
    ),
    "pretraining": (PRETRAINING, dict(HEAD, **SMALL, num_hidden_layers=3), types([6, 4, 1]), {}),
    "pretraining_groups": (
        PRETRAINING,
        dict(TINY, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2),
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
            classifier_dropout_prob=0.2,
        ),
        types([6, 3, 1]),
        {},
    ),
    "token": (
        TOKEN,
        dict(HEAD, **SAME, num_labels=5),
        holes,
        dict(dtype=torch.bfloat16),
    ),
    "question": (
        QUESTION,
        dict(HEAD, **SMALL, num_hidden_layers=2),
        types([6, 6, 6]),
        dict(dtype=torch.float16),
    ),
    "choice": (
        CHOICE,
        dict(HEAD, **SMALL, num_hidden_layers=2),
        types([4, 2, 1, 3]),
        dict(choices=2, dtype=torch.float64, shard="3KB"),
    ),
}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, CASES, CLASSES, random_case=random_case))
