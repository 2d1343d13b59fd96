#include "server/front/request_registry.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ropeway::server {

absl::Status RequestRegistry::Add(const std::string& tenant, const std::string& name,
                                  std::weak_ptr<Abortable> request) {
  absl::MutexLock lock(&mutex_);
  if (requests_.emplace(Key(tenant, name), std::move(request)).second) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("request_id \"", name, "\" names a living request of the tenant"));
}

void RequestRegistry::Remove(const std::string& tenant, const std::string& name) {
  absl::MutexLock lock(&mutex_);
  requests_.erase(Key(tenant, name));
}

std::vector<RequestRegistry::Key> RequestRegistry::List() const {
  std::vector<Key> keys;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [key, request] : requests_) keys.push_back(key);
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

// Requests are ended without the lock, since an end removes the request from here.
bool RequestRegistry::Abort(const std::string& tenant, const std::string& name) {
  std::shared_ptr<Abortable> request;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = requests_.find(Key(tenant, name));
    if (found != requests_.end()) request = found->second.lock();
  }
  if (request == nullptr) return false;
  request->Abort();
  return true;
}

}  // namespace ropeway::server
