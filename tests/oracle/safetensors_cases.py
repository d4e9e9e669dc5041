"""Makes tests/fixtures/io/safetensors/: what the reference implementation says.

written_*.safetensors  files that the reference writes; the test writes the same tensors
headers.bin            files, right and wrong, with the reference's verdict on each

Run with a Python that has safetensors 0.8.0. Everything is seeded: the same files come out.
"""
import argparse
import ctypes
import json
import random
import struct
from pathlib import Path

import safetensors
from safetensors import TensorSpec, deserialize, serialize

assert safetensors.__version__ == "0.8.0", safetensors.__version__

# ---- Files as the reference writes them ----

PYTHON_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "F16": "float16", "BF16": "bfloat16", "U32": "uint32", "I32": "int32", "F32": "float32",
    "U64": "uint64", "I64": "int64", "F64": "float64",
}
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4,
         "F32": 4, "U64": 8, "I64": 8, "F64": 8}


def write(path, tensors, metadata=None):
    """tensors: [(name, dtype, shape)]; byte i of tensor t is (t * 101 + i * 37 + 11) mod 256."""
    keep, specs = [], {}
    for t, (name, dtype, shape) in enumerate(tensors):
        size = SIZES[dtype]
        for extent in shape:
            size *= extent
        data = bytes((t * 101 + i * 37 + 11) % 256 for i in range(size))
        buffer = ctypes.create_string_buffer(data, max(size, 1))
        keep.append(buffer)
        specs[name] = TensorSpec(dtype=PYTHON_NAMES[dtype], shape=shape,
                                 data_ptr=ctypes.addressof(buffer), data_len=size)
    path.write_bytes(bytes(serialize(specs, metadata=metadata)))


def write_files(folder):
    write(folder / "written_empty.safetensors", [])
    write(folder / "written_metadata.safetensors", [], {"framework": "pt"})
    write(folder / "written_one.safetensors", [("attn.0", "F32", [1, 2, 3])])
    write(folder / "written_padded.safetensors", [("attn0", "F32", [1, 1, 2, 3])])
    write(folder / "written_types.safetensors",
          [(f"t{i}", dtype, [3, 1]) for i, dtype in enumerate(sorted(SIZES))]
          + [(f"a{i}", dtype, [2]) for i, dtype in enumerate(sorted(SIZES))], {"format": "pt"})
    names = ["", "b", "a", "a.b", "a b", "A", "aa", "\u00e9", "\U0001f600", "\"\\/", "\x01\n\t\r\b\f\x1f\x7f",
             "z\u2028", "layer.10.w", "layer.9.w"]
    write(folder / "written_names.safetensors", [(name, "I16", [1]) for name in names],
          {"format\n\u00e9": "p\"t\x02"})
    write(folder / "written_shapes.safetensors",
          [("scalar", "F64", []), ("none", "F32", [0]), ("none2", "F32", [3, 0, 2]),
           ("eight", "U8", [1, 2, 1, 1, 1, 1, 1, 3]), ("half", "BF16", [5])], {"format": "pt"})


# ---- Verdicts on headers ----

def verdict(data):
    """None where the reference refuses `data`, else its tensors as compact JSON."""
    try:
        tensors = deserialize(data)
    except safetensors.SafetensorError:
        return None
    rows = sorted([name, t["dtype"], list(t["shape"]), bytes(t["data"]).hex()]
                  for name, t in tensors)
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def is_stricter(data):
    """Whether ours refuses a file on purpose that the reference takes."""
    length = struct.unpack("<Q", data[:8])[0]
    twice = []

    def pairs(items):
        twice.append(len({key for key, _ in items}) != len(items))
        return dict(items)

    header = json.loads(data[8:8 + length].decode(), object_pairs_hook=pairs)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if "\0" in name or isinstance(entry, list) or isinstance(entry["dtype"], dict):
            return True
        if any(size > 2**63 - 1 for size in entry["shape"]):
            return True
    return twice[-1]  # the outermost object comes last


def pack(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(name, dtype, shape, begin, end):
    return f'"{name}":{{"dtype":"{dtype}","shape":{json.dumps(shape)},"data_offsets":[{begin},{end}]}}'


def one(value, data=b"\1\2\3\4"):
    return pack('{"a":' + value + "}", data)


def handwritten():
    full = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]%s}'
    yield from (b"", b"\0" * 7, b"\0" * 8, b"\2" + b"\0" * 7, pack("{}", length=3), pack("{}", length=1))
    for length in (100_000_000, 100_000_001, 2**63, 2**64 - 1, 2**64 - 8):
        yield pack("{}", length=length)
    for text in ("", "{}", " {}", "{} ", "\n\t\r {\n} \r\t", "{}x", "{}{}", "{", "}", "[]", "[null,{}]", "null", "1",
                 '""', "{,}", "{}\0", "\0{}", "\ufeff{}", "// \n{}", "/**/{}", "{}//", "{'a':1}", "NaN"):
        yield pack(text)
    for raw in (b'{"\xff":1}', b"{}\xff", b'{"__metadata__":{"a":"\xc0\xaf"}}', b'{"__metadata__":{"a":"\xed\xa0\x80"}}',
                b'{"__metadata__":{"a":"\xf4\x8f\xbf\xbf"}}', b'{"__metadata__":{"a":"\xf4\x90\x80\x80"}}',
                b'{"__metadata__":{"a":"\xe2\x82"}}', b"{\xc2\xa0}", b'{"__metadata__":{"a":"\x7f"}}',
                b'{"__metadata__":{"a":"\x1f"}}', b'{"__metadata__":{"a":"\n"}}'):
        yield pack(raw)
    for escape in ("\\ud800", "\\ud83d\\ude00", "\\ude00\\ud83d", "\\ud83d\\u0041", "\\u00e9", "\\x41", "\\/", "\\b\\f\\n\\r\\t\\\\\\\"",
                   "\\u12", "\\u000g", "\\uD83D\\uDE00", "\\U0041"):
        yield pack('{"__metadata__":{"' + escape + '":"' + escape + '"}}')
        yield pack("{" + entry(escape, "U8", [1], 0, 1) + "}", b"x")
    for metadata in ("null", "{}", "[]", "1", '"a"', "true", '{"a":"b"}', '{"a":null}', '{"a":1}', '{"a":{}}', '{"a":[]}',
                     '{"a":"1","a":"2"}', '{"":""}', '{"a":-1}', '{"a":1.5}', '{"a":false}'):
        yield pack('{"__metadata__":' + metadata + "}")
    yield pack('{"__metadata__":{},"__metadata__":{}}')
    yield pack('{"__metadata__":null,"__metadata__":null}')
    yield pack('{"__metadata__":null,"\\u005f_metadata__":{}}')
    yield pack('{"__metadata__":' + full % "" + "}", b"\1\2\3\4")
    for value in ("1", "null", "true", '"F32"', "[]", "{}", '["F32",[1],[0,4]]', '["F32",[1]]', full % "", full % ',"x":1',
                  full % ',"x":{"y":[1,null]}', full % ',"x":1e999', full % ',"x":1e99', full % ',"x":-0', full % ',"x":1,"x":2',
                  full % ',"dtype":"F32"', full % ',"shape":[1]', full % ',"data_offsets":[0,4]', full % ',"\\u0064type":"F32"',
                  full % ',"__metadata__":3', full % ',', full % ',"x":01', full % ',"x":1.', full % ',"x":.5', full % ',"x":+1',
                  full % ',"x":1e', full % ',"x":-', full % ',"x":Infinity', full % ',"x":18446744073709551616',
                  '{"dtype":"F32","shape":[1]}', '{"dtype":"F32","data_offsets":[0,4]}', '{"shape":[1],"data_offsets":[0,4]}',
                  '{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}'):
        yield one(value)
    for depth in (1, 100, 124, 125, 126, 127, 128, 129, 500):
        yield one(full % (',"x":' + "[" * depth + "]" * depth))
        yield one(full % (',"x":' + '{"a":' * depth + "1" + "}" * depth))
    for dtype in ('"f32"', '"F33"', '""', '"F32 "', "1", "null", '["F32"]', '{"F32":null}', '{"F32":1}', '{}', "true", '"\\u004632"'):
        yield one('{"dtype":' + dtype + ',"shape":[1],"data_offsets":[0,4]}')
    for shape in ("[]", "[1]", "[4]", "[1,1,1,1,1,1,1,1,1,1]", "[-1]", "[-0]", "[0]", "[1.0]", "[1e0]", '["1"]', "[null]", "[true]",
                  "[[1]]", "[{}]", "1", "null", '"1"', "{}", '{"0":1}', "[1,]", "[01]", "[18446744073709551616]"):
        yield one('{"dtype":"F32","shape":' + shape + ',"data_offsets":[0,4]}')
        yield one('{"dtype":"F32","shape":' + shape + ',"data_offsets":[0,0]}', b"")
    for shape in ("[0,18446744073709551615]", "[0,9223372036854775807]", "[9223372036854775807,3,0]", "[18446744073709551615,2,0]",
                  "[4294967296,4294967296]", "[4611686018427387904]", "[2305843009213693952]", "[576460752303423488]",
                  "[0,9223372036854775807,9223372036854775807]", "[1,0,9]"):
        yield one('{"dtype":"F32","shape":' + shape + ',"data_offsets":[0,0]}', b"")
        yield one('{"dtype":"F4","shape":' + shape + ',"data_offsets":[0,0]}', b"")
    for offsets in ("[0,4]", "[4,0]", "[0,3]", "[0,5]", "[1,5]", "[4,8]", "[0]", "[]", "[0,4,4]", "0", "null", "{}", '{"0":0,"1":4}',
                    "[-0,4]", "[0,4.0]", "[0,4e0]", '["0","4"]', "[null,4]", "[0,18446744073709551615]", "[18446744073709551615,3]",
                    "[0,18446744073709551616]", "[[0,4]]", "[0,[4]]"):
        for size in (4, 5, 8):
            yield one('{"dtype":"F32","shape":[1],"data_offsets":' + offsets + "}", b"\7" * size)
    for dtype, bits in (("BOOL", 8), ("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("U8", 8), ("I8", 8), ("F8_E5M2", 8), ("F8_E4M3", 8),
                        ("F8_E8M0", 8), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8), ("I16", 16), ("U16", 16), ("F16", 16), ("BF16", 16),
                        ("I32", 32), ("U32", 32), ("F32", 32), ("C64", 64), ("F64", 64), ("I64", 64), ("U64", 64)):
        for count in ((1, 2, 3, 4, 5) if bits < 8 else (1, 3)):
            size = count * bits // 8
            yield pack("{" + entry("a", dtype, [count], 0, size) + "}", b"\5" * size)
    a, b = entry("a", "U8", [4], 0, 4), entry("b", "U8", [4], 4, 8)
    for parts, size in (((a, b), 8), ((b, a), 8), ((a, b), 7), ((a, b), 9), ((a, a), 4), ((a,), 8), ((b,), 8),
                        ((a, entry("a", "U8", [4], 4, 8)), 8), ((entry("a", "U8", [4], 4, 8), a), 4),
                        ((a, entry("b", "U8", [4], 3, 7)), 7), ((a, entry("b", "U8", [3], 5, 8)), 8),
                        ((a, entry("b", "U8", [4], 0, 4)), 4), ((a, entry("z", "U8", [0], 4, 4)), 4),
                        ((a, entry("z", "U8", [0], 0, 0)), 4), ((a, entry("z", "U8", [0], 2, 2)), 4),
                        ((a, entry("z", "U8", [0], 5, 5)), 4), ((a, entry("z", "U8", [1], 4, 3)), 4),
                        ((a, b, entry("c\\u0000", "U8", [0], 8, 8)), 8), ((entry("", "U8", [0], 0, 0),), 0)):
        yield pack("{" + ",".join(parts) + "}", bytes(range(size)))


def mutations(count, seed):
    """Files that are right, then damaged a little: half of the verdicts go either way."""
    rng = random.Random(seed)
    types = [("F32", 4), ("BF16", 2), ("U8", 1), ("F64", 8), ("BOOL", 1), ("F8_E4M3", 1)]
    tokens = ["[", "]", "{", "}", ",", ":", '"', "0", "1", "4", "8", "-", ".", "e", " ", "\n", "null", "true", "[]", "{}", '"a"',
              '"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"F32"', "\\", "\\u0000", "\t", "\x01", "\u00e9", "x"]
    for _ in range(count):
        offset, parts = 0, []
        for i in range(rng.randrange(4)):
            dtype, width = rng.choice(types)
            shape = [rng.choice([0, 1, 1, 2, 3]) for _ in range(rng.randrange(3))]
            size = width
            for extent in shape:
                size *= extent
            fields = [f'"dtype":"{dtype}"', f'"shape":{json.dumps(shape)}', f'"data_offsets":[{offset},{offset + size}]']
            if rng.random() < 0.2:
                fields.append('"extra":' + rng.choice(["1", "null", "[{}]", '"\\n"', "-2.5e3"]))
            rng.shuffle(fields)
            parts.append(f'"{rng.choice("abcde")}{i}":' + "{" + ",".join(fields) + "}")
            offset += size
        if rng.random() < 0.4:
            parts.append('"__metadata__":' + rng.choice(['{"format":"pt"}', "null", "{}"]))
        rng.shuffle(parts)
        text = "{" + ",".join(parts) + "}" + " " * rng.randrange(3)
        length_change, data_change = 0, 0
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
            kind = rng.randrange(9)
            at = rng.randrange(len(text)) if text else 0
            if kind == 0:
                text = text[:at] + text[at + 1:]
            elif kind in (1, 2):
                text = text[:at] + rng.choice(tokens) + text[at:]
            elif kind == 3:
                text = text[:at] + rng.choice(tokens) + text[at + 1:]
            elif kind == 4:
                digits = [i for i, c in enumerate(text) if c.isdigit()]
                if digits:
                    i = rng.choice(digits)
                    text = text[:i] + rng.choice("0123456789") + text[i + 1:]
            elif kind == 5:
                gaps = [i for i, c in enumerate(text) if c in "{}[],:"]
                i = rng.choice(gaps) if gaps else 0
                text = text[:i] + rng.choice([" ", "\n", "\r\t"]) + text[i:]
            elif kind == 6 and parts:
                text = text[:1] + rng.choice(parts) + "," + text[1:]
            elif kind == 7:
                length_change = rng.choice([-1, 1])
            elif kind == 8:
                data_change = rng.choice([-1, 1])
        header = text.encode()
        data = bytes(rng.randrange(256) for _ in range(max(0, offset + data_change)))
        yield pack(header, data, length=max(0, len(header) + length_change))


def write_headers(path, cases):
    """A record: verdict (0 refused, 1 taken, 2 taken but refused by us), two sizes, file, tensors."""
    out, counts, seen = bytearray(), [0, 0, 0], set()
    for data in cases:
        if data in seen:
            continue
        seen.add(data)
        tensors = verdict(data)
        mark = 0 if tensors is None else 2 if is_stricter(data) else 1
        counts[mark] += 1
        summary = (tensors or "").encode() if mark == 1 else b""
        out += struct.pack("<BII", mark, len(data), len(summary)) + data + summary
    path.write_bytes(bytes(out))
    print(f"{path.name}: {counts[0]} refused, {counts[1]} taken, {counts[2]} taken but refused by us; "
          f"{len(out)} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--headers", type=Path, help="write only headers.bin, to this path")
    parser.add_argument("--mutations", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent.parent / "fixtures" / "io" / "safetensors"
    if options.headers is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_files(folder)
    cases = list(handwritten()) + list(mutations(options.mutations, options.seed))
    write_headers(options.headers or folder / "headers.bin", cases)


if __name__ == "__main__":
    main()
