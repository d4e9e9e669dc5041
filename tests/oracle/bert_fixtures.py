#!/usr/bin/env python3
"""Makes the fixtures of BERT, as roberta_fixtures.py makes those of RoBERTa; it says what they hold.

  python bert_fixtures.py --out tests/fixtures/models/bert
  python bert_fixtures.py --out FOLDER/bert --random 150 [--seed 1]   # as many random models; then
      EIGENFORMER_MODEL_FIXTURES=FOLDER models_tests --gtest_filter='*Parity*'

The outputs of pretraining are prediction_logits and seq_relationship_logits.
"""

import torch
import transformers

from model_fixtures import (
    HEAD,
    gamma_beta,
    holes,
    main,
    masked_row,
    pads_without_mask,
    rename,
    types,
)

BASE = transformers.BertModel
MLM = transformers.BertForMaskedLM
PRETRAINING = transformers.BertForPreTraining
NEXT_SENTENCE = transformers.BertForNextSentencePrediction
SEQUENCE = transformers.BertForSequenceClassification
TOKEN = transformers.BertForTokenClassification
QUESTION = transformers.BertForQuestionAnswering
CHOICE = transformers.BertForMultipleChoice
CAUSAL = transformers.BertLMHeadModel
CLASSES = [BASE, MLM, PRETRAINING, NEXT_SENTENCE, SEQUENCE, TOKEN, QUESTION, CHOICE, CAUSAL]
BERT = dict(type_vocab_size=2, layer_norm_eps=1e-12)  # as the published models have it


def from_tensorflow(tensors, generator):
    """bert-base-uncased as it was converted from TensorFlow: gamma and beta, and a buffer."""
    out = rename(tensors, gamma_beta)
    positions = tensors["bert.embeddings.position_embeddings.weight"].shape[0]
    out["bert.embeddings.position_ids"] = torch.arange(positions)[None]
    return out


def with_decoder(tensors, generator):
    """The decoder and its bias as well, with the values that they are tied to."""
    out = dict(tensors)
    out["cls.predictions.decoder.weight"] = tensors[
        "bert.embeddings.word_embeddings.weight"
    ].clone()
    out["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
    return out


CASES = {
    "base": (
        BASE,
        dict(BERT, num_hidden_layers=2, hidden_act="gelu"),
        types([6, 3, 1]),
        {},
    ),
    "base_no_pooler": (
        BASE,
        dict(BERT, hidden_size=7, num_attention_heads=1, hidden_act="relu", pad_token_id=None),
        lambda g, c: (torch.randint(0, c.vocab_size, (3, 5), generator=g), None),
        dict(pooler=False, sharpen=3.0),
    ),
    "full_length": (
        BASE,
        dict(BERT, hidden_size=6, num_attention_heads=6, max_position_embeddings=12),
        lambda g, c: (torch.randint(0, c.vocab_size, (2, 12), generator=g), None),
        {},
    ),
    "class_defaults": (
        BASE,
        dict(BERT, num_attention_heads=12, intermediate_size=11),
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
    "masked_lm": (MLM, dict(BERT, hidden_act="gelu_new"), types([5, 4, 2]), {}),
    "masked_lm_holes_relu": (
        MLM,
        dict(BERT, hidden_act="relu", num_hidden_layers=2),
        holes,
        dict(change=with_decoder),
    ),
    "masked_lm_untied": (
        MLM,
        dict(BERT, tie_word_embeddings=False),
        [4, 2],
        dict(side="left"),
    ),
    "masked_row": (MLM, dict(BERT, num_hidden_layers=2, hidden_size=9), masked_row, {}),
    "pads_without_mask": (MLM, BERT, pads_without_mask, {}),
    "no_prefix": (
        MLM,
        BERT,
        [3, 5],
        dict(change=lambda t, g: rename(t, lambda n: n.removeprefix("bert."))),
    ),
    "pretraining": (PRETRAINING, dict(HEAD, **BERT, num_hidden_layers=2), types([6, 4, 1]), {}),
    "pretraining_old": (
        PRETRAINING,
        dict(HEAD, **BERT, hidden_act="gelu_new"),
        types([5, 3]),
        dict(change=from_tensorflow),
    ),
    "pretraining_untied": (
        PRETRAINING,
        dict(HEAD, **BERT, tie_word_embeddings=False),
        types([3, 5]),
        dict(dtype=torch.float64),
    ),
    "next_sentence": (
        NEXT_SENTENCE,
        dict(HEAD, **BERT),
        types([5, 4]),
        {},
    ),
    "sequence": (
        SEQUENCE,
        dict(
            HEAD,
            **BERT,
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
        dict(HEAD, **BERT, num_labels=1),
        [3, 5, 4],
        dict(side="left"),
    ),
    "sequence_multi_label": (
        SEQUENCE,
        dict(HEAD, **BERT, num_labels=4, problem_type="multi_label_classification"),
        [4, 2],
        dict(dtype=torch.float16),
    ),
    "token": (
        TOKEN,
        dict(HEAD, **BERT, num_labels=5),
        holes,
        dict(dtype=torch.bfloat16),
    ),
    "question": (
        QUESTION,
        dict(HEAD, **BERT, num_hidden_layers=2),
        types([6, 6, 6, 6, 6]),
        {},
    ),
    "choice": (
        CHOICE,
        dict(HEAD, **BERT),
        types([4, 2, 5, 1, 3, 3]),
        dict(choices=3),
    ),
    "causal": (
        CAUSAL,
        dict(HEAD, **BERT, is_decoder=True, num_hidden_layers=2),
        [6, 4, 1],
        dict(shard="3KB"),
    ),
}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, CASES, CLASSES))
