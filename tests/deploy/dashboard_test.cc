// The queries of deploy/ against what the server really exports: every metric exists, with every label that
// is used.
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/obs/metrics.h"

namespace ropeway {
namespace {

using Labels = std::set<std::string>;

// What Prometheus itself adds to each sample.
const Labels kScrapeLabels = {"instance", "job"};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// What the server exports, with a sample of each.
std::vector<prometheus::MetricFamily> Families() {
  server::Metrics metrics("model");
  metrics.SetBuild({.version = "1", .kernels = "ref"});
  metrics.SetModel({.architecture = "llama", .quantization = "Q4_1"});
  metrics.AddMethod("Generate");
  metrics.OnRequestEnd({.finish_reason = "stop"});
  metrics.SetStepCosts({{.term = "step", .cost = absl::Milliseconds(1)}}, 0);
  return metrics.Collect();
}

// All series names that the server exports, with their labels.
std::map<std::string, Labels> Exported() {
  std::map<std::string, Labels> series;
  for (const prometheus::MetricFamily& family : Families()) {
    Labels labels = kScrapeLabels;
    EXPECT_FALSE(family.metric.empty()) << family.name << " has no sample: observe it above";
    for (const prometheus::ClientMetric& metric : family.metric)
      for (const prometheus::ClientMetric::Label& label : metric.label) labels.insert(label.name);
    if (family.type != prometheus::MetricType::Histogram) {
      series[family.name] = labels;
      continue;
    }
    series[family.name + "_sum"] = series[family.name + "_count"] = labels;
    labels.insert("le");
    series[family.name + "_bucket"] = labels;
  }
  series["up"] = kScrapeLabels;
  return series;
}

std::vector<std::string> Matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> matches;
  for (std::sregex_iterator match(text.begin(), text.end(), regex), end; match != end; ++match)
    matches.push_back((*match)[1]);
  return matches;
}

void CheckQuery(const std::string& query, const std::map<std::string, Labels>& exported) {
  SCOPED_TRACE(query);
  const std::vector<std::string> names = Matches(query, R"(\b((?:ropeway_|vllm:)\w+|up\b))");
  EXPECT_FALSE(names.empty()) << "a query without a metric";
  Labels known;
  for (const std::string& name : names) {
    const auto found = exported.find(name);
    if (found == exported.end()) {
      ADD_FAILURE() << name << " is not exported";
    } else {
      known.insert(found->second.begin(), found->second.end());
    }
  }
  std::vector<std::string> used = Matches(query, R"((\w+)\s*(?:=~|!~|!=|=)\s*")");
  for (const std::string& list : Matches(query, R"(\bby \(([^)]*)\))"))
    for (const std::string& label : Matches(list, R"((\w+))")) used.push_back(label);
  for (const std::string& label : used) EXPECT_TRUE(known.contains(label)) << "no label " << label;
}

TEST(DashboardTest, EveryQueryAsksForWhatTheServerExports) {
  const auto dashboard = nlohmann::json::parse(ReadFile("deploy/grafana/dashboards/ropeway.json"));
  const std::map<std::string, Labels> exported = Exported();
  int queries = 0;
  for (const auto& panel : dashboard["panels"]) {
    for (const auto& target : panel["targets"]) {
      CheckQuery(target["expr"], exported);
      ++queries;
    }
  }
  EXPECT_GT(queries, 20);
  for (const auto& variable : dashboard["templating"]["list"])
    if (variable["type"] == "query") CheckQuery(variable["query"], exported);
}

// Other names of metrics tell what one of these tells.
TEST(DashboardTest, ShowsAllThatTheServerExports) {
  const std::string dashboard = ReadFile("deploy/grafana/dashboards/ropeway.json");
  const std::vector<std::string> names = Matches(dashboard, R"(\b(ropeway_\w+?)(?:_bucket|_sum|_count)?\b)");
  const std::set<std::string> shown(names.begin(), names.end());
  for (const prometheus::MetricFamily& family : Families()) {
    if (!absl::StartsWith(family.name, "ropeway_")) continue;
    EXPECT_TRUE(shown.contains(family.name)) << family.name;
  }
}

const char* TypeName(prometheus::MetricType type) {
  switch (type) {
    case prometheus::MetricType::Counter:
      return "counter";
    case prometheus::MetricType::Gauge:
      return "gauge";
    case prometheus::MetricType::Histogram:
      return "histogram";
    default:
      return "another";
  }
}

TEST(ReadmeTest, TheTableOfMetricsTellsWhatTheServerExports) {
  std::vector<std::string> exported;
  for (const prometheus::MetricFamily& family : Families()) {
    if (!absl::StartsWith(family.name, "ropeway_")) continue;  // another name of one that is there
    std::string row = family.name + " " + TypeName(family.type);
    std::set<std::string> labels;
    for (const prometheus::ClientMetric::Label& label : family.metric.at(0).label) labels.insert(label.name);
    EXPECT_EQ(labels.erase("model_name"), 1) << family.name;
    for (const std::string& label : labels) row += " " + label;
    exported.push_back(row);
  }
  std::vector<std::string> told;
  const std::string readme = ReadFile("README.md");
  const std::regex row(R"(\n\| `(ropeway_\w+)` \| (\w+) \| [^|]+ \|([^|]*)\|)");
  for (std::sregex_iterator match(readme.begin(), readme.end(), row), end; match != end; ++match) {
    std::string text = (*match)[1].str() + " " + (*match)[2].str();
    const std::vector<std::string> names = Matches((*match)[3], R"(`(\w+)`)");
    for (const std::string& label : std::set<std::string>(names.begin(), names.end())) text += " " + label;
    told.push_back(text);
  }
  EXPECT_THAT(told, ::testing::UnorderedElementsAreArray(exported));
}

TEST(DashboardTest, PanelsHaveTheirOwnIdsAndPlaces) {
  const auto dashboard = nlohmann::json::parse(ReadFile("deploy/grafana/dashboards/ropeway.json"));
  std::set<int> ids;
  std::set<std::pair<int, int>> cells;
  for (const auto& panel : dashboard["panels"]) {
    SCOPED_TRACE(panel["title"]);
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second);
    const auto& place = panel["gridPos"];
    EXPECT_LE(place["x"].get<int>() + place["w"].get<int>(), 24);
    for (int x = 0; x < place["w"]; ++x)
      for (int y = 0; y < place["h"]; ++y)
        EXPECT_TRUE(cells.emplace(place["x"].get<int>() + x, place["y"].get<int>() + y).second);
  }
}

TEST(DashboardTest, EveryAlertAsksForWhatTheServerExports) {
  const std::map<std::string, Labels> exported = Exported();
  std::istringstream rules(ReadFile("deploy/prometheus_rules.yml"));
  int alerts = 0;
  for (std::string line; std::getline(rules, line);) {
    const size_t start = line.find_first_not_of(' ');
    if (start == std::string::npos || !absl::StartsWith(line.substr(start), "expr: ")) continue;
    CheckQuery(line.substr(start + 6), exported);
    ++alerts;
  }
  EXPECT_GT(alerts, 3);
}

// rate() over a series that appears with its first call does not see that call.
TEST(DashboardTest, CodesThatAreAskedForCountFromTheStart) {
  std::set<std::string> there;
  for (const prometheus::MetricFamily& family : Families()) {
    if (family.name != "ropeway_calls_total") continue;
    for (const prometheus::ClientMetric& metric : family.metric) {
      EXPECT_EQ(metric.counter.value, 0);
      for (const prometheus::ClientMetric::Label& label : metric.label)
        if (label.name == "code") there.insert(label.value);
    }
  }
  const std::string asked =
      ReadFile("deploy/prometheus_rules.yml") + ReadFile("deploy/grafana/dashboards/ropeway.json");
  const std::vector<std::string> lists = Matches(asked, R"(code=~?\\?"([A-Z_|]+))");
  EXPECT_GE(lists.size(), 3u);
  for (const std::string& list : lists)
    for (const std::string& code : Matches(list, R"(([A-Z_]+))")) EXPECT_TRUE(there.contains(code)) << code;
}

TEST(DashboardTest, TheCheckSeesWhatIsWrong) {
  const std::map<std::string, Labels> exported = Exported();
  EXPECT_NONFATAL_FAILURE(CheckQuery("rate(ropeway_no_such_total[1m])", exported), "is not exported");
  EXPECT_NONFATAL_FAILURE(CheckQuery("sum by (colour) (ropeway_requests_running)", exported),
                          "no label colour");
  EXPECT_NONFATAL_FAILURE(CheckQuery("ropeway_requests_running{colour=~\"red\"}", exported),
                          "no label colour");
  EXPECT_NONFATAL_FAILURE(CheckQuery("ropeway_step_tokens", exported), "is not exported");
}

}  // namespace
}  // namespace ropeway
