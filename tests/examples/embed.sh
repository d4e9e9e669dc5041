#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
hidden=$(grep -oE '"hidden_size": *[0-9]+' "$model/config.json" | grep -oE '[0-9]+')
fixtures=$here/../fixtures/sentences

# header FILE: the JSON at the head of a safetensors file, without spaces.
header() { tail -c +9 "$1" | head -c "$(od -An -t u8 -N 8 "$1" | tr -d ' ')" | tr -d ' '; }

expect_common

expect 0 --json 'In the beginning' 'God'
lines 2
times $((2 * (hidden - 1))) ','
matches '^\{"embedding":\[-?[0-9.e-]+,.*\]\}$'
both=$out
expect 0 'In the beginning'
matches '^In the beginning$'
matches "\\($hidden\\)$"

# The same from any source of text; an empty line and a pair are inputs.
expect 0 --json <<< $'In the beginning\nGod'
[[ $out == "$both" ]] || complain 'other embeddings from standard input'
printf '\n \nfirst\tsecond\nGod' > "$scratch/lines"
expect 0 --json --input "$scratch/lines"
lines 4
[[ $(tail -1 <<< "$out") == "$(tail -1 <<< "$both")" ]] || complain 'another embedding in a file'
printf 'a\tb\tc\n' > "$scratch/tabs"
expect_error 'line 1' --input "$scratch/tabs"
expect 0 --json --input /dev/null
lines 0

# One array of all lines, whatever the threads.
for threads in 1 3; do
  expect 0 --threads $threads --input "$scratch/lines" --output "$scratch/$threads.safetensors"
done
cmp "$scratch/1.safetensors" "$scratch/3.safetensors" || complain 'threads change the embeddings'
[[ $(header "$scratch/1.safetensors") == '{"embeddings":{"dtype":"F32","shape":[4,'"$hidden"'],'* ]] ||
  complain "other arrays: $(header "$scratch/1.safetensors")"
expect 0 --precision double --input "$scratch/lines" --output "$scratch/double.safetensors"
[[ $(header "$scratch/double.safetensors") == *'"dtype":"F32"'* ]] || complain 'double is not written as F32'
expect 0 --precision int8 --json 'God'
expect 0 --input /dev/null --output "$scratch/none.safetensors"
[[ $(header "$scratch/none.safetensors") == *'"shape":[0,'"$hidden"']'* ]] || complain 'no empty array'

# A text that is too long is cut, as sentence-transformers cuts it.
expect 0 --json --input <(printf 'word %.0s' {1..1000})
long=$out
expect 0 --json --max-length 512 --input <(printf 'word %.0s' {1..2000})
[[ $out == "$long" ]] || complain 'the cut is not at 512 tokens'

# The folder's own files say how.
cp -r "$fixtures/encoder" "$scratch/folder"
mkdir "$scratch/folder/1_Pooling"
echo '[{"type":"sentence_transformers.models.Transformer","path":""},
  {"type":"sentence_transformers.models.Pooling","path":"1_Pooling"}]' > "$scratch/folder/modules.json"
echo '{"pooling_mode":["cls","max"]}' > "$scratch/folder/1_Pooling/config.json"
expect 0 --json --model "$scratch/folder" 'God'
times 23 ','
echo '{"pooling_mode":"median"}' > "$scratch/folder/1_Pooling/config.json"
expect_error 'median' --model "$scratch/folder" 'God'

# A run that fails leaves no file.
expect_error "$scratch/nowhere" --model "$scratch/nowhere" --output "$scratch/out.safetensors" 'God'
expect_error 'line 1' --input "$scratch/tabs" --output "$scratch/out.safetensors"
[[ ! -e $scratch/out.safetensors ]] || complain 'a file of a failed run'
expect_error "$scratch/no/folder/x" --output "$scratch/no/folder/x" 'God'
