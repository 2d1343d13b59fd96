#include "server/admission/key_accounts.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "server/admission/admission.h"

namespace ropeway::server {
namespace {

// That are remembered. More than a file has keys: those that were taken out of it are forgotten in time.
constexpr size_t kMaxAccounts = 20'000;

}  // namespace

KeyAccounts::Place::Place(Place&& other) noexcept
    : accounts_(std::exchange(other.accounts_, nullptr)),
      key_(std::move(other.key_)),
      entry_(other.entry_),
      has_turn_(other.has_turn_) {}

KeyAccounts::Place& KeyAccounts::Place::operator=(Place&& other) noexcept {
  if (this == &other) return *this;
  Release();
  accounts_ = std::exchange(other.accounts_, nullptr);
  key_ = std::move(other.key_);
  entry_ = other.entry_;
  has_turn_ = other.has_turn_;
  return *this;
}

// Turns are told, and what tells them is let go, without the lock.
void KeyAccounts::Place::Release(std::optional<int64_t> spent_tokens) {
  KeyAccounts* const accounts = std::exchange(accounts_, nullptr);
  if (accounts == nullptr) return;
  std::vector<std::function<void()>> turns;
  Entry own;
  {
    absl::MutexLock lock(&accounts->mutex_);
    Account& account = accounts->accounts_.at(key_);
    own = std::move(*entry_);
    account.entries.erase(entry_);
    const int64_t charged = own.cost.tokens;
    // A budget is never more than full: Refill() sees to that.
    account.tokens += static_cast<double>(std::max<int64_t>(0, charged - spent_tokens.value_or(charged)));
    if (own.on_turn != nullptr) {
      --account.waiting;
    } else {
      --account.running;
      account.kv_pages -= own.cost.kv_pages;
    }
    turns = TakeTurns(account);
  }
  for (const std::function<void()>& turn : turns) turn();
}

KeyAccounts::~KeyAccounts() {
  absl::MutexLock lock(&mutex_);
  for (const auto& [key, account] : accounts_) ROPEWAY_CHECK(account.entries.empty());
}

absl::Status KeyAccounts::CheckEnter(absl::string_view key, const KeyLimits& limits, const Cost& cost,
                                     absl::Time now) {
  absl::MutexLock lock(&mutex_);
  return HasTurn(AccountAt(key, limits, now), cost).status();
}

KeyAccounts::Account& KeyAccounts::AccountAt(absl::string_view key, const KeyLimits& limits, absl::Time now) {
  if (accounts_.size() >= kMaxAccounts) ForgetIdle(now);
  Account& account = accounts_[key];
  account.limits = limits;
  Refill(account, now);
  return account;
}

// Those who wait already come first.
absl::StatusOr<bool> KeyAccounts::HasTurn(const Account& account, const Cost& cost) {
  RETURN_IF_ERROR(Check(account, cost));
  const bool has_turn = account.waiting == 0 && Fits(account, cost);
  const KeyLimits& limits = account.limits;
  if (!has_turn && limits.queued && account.waiting >= *limits.queued)
    return ExhaustedError(absl::StrCat("the key has ", account.running, " requests running and ",
                                       account.waiting, " waiting already"));
  return has_turn;
}

absl::StatusOr<KeyAccounts::Place> KeyAccounts::Enter(absl::string_view key, const KeyLimits& limits,
                                                      const Cost& cost, absl::Time now,
                                                      std::function<void()> on_turn) {
  absl::MutexLock lock(&mutex_);
  Account& account = AccountAt(key, limits, now);
  ASSIGN_OR_RETURN(const bool has_turn, HasTurn(account, cost));
  account.tokens -= static_cast<double>(cost.tokens);
  if (has_turn) {
    ++account.running;
    account.kv_pages += cost.kv_pages;
    on_turn = nullptr;
  } else {
    ++account.waiting;
  }
  Place place;
  place.accounts_ = this;
  place.key_ = std::string(key);
  place.entry_ = account.entries.insert(account.entries.end(), {.cost = cost, .on_turn = std::move(on_turn)});
  place.has_turn_ = has_turn;
  return place;
}

int64_t KeyAccounts::waiting() const {
  absl::MutexLock lock(&mutex_);
  int64_t waiting = 0;
  for (const auto& [key, account] : accounts_) waiting += account.waiting;
  return waiting;
}

absl::Status KeyAccounts::Check(const Account& account, const Cost& cost) {
  const KeyLimits& limits = account.limits;
  if (limits.kv_pages && cost.kv_pages > *limits.kv_pages) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and max_tokens of all samples must need at most ",
                                                   *limits.kv_pages, " KV pages, all that the key has; need ",
                                                   cost.kv_pages));
  }
  if (!limits.tokens_per_minute) return absl::OkStatus();
  if (cost.tokens > *limits.tokens_per_minute) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt and max_tokens of all samples must be at most ", *limits.tokens_per_minute,
                     " tokens, all that the key has in a minute; are ", cost.tokens));
  }
  const double missing = static_cast<double>(cost.tokens) - account.tokens;
  if (missing <= kLostInRounding) return absl::OkStatus();
  const absl::Duration wait = absl::Minutes(missing / static_cast<double>(*limits.tokens_per_minute));
  return ExhaustedError("the tokens of the key for this minute are spent",
                        absl::Ceil(wait, absl::Milliseconds(1)));
}

// A budget that is new, or was not limited so far, is full.
void KeyAccounts::Refill(Account& account, absl::Time now) {
  const absl::Duration since = std::max(now - account.refilled, absl::ZeroDuration());
  account.refilled = std::max(now, account.refilled);
  if (!account.limits.tokens_per_minute) {
    account.refilled = absl::InfinitePast();
    return;
  }
  const double most = static_cast<double>(*account.limits.tokens_per_minute);
  const double refill = since >= absl::Minutes(1) ? most : absl::ToDoubleMinutes(since) * most;
  account.tokens = since == absl::InfiniteDuration() ? most : std::min(account.tokens + refill, most);
}

// Alone, whatever was taken runs: the limits may have become less since, and nobody would ever make room for it.
bool KeyAccounts::Fits(const Account& account, const Cost& cost) {
  if (account.running == 0) return true;
  const KeyLimits& limits = account.limits;
  if (limits.running && account.running >= *limits.running) return false;
  return !limits.kv_pages || account.kv_pages + cost.kv_pages <= *limits.kv_pages;
}

std::vector<std::function<void()>> KeyAccounts::TakeTurns(Account& account) {
  std::vector<std::function<void()>> turns;
  for (Entry& entry : account.entries) {
    if (account.waiting == 0) break;
    if (entry.on_turn == nullptr) continue;
    if (!Fits(account, entry.cost)) break;
    --account.waiting;
    ++account.running;
    account.kv_pages += entry.cost.kv_pages;
    turns.push_back(std::exchange(entry.on_turn, nullptr));
  }
  return turns;
}

void KeyAccounts::ForgetIdle(absl::Time now) {
  for (auto it = accounts_.begin(); it != accounts_.end();) {
    Refill(it->second, now);
    const KeyLimits& limits = it->second.limits;
    const bool full =
        !limits.tokens_per_minute || it->second.tokens >= static_cast<double>(*limits.tokens_per_minute);
    if (full && it->second.entries.empty()) {
      accounts_.erase(it++);
    } else {
      ++it;
    }
  }
}

}  // namespace ropeway::server
