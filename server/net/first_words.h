// What a client has to say before a connection is worth more than a file descriptor: a function of bytes.
#ifndef ROPEWAY_SERVER_NET_FIRST_WORDS_H_
#define ROPEWAY_SERVER_NET_FIRST_WORDS_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace ropeway::server {

// The longest first words: a whole record of TLS.
inline constexpr size_t kMaxFirstWordsBytes = 5 + (1 << 14);

// Whether `received`, what a client said so far, is all of its first words: the preface of HTTP/2, or with `tls`
// the record of TLS that holds the ClientHello. What can become neither is all of it, too: others answer that.
bool HasFirstWords(absl::string_view received, bool tls);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_NET_FIRST_WORDS_H_
