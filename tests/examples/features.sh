#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"
hidden=$(grep -oE '"hidden_size": *[0-9]+' "$model/config.json" | grep -oE '[0-9]+')
vocabulary=$(grep -oE '"vocab_size": *[0-9]+' "$model/config.json" | grep -oE '[0-9]+')

# header FILE: the JSON at the head of a safetensors file, without spaces.
header() { tail -c +9 "$1" | head -c "$(od -An -t u8 -N 8 "$1" | tr -d ' ')" | tr -d ' '; }
# lacks NAME: the file just written has no such tensor.
lacks() {
  [[ $(header "$scratch/features.safetensors") != *"\"$1\":"* ]] || complain "has $1"
}
# holds NAME DTYPE SHAPE: the file just written has that tensor.
holds() {
  local entry
  entry=$(header "$scratch/features.safetensors" | grep -oE "\"$1\":\\{[^}]*\\}") || true
  [[ $entry == *"\"dtype\":\"$2\""* && $entry == *"\"shape\":[$3]"* ]] ||
    complain "$1 is not $2 [$3]: $entry"
}

expect_common

printf 'God\nIn the beginning God created\n' > "$scratch/lines"
expect 0 --input "$scratch/lines" --output "$scratch/features.safetensors"
holds input_ids.0 I64 3
holds last_hidden_state.0 F32 "3,$hidden"
holds logits.0 F32 "3,$vocabulary"
holds input_ids.1 I64 7
holds last_hidden_state.1 F32 "7,$hidden"

expect 0 --precision double --output "$scratch/features.safetensors" 'God'
holds last_hidden_state.0 F64 "3,$hidden"

for precision in bf16 int8; do
  expect 0 --precision $precision --output "$scratch/features.safetensors" 'God'
  holds last_hidden_state.0 F32 "3,$hidden"
done

# Every head, by its own shape; a pooler where the file has one.
# features FIXTURE: of texts of 5 and 3 tokens.
features() {
  with_tokenizer "$1"
  expect 0 --model "$folder" --output "$scratch/features.safetensors" abc a
  holds input_ids.1 I64 3
}
features sequence_single_label
holds logits.0 F32 3
holds last_hidden_state.0 F32 5,8
lacks pooler_output.0
features sequence_regression
holds logits.0 F32 1
features token_holes
holds logits.0 F32 5,5
holds logits.1 F32 3,5
features question_answering
holds start_logits.0 F32 5
holds end_logits.1 F32 3
lacks logits.0
features multiple_choice
holds logits.0 F32 1
holds pooler_output.0 F32 8
features causal
holds logits.1 F32 3,23
features base_pooler
holds pooler_output.0 F32 15
lacks logits.0
features base_no_pooler
lacks pooler_output.0
features old_converter
holds pooler_output.0 F32 12
holds logits.0 F32 5,41
features bert/pretraining
holds prediction_logits.0 F32 5,23
holds seq_relationship_logits.1 F32 2
holds pooler_output.0 F32 8
lacks logits.0
features bert/next_sentence
holds logits.0 F32 2
features bert/base
holds last_hidden_state.0 F32 5,12
lacks logits.0
with_tokenizer token_holes RobertaForFoo
expect_error 'RobertaForFoo; known are RobertaModel, ' --model "$folder" --output "$scratch/none" a
with_tokenizer mlm_gelu RobertaForTokenClassification
expect_error 'missing: classifier.weight' --model "$folder" --output "$scratch/none" a

# What a run leaves does not depend on its threads.
for threads in 1 3; do
  expect 0 --threads $threads --input "$scratch/lines" --output "$scratch/$threads.safetensors"
done
cmp "$scratch/1.safetensors" "$scratch/3.safetensors" || complain 'threads change the features'

# A run that fails leaves no file.
expect_error "$scratch/nowhere" --model "$scratch/nowhere" --output "$scratch/none" 'God'
[[ ! -e $scratch/none ]] || complain 'a file of a failed run'
expect 1 --output "$scratch/no/folder/x" 'God'
[[ $err == *"$scratch/no/folder/x"* ]] || complain "the error does not name the file: $err"
