// What the tests of files share: a folder of their own, and the messages of errors.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "../temporary_folder.hpp"

namespace eigenformer::testing {

using tests::TemporaryFolder;

/// The message of the `Exception` that `action` throws; anything else fails the test.
template <class Exception, class Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const Exception& problem) {
    return problem.what();
  } catch (const std::exception& problem) {
    ADD_FAILURE() << "another exception: " << problem.what();
    return "";
  }
  ADD_FAILURE() << "no exception";
  return "";
}

inline ::testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "'" << part << "' is not in: " << text;
}

}  // namespace eigenformer::testing
