#!/usr/bin/env python3
"""Trains the small RoBERTa masked language model of this folder, from plain text to published layout.

    python train.py --text tinyshakespeare.txt --work WORK --out OUT --minutes 68

The run lasts as long as --minutes says: warm-up and linear decay follow the share of that time that has
passed. WORK keeps the tokenizer and a checkpoint; the same command again goes on from there.
"""
import argparse, json, random, re, subprocess, time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy, normalize
from transformers import RobertaConfig, RobertaForMaskedLM

BOS, PAD, EOS, UNK, MASK, VOCAB = 0, 1, 2, 3, 8191, 8192
LENGTHS = (128, 64, 128, 512)  # block length of each pass over the text, in turn: every position gets trained
SHAPE = dict(vocab_size=VOCAB, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=768,
             hidden_act="gelu", max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
             initializer_range=0.02, bos_token_id=BOS, pad_token_id=PAD, eos_token_id=EOS)


def passages(args):
    """The text as a list of passages, each a list of sentences (verses, paragraphs, speeches)."""
    found = {}
    if args.bible != "none":  # one verse a line, "Ge1:1 In the beginning ..."; a passage is a chapter
        for line in subprocess.run([args.bible, "-f", "gen1:1-rev22:21"], check=True, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout.splitlines():
            chapter, verse = re.fullmatch(r"(\w+):\d+ (.+)", line.strip()).groups()
            found.setdefault(chapter, []).append(verse)
    for name in args.text:  # paragraphs parted by blank lines; a passage is twenty of them
        text = Path(name).read_text(encoding="utf-8")
        parts = [" ".join(p.split()) for p in re.split(r"\n\s*\n", text) if p.strip()]
        found |= {(name, i): parts[i:i + 20] for i in range(0, len(parts), 20)}
    return list(found.values())


def train_tokenizer(texts):
    """Byte-level BPE numbered as RoBERTa's: four special tokens, bytes, merges, and <mask> last."""
    start = [AddedToken(t, normalized=True) for t in ("<s>", "<pad>", "</s>", "<unk>")]
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=MASK, special_tokens=start, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    bpe = json.loads(tok.to_str())["model"]
    assert len(bpe["vocab"]) == MASK, "too little text for the vocabulary"
    tok.model = models.BPE(bpe["vocab"] | {"<mask>": MASK}, [tuple(m) for m in bpe["merges"]],
                           continuing_subword_prefix="", end_of_word_suffix="")
    tok.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True)
    tok.post_processor = processors.RobertaProcessing(("</s>", EOS), ("<s>", BOS), True, False)
    tok.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return tok


def encode(tok, found):
    """Each sentence twice: as the beginning of a block, and after a space as its continuation."""
    def ids(texts):
        return [e.ids for e in tok.encode_batch(texts, add_special_tokens=False)]
    return [list(zip(ids(p), ids([" " + s for s in p]))) for p in found]


def blocks(docs, length):
    """FULL-SENTENCES packing: whole sentences up to the length; </s> parts two passages in one block."""
    out, block = [], [BOS]
    for doc in docs:
        for i, (bare, spaced) in enumerate(doc):
            piece = [EOS] + bare if i == 0 else spaced
            if len(block) == 1 or len(block) + len(piece) >= length:
                if len(block) > 1:
                    out.append(block + [EOS])
                block, piece = [BOS], bare
            while len(piece) > length - 2:  # a sentence longer than a block is cut
                out.append([BOS] + piece[:length - 2] + [EOS])
                piece = piece[length - 2:]
            block = block + piece
    return out + [block + [EOS]]


def batches(docs, length, tokens, rng):
    """Blocks of like size together, at most `tokens` in a batch with its padding, in random order."""
    out, batch = [], []
    for block in sorted(blocks(rng.sample(docs, len(docs)), length), key=len):
        if batch and (len(batch) + 1) * len(block) > tokens:
            out.append(batch)
            batch = []
        batch.append(block)
    for batch in rng.sample(out + [batch], len(out) + 1):
        width = max(map(len, batch))
        yield torch.tensor([b + [PAD] * (width - len(b)) for b in batch])


def loss_of(model, ids, seed):
    """Sum of the cross-entropy over 15 % of the tokens, and their number. 80 % of them are shown as
    <mask>, 10 % as a random token, 10 % as they are. Only they pass the last feed-forward and the head."""
    gen = torch.Generator().manual_seed(seed)
    chosen = (torch.rand(ids.shape, generator=gen) < 0.15) & (ids > UNK)
    draw = torch.rand(ids.shape, generator=gen)
    other = torch.randint(UNK + 1, MASK, ids.shape, generator=gen)
    shown = torch.where(chosen & (draw < 0.8), MASK, torch.where(chosen & (draw >= 0.9), other, ids))
    with torch.autocast("cpu", torch.bfloat16):
        attend = torch.zeros(ids.shape).masked_fill(ids == PAD, -1e9)[:, None, None]
        *layers, last = model.roberta.encoder.layer
        hidden = model.roberta.embeddings(shown)
        for layer in layers:
            hidden = layer(hidden, attend)
        hidden = last.feed_forward_chunk(last.attention(hidden, attend)[0][chosen])
        logits = model.lm_head(hidden).float()
    return cross_entropy(logits, ids[chosen], reduction="sum"), len(hidden)


@torch.no_grad()
def begin(model, docs):
    """A beginning better than chance, which saves most of the time: words lie near those with like neighbours
    (singular vectors of the positive pointwise mutual information), positions are sine waves in the last 64
    dimensions, and the four heads of the first layer look at the tokens 1 and 2 before and behind."""
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and "embeddings" not in name:
            weight.normal_(0, weight.shape[1] ** -0.5)
    embeddings, look = model.roberta.embeddings, model.roberta.encoder.layer[0].attention.self

    ids = torch.tensor([t for d in docs for i, sentence in enumerate(d) for t in sentence[i > 0]])
    seen, near = torch.bincount(ids, minlength=VOCAB) + 1.0, torch.zeros(VOCAB * VOCAB)
    for distance in (1, 2):
        pairs = ids[:-distance] * VOCAB + ids[distance:]
        near.index_add_(0, pairs, torch.full(pairs.shape, 1.0 / distance))
    near, rare = near.view(VOCAB, VOCAB), seen ** 0.75 / (seen ** 0.75).sum()
    near = torch.cat((near, near.T), 1) / (seen[:, None] * rare.repeat(2))
    u, s, _ = torch.svd_lowrank(near.log_().clamp_(min=0), q=192, niter=2)
    words = normalize(u * s.sqrt() + 1e-3 * torch.randn(u.shape), dim=1) * 0.05 * 192 ** 0.5
    embeddings.word_embeddings.weight.copy_(torch.cat((words, torch.zeros(VOCAB, 64)), 1))
    model.lm_head.bias.copy_((seen / seen.sum()).log())

    speed = 2.5 * 300 ** -torch.linspace(0, 1, 32)
    angle = torch.arange(514)[:, None] * speed
    waves = 0.05 * 2 ** 0.5 * torch.cat((angle.sin(), angle.cos()), 1)
    embeddings.position_embeddings.weight.copy_(torch.cat((torch.zeros(514, 192), waves), 1))
    embeddings.position_embeddings.weight[PAD] = 0
    for head, offset in enumerate((-1, 1, -2, 2)):
        rows, cos, sin = slice(64 * head, 64 * head + 64), (speed * offset).cos().diag(), (speed * offset).sin().diag()
        turn = torch.cat((torch.cat((cos, sin), 1), torch.cat((-sin, cos), 1)))  # the waves `offset` tokens on
        look.query.weight[rows] = 1.3 * torch.cat((torch.zeros(64, 192), turn), 1)
        look.key.weight[rows] = 1.3 * torch.cat((torch.zeros(64, 192), torch.eye(64)), 1)


@torch.no_grad()
def held_out_loss(model, docs):
    """Mean loss in nats over the held-out passages, with the same masks at every call."""
    model.eval()
    losses = [loss_of(model, ids, seed) for seed, ids in enumerate(batches(docs, 128, 4096, random.Random(1)))]
    model.train()
    return sum(loss.item() for loss, _ in losses) / sum(n for _, n in losses)


def export(model, tok, out):
    """The files of a published folder. The decoder is tied to the embeddings and therefore not stored."""
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: value.to(torch.bfloat16) for name, value in model.state_dict().items()
               if not name.startswith("lm_head.decoder")}, out / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["RobertaForMaskedLM"], "model_type": "roberta", "torch_dtype": "bfloat16",
              "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1} | SHAPE  # dropout for fine-tuning
    settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512, "add_prefix_space": False,
                "trim_offsets": True, "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>",
                "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    for name, data in (("config.json", config), ("tokenizer_config.json", settings)):
        (out / name).write_text(json.dumps(data, indent=2) + "\n")
    tok.save(str(out / "tokenizer.json"), pretty=False)
    tok.model.save(str(out))  # vocab.json and merges.txt


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bible", default="bible", help="command of Debian's bible-kjv package, or 'none'")
    p.add_argument("--text", nargs="*", default=[], help="further plain text files")
    p.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    p.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    p.add_argument("--minutes", type=float, default=68)
    p.add_argument("--tokens", type=int, default=2048, help="tokens in a batch")
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--export-only", action="store_true", help="write the checkpoint's model and stop")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.work.mkdir(parents=True, exist_ok=True)

    found = passages(args)  # every fiftieth passage is held out
    train, held = ([d for i, d in enumerate(found) if (i % 50 == 25) == out] for out in (False, True))
    if not (args.work / "tokenizer.json").exists():
        train_tokenizer(" ".join(d) for d in train).save(str(args.work / "tokenizer.json"))
    tok = Tokenizer.from_file(str(args.work / "tokenizer.json"))
    train, held = encode(tok, train), encode(tok, held)
    for name, docs in ("training", train), ("held out", held):
        print(f"{name}: {len(docs)} passages, {sum(len(s[0]) for d in docs for s in d)} tokens", flush=True)

    model = RobertaForMaskedLM(RobertaConfig(**SHAPE, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                                             attn_implementation="eager"))
    groups = [{"params": [q for q in model.parameters() if q.dim() >= 2], "weight_decay": 0.01},
              {"params": [q for q in model.parameters() if q.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), eps=1e-6)
    step, turn, before, checkpoint = 0, 0, 0.0, args.work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, turn, before = state["step"], state["turn"], state["seconds"]
    else:
        begin(model, train)

    start, warm, saved, total, count = time.time() - before, 0.05, before, 0.0, 0
    share = 1.0 if args.export_only else before / (60 * args.minutes)
    model.train()
    while share < 1:
        for ids in batches(train, LENGTHS[turn % len(LENGTHS)], args.tokens, random.Random(step)):
            seconds = time.time() - start
            share = seconds / (60 * args.minutes)
            if seconds - saved > 240 or share >= 1:
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
                            "turn": turn, "seconds": seconds}, args.work / "checkpoint.tmp")
                (args.work / "checkpoint.tmp").replace(checkpoint)
                print(f"{seconds / 60:.1f} min, step {step}: loss {total / max(count, 1):.4f}, "
                      f"held out {held_out_loss(model, held):.4f}", flush=True)
                saved, total, count = seconds, 0.0, 0
            if share >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = args.lr * min(share / warm, (1 - share) / (1 - warm))
            loss, n = loss_of(model, ids, step)
            optimizer.zero_grad()
            (loss / n).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step, total, count = step + 1, total + loss.item(), count + n
        turn += 1
    export(model, tok, args.out)
    print(f"step {step}, held-out loss of the bfloat16 weights: "
          f"{held_out_loss(model.to(torch.bfloat16).float(), held):.4f}", flush=True)


if __name__ == "__main__":
    main()
