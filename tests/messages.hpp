// What errors say: the message of an exception, and the parts that it must have.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace eigenformer::tests {

/// The message of the `Exception` that `action` throws; anything else fails the test.
template <class Exception, class Action>
std::string message_of(Action&& action) {
  try {
    (void)action();
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

inline void expect_parts(const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) EXPECT_TRUE(contains(message, part));
}

}  // namespace eigenformer::tests
