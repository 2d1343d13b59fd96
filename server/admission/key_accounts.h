// What the holders of keys may have of the server at a time: requests in the engine, requests that wait for that,
// KV pages, and tokens per minute.
//
// A request that its key's limits do not allow into the engine now waits here for its turn, first come first
// served within the key; one too many is refused. Thread-safe.
#ifndef ROPEWAY_SERVER_ADMISSION_KEY_ACCOUNTS_H_
#define ROPEWAY_SERVER_ADMISSION_KEY_ACCOUNTS_H_

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/keys/key_limits.h"

namespace ropeway::server {

class KeyAccounts {
 public:
  // What a request may come to need.
  struct Cost {
    int64_t tokens = 0;
    int64_t kv_pages = 0;
  };

  // One that has a place.
  struct Entry {
    Cost cost;
    std::function<void()> on_turn;  // null: it had its turn
  };

  // A request's place in its key's account. Gives it back when destroyed; outlived by its KeyAccounts.
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept;
    Place& operator=(Place&& other) noexcept;
    ~Place() { Release(); }

    // Whether the request may enter the engine at once; otherwise `on_turn` will be called.
    bool has_turn() const { return has_turn_; }

    // Gives the place back, and what was not spent of its tokens to the key's budget: `spent_tokens` were, or all
    // where nobody knows. Of no effect where that was done.
    void Release(std::optional<int64_t> spent_tokens = std::nullopt);

   private:
    friend class KeyAccounts;
    KeyAccounts* accounts_ = nullptr;  // null: none is held
    std::string key_;
    std::list<Entry>::iterator entry_;
    bool has_turn_ = true;
  };

  ~KeyAccounts();  // REQUIRES: no place is held

  // Takes a place for a request of `key`, with its limits of today. `on_turn` is called at most once, and not
  // before this returned, where the request has to wait: by whoever gives a place back, with locks of theirs
  // held, so that it must only hand on. RESOURCE_EXHAUSTED with a retry hint where too many wait or the tokens are
  // spent; INVALID_ARGUMENT where the limits never allow it.
  absl::StatusOr<Place> Enter(absl::string_view key, const KeyLimits& limits, const Cost& cost,
                              absl::Time now, std::function<void()> on_turn) ABSL_LOCKS_EXCLUDED(mutex_);

  // Whether Enter() would take such a request now; the same errors. Nothing is taken.
  absl::Status CheckEnter(absl::string_view key, const KeyLimits& limits, const Cost& cost, absl::Time now)
      ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t waiting() const ABSL_LOCKS_EXCLUDED(mutex_);  // over all keys

 private:
  struct Account {
    KeyLimits limits;
    std::list<Entry> entries;  // in their order
    int64_t running = 0, waiting = 0, kv_pages = 0;
    double tokens = 0;  // that may be spent, as of `refilled`
    absl::Time refilled = absl::InfinitePast();
  };

  Account& AccountAt(absl::string_view key, const KeyLimits& limits, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static absl::StatusOr<bool> HasTurn(const Account& account, const Cost& cost);
  static absl::Status Check(const Account& account, const Cost& cost);
  static void Refill(Account& account, absl::Time now);
  static bool Fits(const Account& account, const Cost& cost);
  static std::vector<std::function<void()>> TakeTurns(Account& account);
  void ForgetIdle(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Account> accounts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_ADMISSION_KEY_ACCOUNTS_H_
