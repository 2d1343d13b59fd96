// Certificates for tests, made as they are needed: authorities, and what they sign.
//
// Not thread-safe.
#ifndef ROPEWAY_TESTS_TESTING_CERTIFICATES_H_
#define ROPEWAY_TESTS_TESTING_CERTIFICATES_H_

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace ropeway::testing {

// In PEM.
struct Certified {
  std::string certificate;
  std::string key;
};

struct Validity {
  absl::Duration from = -absl::Hours(1);  // from now
  absl::Duration until = absl::Hours(24);
};

class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name, const Validity& validity = {});
  ~TestAuthority();

  const std::string& certificate() const;  // in PEM

  // A certificate of localhost, 127.0.0.1 and ::1 whose subject is "CN=`name`,O=`organisation`".
  Certified Sign(const std::string& name, const Validity& validity = {},
                 const std::string& organisation = "Ropeway tests") const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_CERTIFICATES_H_
