#!/usr/bin/env bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/expect.bash"

expect_common

expect 0
matches RobertaForMaskedLM
expect 0 --json --model "$model"
lines 1
matches '"architecture":"RobertaForMaskedLM"'
matches '"parameters":[0-9]{6,}'
matches '"name":"roberta\.embeddings\.word_embeddings\.weight"'
matches '"dtype":"BF16"'
matches '"missing":\[\]'
matches '"unexpected":\[\]'

# Every head's own names; those of another head are missing, or unexpected.
for fixture in sequence_multi_label:CamembertForSequenceClassification \
  token_xlm_roberta:XLMRobertaForTokenClassification \
  question_answering:RobertaForQuestionAnswering multiple_choice:RobertaForMultipleChoice \
  causal:RobertaForCausalLM xlm_roberta:XLMRobertaModel bert/base:BertModel \
  bert/pretraining:BertForPreTraining bert/sequence:BertForSequenceClassification \
  bert/causal:BertLMHeadModel; do
  expect 0 --json --model "$here/../fixtures/models/${fixture%:*}"
  matches "\"architecture\":\"${fixture#*:}\""
  matches '"missing":\[\]'
  matches '"unexpected":\[\]'
done
with_tokenizer token_holes RobertaForMultipleChoice
expect 0 --json --model "$folder"
matches '"missing":\["roberta\.pooler\.dense\.weight","roberta\.pooler\.dense\.bias"\]'
expect 0 --model "$folder"
matches 'classifier\.weight is \[5, 8\] but the configuration asks for \[1, 8\]'
with_tokenizer mlm_gelu RobertaForTokenClassification
expect 0 --json --model "$folder"
matches '"missing":\["classifier\.weight","classifier\.bias"\]'
matches '"unexpected":\["lm_head\.bias",'
with_tokenizer mlm_gelu RobertaForFoo
expect_error 'RobertaForFoo; known are RobertaModel, ' --model "$folder"

expect 0 --json --model "$model/model.safetensors"
matches '"architecture":null'

expect_error "$scratch/nowhere" --model "$scratch/nowhere"
head -c 1000 "$model/model.safetensors" > "$scratch/short.safetensors"
expect_error short.safetensors --model "$scratch/short.safetensors"
