// The requests that live, by tenant and name, so that Abort finds them.
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_REQUEST_REGISTRY_H_
#define ROPEWAY_SERVER_FRONT_REQUEST_REGISTRY_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace ropeway::server {

// What can be ended from outside.
class Abortable {
 public:
  virtual ~Abortable() = default;
  virtual void Abort() = 0;
};

class RequestRegistry {
 public:
  using Key = std::pair<std::string, std::string>;  // tenant, name

  // ALREADY_EXISTS where the tenant has a living request of this name.
  absl::Status Add(const std::string& tenant, const std::string& name, std::weak_ptr<Abortable> request);
  void Remove(const std::string& tenant, const std::string& name);

  // False where there is no such request.
  bool Abort(const std::string& tenant, const std::string& name);

  // All that live, in order.
  std::vector<Key> List() const;

 private:
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<Key, std::weak_ptr<Abortable>> requests_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_REQUEST_REGISTRY_H_
