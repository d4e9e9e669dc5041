#!/usr/bin/env python3
"""Makes the fixtures of token classification: what transformers' own pipeline finds, in float64.

  python token_classification_fixtures.py --out tests/fixtures/token_classification

The folder gets `byte_level/` and `prefixed/`, a tokenizer each; a folder with a small random model
for each kind of label names; and `cases.json`: the texts, those that are not UTF-8 in hexadecimal,
and for each case the options and the entities of some texts, as [type, start, end, score]. The
pipeline counts characters; starts and ends here are bytes.
"""

import codecs
import json
import os
import pathlib
import shutil
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import tokenizers
import torch
import transformers

from model_fixtures import parser_of, randomize, readable, truth

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LONGEST = 40  # tokens that the models take
STRATEGIES = ("none", "simple", "first", "average", "max")

# Label names, and the tokenizer that goes with them.
MODELS = {
    "bio": (["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "byte_level"),
    "plain": (["PER", "O", "LOC"], "byte_level"),
    "iobes": (["O", "B-PER", "I-PER", "E-PER", "S-PER", "S-LOC"], "byte_level"),
    "dashes": (["O", "B-ORG-GOV", "I-ORG-GOV", "I-ORG-", "-", "B-", "I-", "x-é"], "byte_level"),
    "unnamed": (3, "byte_level"),
    "prefixed": (["O", "B-PER", "I-PER"], "prefixed"),
}

SHORT = [
    "",
    " ",
    "\n",
    "   ",
    "a",
    " Moses",
    "And Moses went up unto God, and the LORD called unto him out of the mountain.",
    "  In  the   beginning  ",
    "Line one\nline two\r\n\n\tand three",
    "Let there be light: and there was light!!!",
    "Enzo works at the U.N. in New York-based firms; don't they've 3.14 %?",
    "naïve café, Ärger in Łódź",
    "e\u0301 and \u00e9 are é",
    "Привет, мир. 日本語のテキスト 한국어",
    "नमस्ते दुनिया שלום عالم สวัสดี",
    "👩‍👩‍👧‍👦 of 🇩🇪 ☃ and 𝔘𝔫𝔦",
    "\u200b\ufeff\u00a0\u2028\u3000x\u3000y",
    "nul \x00 and \x01 and \x7f",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "a </s> b <unk> c<unk>d <mask> e",
    "<s>",
    "\U0010ffff\ufffd",
    "God God God God God God God",
]
LONG = [
    "In the beginning God created the heaven and the earth. " * 2,
    "日本 and 👩‍👧 of Łódź, " * 3,
    "word " * 25,
    "a" * 50,
    "   x  y " * 7,
    "     God" * 8,
    " " * 50,
    "The  earth\nwas without form,  and void; and darkness was upon the face of the deep.  " * 2,
]
NOT_UTF8 = [
    b"bad \xff byte \xc3 and \xe2\x82 cut, \xf0\x9f\x91 \xed\xa0\x80 God\xff\xfeMoses",
    b"\x80",
    b"\xc3",
    b"Moses \xe2\x82" + b" and \xff God" * 12,
]

# Windows: tokens that each holds, and shares with the one before.
WINDOWS = [(40, 0), (40, 17), (12, 0), (12, 1), (12, 5), (12, 9), (7, 3)]


def train(model, trainer):
    verses = pathlib.Path(__file__).parent.parent / "fixtures" / "text" / "verses.txt"
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train([str(verses)], trainer)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=False
    )
    names = dict(zip(("bos", "pad", "eos", "unk", "mask"), SPECIAL), cls="<s>", sep="</s>")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LONGEST,
        **{f"{role}_token": name for role, name in names.items()},
    )


def make_tokenizers():
    options = dict(vocab_size=330, special_tokens=SPECIAL, show_progress=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    return {
        "byte_level": train(
            tokenizers.models.BPE(),
            tokenizers.trainers.BpeTrainer(initial_alphabet=alphabet, **options),
        ),
        "prefixed": train(  # knows few bytes, and marks what goes on with a word
            tokenizers.models.BPE(unk_token="<unk>", continuing_subword_prefix="##"),
            tokenizers.trainers.BpeTrainer(continuing_subword_prefix="##", **options),
        ),
    }


def make_model(labels, tokenizer, texts, seed):
    """A model whose labels are all about as frequent in the texts."""
    named = {} if isinstance(labels, int) else {"id2label": dict(enumerate(labels))}
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=12, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=20, max_position_embeddings=LONGEST + 2, type_vocab_size=1,
        layer_norm_eps=1e-5, num_labels=labels if isinstance(labels, int) else len(labels),
        **named,
    )
    model = transformers.RobertaForTokenClassification(config).double()
    randomize(model, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = torch.cat([
            model(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0, 1:-1]
            for text in texts
        ])
        model.classifier.bias -= logits.mean(0)
        scale = 2 / logits.std(0)
        model.classifier.weight *= scale[:, None]
        model.classifier.bias *= scale
        frequencies = ((logits - logits.mean(0)) * scale).argmax(1).bincount() / len(logits)
        assert len(frequencies) == config.num_labels and frequencies.min() > 0.05, frequencies
    return model.float()


def decode(data):
    """Text of any bytes, and the byte at which each of its characters begins."""
    replaced = {}

    def note(error):
        replaced[error.start] = error.end
        return "\ufffd", error.end

    codecs.register_error("note", note)
    text = data.decode("utf-8", "note")
    assert text == data.decode("utf-8", "replace")
    starts, at = [], 0
    for character in text:
        starts.append(at)
        at = replaced.get(at) or at + len(character.encode())
    assert at == len(data)
    return text, starts + [at]


def main():
    out = parser_of(__doc__).parse_args().out
    if out.exists():
        shutil.rmtree(out)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    every = make_tokenizers()
    for name, tokenizer in every.items():
        tokenizer.save_pretrained(out / name)
    texts = [text.encode() for text in SHORT + LONG] + NOT_UTF8
    decoded = [decode(data) for data in texts]
    long = range(len(SHORT), len(texts))

    cases = []
    for seed, (name, (labels, kind)) in enumerate(MODELS.items()):
        tokenizer = every[kind]
        folder = out / name if name not in every else out / f"{name}_model"
        make_model(labels, tokenizer, [text for text, _ in decoded], seed).save_pretrained(folder)
        model = truth(transformers.RobertaForTokenClassification, folder)
        pipeline = transformers.TokenClassificationPipeline(model=model, tokenizer=tokenizer)

        def add(which, window=LONGEST, **options):
            tokenizer.model_max_length = window
            results = []
            for i in which:
                text, starts = decoded[i]
                results.append([
                    [
                        entity.get("entity_group", entity.get("entity")),
                        starts[entity["start"]],
                        starts[entity["end"]],
                        round(float(entity["score"]), 12),
                    ]
                    for entity in pipeline(text, **options)
                ])
            cases.append({"model": folder.name, "tokenizer": kind, "max_length": window,
                          "texts": list(which)} | options | {"entities": results})

        every_text = name in ("bio", "prefixed")
        for strategy in STRATEGIES:
            add(range(len(texts)) if every_text else range(len(SHORT)), aggregation_strategy=strategy)
        tags = [label.split("-", 1)[-1] for label in model.config.id2label.values()]
        for ignored in ([], ["O", tags[-1]]):
            add(range(7), aggregation_strategy="simple", ignore_labels=ignored)
        for number, (window, stride) in enumerate(WINDOWS if every_text else WINDOWS[2:5:2]):
            strategy = STRATEGIES[1 + number % 4]
            add(long, window, aggregation_strategy=strategy, stride=stride)

    # The cases tell the strategies apart, and windows do overlap.
    seen = [json.dumps([case["model"], case["entities"]]) for case in cases]
    assert len(set(seen)) == len(seen)
    assert any(entity[2] - entity[1] > 12 for case in cases for found in case["entities"]
               for entity in found if "stride" in case)
    # A first entity of no bytes, which the merging of windows makes two of.
    assert any(found[:1] == found[1:2] != [] for case in cases for found in case["entities"])
    document = {"texts": [text.decode() for text in texts[: len(SHORT + LONG)]],
                "not_utf8": [text.hex() for text in NOT_UTF8], "cases": cases}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in document.pop("cases"))
    (out / "cases.json").write_text(json.dumps(document)[:-1] + ', "cases": [\n' + lines + "\n]}\n")
    readable(out)
    count = sum(len(case["entities"]) for case in cases)
    entities = sum(len(found) for case in cases for found in case["entities"])
    print(f"{len(cases)} cases, {count} texts, {entities} entities")


if __name__ == "__main__":
    main()
