#include "server/auth/file_watch.h"

#include <sys/stat.h>

#include <utility>

namespace ropeway::server {
namespace {

int64_t Nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

}  // namespace

FileWatch::FileWatch(std::vector<Group> groups, absl::Duration interval)
    : groups_(std::move(groups)), interval_(interval) {
  {
    absl::MutexLock lock(&looking_);
    for (const Group& group : groups_) stamps_.push_back(StampsOf(group));
    are_used_.assign(groups_.size(), true);
  }
  if (!groups_.empty()) thread_ = std::thread([this] { Run(); });
}

FileWatch::~FileWatch() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void FileWatch::ReadAll() { Look(/*always=*/true); }

void FileWatch::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_)) return;
    }
    Look(/*always=*/false);
  }
}

// Stamps are taken before the files are read: what is written meanwhile is a change of its own.
void FileWatch::Look(bool always) {
  absl::MutexLock lock(&looking_);
  for (size_t i = 0; i < groups_.size(); ++i) {
    std::vector<Stamp> now = StampsOf(groups_[i]);
    if (!always && are_used_[i] && now == stamps_[i]) continue;
    stamps_[i] = std::move(now);
    are_used_[i] = groups_[i].on_change();
  }
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
