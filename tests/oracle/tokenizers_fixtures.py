#!/usr/bin/env python3
"""Writes tests/fixtures/tokenizers/: what Hugging Face tokenizers 0.22.2 makes of texts that the tests make again by themselves.

  tokenizers_fixtures.py                              writes the fixtures
  tokenizers_fixtures.py --shared ../shared/data      also the digests of real texts
  tokenizers_fixtures.py --show NAME NUMBER           prints a random case of tokenizer NAME in full: what a failing digest stands for

Random cases come from splitmix64, in the same order here and in tests/tokenizers/oracle_cases.hpp; the fixture keeps a digest of each result. Cases that
are worth reading are kept in full.
"""
import argparse
import base64
import codecs
import json
import os
import pathlib
import random
import tempfile
import types

os.environ["RUST_BACKTRACE"] = "0"

from tokenizers import AddedToken, Tokenizer, __version__, decoders, models, normalizers, pre_tokenizers, processors

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures/tokenizers"
MODEL = ROOT / "examples/model/tokenizer.json"
RANDOM_CASES, INVALID_CASES, TOY_CASES = 3000, 600, 80
CHUNK = 2000  # lines of real text per digest

PIECES = ["<mask>", " <mask>", "<s>", "</s>", "<pad>", "<unk>", "<mask", "mask>", " ", "  ", "   ", "\n", "\r\n", "\t", "\u3000", "\u00a0", "\u2028",
          "\u0085", "\u0000", "\u001f", "\u007f", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'", "''", " '", "\u2019s", "é", "É", "e\u0301",
          "日本語", "한국어", "العربية", "हिन्दी", "😀", "👩\u200d👩\u200d👧\u200d👦", "🇩🇪", "👍🏽", "٣", "½", "Ⅷ", "²", "ǅ", "ß", "ﬁ", "\ufffd", "\ufeff", "\u200b",
          "\u200d", "the", "Hello", " world", " a", "123", "3.14", "$", "...", "!!!", "http://x.y/z?q=1", "CamelCase", "snake_case", "Ġ", "Ċ", "Ä", "i⭢j",
          "\u0483", "\u20dd", "𝒳", "𐍈", "\U000e0101", " \u3000", "x" * 40, "ab" * 30, "hello", "lower newer", "abc", "B", "\U0001fae8", "\u1c89", "\ua7da"]
LETTERS = "abcdefghij ABC 0123.,;:!?'\"-_\n\t"


class Random:
    """splitmix64"""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return (z ^ (z >> 31)) % n

    def point(self):
        k = self.below(100)
        if k < 30:
            return chr(0x20 + self.below(0x5F))
        c = self.below(0x800) if k < 50 else self.below(0x3000) if k < 60 else self.below(0x10000) if k < 80 else \
            0x10000 + self.below(0x10000) if k < 95 else 0x20000 + self.below(0xF0000)
        return "\ufffd" if 0xD800 <= c < 0xE000 else chr(c)

    def piece(self):
        return PIECES[self.below(len(PIECES))]

    def letter(self):
        return LETTERS[self.below(len(LETTERS))]

    def text(self):
        kind = self.below(5)
        if kind == 0:
            return "".join(self.piece() for _ in range(self.below(12)))
        if kind == 1:
            return "".join(self.point() for _ in range(self.below(30)))
        if kind == 2:
            return "".join(self.letter() for _ in range(self.below(60)))
        return "".join([self.piece, self.point, self.letter][self.below(3)]() for _ in range(self.below(25)))

    def case(self):
        case = {"text": self.text()}
        if self.below(10) < 4:
            case["pair"] = self.text()
        if self.below(10) < 3:
            case["add_special_tokens"] = False
        if self.below(10) < 1:
            case["encode_special_tokens"] = True
        if self.below(10) < 5:
            case["max_length"] = 4 + self.below(28)
            case["stride"] = self.below(6) if self.below(2) == 0 else 0
            case["strategy"] = ["longest_first", "longest_first", "only_first", "only_second"][self.below(4)]
            if self.below(10) < 3:
                case["direction"] = "left"
        return case

    def broken_bytes(self):
        """A text with some of its bytes replaced, removed or put in."""
        data = bytearray(self.text().encode())
        for _ in range(1 + self.below(4)):
            at = self.below(len(data) + 1)
            what = self.below(3)
            if what == 0 and at < len(data):
                data[at] = self.below(256)
            elif what == 1 and at < len(data):
                del data[at]
            else:
                data.insert(at, 0x80 + self.below(128))
        return bytes(data)


def read_bytes(data):
    """The text that Python reads with errors="replace", and where each of its characters begins in the bytes."""
    holes = {}

    def note(error):
        holes[error.start] = error.end
        return "\ufffd", error.end

    codecs.register_error("note", note)
    text = data.decode("utf-8", "note")
    starts, at = [], 0
    for character in text:
        starts.append(at)
        at = holes[at] if at in holes else at + len(character.encode())
    return text, [*starts, at]


class Fnv:
    """FNV-1a with 64 bits, but over whole 32-bit numbers too."""

    def __init__(self):
        self.hash = 0xCBF29CE484222325

    def bytes(self, data):
        for byte in data:
            self.hash = ((self.hash ^ byte) * 0x100000001B3) & ((1 << 64) - 1)

    def numbers(self, values):
        state = ((self.hash ^ len(values)) * 0x100000001B3) & ((1 << 64) - 1)
        for value in values:
            state = ((state ^ (value & 0xFFFFFFFF)) * 0x100000001B3) & ((1 << 64) - 1)
        self.hash = state

    def hex(self):
        return f"{self.hash:016x}"


def starts_of(text):
    starts, at = [], 0
    for character in text:
        starts.append(at)
        at += len(character.encode())
    return [*starts, at]


def result(tokenizer, encoding, starts, overflow=False):
    """An encoding as the tests see it; offsets in bytes."""
    sequences = [-1 if s is None else s for s in encoding.sequence_ids]
    if overflow and tokenizer.post_processor is None:  # there the reference loses which text a token is from
        sequences = list(encoding.type_ids)
    offsets = []
    for (begin, end), sequence in zip(encoding.offsets, sequences):
        table = starts[1] if sequence == 1 else starts[0]
        offsets += [table[begin], table[end]]
    return {"ids": encoding.ids, "type_ids": encoding.type_ids, "offsets": offsets, "special": encoding.special_tokens_mask,
            "words": [-1 if w is None else w for w in encoding.word_ids], "sequences": sequences}


def run(tokenizer, case, starts=None):
    """The result of a case, or None where the reference refuses it."""
    tokenizer.encode_special_tokens = case.get("encode_special_tokens", False)
    tokenizer.no_truncation()
    starts = starts or [starts_of(case["text"]), starts_of(case.get("pair", ""))]
    try:
        if "max_length" in case:
            tokenizer.enable_truncation(case["max_length"], stride=case["stride"], strategy=case["strategy"], direction=case.get("direction", "right"))
        encoding = tokenizer.encode(case["text"], case.get("pair"), add_special_tokens=case.get("add_special_tokens", True))
    except BaseException as problem:  # a Rust panic is no Exception
        if isinstance(problem, KeyboardInterrupt):
            raise
        return None
    finally:
        tokenizer.no_truncation()
    made = result(tokenizer, encoding, starts)
    made["overflow"] = [result(tokenizer, window, starts, True) for window in encoding.overflowing]
    made["decoded"] = tokenizer.decode(encoding.ids, skip_special_tokens=False)
    made["decoded_plain"] = tokenizer.decode(encoding.ids, skip_special_tokens=True)
    return made


def digest(made):
    if made is None:
        return "error"
    fnv = Fnv()
    for window in [made, *made["overflow"]]:
        for key in ("ids", "type_ids", "offsets", "special", "words", "sequences"):
            fnv.numbers(window[key])
    fnv.bytes(made["decoded"].encode())
    fnv.bytes(made["decoded_plain"].encode())
    return fnv.hex()


# ---- toy tokenizers ----

def toy_model(rng, byte_level):
    """A small BPE model of random merges, with every option somewhere."""
    def chance(p):
        return rng.random() < p

    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "<mask>": 3, "<pad>": 4}
    prefix, suffix = ("##" if chance(.25) else ""), ("</w>" if chance(.25) else "")
    if byte_level:
        symbols = [c for c in sorted(pre_tokenizers.ByteLevel.alphabet()) if chance(.8) or c < "\u007f" and chance(.8)]
    else:
        symbols = list("abcdefghijlmnorstuwxyABC0123'.,é日 ")
    tokens = [form for c in symbols for form in dict.fromkeys([c, prefix + c, c + suffix, prefix + c + suffix])]
    merges = []
    common = [t for t in tokens if len(t) <= 8 and any(x.isalnum() or x in "Ġ ' " for x in t)]
    for _ in range(70):
        left, right = rng.choice(common), rng.choice(common)
        if suffix and left.endswith(suffix) or prefix and not right.startswith(prefix):
            continue
        joined = left + right[len(prefix):]
        merges.append([left, right])
        if joined not in tokens:
            tokens.append(joined)
            common.append(joined)
    for token in tokens:
        vocab.setdefault(token, len(vocab))
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>" if chance(.5) else None, "continuing_subword_prefix": prefix or None,
             "end_of_word_suffix": suffix or None, "fuse_unk": chance(.5), "byte_fallback": False, "ignore_merges": chance(.3), "vocab": vocab,
             "merges": merges}
    if not byte_level and not prefix and not suffix and chance(.5):
        model["byte_fallback"] = True
        for byte in range(256):
            vocab.setdefault(f"<0x{byte:02X}>", len(vocab))
    if chance(.3) and not any(" " in part for merge in merges for part in merge):
        model["merges"] = [" ".join(merge) for merge in merges]
    return model


def toy(number):
    rng = random.Random(number)

    def chance(p=.5):
        return rng.random() < p

    byte_level = chance(.7)
    model = toy_model(rng, byte_level)
    vocab = model["vocab"]
    cls, sep = vocab["<s>"], vocab["</s>"]
    level = {"type": "ByteLevel", "add_prefix_space": chance(), "trim_offsets": chance(), "use_regex": True}
    special, text = (lambda name, kind: {"SpecialToken": {"id": name, "type_id": kind}}), (lambda name, kind: {"Sequence": {"id": name, "type_id": kind}})
    template = {"type": "TemplateProcessing", "single": [special("<s>", 0), text("A", 0), special("</s>", 0)],
                "pair": [special("<s>", 0), text("A", 0), special("</s>", 0), special("</s>", 0), text("B", rng.choice([0, 1, 2])), special("</s>", 1)],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [cls], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [sep], "tokens": ["</s>"]}}}
    if chance(.2):
        template["pair"] = [template["pair"][4], template["pair"][1], template["pair"][2]]
    roberta = {"type": "RobertaProcessing", "sep": ["</s>", sep], "cls": ["<s>", cls], "trim_offsets": chance(.7), "add_prefix_space": chance()}
    bert = {"type": "BertProcessing", "sep": ["</s>", sep], "cls": ["<s>", cls]}
    post = [None, level, roberta, bert, template, {"type": "Sequence", "processors": [level, template]}][number % 6]
    names = ["<mask>", "<s>", "</s>", "the", " x", "ab", "abc", "é", "<m", "<mask>>", "Ġ", "  ", "日本", "<pad>"]
    rng.shuffle(names)
    added = []
    for name in names[:rng.randrange(9)]:
        used = [token["id"] for token in added if token["id"] >= len(vocab)]
        added.append({"id": vocab.get(name, len(vocab) + len(used)), "content": name, "single_word": chance(.3), "lstrip": chance(.4),
                      "rstrip": chance(.3), "normalized": chance(), "special": chance()})
    pre = {"type": "ByteLevel", "add_prefix_space": chance(.6), "trim_offsets": True, "use_regex": chance(.8)} if byte_level else None
    if pre and chance(.2):
        pre = {"type": "Sequence", "pretokenizers": [pre]}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": pre, "post_processor": post,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True} if chance(.7) else None, "model": model}


def bert_toy(number):
    """A small WordPiece model between BERT's stages, with every option somewhere."""
    rng = random.Random(1000 + number)

    def chance(p=.5):
        return rng.random() < p

    vocab = {name: i for i, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    prefix = "##" if number < 4 else "@"
    letters = [c for c in "abcdefghijlmnorstuwxyzABCHé0123日本\u1112\u1161י'.,!?" if chance(.9)]
    words = ["the", "Hello", "hello", "world", "ab", "abc", "low", "er", "new", "x" * 40, "do", "not", "n't", "é", "e"]
    pieces = letters + [w for w in words if chance(.7)] + ["".join(rng.choice(letters) for _ in range(rng.randrange(2, 4))) for _ in range(60)]
    for piece in pieces:
        for form in (piece, prefix + piece):
            if chance(.8):
                vocab.setdefault(form, len(vocab))
    normalizer = [{"lowercase": True, "strip_accents": None}, {"lowercase": False, "strip_accents": None}, {"lowercase": True, "strip_accents": False},
                  {"lowercase": False, "strip_accents": True}, {"lowercase": True, "strip_accents": None}, {"lowercase": True, "strip_accents": True}][number]
    added = [{"id": vocab[name], "content": name, "single_word": False, "lstrip": chance(.3), "rstrip": chance(.3), "normalized": False, "special": True}
             for name in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]]
    for name in ["<mask>", "Hello", "É", "日本", " a"]:
        if chance():
            used = [token["id"] for token in added if token["id"] >= len(vocab)]
            added.append({"id": vocab.get(name, len(vocab) + len(used)), "content": name, "single_word": chance(.3), "lstrip": chance(.3), "rstrip": chance(.3),
                          "normalized": chance(.7), "special": chance(.3)})
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "BertNormalizer", "clean_text": number % 3 != 2, "handle_chinese_chars": number % 4 != 3} | normalizer,
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
            "decoder": {"type": "WordPiece", "prefix": prefix, "cleanup": number % 2 == 0},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": prefix, "max_input_chars_per_word": [100, 100, 7, 30, 3, 0][number],
                      "vocab": vocab}}


# What the trained toy's character map does, besides what a text needs to be worth reading: clusters and characters that become more or less.
RULES = {"\u3000": " ", "\u00a0": " ", "\t": " ", "\n": " ", "\r": " ", "\u0000": "", "\u0001": "", "\u001f": "", "\u007f": "", "\ufeff": "", "\u200b": " ", "é": "e\u0301",
         "e\u0301": "E", "ﬁ": "fi", "½": "1\u20442", "Ⅷ": "VIII", "²": "2", "…": "...", "ǅ": "Dž", "ß": "ss", "か\u3099": "が", "\u0301": "", "한": "\u1112\u1161\u11ab",
         "\r\n": "|", "ｘ": "x", "ﷺ": "صلى الله", "日本": "nope", "\ufffd": " ", "\U0001fae8": ":)"}


def train_sentencepiece(vocab_size=500, **options):
    """A model that sentencepiece trains on texts of this script."""
    import io
    import sentencepiece
    texts = [case["text"] for case in readable_cases()]
    for number in range(1500):
        random_text = Random(number)
        texts.append("".join(random_text.piece() if random_text.below(3) == 0 else random_text.letter() for _ in range(30)))
    lines = [line.replace("\0", "") for text in texts for line in text.splitlines() if line.strip()]
    model = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as rules:
        for key, value in RULES.items():
            if key != "\0":
                rules.write(" ".join(f"{ord(c):X}" for c in key) + "\t" + " ".join(f"{ord(c):X}" for c in value) + "\n")
        rules.flush()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, vocab_size=vocab_size, normalization_rule_tsv=rules.name,
                                                 character_coverage=0.98, hard_vocab_limit=False, num_threads=1, minloglevel=2, **options)
    return model.getvalue()


def trained_unigram():
    """The pieces with scores and the character map of such a model."""
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto.FromString(train_sentencepiece())
    return [[p.piece, p.score] for p in proto.pieces], base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def unigram_toy(number, trained):
    """A Unigram model between the stages of ALBERT's, XLM-RoBERTa's and others' files: the trained one, or random pieces whose scores are often equal."""
    rng = random.Random(2000 + number)

    def chance(p=.5):
        return rng.random() < p

    pieces, charsmap = trained
    vocab = [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]]
    if number < 3:
        vocab += [piece for piece in pieces if piece[0] not in ("<s>", "</s>", "<unk>")]
    else:
        letters = list("abcdefghijlmnorstuwxyzABC0123'.,é日本 \u1112e\u0301\u2581")
        random_pieces = letters + ["".join(rng.choice(letters) for _ in range(rng.randrange(2, 6))) for _ in range(150)]
        random_pieces += ["\u2581the", "hello", "\u2581Hello", "x" * 7, "x" * 20, "ab", "abab", "\u2581\u2581", "👩\u200d"]
        vocab += [[piece, -float(rng.randrange(2, 7))] for piece in dict.fromkeys(random_pieces) if chance(.9)]
    if number in (2, 4):
        known = range(256) if number == 2 else range(0xE0)
        vocab += [[f"<0x{byte:02X}>", -20.0] for byte in known]
    vocab.append(["<mask>", 0.0])
    precompiled, spaces = {"type": "Precompiled", "precompiled_charsmap": charsmap}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    quotes = [{"type": "Replace", "pattern": {"String": quote}, "content": '"'} for quote in ("``", "''")]
    accents, small, strip = [{"type": "NFKD"}, {"type": "StripAccents"}], {"type": "Lowercase"}, {"type": "Strip", "strip_left": False, "strip_right": True}
    chain = [quotes + accents + [small, precompiled, spaces], [precompiled, spaces], [precompiled, strip, spaces | {"content": "\u2581"}],
             accents + [{"type": "Replace", "pattern": {"String": "e"}, "content": "Eé"}, {"type": "Replace", "pattern": {"String": "b"}, "content": ""}], None,
             [{"type": "NFKD"}, small, {"type": "Strip", "strip_left": True, "strip_right": True}]][number]
    scheme = ["always", "always", "first", "never", "first", "always"][number]
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": number != 3}
    if number == 3:
        metaspace = {"type": "Metaspace", "replacement": "\u2581", "str_rep": "\u2581", "add_prefix_space": False, "prepend_scheme": "never", "split": False}
    white_space = {"type": "WhitespaceSplit"}
    pre = {"type": "Sequence", "pretokenizers": [white_space, metaspace]} if number in (1, 4) else white_space if number == 5 else metaspace
    special, text = (lambda name, kind: {"SpecialToken": {"id": name, "type_id": kind}}), (lambda name, kind: {"Sequence": {"id": name, "type_id": kind}})
    kind = int(number % 2 == 0)
    template = {"type": "TemplateProcessing", "single": [special("<s>", 0), text("A", 0), special("</s>", 0)],
                "pair": [special("<s>", 0), text("A", 0), special("</s>", 0)] + [special("</s>", 0)] * (1 - kind) + [text("B", kind), special("</s>", kind)],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}
    ids = {piece: i for i, (piece, _) in enumerate(vocab)}
    added = [{"id": ids[name], "content": name, "single_word": False, "lstrip": name == "<mask>", "rstrip": False, "normalized": False, "special": True}
             for name in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")]
    for name in ("the", "É", " a", "日本"):
        if chance():
            used = [token["id"] for token in added if token["id"] >= len(vocab)]
            added.append({"id": ids.get(name, len(vocab) + len(used)), "content": name, "single_word": chance(.3), "lstrip": chance(.3), "rstrip": chance(.3),
                          "normalized": chance(.7), "special": chance(.3)})
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": chain and {"type": "Sequence", "normalizers": chain},
            "pre_tokenizer": pre, "post_processor": template, "decoder": metaspace,
            "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": number in (2, 4)}}


# ---- spiece.model ----

ALBERT_PIECES = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]", "<mask>"],
                 "user_defined_symbols": ["(", ")", '"', "-", "."]}
MASK = {"content": "[MASK]", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False, "special": True}
ALBERT_FOLDERS = {
    "nothing": {},
    "cased": {"tokenizer_config.json": {"do_lower_case": False, "keep_accents": True, "add_prefix_space": False, "model_max_length": 512}},
    "transformers 4": {"tokenizer_config.json": {"tokenizer_class": "AlbertTokenizer", "mask_token": "[MASK]", "additional_special_tokens": [],
                                                 "added_tokens_decoder": {"4": MASK}}},
    "tokens": {"config.json": {"model_type": "albert"}, "tokenizer_config.json": {"cls_token": "<mask>", "pad_token": "the", "mask_token": "Hello"},
               "added_tokens.json": {"world": 500, "abc": 501}}}


def albert_of_pieces(model, files):
    """The tokenizer that AlbertTokenizer makes of a folder with spiece.model and `files`."""
    from transformers import AlbertTokenizer
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "spiece.model").write_bytes(model)
        for name, content in files.items():
            (pathlib.Path(folder) / name).write_text(json.dumps(content))
        return AlbertTokenizer.from_pretrained(folder).backend_tokenizer


def write_pieces():
    folder = FIXTURES / "sentencepiece"
    folder.mkdir(exist_ok=True)
    model = train_sentencepiece(**ALBERT_PIECES)
    (folder / "spiece.model").write_bytes(model)
    (folder / "bpe.model").write_bytes(train_sentencepiece(model_type="bpe", vocab_size=150, **ALBERT_PIECES))
    (folder / "bytes.model").write_bytes(train_sentencepiece(byte_fallback=True, vocab_size=400, **ALBERT_PIECES))
    made = {}
    for name, files in ALBERT_FOLDERS.items():
        tokenizer = albert_of_pieces(model, files)
        made[name] = {"files": files, "digests": [digest(run(tokenizer, Random(number).case())) for number in range(200)]}
    write("sentencepiece/cases.json", made)


# ---- cases kept in full ----

def readable_cases():
    texts = ["", " ", "  ", "\n", "a", " a", "a ", "  a  b  ", "Hello world!", "Hello world! cécé herlolip 418", "A, <mask> AllenNLP sentence.",
             "Hello there       dear", "hello hello", " hello hello", "lower newer", "i⭢j", "<mask>", " <mask> ", "a<mask>b", "a \u3000<mask> b",
             "<mask><mask> <mask>", "<s>injected</s>", "<mask", "<MASK>", "don't can't we'll I'VE 'tis rock'n'roll", "it's''s '' 'd'll", "\u2019s", "3.14 1,000 ²½Ⅷ٣",
             "naïve cafe\u0301 ﬁne", "日本語 テスト 한국어", "👩\u200d👩\u200d👧\u200d👦 🇩🇪 👍🏽", "\u0000\u0001\u007f\u0085\u00a0", "tab\tnew\nline\r\nend", "  \n\n  x", "x  \n", "\u2028\u2029\u3000x",
             "x" * 60, "ab" * 40, "Ġ Ċ Ä", "a\u200bb\ufeffc", "e\u0301e\u0301", "\U000e0101x", "\ufffd", "…—“”", "http://example.com/a?b=c&d=e#f", "CamelCaseWord snake_case_word"]
    cases = [{"text": text} for text in texts]
    cases += [{"text": text, "add_special_tokens": False} for text in (" ", "Hello <mask>", "")]
    cases += [{"text": "<s>injected</s> <mask>", "encode_special_tokens": True}]
    pairs = [("Hello", "world"), ("", ""), ("a", ""), ("", "b"), ("one <mask> two", " three <mask>"), ("日本", "é 😀")]
    cases += [{"text": a, "pair": b, **extra} for a, b in pairs for extra in ({}, {"add_special_tokens": False})]
    long, short = "The quick brown fox jumps over the lazy dog", "A short text"
    for strategy in ("longest_first", "only_first", "only_second"):
        for a, b in ((long, None), (long, short), (short, long), (long, long), (short, None)):
            for length, stride in ((4, 0), (9, 2), (13, 4)):
                for direction in ("right", "left") if stride else ("right",):
                    if length == 4 and a is long and b is long:
                        continue
                    case = {"text": a, "max_length": length, "stride": stride, "strategy": strategy, "direction": direction}
                    cases.append(case | ({"pair": b} if b is not None else {}))
    return cases


def unicode_text(points):
    """Each code point between letters, between digits and alone."""
    return "".join(f"x{chr(c)}x1{chr(c)}1 {chr(c)}{chr(c)} " for c in points)


def code_points():
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    return [points[i:i + 64] for i in range(0, len(points), 64)]


def unicode_digests(tokenizer, group=64):
    """One digest for each `group` texts of 64 code points."""
    digests, fnv = [], Fnv()
    texts = [unicode_text(points) for points in code_points()]
    for i, (text, encoding) in enumerate(zip(texts, tokenizer.encode_batch(texts))):
        fnv.numbers(encoding.ids)
        fnv.numbers([p for pair in encoding.offsets for p in pair])  # characters: the test counts them
        if (i + 1) % group == 0 or i + 1 == len(texts):
            digests.append(fnv.hex())
            fnv = Fnv()
    return digests


def strip_tokenizer():
    """Finds the classes that added tokens ask for."""
    tokenizer = Tokenizer(models.BPE({"a": 0}, []))
    tokenizer.add_tokens([AddedToken("<W>", single_word=True, normalized=False), AddedToken("<S>", lstrip=True, rstrip=True, normalized=False)])
    return tokenizer


def strip_digests(tokenizer, group=4096):
    points = [c for chunk in code_points() for c in chunk]
    digests = []
    for i in range(0, len(points), group):
        fnv = Fnv()
        for encoding in tokenizer.encode_batch([f"{chr(c)}<W>{chr(c)}<S>{chr(c)}" for c in points[i:i + group]]):
            fnv.numbers(encoding.ids)
            fnv.numbers([p for pair in encoding.offsets for p in pair])
        digests.append(fnv.hex())
    return digests


# ---- real texts ----

def gpt2(folder):
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=False)])
    return tokenizer


def bert(folder, lowercase):
    """What transformers makes of BERT's vocab.txt."""
    vocab = {token: number for number, token in enumerate((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def albert(folder, lowercase, keep_accents):
    """What transformers makes of ALBERT's spiece.model, read back from tokenizer.json: the parser may be one unit in the last place of a score off."""
    from transformers.convert_slow_tokenizer import AlbertConverter
    import sentencepiece
    model = str(folder / "spiece.model")
    pieces = sentencepiece.SentencePieceProcessor(model_file=model)
    tokenizer = AlbertConverter(types.SimpleNamespace(vocab_file=model, convert_tokens_to_ids=pieces.piece_to_id, do_lower_case=lowercase,
                                                      keep_accents=keep_accents)).converted()
    tokenizer.add_special_tokens(["[CLS]", "[SEP]", "<unk>", "<pad>", AddedToken("[MASK]", lstrip=True, normalized=False)])
    return Tokenizer.from_str(tokenizer.to_str())


def shared_lines(data):
    """Name and texts of each real text; a pair for question and context."""
    for name in ("text/wikitext-2-valid.txt", "text/tinyshakespeare.txt", "sst2/train.tsv", "sst2/dev.tsv", "stsb/train.tsv", "stsb/dev.tsv", "rte/train.tsv",
                 "rte/dev.tsv", "ner/emerging.dev.conll", "ner/wnut17train.conll", "ner/wikiann-en-dev.txt", "ner/wikiann-en-train.txt"):
        yield name, [line.decode() for line in (data / name).read_bytes().split(b"\n")]
    for name in ("squad/cs224n-dev-v2.0.json", "xquad/xquad.en.json"):
        paragraphs = [p for article in json.loads((data / name).read_text())["data"] for p in article["paragraphs"]]
        yield name + " contexts", [p["context"] for p in paragraphs]
        yield name + " pairs", [(q["question"], p["context"]) for p in paragraphs for q in p["qas"]]


def shared_digests(tokenizer, texts):
    """One digest for each CHUNK texts; pairs are cut into windows as SQuAD's are."""
    pairs = bool(texts) and isinstance(texts[0], tuple)
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = False
    if pairs:
        tokenizer.enable_truncation(128, stride=32, strategy="only_second")
    digests = []
    for i in range(0, len(texts), CHUNK):
        fnv = Fnv()
        for text, encoding in zip(texts[i:i + CHUNK], tokenizer.encode_batch(texts[i:i + CHUNK])):
            starts = [starts_of(t) for t in text] if pairs else [starts_of(text), None]
            for window in [encoding, *encoding.overflowing]:
                made = result(tokenizer, window, starts, overflow=window is not encoding)
                fnv.numbers(made["ids"])
                fnv.numbers(made["offsets"])
        digests.append(fnv.hex())
    tokenizer.no_truncation()
    return digests


def write(name, value):
    """JSON with one element of a top-level list, or one value of a top-level object, per line."""
    def dump(x):
        return json.dumps(x, ensure_ascii=True, separators=(",", ":"))
    lines = [dump(x) for x in value] if isinstance(value, list) else [f"{dump(k)}:{dump(v)}" for k, v in value.items()]
    text = ",\n".join(lines)
    (FIXTURES / name).write_text(f"[\n{text}\n]\n" if isinstance(value, list) else "{\n" + text + "\n}\n")
    print(f"{name}: {(FIXTURES / name).stat().st_size} bytes")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--shared", type=pathlib.Path)
    ap.add_argument("--show", nargs=2, metavar=("NAME", "NUMBER"))
    args = ap.parse_args()
    assert __version__ == "0.22.2", "the fixtures are what tokenizers 0.22.2 does"
    FIXTURES.mkdir(parents=True, exist_ok=True)
    small = Tokenizer.from_file(str(MODEL))
    toys = {f"toy{n}": toy(n) for n in range(18)} | {f"bert{n}": bert_toy(n) for n in range(6)}
    trained = trained_unigram()
    toys |= {f"unigram{n}": unigram_toy(n, trained) for n in range(6)}
    tokenizers = {"model": small} | {name: Tokenizer.from_str(json.dumps(document)) for name, document in toys.items()}
    if args.show:
        name, number = args.show[0], int(args.show[1])
        case = Random(number).case()
        print(json.dumps({"case": case, "result": run(tokenizers[name], case)}, ensure_ascii=False, indent=1))
        return
    write("toys.json", toys)
    write_pieces()
    fnv = Fnv()
    fnv.bytes(MODEL.read_bytes())
    invalid = []
    for number in range(INVALID_CASES):
        text, starts = read_bytes(Random(number).broken_bytes())
        invalid.append(digest(run(small, {"text": text}, [starts, None])))
    cases = {name: [digest(run(tokenizer, Random(n).case())) for n in range(RANDOM_CASES if name == "model" else TOY_CASES)]
             for name, tokenizer in tokenizers.items()}
    write("digests.json", {"model_file": fnv.hex(), "pieces": PIECES, "letters": LETTERS, "random": cases, "invalid": invalid,
                           "unicode": {name: unicode_digests(tokenizers[name]) for name in ("model", "bert0", "bert2", "bert3", "unigram0", "unigram2")}, "strip": strip_digests(strip_tokenizer())})
    write("cases.json", [{"case": case, "result": run(small, case)} for case in readable_cases()])
    if args.shared:
        made = {}
        named = {"roberta-base": Tokenizer.from_file(str(args.shared / "roberta-base/tokenizer.json")), "gpt2": gpt2(args.shared / "gpt2"),
                 "bert-base-uncased": bert(args.shared / "bert-base-uncased", True), "bert-base-cased": bert(args.shared / "bert-base-cased", False),
                 "albert": albert(args.shared / "albert", True, False), "albert-cased": albert(args.shared / "albert", False, True)}
        pieces = (args.shared / "albert/spiece.model").read_bytes()
        named |= {"spiece.model": albert_of_pieces(pieces, {}), "spiece.model, cased": albert_of_pieces(pieces, ALBERT_FOLDERS["cased"])}
        for file, texts in shared_lines(args.shared):
            made[file] = {name: shared_digests(tokenizer, texts) for name, tokenizer in named.items()}
        write("shared_data.json", made)


if __name__ == "__main__":
    main()
