#include "server/auth/file_watch.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace ropeway::server {
namespace {

int64_t Nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

}  // namespace

bool IsAtRest(int64_t changed_ns, int64_t now_ns, int64_t rest_ns) {
  return changed_ns > now_ns || now_ns - changed_ns >= rest_ns;
}

FileWatch::FileWatch(std::vector<Group> groups, absl::Duration interval, absl::Duration rest)
    : groups_(std::move(groups)), interval_(interval), rest_(rest) {
  absl::MutexLock lock(&looking_);
  for (const Group& group : groups_) stamps_.push_back(StampsOf(group));
  are_used_.assign(groups_.size(), true);
}

FileWatch::~FileWatch() {
  stop_.Stop();
  if (thread_.joinable()) thread_.join();
}

void FileWatch::Start() {
  if (!groups_.empty()) thread_ = std::thread([this] { Run(); });
}

void FileWatch::ReadAll() { Look(/*always=*/true); }

void FileWatch::Run() {
  for (absl::Duration wait = interval_; !stop_.WaitFor(wait);)
    wait = Look(/*always=*/false) ? interval_ : std::min(interval_, rest_);
}

// What is written while the files are read is a change of its own, for another look.
bool FileWatch::Look(bool always) {
  absl::MutexLock lock(&looking_);
  bool is_done = true;
  for (size_t i = 0; i < groups_.size(); ++i) {
    std::vector<Stamp> now = StampsOf(groups_[i]);
    const bool changed = now != stamps_[i];
    if (!always && are_used_[i] && !changed) continue;
    if (!always && changed && !AreAtRest(now)) {
      is_done = false;
      continue;
    }
    const std::function<bool()> use = groups_[i].read();
    if (!always && StampsOf(groups_[i]) != now) {
      is_done = false;
      continue;
    }
    stamps_[i] = std::move(now);
    are_used_[i] = use();
  }
  return is_done;
}

// By when the system saw a change, which nobody can set.
bool FileWatch::AreAtRest(const std::vector<Stamp>& stamps) const {
  const int64_t now_ns = absl::GetCurrentTimeNanos(), rest_ns = absl::ToInt64Nanoseconds(rest_);
  return std::all_of(stamps.begin(), stamps.end(), [&](const Stamp& stamp) {
    return !stamp.there || IsAtRest(stamp.changed_ns, now_ns, rest_ns);
  });
}

FileWatch::Stamp FileWatch::StampOf(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return {};
  return {.there = true,
          .device = info.st_dev,
          .inode = info.st_ino,
          .bytes = info.st_size,
          .modified_ns = Nanoseconds(info.st_mtim),
          .changed_ns = Nanoseconds(info.st_ctim)};
}

std::vector<FileWatch::Stamp> FileWatch::StampsOf(const Group& group) {
  std::vector<Stamp> stamps;
  for (const std::string& path : group.paths) stamps.push_back(StampOf(path));
  return stamps;
}

}  // namespace ropeway::server
