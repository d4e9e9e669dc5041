#!/usr/bin/env python3
"""Writes tests/fixtures/tokenizers/bpe_trainer.json: what the BpeTrainer of Hugging Face tokenizers 0.22.2 learns from texts that the tests have or make again.

  bpe_trainer_fixtures.py                              writes the fixture
  bpe_trainer_fixtures.py --shared ../shared/data      also the digests of real texts, in bpe_trainer_shared.json
  bpe_trainer_fixtures.py --train FILE SIZE OUT        trains a RoBERTa tokenizer on a file as examples/train_tokenizer does, and saves its tokenizer.json

Each case is trained three times: what depends on the order of Hugging Face's hash maps is no case.
"""
import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import AddedToken, Tokenizer, __version__, decoders, models, pre_tokenizers, processors, trainers

from tokenizers_fixtures import FIXTURES, Fnv, Random, read_bytes, write

VERSES = (FIXTURES.parent / "text/verses.txt").read_text().splitlines()
SHARED = ("text/tinyshakespeare.txt", "text/wikitext-2-valid.txt", "sst2/train.tsv", "ner/wikiann-en-train.txt")
SIZES = (500, 8000, 30000)
START = ["<s>", "<pad>", "</s>", "<unk>"]
RANDOM_CASES = 150
ALPHABET = "".join(sorted(pre_tokenizers.ByteLevel.alphabet()))


def new_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def trainer(options):
    given = dict(options)
    if "initial_alphabet" in given:
        given["initial_alphabet"] = list(given["initial_alphabet"])
    return trainers.BpeTrainer(show_progress=False, **given)


def learn(texts, options):
    """Vocabulary by id, and merges."""
    tokenizer = new_tokenizer()
    if isinstance(texts, pathlib.Path):
        tokenizer.train([str(texts)], trainer(options))
    else:
        tokenizer.train_from_iterator(texts, trainer(options))
    model = json.loads(tokenizer.to_str())["model"]
    assert sorted(model["vocab"].values()) == list(range(len(model["vocab"])))
    return sorted(model["vocab"], key=model["vocab"].get), model["merges"]


def certain(texts, options):
    learned = learn(texts, options)
    assert all(learn(texts, options) == learned for _ in range(2)), ("the reference gives more than one result", texts, options)
    return learned


def digest(vocabulary, merges):
    fnv = Fnv()
    for token in [*vocabulary, *(part for merge in merges for part in merge)]:
        fnv.bytes(token.encode() + b"\n")
    return fnv.hex()


def roberta(texts, size):
    """Byte-level BPE numbered as RoBERTa's: four special tokens, bytes, merges, and <mask> last."""
    tokenizer = new_tokenizer()
    options = trainers.BpeTrainer(vocab_size=size - 1, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=[AddedToken(token, normalized=True) for token in START])
    tokenizer.train([str(texts)], options) if isinstance(texts, pathlib.Path) else tokenizer.train_from_iterator(texts, options)
    model = json.loads(tokenizer.to_str())["model"]
    tokenizer.model = models.BPE(model["vocab"] | {"<mask>": len(model["vocab"])}, [tuple(merge) for merge in model["merges"]],
                                 continuing_subword_prefix="", end_of_word_suffix="")
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer


def corpora():
    rhyme = ["How much wood would a woodchuck chuck", "if a woodchuck could chuck wood?", "  He would   chuck\r\n", "all the wood that a woodchuck could!\t"]
    yield "verses", VERSES
    yield "one text of many lines", ["\n".join(VERSES[:20])]
    yield "lines with their ends", [line + "\n" for line in VERSES[:20]]
    yield "rhyme", rhyme
    yield "one letter", ["a"]
    yield "words of one letter", ["a b c d e a b a", "b", "c c c"]
    yield "pairs as frequent as each other", ["ab ba ab ba cd dc ef", "zy yz xyz zyx"] * 3
    yield "runs", ["a" * n for n in range(1, 40)] + ["ab" * n for n in range(1, 20)] + ["aab" * n for n in range(1, 12)]
    yield "few letters", ["".join("ab "[rng.below(3)] for _ in range(200)) for rng in map(Random, range(12))]
    yield "one long word", ["".join("abcd"[rng.below(4)] for rng in [Random(7)] for _ in range(4000))]
    yield "words that occur once", ["alpha beta gamma delta epsilon zeta eta theta"]
    yield "special tokens", ["<s>the man</s> <mask> the <pad><unk><s>", "the</s> the <mask>s", "them then"]
    yield "scripts", ["日本語のテキスト 日本語 テキスト", "한국어 텍스트 한국어", "العربية نص العربية", "हिन्दी पाठ हिन्दी", "ελληνικά και ελληνικά", "русский русского",
                      "naïve café cafés naïveté", "👩‍👩‍👧‍👦 👍🏽 👍🏽 🇩🇪🇩🇪", "x² ½ Ⅷ ٣٤ ३४", "\u3000全角\u3000\u00a0\u2028\u0085", "\x00\x00 \x1f\x7f\ufeff\ufffd"]


def option_sets(name):
    yield {"vocab_size": 400, "special_tokens": START, "initial_alphabet": ALPHABET}
    for least in (1, 2, 3):
        yield {"vocab_size": 100000, "min_frequency": least}
    yield {"vocab_size": 200 if name == "scripts" else 120, "special_tokens": ["the", "Ġthe", "a", "ab", "wood", "日本", "<mask>"], "initial_alphabet": "€xyĠ語"}
    for length in (0, 2, 3, 4, 6):
        yield {"vocab_size": 300, "max_token_length": length, "min_frequency": 2}


def fixed_cases():
    for name, texts in corpora():
        for options in option_sets(name):
            yield name, texts, options
    for limit in (0, 1, 5, 12, 20):  # at these the reference's choice does not hang on equally frequent characters
        yield "limited alphabet", VERSES[:20], {"vocab_size": 200, "limit_alphabet": limit, "special_tokens": ["e", "<s>"]}
    yield "alphabet within its limit", VERSES[:20], {"vocab_size": 500, "limit_alphabet": 256, "initial_alphabet": ALPHABET}
    yield "vocabulary of the alphabet alone", ["abc abc"], {"vocab_size": 4}
    yield "no text but an alphabet's", [" "], {"vocab_size": 300, "initial_alphabet": ALPHABET}


def random_case(number):
    rng = Random(1000 + number)
    options = {"vocab_size": 250 + rng.below(1500), "min_frequency": rng.below(4)}
    if rng.below(3) == 0:
        options["max_token_length"] = 2 + rng.below(10)
    if rng.below(2) == 0:
        options["special_tokens"] = START
    count = 1 + rng.below(120)
    return [rng.text() for _ in range(count)], options


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--shared", type=pathlib.Path)
    ap.add_argument("--train", nargs=3, metavar=("FILE", "SIZE", "OUT"))
    args = ap.parse_args()
    assert __version__ == "0.22.2", "the fixtures are what tokenizers 0.22.2 does"
    if args.train:
        begin = time.time()
        tokenizer = roberta(pathlib.Path(args.train[0]), int(args.train[1]))
        print(f"{tokenizer.get_vocab_size()} tokens in {time.time() - begin:.2f} s")
        tokenizer.save(args.train[2], pretty=False)
        return
    texts, cases = {}, []
    for name, corpus, options in fixed_cases():
        vocabulary, merges = certain(corpus, options)
        texts[name] = corpus
        case = {"name": name, "options": options, "tokens": len(vocabulary), "digest": digest(vocabulary, merges)}
        if len(merges) <= 40:
            case |= {"vocabulary": vocabulary, "merges": merges}
        cases.append(case)
    texts = {name: None if corpus is VERSES else corpus for name, corpus in texts.items()}
    random = [digest(*certain(*random_case(number))) for number in range(RANDOM_CASES)]
    broken = [Random(number).broken_bytes() for number in range(200)]
    broken_texts = digest(*certain([read_bytes(data)[0] for data in broken], {"vocab_size": 1000}))
    saved = Fnv()
    saved.bytes(roberta(VERSES, 700).to_str().encode())
    write("bpe_trainer.json", {"texts": texts, "cases": cases, "random": random, "broken": broken_texts, "roberta": saved.hex()})
    if args.shared:
        write("bpe_trainer_shared.json", {name: {str(size): digest(*certain(args.shared / name, {"vocab_size": size, "special_tokens": START})) for size in SIZES}
                                          for name in SHARED})


if __name__ == "__main__":
    main()
