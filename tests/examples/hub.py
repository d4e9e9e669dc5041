"""A small Hugging Face hub on 127.0.0.1, for get_model.sh: NAME of a model says what goes wrong.

Usage: hub.py MODEL SCRATCH. Serves the files of the folder MODEL under invented names until it is
killed. Large files are redirected to another host, "localhost" on a port of its own. Prints the
hub's port; every request is a line of SCRATCH/log. A slow file's second half waits for SCRATCH/go.
"""

import hashlib
import http.server
import json
import pathlib
import sys
import threading
import time
import urllib.parse

model, scratch = map(pathlib.Path, sys.argv[1:])
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_right"
LARGE = ".safetensors"

plain = {path.name: path.read_bytes() for path in model.iterdir()}
weights = plain["model.safetensors"]
without_weights = {name: data for name, data in plain.items() if name != "model.safetensors"}
modules = {
    "modules.json": b"[]",
    "sentence_bert_config.json": b"{}",
    "1_Pooling/config.json": b'{"pooling_mode": "mean"}',
    "2_Dense/config.json": b"{}",
    "2_Dense/model.safetensors": b"",
    "onnx/config.json": b"{}",
    "onnx/model.onnx": b"onnx",
}


def sharded(*shards):
    index = {"metadata": {}, "weight_map": {f"a\t{i}": shard for i, shard in enumerate(shards)}}
    return {
        **without_weights,
        **modules,
        "model.safetensors.index.json": json.dumps(index, indent=2).encode(),
        "one.safetensors": weights[:100_000],
        "two-00002.safetensors": weights[100_000:],
        "model.fp16.safetensors": b"fp16",
        "tf_model.h5": b"tensorflow",
    }


models = {
    "sharded": sharded("one.safetensors", "two-00002.safetensors", "one.safetensors"),
    "shard-missing": sharded("one.safetensors", "three.safetensors"),
    "shard-hostile": sharded("one.safetensors", "../../../three.safetensors"),
    "pickled": {**without_weights, "pytorch_model.bin": b"pickle"},
    "no-weights": without_weights,
    "no-config": {"model.safetensors": weights},
    "nested": {f"0_Transformer/{name}": data for name, data in plain.items()} | modules,
}
# As the model, but for what happens on the way.
for name in ("plain gated busy busy-always hostile hostile-hash hostile-size wrong-hash wrong-size"
             " cut cut-always no-ranges no-416 slow slow-two slow-token truncated no-json").split():
    models[name] = plain
HOSTILE = ["/etc/passwd", "../../../escaped.json", "1_Pooling/../../escaped.json", "..", ".", "",
           "a]", "]", "@", "*", "$(touch escaped)", "`touch escaped`", "a b", "-n", "\n", "\x00",
           "\t", "\x1b[31m", "config.json\n", "sha\tx", 'config.json"', "config.json\\", "ü.json",
           "\ud800", "é" * 1000, "C:\\x", "config.json/../x", "1_Pooling/",
           "1_Pooling/x/config.json"]


def blob_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(path, data):
    found = {"rfilename": path, "size": len(data), "blobId": blob_hash(data)}
    if path.endswith(LARGE):
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        found |= {"blobId": "f" * 40, "lfs": lfs}
    return found


def listing(name):
    files = [entry(path, data) for path, data in models[name].items()]
    if name == "hostile":
        files += [entry(path, b"hostile") for path in HOSTILE]
    if name == "hostile-hash":
        files[0] |= {"rfilename": "vocab.txt", "blobId": "../../../escaped"}
    if name == "hostile-size":
        files[0] |= {"rfilename": "vocab.txt", "size": "a[$(touch escaped)]"}
    # What authors write into their models stands there too, and must not be mistaken for files.
    card = {"siblings": [{"rfilename": "vocab.txt"}], "siblings/0/rfilename": "vocab.txt",
            "sha": "0", "text": "\"]}{[,: \\ \u20ac \U0001f600"}
    text = json.dumps({"cardData": card, "id": f"test/{name}", "sha": COMMIT, "siblings": files,
                       "config": card, "tags": [], "gated": False, "likes": 1.5e3},
                      ensure_ascii=name != "plain").encode("utf-8", "surrogatepass")
    return {"truncated": text[:-10], "no-json": b"<html>sha</html>"}.get(name, text)


lock = threading.Lock()
counts = {}


def count(key):
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key]


class Hub(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", send=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        (send or self.wfile.write)(body)

    def do_GET(self):
        is_hub = self.server is hub
        wanted, authorization = self.headers["Range"], self.headers["Authorization"]
        with lock, open(scratch / "log", "a") as log:
            log.write(f"{'hub' if is_hub else 'cdn'} {self.path} {wanted} {authorization}\n")
        parts = urllib.parse.urlsplit(self.path).path.strip("/").split("/")
        if is_hub and parts[:2] == ["api", "models"]:
            self.answer_listing(parts[3], "/".join(parts[5:]), authorization)
        else:
            self.answer_file(parts[1], "/".join(parts[4:]), wanted, authorization, is_hub)

    def answer_listing(self, name, revision, authorization):
        if name == "renamed":
            self.answer(307, Location=f"/api/models/test/plain/revision/{revision}?blobs=true")
        elif name not in models and authorization:
            self.answer(404, b"no such model", X_Error_Code="RepoNotFound")
        elif name not in models:
            self.answer(401, b"no such model", X_Error_Code="RepoNotFound")
        elif urllib.parse.unquote(revision) not in ("main", COMMIT, "refs/pr/1"):
            self.answer(404, b"no such revision", X_Error_Code="RevisionNotFound")
        elif name == "busy-always" or name == "busy" and count(name) == 1:
            self.answer(503, b"busy")
        else:
            self.answer(200, listing(name))

    def answer_file(self, name, path, wanted, authorization, is_hub):
        data = plain[path] if name == "renamed" else models[name][path]
        if name == "gated" and is_hub and authorization != f"Bearer {TOKEN}":
            self.answer(403 if authorization else 401, b"gated", X_Error_Code="GatedRepo")
            return
        if not path.endswith(LARGE):
            self.answer(200, data)
            return
        if is_hub:
            location = f"http://localhost:{cdn.server_port}{self.path}"
            self.answer(302, b"elsewhere", Location=location)
            return
        tries, half = count((name, path)), len(data) // 2
        cut, range_ok, send = False, True, None
        if name == "busy" and tries == 1:
            self.answer(503, b"busy")
            return
        if name in ("cut", "no-ranges", "no-416"):
            cut, range_ok = tries == 1, name == "cut"
        if name == "cut-always" and tries > 1:
            self.connection.close()
            return
        cut = cut or name == "cut-always"
        if name.startswith("slow") and tries == 1:
            send = self.send_slowly
        if name == "wrong-hash":
            data = data[:-1] + b"x"
        if name == "wrong-size":
            data = data[:-1]
        if cut:
            send = lambda body: self.wfile.write(body[:half])
        if not wanted or name == "no-ranges":
            self.answer(200, data, send)
        elif name == "no-416":
            self.answer(416, b"no ranges")
        else:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            headers = {"Content_Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
            self.answer(206, data[first:], send, **headers)

    def send_slowly(self, body):
        self.wfile.write(body[: len(body) // 2])
        for _ in range(2400):
            if (scratch / "go").exists():
                break
            time.sleep(0.05)
        self.wfile.write(body[len(body) // 2 :])


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *arguments):
        pass  # who asked was killed


hub, cdn = (Server(("127.0.0.1", 0), Hub) for _ in range(2))
threading.Thread(target=cdn.serve_forever, daemon=True).start()
print(hub.server_port, flush=True)
hub.serve_forever()
