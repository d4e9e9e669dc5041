#!/usr/bin/env python3
"""Makes the fixtures of sentence embeddings: what sentence-transformers computes in float64.

  python sentence_fixtures.py --out tests/fixtures/sentences

The folder gets `encoder/`, a small random RoBERTa with a tokenizer; `texts.json`; `cases.json`, the
files that each case adds to the encoder's folder, and `expected.safetensors`, its embeddings of all
texts, of pairs for `pairs`. A case `encoder` lies in the folder that it names; `dense.safetensors`
holds the weights of every Dense.
"""

import json
import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

from model_fixtures import parser_of, randomize, readable

HIDDEN = 12
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
OLD = "sentence_transformers.models."

TEXTS = [
    "",
    " ",
    "\n",
    "a",
    " a",
    "In the beginning God created the heaven and the earth.",
    "  In the beginning  ",
    "in the BEGINNING",
    "And God said, Let there be light: and there was light.",
    "And God said, Let there be light:\nand there was light.",
    "A\tB\rC",
    "naïve café, Ärger, Łódź",
    "e\u0301 and é",
    "Привет, мир",
    "日本語のテキスト",
    "한국어 문장",
    "नमस्ते दुनिया",
    "שלום עולם",
    "مرحبا بالعالم",
    "สวัสดีชาวโลก",
    "👩‍👩‍👧‍👦 🇩🇪 ☃",
    "\u200b\ufeff\u00a0\u2028",
    "nul \x00 and \x01 and \x7f",
    "\U0010ffff\ufffd",
    "<mask> the <mask>",
    "a </s> b",
    "padding <pad> inside",
    "<s>",
    "1234567890 3.14159 -1e-5",
    "don't we'll they're",
    "!!!???...",
    "word " * 300,
    "日本" * 200,
    "a" * 1000,
    "the earth was without form, and void; and darkness was upon the face of the deep. " * 4,
    "God",
]
PAIRS = [("In the beginning", "God"), ("", ""), ("", "a"), ("word " * 40, "a"), ("é", "日" * 40)]


def modules(*types, folder=""):
    """modules.json as versions before 5 write it."""
    paths = [folder] + [f"{i}_{name}" for i, name in enumerate(types, 1)]
    return [
        {"idx": i, "name": str(i), "path": path, "type": OLD + name}
        for i, (path, name) in enumerate(zip(paths, ("Transformer",) + types))
    ]


def pooling(*modes, size=HIDDEN):
    """1_Pooling/config.json as old versions write it; "mean" is pooling_mode_mean_tokens."""
    names = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens",
             "weightedmean_tokens", "lasttoken")
    return {"word_embedding_dimension": size} | {
        "pooling_mode_" + name: name in modes for name in names
    }


def dense(activation, inside, out, bias=True):
    return {"in_features": inside, "out_features": out, "bias": bias,
            "activation_function": activation}


ALL = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens",
       "lasttoken")
CASES = {
    "plain": {},
    "pairs": {},
    "no_mode": {"modules.json": modules("Pooling"), "1_Pooling/config.json": pooling()},
    **{
        mode: {"modules.json": modules("Pooling"), "1_Pooling/config.json": pooling(mode)}
        for mode in ALL
    },
    "every_mode": {"modules.json": modules("Pooling"), "1_Pooling/config.json": pooling(*ALL)},
    "named_modes": {
        "modules.json": modules("Pooling"),
        "1_Pooling/config.json": {
            "embedding_dimension": HIDDEN, "pooling_mode": ["max", "cls", "weightedmean"],
            "include_prompt": True,
        },
    },
    "short_normalized": {
        "modules.json": modules("Pooling", "Normalize"),
        "1_Pooling/config.json": pooling("mean_tokens"),
        "sentence_bert_config.json": {"max_seq_length": 7, "do_lower_case": False},
    },
    "dense_tanh": {
        "modules.json": modules("Pooling", "Dense", "Normalize"),
        "1_Pooling/config.json": pooling("cls_token", "mean_tokens"),
        "2_Dense/config.json": dense("torch.nn.modules.activation.Tanh", 2 * HIDDEN, 5),
    },
    "dense_identity": {
        "modules.json": modules("Pooling", "Normalize", "Dense"),
        "1_Pooling/config.json": pooling("max_tokens"),
        "3_Dense/config.json": dense("torch.nn.modules.linear.Identity", HIDDEN, 17, bias=False),
    },
    "dense_gelu": {
        "modules.json": modules("Pooling", "Dense"),
        "1_Pooling/config.json": pooling("mean_tokens"),
        "2_Dense/config.json": dense("torch.nn.modules.activation.GELU", HIDDEN, 3),
    },
    "old_folders": {
        "modules.json": modules("Pooling", folder="0_Transformer"),
        "1_Pooling/config.json": pooling("mean_tokens"),
        "0_Transformer/sentence_roberta_config.json": {"max_seq_length": 9},
    },
    "prompt": {
        "modules.json": modules("Pooling"),
        "1_Pooling/config.json": pooling("mean_tokens"),
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query",
            "similarity_fn_name": "cosine",
        },
    },
    "resaved": None,  # what this version of sentence-transformers writes for short_normalized
}


def make_encoder(folder):
    folder.mkdir(parents=True)
    verses = pathlib.Path(__file__).parent.parent / "fixtures" / "text" / "verses.txt"
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train([str(verses)], vocab_size=330, special_tokens=SPECIAL, show_progress=False)
    trained.save_model(str(folder))
    tokenizer = transformers.RobertaTokenizer.from_pretrained(folder, model_max_length=40)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    tokenizer.save_pretrained(folder)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=20, max_position_embeddings=45, type_vocab_size=1, layer_norm_eps=1e-5,
    )
    model = transformers.RobertaModel(config, add_pooling_layer=False).double()
    randomize(model, torch.Generator().manual_seed(5))
    model.float().save_pretrained(folder)


def write_case(files, encoder, weights, folder):
    """Lays a case out as a folder that sentence-transformers loads."""
    inside = any(path.startswith("0_") for path in files)
    shutil.copytree(encoder, folder / "0_Transformer" if inside else folder, dirs_exist_ok=True)
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(content))
        if "Dense/" in path:
            out, size = content["out_features"], content["in_features"]
            parts = {"linear.weight": weights["weight"][:out, :size].contiguous()}
            if content["bias"]:
                parts["linear.bias"] = weights["bias"][:out].contiguous()
            save_file(parts, target.parent / "model.safetensors")


def load(folder):
    return SentenceTransformer(
        str(folder), model_kwargs={"dtype": torch.float64, "attn_implementation": "eager"}
    ).double()


def resaved(encoder, weights):
    """The JSON files that sentence-transformers itself saves, as a case."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        write_case(CASES["short_normalized"], encoder, weights, pathlib.Path(first))
        load(first).save(second)
        own = {path.name for path in encoder.iterdir()}
        files = {}
        for path in sorted(pathlib.Path(second).rglob("*.json")):
            name = str(path.relative_to(second))
            # The length is the tokenizer's now.
            if name not in own or name == "tokenizer_config.json":
                files[name] = json.loads(path.read_text())
        return files


def main():
    out = parser_of(__doc__).parse_args().out
    if out.exists():
        shutil.rmtree(out)
    encoder = out / "encoder"
    make_encoder(encoder)
    generator = torch.Generator().manual_seed(6)
    weights = {
        "weight": torch.randn(17, 2 * HIDDEN, generator=generator) / 5,
        "bias": torch.randn(17, generator=generator),
    }
    cases = dict(CASES, resaved=resaved(encoder, weights))
    expected = {}
    for name, files in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            write_case(files, encoder, weights, pathlib.Path(folder))
            model = load(folder)
            texts = PAIRS if name == "pairs" else TEXTS
            embeddings = model.encode(texts, batch_size=5, convert_to_tensor=True)
            assert embeddings.dtype == torch.float64 and bool(torch.isfinite(embeddings).all()), name
            expected[name] = embeddings.contiguous().cpu()
    save_file(expected, out / "expected.safetensors")
    save_file(weights, out / "dense.safetensors")
    (out / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
    (out / "texts.json").write_text(json.dumps({"texts": TEXTS, "pairs": PAIRS}) + "\n")
    readable(out)


if __name__ == "__main__":
    main()
