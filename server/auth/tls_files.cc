#include "server/auth/tls_files.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"
#include "openssl/err.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"

namespace ropeway::server {
namespace {

constexpr int64_t kMaxFileBytes = 4 << 20;

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Context = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;

absl::Status Wrong(absl::string_view path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

// Errors of OpenSSL are told here in words of our own; its queue would be taken for that of a later call.
class ForgetErrors {
 public:
  ~ForgetErrors() { ERR_clear_error(); }
};

Bio BioOf(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

absl::StatusOr<std::vector<Certificate>> ParseCertificates(const std::string& path, const std::string& pem) {
  const ForgetErrors forget;
  const Bio bio = BioOf(pem);
  std::vector<Certificate> certificates;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr))
    certificates.emplace_back(certificate);
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (!at_end)
    return Wrong(path,
                 absl::StrCat("certificate ", certificates.size() + 1, " cannot be read: no valid PEM"));
  if (certificates.empty()) return Wrong(path, "there is no certificate (PEM) in it");
  return certificates;
}

// Where a key has a password, nobody is asked for it.
int RefusePassword(char*, int, int, void*) { return -1; }

absl::StatusOr<PrivateKey> ParseKey(const std::string& path, const std::string& pem) {
  const ForgetErrors forget;
  const Bio bio = BioOf(pem);
  PrivateKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, &RefusePassword, nullptr));
  if (key == nullptr) return Wrong(path, "there is no private key (PEM, without a password) in it");
  return key;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  tm fields = {};
  if (ASN1_TIME_to_tm(time, &fields) != 1) return absl::InfinitePast();
  return absl::FromTM(fields, absl::UTCTimeZone());
}

absl::Status CheckValidAt(absl::Time now, const X509* certificate) {
  const absl::Time from = TimeOf(X509_get0_notBefore(certificate));
  const absl::Time until = TimeOf(X509_get0_notAfter(certificate));
  const auto day = [](absl::Time time) {
    return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
  };
  if (now < from) return absl::InvalidArgumentError(absl::StrCat("is not valid before ", day(from)));
  if (now >= until) return absl::InvalidArgumentError(absl::StrCat("expired at ", day(until)));
  return absl::OkStatus();
}

absl::Status CheckServer(const TlsPaths& paths, TlsMaterial& material, absl::Time now) {
  ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                   ParseCertificates(paths.certificate, material.certificate));
  for (size_t i = 0; i < chain.size(); ++i) {
    if (const absl::Status valid = CheckValidAt(now, chain[i].get()); !valid.ok())
      return Wrong(paths.certificate, absl::StrCat("certificate ", i + 1, " ", valid.message()));
  }
  ASSIGN_OR_RETURN(const PrivateKey key, ParseKey(paths.key, material.key));
  const ForgetErrors forget;
  if (X509_check_private_key(chain[0].get(), key.get()) != 1)
    return Wrong(paths.key, absl::StrCat("it is not the key of the certificate in ", paths.certificate));
  // What this machine's policy takes for too weak, gRPC would refuse in every handshake.
  const Context context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr || SSL_CTX_use_certificate(context.get(), chain[0].get()) != 1)
    return Wrong(paths.certificate, "its key or signature is too weak for TLS on this machine");
  material.expires = TimeOf(X509_get0_notAfter(chain[0].get()));
  return absl::OkStatus();
}

absl::Status CheckAuthorities(const TlsPaths& paths, const TlsMaterial& material, absl::Time now) {
  ASSIGN_OR_RETURN(const std::vector<Certificate> authorities,
                   ParseCertificates(paths.client_authorities, material.client_authorities));
  absl::Status last;
  for (const Certificate& authority : authorities) {
    last = CheckValidAt(now, authority.get());
    if (last.ok()) return last;
  }
  return Wrong(paths.client_authorities,
               absl::StrCat("no authority is valid; the last one ", last.message()));
}

}  // namespace

std::vector<std::string> TlsPaths::All() const {
  std::vector<std::string> paths = {certificate, key};
  if (!client_authorities.empty()) paths.push_back(client_authorities);
  return paths;
}

absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsPaths& paths, absl::Time now) {
  TlsMaterial material;
  ASSIGN_OR_RETURN(material.certificate, ReadRegularFile(paths.certificate, kMaxFileBytes));
  ASSIGN_OR_RETURN(material.key, ReadRegularFile(paths.key, kMaxFileBytes));
  RETURN_IF_ERROR(CheckServer(paths, material, now));
  if (paths.client_authorities.empty()) return material;
  ASSIGN_OR_RETURN(material.client_authorities, ReadRegularFile(paths.client_authorities, kMaxFileBytes));
  RETURN_IF_ERROR(CheckAuthorities(paths, material, now));
  return material;
}

absl::StatusOr<std::unique_ptr<TlsSource>> TlsSource::Open(const TlsPaths& paths, absl::Time now) {
  ASSIGN_OR_RETURN(TlsMaterial material, ReadTlsFiles(paths, now));
  return absl::WrapUnique(new TlsSource(paths, std::move(material)));
}

TlsSource::TlsSource(TlsPaths paths, TlsMaterial material)
    : paths_(std::move(paths)), current_(std::make_shared<const TlsMaterial>(std::move(material))) {}

absl::StatusOr<std::function<void()>> TlsSource::ReadAgain(absl::Time now) {
  ASSIGN_OR_RETURN(TlsMaterial material, ReadTlsFiles(paths_, now));
  return [this, next = std::make_shared<const TlsMaterial>(std::move(material))] {
    absl::MutexLock lock(&mutex_);
    current_ = next;
  };
}

std::shared_ptr<const TlsMaterial> TlsSource::current() const {
  absl::MutexLock lock(&mutex_);
  return current_;
}

}  // namespace ropeway::server
