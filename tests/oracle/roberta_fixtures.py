#!/usr/bin/env python3
"""Makes the RoBERTa fixtures: small random models with the outputs of Hugging Face in float64.

  python roberta_fixtures.py --out tests/fixtures/models            # writes every case
  python roberta_fixtures.py --out tests/fixtures/models --only f16 # writes one
  python roberta_fixtures.py --out tests/fixtures/models --check    # compares, writes nothing
  python roberta_fixtures.py --out FOLDER --random 150 [--seed 1]   # as many random models; then
      EIGENFORMER_MODEL_FIXTURES=FOLDER models_tests --gtest_filter='*Parity*'

Each case is a folder: config.json and the weights as save_pretrained lays them out (or as older
and foreign tools do), and expected.safetensors with input_ids, attention_mask and token_type_ids
where they are given, position_ids, hidden_states.0 to .L, attentions.0 to .L-1, pooler_output
where the file has a pooler and logits (or start_logits and end_logits) where it has a head. Heads
have labels too, the loss and gradients.NAME of every parameter; of the masked language models, one. For multiple choice the texts of all questions are one batch; the metadata has `choices`.
It says too which keys transformers reports as missing and unexpected for the encoder and the masked
language model.
"""

import torch
import transformers

from model_fixtures import (
    HEAD,
    causal_holes,
    gamma_beta,
    holes,
    main,
    masked_row,
    pads_inside,
    pads_without_mask,
    rename,
    types,
)

MLM = transformers.RobertaForMaskedLM
SEQUENCE = transformers.RobertaForSequenceClassification
TOKEN = transformers.RobertaForTokenClassification
QUESTION = transformers.RobertaForQuestionAnswering
CHOICE = transformers.RobertaForMultipleChoice
CAUSAL = transformers.RobertaForCausalLM
BASE = transformers.RobertaModel
WORDS = "roberta.embeddings.word_embeddings.weight"


def old_converter(tensors, generator):
    """A whole pytorch_model.bin as it was: pooler, decoder and the buffer of positions."""
    hidden, positions = (
        tensors[WORDS].shape[1],
        tensors["roberta.embeddings.position_embeddings.weight"].shape[0],
    )
    like = tensors[WORDS]
    out = dict(tensors)
    out["lm_head.decoder.weight"] = tensors[WORDS].clone()
    out["lm_head.decoder.bias"] = tensors["lm_head.bias"].clone()
    out["roberta.pooler.dense.weight"] = (
        torch.randn(hidden, hidden, generator=generator).to(like.dtype) * 0.3
    )
    out["roberta.pooler.dense.bias"] = torch.randn(hidden, generator=generator).to(like.dtype) * 0.3
    out["roberta.embeddings.position_ids"] = torch.arange(positions)[None]
    return out


def untie(tensors, generator):
    """Both halves of the tie in the file, with different values, while the config says tied."""
    out = dict(tensors)
    for name, source in (
        ("lm_head.decoder.weight", WORDS),
        ("lm_head.decoder.bias", "lm_head.bias"),
    ):
        out[name] = tensors[source] + torch.randn(tensors[source].shape, generator=generator)
    return out


def swap_tie(tensors, generator):
    """Only the decoder's names, not those it is tied to."""
    other = {WORDS: "lm_head.decoder.weight", "lm_head.bias": "lm_head.decoder.bias"}
    return rename(tensors, lambda name: other.get(name, name))


def buffers_and_gamma(tensors, generator):
    out = rename(tensors, gamma_beta)
    out["roberta.embeddings.token_type_ids"] = torch.zeros(1, 16, dtype=torch.int64)
    return out


# name: class, what differs from SMALL, lengths or a function of (generator, config), and options:
#   dtype of the file; shard: the largest shard; side of the padding; pooler: False for none;
#   change(tensors, generator) of the file; foreign: transformers cannot read what was changed;
#   head_only: the file is not complete for the base class; drop: configuration keys to leave out;
#   choices: how many texts each question of a multiple choice has; loss: whether there are
#   gradients
CASES = {
    "mlm_gelu": (MLM, dict(num_hidden_layers=3), [6, 3, 1], dict(loss=True)),
    "base_pooler": (
        BASE,
        dict(hidden_size=15, num_attention_heads=3, type_vocab_size=2, layer_norm_eps=1e-12),
        types([6, 3]),
        {},
    ),
    "base_no_pooler": (
        BASE,
        dict(hidden_size=7, num_attention_heads=1, intermediate_size=13, hidden_act="relu"),
        [5, 7],
        dict(pooler=False),
    ),
    "untied_gelu_new": (
        MLM,
        dict(
            hidden_size=20, num_attention_heads=4, tie_word_embeddings=False, hidden_act="gelu_new"
        ),
        [3, 2, 4],
        dict(side="left"),
    ),
    "holes_gelu_pytorch_tanh": (
        MLM,
        dict(
            hidden_size=15,
            num_attention_heads=3,
            num_hidden_layers=2,
            hidden_act="gelu_pytorch_tanh",
            intermediate_size=21,
        ),
        holes,
        {},
    ),
    "masked_row_silu": (
        BASE,
        dict(
            hidden_act="silu",
            num_hidden_layers=2,
            hidden_size=9,
            num_attention_heads=3,
            layer_norm_eps=1e-12,
        ),
        masked_row,
        {},
    ),
    "pads_inside_tanh": (
        MLM,
        dict(hidden_act="tanh", hidden_size=14, num_attention_heads=2),
        pads_inside,
        {},
    ),
    "pads_without_mask": (
        BASE,
        dict(hidden_size=10, num_attention_heads=2, pad_token_id=3),
        pads_without_mask,
        {},
    ),
    "shards": (MLM, dict(num_hidden_layers=2, num_attention_heads=4), [4, 5], dict(shard="3KB")),
    "f16": (
        MLM,
        dict(hidden_size=20, num_attention_heads=4, num_hidden_layers=2),
        [5, 3],
        dict(dtype=torch.float16),
    ),
    "bf16": (
        MLM,
        dict(num_hidden_layers=2, type_vocab_size=2),
        types([3, 5]),
        dict(dtype=torch.bfloat16),
    ),
    "f64": (
        MLM,
        dict(tie_word_embeddings=False, hidden_size=12, num_attention_heads=3),
        [5, 2],
        dict(dtype=torch.float64),
    ),
    "old_converter": (
        MLM,
        dict(hidden_size=12, num_attention_heads=2),
        [5, 3],
        dict(change=old_converter),
    ),
    "gamma_beta": (
        MLM,
        dict(hidden_size=12, num_attention_heads=2),
        [4, 5],
        dict(change=buffers_and_gamma),
    ),
    "module_prefix": (
        MLM,
        dict(hidden_size=10, num_attention_heads=2),
        [5],
        dict(change=lambda t, g: rename(t, lambda n: "module." + n), foreign=True),
    ),
    "no_prefix": (
        MLM,
        dict(hidden_size=10, num_attention_heads=2),
        [3, 5],
        dict(change=lambda t, g: rename(t, lambda n: n.removeprefix("roberta."))),
    ),
    "base_with_prefix": (
        BASE,
        dict(hidden_size=10, num_attention_heads=5),
        [4],
        dict(change=lambda t, g: rename(t, lambda n: "roberta." + n)),
    ),
    "tied_but_different": (
        MLM,
        dict(hidden_size=10, num_attention_heads=2),
        [4, 2],
        dict(change=untie),
    ),
    "decoder_names_only": (
        MLM,
        dict(hidden_size=10, num_attention_heads=2),
        [4],
        dict(change=swap_tie, head_only=True),
    ),
    "class_defaults": (
        BASE,
        dict(num_attention_heads=12, type_vocab_size=2, layer_norm_eps=1e-12, intermediate_size=11),
        types([3, 4]),
        dict(
            drop=(
                "layer_norm_eps",
                "type_vocab_size",
                "num_attention_heads",
                "pad_token_id",
                "hidden_act",
                "bos_token_id",
                "eos_token_id",
                "tie_word_embeddings",
            )
        ),
    ),
    "pad_zero_full_length": (
        BASE,
        dict(hidden_size=6, num_attention_heads=6, pad_token_id=0, max_position_embeddings=12),
        lambda g, c: (torch.randint(1, c.vocab_size, (2, 11), generator=g), None),
        {},
    ),
    "no_layers": (MLM, dict(num_hidden_layers=0, hidden_size=8, num_attention_heads=2), [3, 2], {}),
    "sharp_attention": (
        BASE,
        dict(num_attention_heads=2, num_hidden_layers=2),
        [6, 5],
        dict(sharpen=6.0),
    ),
    "camembert": (
        transformers.CamembertForMaskedLM,
        dict(hidden_size=10, num_attention_heads=2),
        [4, 3],
        {},
    ),
    "xlm_roberta": (
        transformers.XLMRobertaModel,
        dict(hidden_size=10, num_attention_heads=2),
        [3, 5],
        {},
    ),
    "sequence_single_label": (
        SEQUENCE,
        dict(
            HEAD,
            num_hidden_layers=2,
            id2label={0: "contradiction", 1: "neutral", 2: "entailment"},
            label2id={"contradiction": 0, "neutral": 1, "entailment": 2},
            classifier_dropout=0.2,
        ),
        [6, 3, 1],
        {},
    ),
    "sequence_regression": (
        SEQUENCE,
        dict(HEAD, num_labels=1),
        [3, 5, 4],
        dict(side="left"),
    ),
    "sequence_multi_label": (
        transformers.CamembertForSequenceClassification,
        dict(HEAD, num_labels=4, problem_type="multi_label_classification"),
        [4, 2],
        {},
    ),
    "sequence_regressions": (
        transformers.XLMRobertaForSequenceClassification,
        dict(HEAD, num_labels=3, problem_type="regression", num_hidden_layers=0),
        [2, 3],
        {},
    ),
    "token_holes": (TOKEN, dict(HEAD, num_labels=5), holes, {}),
    "token_xlm_roberta": (
        transformers.XLMRobertaForTokenClassification,
        dict(HEAD, num_labels=3),
        [5, 3],
        dict(dtype=torch.bfloat16),
    ),
    "question_answering": (QUESTION, dict(HEAD, num_hidden_layers=2), [6, 6, 6, 6, 6], {}),
    "question_padded": (
        transformers.CamembertForQuestionAnswering,
        HEAD,
        [5, 3, 1],
        dict(loss=False),
    ),
    "multiple_choice": (CHOICE, dict(HEAD, num_labels=5), [4, 2, 5, 1, 3, 3], dict(choices=3)),
    "multiple_choice_xlm_roberta": (
        transformers.XLMRobertaForMultipleChoice,
        HEAD,
        [3, 4],
        dict(choices=2, side="left"),
    ),
    "causal": (CAUSAL, dict(HEAD, is_decoder=True, num_hidden_layers=2), [6, 4, 1], {}),
    "causal_holes_untied": (
        transformers.CamembertForCausalLM,
        dict(HEAD, is_decoder=True, tie_word_embeddings=False),
        causal_holes,
        {},
    ),
    "causal_not_decoder": (transformers.XLMRobertaForCausalLM, HEAD, [3, 4], {}),
    "sequence_decoder": (
        SEQUENCE,
        dict(HEAD, is_decoder=True, num_hidden_layers=2),
        [5, 3],
        dict(side="left"),
    ),
}

# What random cases are drawn from.
CLASSES = [MLM, BASE, SEQUENCE, TOKEN, QUESTION, CHOICE, CAUSAL]

if __name__ == "__main__":
    raise SystemExit(main(__doc__, CASES, CLASSES))
