#include "engine/text/hf/pre_tokenizers.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status_macros.h"
#include "engine/text/byte_spelling.h"
#include "engine/text/hf/normalizers.h"
#include "engine/text/regex.h"

namespace ropeway::hf {
namespace {

constexpr char kKinds[] =
    "Sequence, ByteLevel, Split, Digits, Punctuation, Metaspace, Whitespace, WhitespaceSplit, "
    "CharDelimiterSplit";
constexpr char kGpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// What becomes of a match.
enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

constexpr std::pair<std::string_view, Behavior> kBehaviors[] = {
    {"Isolated", Behavior::kIsolated},
    {"Removed", Behavior::kRemoved},
    {"MergedWithPrevious", Behavior::kMergedWithPrevious},
    {"MergedWithNext", Behavior::kMergedWithNext},
    {"Contiguous", Behavior::kContiguous}};

absl::StatusOr<Behavior> ReadBehavior(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string name, fields.StringOr("behavior", "Isolated"));
  for (const auto& [known, behavior] : kBehaviors) {
    if (name == known) return behavior;
  }
  return fields.UnknownValue("behavior", name,
                             "Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous");
}

struct Span {
  size_t begin, end;
  bool is_match;
};

// Joins a match with its neighbour in the order of `spans`, at most one match to a neighbour.
std::vector<Span> MergeMatches(const std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool after_match = false;
  for (const Span& span : spans) {
    if (span.is_match && !after_match && !merged.empty()) {
      merged.back().begin = std::min(merged.back().begin, span.begin);
      merged.back().end = std::max(merged.back().end, span.end);
    } else {
      merged.push_back(span);
    }
    after_match = span.is_match;
  }
  return merged;
}

std::vector<Span> Behave(Behavior behavior, std::vector<Span> spans) {
  switch (behavior) {
    case Behavior::kIsolated:
      return spans;
    case Behavior::kRemoved:
      spans.erase(std::remove_if(spans.begin(), spans.end(), [](const Span& span) { return span.is_match; }),
                  spans.end());
      return spans;
    case Behavior::kMergedWithPrevious:
      return MergeMatches(spans);
    case Behavior::kMergedWithNext: {
      std::reverse(spans.begin(), spans.end());
      spans = MergeMatches(spans);
      std::reverse(spans.begin(), spans.end());
      return spans;
    }
    case Behavior::kContiguous: {
      std::vector<Span> runs;
      for (const Span& span : spans) {
        if (!runs.empty() && runs.back().is_match == span.is_match) {
          runs.back().end = span.end;
        } else {
          runs.push_back(span);
        }
      }
      return runs;
    }
  }
  return spans;
}

// Cuts every piece at the matches of a pattern.
struct Cutter {
  std::shared_ptr<const Regex> pattern;
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;

  absl::Status operator()(std::vector<Piece>& pieces) const {
    std::vector<Piece> finer;
    for (const Piece& piece : pieces) {
      std::vector<Span> spans;
      size_t gap = 0;
      RETURN_IF_ERROR(pattern->ForEachMatch(piece.text, [&](size_t begin, size_t end) {
        if (gap < begin) spans.push_back({gap, begin, invert});
        spans.push_back({begin, end, !invert});
        gap = end;
      }));
      if (gap < piece.text.size()) spans.push_back({gap, piece.text.size(), invert});
      for (const Span& span : Behave(behavior, std::move(spans))) {
        if (span.begin == span.end) continue;
        finer.push_back(
            {piece.text.substr(span.begin, span.end - span.begin), piece.at_start && span.begin == 0});
      }
    }
    pieces = std::move(finer);
    return absl::OkStatus();
  }
};

absl::StatusOr<Cutter> CutAt(std::string_view pattern, Behavior behavior) {
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  return Cutter{.pattern = std::make_shared<const Regex>(std::move(regex)), .behavior = behavior};
}

absl::StatusOr<PieceSplitter> ReadSplit(const JsonFields& fields) {
  Cutter cutter;
  ASSIGN_OR_RETURN(Regex pattern, ReadPattern(fields, "pattern"));
  cutter.pattern = std::make_shared<const Regex>(std::move(pattern));
  ASSIGN_OR_RETURN(cutter.behavior, ReadBehavior(fields));
  ASSIGN_OR_RETURN(cutter.invert, fields.BoolOr("invert", false));
  return cutter;
}

// Bytes spelt as characters, after GPT-2's split where asked for.
absl::StatusOr<PieceSplitter> ReadByteLevel(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const bool space_prefix, fields.BoolOr("add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool use_regex, fields.BoolOr("use_regex", true));
  ASSIGN_OR_RETURN(const Cutter gpt2, CutAt(kGpt2, Behavior::kIsolated));
  return [=](std::vector<Piece>& pieces) -> absl::Status {
    for (Piece& piece : pieces) {
      if (space_prefix && !absl::StartsWith(piece.text, " ")) piece.text = absl::StrCat(" ", piece.text);
    }
    if (use_regex) RETURN_IF_ERROR(gpt2(pieces));
    for (Piece& piece : pieces) piece.text = SpellBytes(piece.text);
    return absl::OkStatus();
  };
}

// SentencePiece's spelling of spaces, one in front of the text or of each piece, and a cut before each.
absl::StatusOr<PieceSplitter> ReadMetaspace(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string mark, fields.StringOr("replacement", "\u2581"));
  ASSIGN_OR_RETURN(const bool old_prefix, fields.BoolOr("add_prefix_space", true));
  ASSIGN_OR_RETURN(const std::string scheme,
                   fields.StringOr("prepend_scheme", old_prefix ? "always" : "never"));
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return fields.UnknownValue("prepend_scheme", scheme, "always, first, never");
  }
  ASSIGN_OR_RETURN(const bool splits, fields.BoolOr("split", true));
  ASSIGN_OR_RETURN(Regex pattern, Regex::Literal(mark));
  const Cutter cutter = {.pattern = std::make_shared<const Regex>(std::move(pattern)),
                         .behavior = Behavior::kMergedWithNext};
  return [=](std::vector<Piece>& pieces) -> absl::Status {
    for (Piece& piece : pieces) {
      piece.text = absl::StrReplaceAll(piece.text, {{" ", mark}});
      const bool prepends = scheme == "always" || (scheme == "first" && piece.at_start);
      if (prepends && !absl::StartsWith(piece.text, mark)) piece.text = absl::StrCat(mark, piece.text);
    }
    return splits ? cutter(pieces) : absl::OkStatus();
  };
}

absl::StatusOr<PieceSplitter> Read(const JsonFields& fields);

absl::StatusOr<PieceSplitter> ReadSequence(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::vector<JsonFields> members, fields.Objects("pretokenizers"));
  std::vector<PieceSplitter> steps;
  for (const JsonFields& member : members) {
    ASSIGN_OR_RETURN(PieceSplitter step, Read(member));
    steps.push_back(std::move(step));
  }
  return [steps](std::vector<Piece>& pieces) -> absl::Status {
    for (const PieceSplitter& step : steps) RETURN_IF_ERROR(step(pieces));
    return absl::OkStatus();
  };
}

absl::StatusOr<PieceSplitter> ReadDelimiter(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string delimiter, fields.String("delimiter"));
  ASSIGN_OR_RETURN(Regex pattern, Regex::Literal(delimiter));
  return Cutter{.pattern = std::make_shared<const Regex>(std::move(pattern)), .behavior = Behavior::kRemoved};
}

absl::StatusOr<PieceSplitter> Read(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  if (type == "Sequence") return ReadSequence(fields);
  if (type == "ByteLevel") return ReadByteLevel(fields);
  if (type == "Split") return ReadSplit(fields);
  if (type == "Metaspace") return ReadMetaspace(fields);
  if (type == "CharDelimiterSplit") return ReadDelimiter(fields);
  if (type == "Whitespace") {
    // Removed is what is neither: the white space.
    ASSIGN_OR_RETURN(Cutter words,
                     CutAt("[\\w\\u200C\\u200D]+|[^\\w\\u200C\\u200D\\s]+", Behavior::kRemoved));
    words.invert = true;
    return words;
  }
  if (type == "WhitespaceSplit") return CutAt("\\s", Behavior::kRemoved);
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool individual, fields.BoolOr("individual_digits", false));
    return CutAt("\\p{N}", individual ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const Behavior behavior, ReadBehavior(fields));
    return CutAt("[\\p{P}!-/:-@\\[-`{-~]", behavior);
  }
  return fields.UnknownValue("type", type, kKinds);
}

}  // namespace

absl::StatusOr<PieceSplitter> ReadPreTokenizer(const JsonFields& document) {
  if (document.Find("pre_tokenizer") == nullptr) return PieceSplitter();
  ASSIGN_OR_RETURN(const JsonFields fields, document.Object("pre_tokenizer"));
  return Read(fields);
}

}  // namespace ropeway::hf
