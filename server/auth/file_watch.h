// Looks at files again and again, and tells when some of them changed: were written, replaced, or vanished.
//
// A change is told once where the files are used then, and again at each look where they are not: a certificate
// may become valid, and what cannot be read now may be readable soon. What changed a moment ago is told when it has
// come to rest, since whoever writes a file in place makes it empty first. Thread-safe.
#ifndef ROPEWAY_SERVER_AUTH_FILE_WATCH_H_
#define ROPEWAY_SERVER_AUTH_FILE_WATCH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/base/stop_event.h"

namespace ropeway::server {

// Whether a file that the system saw change at a time, in nanoseconds since 1970, may be taken for whole. Times to come
// are of a clock that was turned back.
bool IsAtRest(int64_t changed_ns, int64_t now_ns, int64_t rest_ns);

class FileWatch {
 public:
  // Files that belong together.
  struct Group {
    std::vector<std::string> paths;
    // Reads the files as they are now, and returns what puts that into use, which says whether it did. That is not
    // called where the files changed while they were read. Both are called by one thread at a time, the watch's own
    // or that of ReadAll(), and must not ask for a look themselves.
    std::function<std::function<bool()>()> read;
  };

  // How long a file stays as it is before it counts as whole.
  static constexpr absl::Duration kRest = absl::Milliseconds(100);

  // Notes how the files are, for whoever reads them next: what changes from now on is told once it has begun.
  FileWatch(std::vector<Group> groups, absl::Duration interval, absl::Duration rest = kRest);
  ~FileWatch();

  // Begins to look. Once.
  void Start();

  // Tells all groups to be read again, changed or not, at rest or not. Returns when that is done.
  void ReadAll() ABSL_LOCKS_EXCLUDED(looking_);

 private:
  // What tells one state of a file from another.
  struct Stamp {
    bool there = false;
    uint64_t device = 0, inode = 0;
    int64_t bytes = 0, modified_ns = 0, changed_ns = 0;

    bool operator==(const Stamp&) const = default;
  };
  static Stamp StampOf(const std::string& path);
  static std::vector<Stamp> StampsOf(const Group& group);

  bool AreAtRest(const std::vector<Stamp>& stamps) const;

  void Run();
  // False where changes were left for another look.
  bool Look(bool always) ABSL_LOCKS_EXCLUDED(looking_);

  const std::vector<Group> groups_;
  const absl::Duration interval_, rest_;
  absl::Mutex looking_;  // one look at a time
  std::vector<std::vector<Stamp>> stamps_ ABSL_GUARDED_BY(looking_);
  std::vector<bool> are_used_ ABSL_GUARDED_BY(looking_);
  StopEvent stop_;
  std::thread thread_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_AUTH_FILE_WATCH_H_
