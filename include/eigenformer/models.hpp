// The models room: configurations, models and heads under Hugging Face's names.
#pragma once

#include "eigenformer/models/roberta.hpp"
