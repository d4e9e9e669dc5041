#!/usr/bin/env python3
"""Makes the fixtures of text classification, zero-shot classification and reranking: what
transformers' pipelines and sentence-transformers' CrossEncoder compute in float64.

  python classification_fixtures.py --out tests/fixtures/classification

Every model is the encoder of `sentences/encoder` beside `--out` with a random head of its own. The
folder gets `cases.json`: for each case what its configuration adds, which other files it has, and
the results; `heads.safetensors`: the layers `CASE.dense` and `CASE.out_proj`; and `texts.json`.
"""

import json
import os
import pathlib
import tempfile
import unittest.mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder

from model_fixtures import parser_of, truth
from sentence_fixtures import HIDDEN, PAIRS, TEXTS

LONGEST = 43  # tokens that the encoder takes
LINEAR = "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"
CUT_PAIRS = [("word " * 40, "a b c d e f g"), ("é", "日" * 40), ("a b c", "In the beginning")]


def names(*labels):
    return {
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }


# case: number of labels, what its configuration adds, what is asked of the pipeline (a list), and
# how the rows of out_proj are changed
TEXT_CASES = {
    "sentiment": (2, names("NEGATIVE", "POSITIVE"), [{}, {"top_k": None}], None),
    "unnamed": (
        5,
        names(*(f"LABEL_{i}" for i in range(5))),
        [{"top_k": None}, {"top_k": 2}]
        + [{"top_k": None, "function_to_apply": f} for f in ("sigmoid", "none", "softmax")],
        None,
    ),
    "single_label": (
        3,
        names("a", "日本", "é\n") | {"problem_type": "single_label_classification"},
        [{"top_k": None}],
        None,
    ),
    "multi_label": (
        4,
        names("w", "x", "y", "z") | {"problem_type": "multi_label_classification"},
        [{}, {"top_k": None}, {"top_k": 3, "function_to_apply": "softmax"}],
        None,
    ),
    "regression": (
        1,
        names("score") | {"problem_type": "regression"},
        [{}, {"top_k": None}, {"top_k": None, "function_to_apply": "sigmoid"}],
        None,
    ),
    "regressions": (3, names("a", "b", "c") | {"problem_type": "regression"}, [{"top_k": None}], None),
    "one_label": (
        1, names("yes"), [{}, {"top_k": None}, {"top_k": None, "function_to_apply": "softmax"}], None
    ),
    # Not read by transformers 5: problem_type and the number of labels decide before it.
    "function_to_apply": (
        3, names("a", "b", "c") | {"function_to_apply": "sigmoid"}, [{"top_k": None}], None
    ),
    "ties": (6, names(*"fedcba"), [{}, {"top_k": None}, {"top_k": 3}], [0, 1, 1, 0, 0, 1]),
    "saturated": (
        6,
        names(*"abcdef") | {"problem_type": "multi_label_classification"},
        [{}, {"top_k": None}],
        1e4,
    ),
}
NLI_CASES = {
    "entailment_last": (3, names("contradiction", "neutral", "entailment")),
    "entailment_first": (3, names("ENTAILMENT", "NEUTRAL", "CONTRADICTION")),
    "entails_in_the_middle": (4, names("other", "Entails", "contradicts", "Not entailed")),
    "two": (2, names("entailment", "not_entailment")),
    "two_reversed": (2, names("not_entailment", "entailment")),
    "unnamed": (3, names("LABEL_0", "LABEL_1", "LABEL_2")),
    "one": (1, names("whatever")),
    "label2id_differs": (
        3,
        {
            "id2label": {"0": "contradiction", "1": "neutral", "2": "entailment"},
            "label2id": {"contradiction": 2, "entailment": 1, "neutral": 0},
        },
    ),
}
NLI_TEXTS = [TEXTS[i] for i in (1, 5, 11, 14, 20, 22, 24, 31, 32)]
NLI_ASKED = [
    {"candidate_labels": ["heaven", "earth", "日本", "👩‍👧"]},
    {"candidate_labels": ["heaven", "earth", "light"], "multi_label": True},
    {"candidate_labels": ["one"], "hypothesis_template": "{}"},
    {"candidate_labels": ["a", "a", "", "a b"], "hypothesis_template": "Über {{x}}: {}"},
]
MODULES = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "",
         "type": "sentence_transformers.base.modules.transformer.Transformer"}
    ],
    "sentence_bert_config.json": {
        "transformer_task": "sequence-classification",
        "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
        "module_output_name": "scores",
    },
}
OWN_FILE = {
    "config_sentence_transformers.json": {"activation_fn": SIGMOID, "model_type": "CrossEncoder"}
}
RERANK_CASES = {
    "plain": ({}, {}),
    "identity": ({"sentence_transformers": {"activation_fn": LINEAR, "version": "4.0"}}, {}),
    "older_identity": ({"sbert_ce_default_activation_function": LINEAR}, {}),
    "own_file": ({"sbert_ce_default_activation_function": LINEAR}, MODULES | OWN_FILE),
    # Without modules.json the file is not read.
    "own_file_alone": ({"sbert_ce_default_activation_function": LINEAR}, OWN_FILE),
    "prompt": (
        {},
        MODULES | {
            "config_sentence_transformers.json": {
                "activation_fn": LINEAR,
                "prompts": {"query": "query: ", "none": ""},
                "default_prompt_name": "query",
                "model_type": "CrossEncoder",
            }
        },
    ),
    "short": (
        {},
        MODULES | {
            "config_sentence_transformers.json": {"model_type": "CrossEncoder"},
            "sentence_bert_config.json": MODULES["sentence_bert_config.json"]
            | {"max_seq_length": 11},
        },
    ),
    "resaved": None,  # what this version of sentence-transformers writes for the last two together
}
QUERIES = ["In the beginning", "", "  Привет, мир ", "word " * 60]


def make_head(count, generator, change):
    head = {
        "dense.weight": torch.randn(HIDDEN, HIDDEN, generator=generator) / HIDDEN**0.5,
        "dense.bias": 0.3 * torch.randn(HIDDEN, generator=generator),
        "out_proj.weight": torch.randn(count, HIDDEN, generator=generator),
        "out_proj.bias": torch.randn(count, generator=generator),
    }
    for name in ("out_proj.weight", "out_proj.bias"):
        if isinstance(change, list):
            head[name] = head[name][change].contiguous()
        elif change is not None:
            head[name] = head[name] * change
    return head


def write_case(encoder, config, head, files, folder):
    """Lays a case out as a folder that transformers loads."""
    for path in encoder.iterdir():
        if path.name.startswith("tokenizer"):
            (folder / path.name).write_bytes(path.read_bytes())
    own = {"architectures": ["RobertaForSequenceClassification"]}
    merged = json.loads((encoder / "config.json").read_text()) | own | config
    (folder / "config.json").write_text(json.dumps(merged))
    tensors = {
        "roberta." + name: tensor for name, tensor in load_file(encoder / "model.safetensors").items()
    }
    tensors |= {"classifier." + name: tensor for name, tensor in head.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


def pipeline(task, folder):
    model = truth(transformers.AutoModelForSequenceClassification, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return transformers.pipeline(task, model=model, tokenizer=tokenizer, device="cpu")


def pairs_of(result):
    """[label, score] of one result of the text classification pipeline."""
    if isinstance(result, dict):
        result = [result]
    return [[entry["label"], entry["score"]] for entry in result]


def pair_input(text, pair):
    """As lists: alone, an empty second text would count as none."""
    return {"text": [text], "text_pair": [pair]}


def classify(folder, asked):
    classifier = pipeline("text-classification", folder)
    runs = []
    for options in asked:
        results = [
            classifier(text, truncation=True, max_length=LONGEST, **options) for text in TEXTS
        ]
        results += [
            classifier(pair_input(text, pair), truncation=True, max_length=LONGEST, **options)
            for text, pair in PAIRS
        ]
        # A naked pipeline gives a list of one label for a string, and one label for a pair.
        runs.append({"options": options, "results": [pairs_of(result) for result in results]})
    for strategy in ("longest_first", "only_first", "only_second"):
        results = []
        for text, pair in CUT_PAIRS:
            try:
                results.append(pairs_of(
                    classifier(pair_input(text, pair), truncation=strategy, max_length=16, top_k=None)
                ))
            except Exception as problem:
                assert "too short" in str(problem), problem
                results.append(None)
        runs.append({"options": {"truncation": strategy, "top_k": None}, "results": results})
    return runs


def classify_zero_shot(folder):
    classifier = pipeline("zero-shot-classification", folder)
    runs = []
    for options in NLI_ASKED:
        results = classifier(NLI_TEXTS, **options)
        runs.append({
            "options": options,
            "results": [[list(p) for p in zip(r["labels"], r["scores"])] for r in results],
        })
    return {"entailment_id": classifier.entailment_id, "runs": runs}


def load_cross_encoder(folder):
    return CrossEncoder(
        str(folder), model_kwargs={"dtype": torch.float64, "attn_implementation": "eager"}
    )


def rerank(folder):
    model = load_cross_encoder(folder)
    return [
        [[hit["corpus_id"], hit["score"]] for hit in model.rank(query, TEXTS)] for query in QUERIES
    ]


def resaved(encoder, head, config):
    """The JSON files that sentence-transformers itself saves, as a case."""
    files = RERANK_CASES["short"][1] | RERANK_CASES["prompt"][1]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        write_case(encoder, config, head, files, pathlib.Path(first))
        load_cross_encoder(first).save_pretrained(second)
        written = {}
        for path in sorted(pathlib.Path(second).rglob("*.json")):
            name = str(path.relative_to(second))
            if name not in ("config.json", "tokenizer.json"):
                written[name] = json.loads(path.read_text())
        saved = json.loads((pathlib.Path(second) / "config.json").read_text())
        extra = {k: v for k, v in saved.items() if k in ("sentence_transformers",)}
        return extra, written


def main():
    out = parser_of(__doc__).parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    encoder = out.parent / "sentences" / "encoder"
    generator = torch.Generator().manual_seed(8)
    heads = {}
    cases = {"text": {}, "zero_shot": {}, "rerank": {}}

    def run(kind, name, count, config, files, change, f):
        head = make_head(count, generator, change)
        if files is None:
            extra, files = resaved(encoder, head, config)
            config = config | extra
        heads.update({f"{kind}.{name}.{part}": tensor for part, tensor in head.items()})
        with tempfile.TemporaryDirectory() as folder:
            write_case(encoder, config, head, files, pathlib.Path(folder))
            cases[kind][name] = {"config": config, "files": files, "expected": f(folder)}

    # The pipelines round their logits to float; here they stay what they are.
    with unittest.mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        for name, (count, config, asked, change) in TEXT_CASES.items():
            run("text", name, count, config, {}, change, lambda f, a=asked: classify(f, a))
        for name, (count, config) in NLI_CASES.items():
            run("zero_shot", name, count, config, {}, None, classify_zero_shot)
        for name, case in RERANK_CASES.items():
            extra, files = case if case is not None else ({}, None)
            run("rerank", name, 1, names("LABEL_0") | extra, files, None, rerank)
    save_file(heads, out / "heads.safetensors")
    (out / "heads.safetensors").chmod(0o644)
    (out / "cases.json").write_text(json.dumps(cases, ensure_ascii=False) + "\n")
    (out / "texts.json").write_text(
        json.dumps({"texts": TEXTS, "pairs": PAIRS, "cut_pairs": CUT_PAIRS,
                    "zero_shot_texts": NLI_TEXTS, "queries": QUERIES}) + "\n"
    )


if __name__ == "__main__":
    main()
