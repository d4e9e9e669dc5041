#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"

expect_common

expect 0 --json 'the light be <mask>: and'
lines 1
for key in ids tokens type_ids special offsets; do matches "\"$key\":\\["; done
matches '"special":\[1,0.*,1\]'
matches '"offsets":\[\[0,0\],\[0,3\],\[4,9\],.*\[13,19\].*,\[0,0\]\]'
matches '"tokens":\["<s>","the",.*"<mask>",.*,"</s>"\]'

# Only \n ends a line; an empty line is an empty input; a tab parts a pair, a second one is an error.
printf 'one\r\n\nGod\tand\n' > "$scratch/lines"
expect 0 --json --input "$scratch/lines"
lines 3
[[ $(sed -n 2p <<< "$out") == *'"tokens":["<s>","</s>"]'* ]] || complain 'the empty line is not empty'
[[ $(sed -n 3p <<< "$out") == *'"special":[1,0,1,1,0,1]'* ]] || complain 'the pair is no pair'
expect 0 --json --max-length 3 'In the beginning God created the heaven'
matches '"special":\[1,0,1\]'
printf 'one\na\tb\tc\n' > "$scratch/lines"
expect 1 --json --input "$scratch/lines"
[[ $err == *2* ]] || complain "the error does not name line 2: $err"

# No weights are needed.
mkdir "$scratch/light"
cp "$model"/{config.json,tokenizer.json} "$scratch/light"
expect 0 --json --model "$scratch/light" 'God'
rm "$scratch/light/tokenizer.json"
cp "$model"/{vocab.json,merges.txt} "$scratch/light"
expect 0 --json --model "$scratch/light" 'God'
rm "$scratch/light"/{vocab.json,merges.txt}
cp "$here"/../fixtures/tokenizers/sentencepiece/spiece.model "$scratch/light"
echo '{"tokenizer_class": "AlbertTokenizer"}' > "$scratch/light/tokenizer_config.json"
if [[ $(ldd "$program") == *libsentencepiece* ]]; then
  expect 0 --json --model "$scratch/light" 'the [MASK]'
  matches '"tokens":\["\[CLS\]",.*"\[MASK\]","\[SEP\]"\]'
else
  echo 'skipped: spiece.model; this tokenize was built without sentencepiece'
  expect_error libsentencepiece-dev --model "$scratch/light" 'the'
fi
expect_error "$scratch/nowhere" --model "$scratch/nowhere" 'God'
