"""The laws of pre-training written anew: random numbers, blocks, pairs of segments and masks.

Random numbers are those of rng.hpp, and drawn in the order of corpus.hpp and masking.hpp, so that
all that is drawn can be compared one by one. Blocks and masks mirror fairseq, pairs and their masks
google-research/bert/create_pretraining_data.py, spans facebookresearch/SpanBERT.
"""

import math
from bisect import bisect_right
from itertools import accumulate


def philox(counter, key):
    key0, key1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        product0, product1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = (
            (product1 >> 32) ^ counter[1] ^ key0,
            product1 & 0xFFFFFFFF,
            (product0 >> 32) ^ counter[3] ^ key1,
            product0 & 0xFFFFFFFF,
        )
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return counter


def bits(stream, position, seed):
    """64 random bits."""
    low, high = philox((position, 0, stream & 0xFFFFFFFF, stream >> 32), seed)[:2]
    return high << 32 | low


class Draws:
    """Numbers of one stream, one after the other."""

    def __init__(self, seed, stream):
        self.seed, self.stream, self.position = seed, stream, 0

    def uniform(self):
        """In [0, 1)."""
        self.position += 1
        return (bits(self.stream, self.position - 1, self.seed) >> 11) * 2.0**-53

    def below(self, n):
        return int(self.uniform() * n)

    def shuffle(self, values, count):
        """Brings `count` numbers, drawn without replacement, to the front."""
        for i in range(min(count, len(values) - 1)):
            other = i + self.below(len(values) - i)
            values[i], values[other] = values[other], values[i]


def derived_seed(seed, what):
    """Pretraining's seeds of masks, 0; orders, 2; and pairs, 3."""
    return bits((1 << 64) - 1, what, seed)


def shuffled(n, seed, epoch):
    """The order of an epoch."""
    order = list(range(n))
    Draws(seed, (1 << 64) - 1 - epoch).shuffle(order, n)
    return order


def documents_of(path, tokenizer):
    """Documents of sentences as tokens: one a line; an empty line ends a document."""
    documents = [[]]
    for line in path.read_bytes().decode(errors="replace").split("\n"):
        line = line.strip(" \t\r")
        if line:
            documents[-1].append(tokenizer(line, add_special_tokens=False)["input_ids"])
        elif documents[-1]:
            documents.append([])
    return documents


def blocks_of(documents, bos, eos, length, doc_sentences):
    """Whole sentences up to the length."""
    blocks, block, new_document = [], [bos], False
    for document in documents:
        for i, sentence in enumerate(document):
            sentence = sentence + [eos]
            separator = [eos] if new_document and i == 0 and len(block) > 1 else []
            if len(block) + len(separator) + len(sentence) > length:
                if len(block) > 1:
                    blocks.append(block)
                block = [bos]
            else:
                block = block + separator
            while 1 + len(sentence) > length:
                blocks.append(block + sentence[: length - 1])
                block, sentence = [bos], sentence[length - 1 :]
            block = block + sentence
        new_document = True
        if doc_sentences and len(block) > 1:
            blocks.append(block)
            block = [bos]
    return blocks + ([block] if len(block) > 1 else [])


def segment_pairs(documents, cls, sep, length, seed, copy):
    """BERT's pairs: tokens, their types, and 1 where the second segment is of another document."""
    documents = [document for document in documents if document]
    most, pairs = length - 3, []
    for number, document in enumerate(documents):
        draws = Draws(seed, copy << 40 | number)
        target = 2 + draws.below(most - 1) if draws.uniform() < 0.1 else most
        chunk, size, i = [], 0, 0
        while i < len(document):
            chunk.append(document[i])
            size += len(document[i])
            i += 1
            if i < len(document) and size < target:
                continue
            of_first = 1 + draws.below(len(chunk) - 1) if len(chunk) > 1 else 1
            first = sum(chunk[:of_first], [])
            is_random = len(chunk) == 1 or draws.uniform() < 0.5
            if is_random:
                others = documents[:number] + documents[number + 1 :]
                other = others[draws.below(len(others))]
                second = []
                for sentence in other[draws.below(len(other)) :]:
                    second = second + sentence
                    if len(second) >= target - len(first):
                        break
                i -= len(chunk) - of_first  # put back
            else:
                second = sum(chunk[of_first:], [])
            while len(first) + len(second) > most:
                longer = first if len(first) > len(second) else second
                del longer[0 if draws.uniform() < 0.5 else -1]
            ids = [cls] + first + [sep] + second + [sep]
            types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
            pairs.append((ids, types, int(is_random)))
            chunk, size = [], 0
    return pairs


def roberta_masked(block, stream, seed, mask, vocab):
    """What the model sees, and the positions that it has to guess."""
    draws = Draws(seed, stream)
    count = min(int(0.15 * len(block) + draws.uniform()), len(block))
    order = list(range(len(block)))
    draws.shuffle(order, count)
    return replaced(block, sorted(order[:count]), draws, mask, 4, vocab)


def bert_masked(ids, stream, seed, mask, vocab, kept, starts=None):
    """The same by BERT's law: `kept` tokens are never chosen; `starts` tells which begin words."""
    draws = Draws(seed, stream)
    units = []
    for i, token in enumerate(ids):
        if token in kept:
            continue
        if starts is None or starts[token] or i == 0 or ids[i - 1] in kept:
            units.append([])
        units[-1].append(i)
    draws.shuffle(units, len(units))
    budget, chosen = max(1, round(0.15 * len(ids))), []
    for unit in units:
        if len(chosen) + len(unit) <= budget:
            chosen += unit
    return replaced(ids, sorted(chosen), draws, mask, 0, vocab)


def span_masked(ids, stream, seed, mask, kept, starts, counts):
    """What the model sees, and the spans that it has to guess, [first, last + 1]. `starts` tells which
    tokens begin words, `counts` how often each comes in the corpus."""
    draws = Draws(seed, stream)
    shares = [0.2 * 0.8**i for i in range(10)]  # of lengths from 1 on
    up_to = list(accumulate(share / sum(shares) for share in shares))
    begins = [
        i == 0 or token in kept or ids[i - 1] in kept or bool(starts[token])
        for i, token in enumerate(ids)
    ]
    places = [i for i, token in enumerate(ids) if token not in kept]
    budget, hidden = math.ceil(0.15 * len(places)), set()
    while len(hidden) < budget:
        words = 1 + bisect_right(up_to, draws.uniform())
        at = places[draws.below(len(places))]
        if at in hidden:
            continue
        while not begins[at]:
            at -= 1
        while at < len(ids) and ids[at] not in kept and len(hidden) < budget:
            words -= begins[at]
            if words < 0:
                break
            hidden.add(at)
            at += 1
    spans, shown, sums = [], list(ids), list(accumulate(counts))
    for at in sorted(hidden):
        if spans and spans[-1][1] == at:
            spans[-1][1] += 1
        else:
            spans.append([at, at + 1])
    for begin, end in spans:
        draw = draws.uniform()
        for at in range(begin, end):
            if draw < 0.8:
                shown[at] = mask
            elif draw < 0.8 + 0.1:
                shown[at] = bisect_right(sums, draws.below(sums[-1]))
    return shown, spans


def token_counts(documents, vocab):
    """How often each token comes in documents of sentences."""
    counts = [0] * vocab
    for document in documents:
        for sentence in document:
            for token in sentence:
                counts[token] += 1
    return counts


def replaced(ids, chosen, draws, mask, first_random, vocab):
    shown = list(ids)
    for at in chosen:
        draw = draws.uniform()
        if draw < 0.8:
            shown[at] = mask
        elif draw < 0.8 + 0.1:
            shown[at] = first_random + draws.below(vocab - first_random)
    return shown, chosen
