// Packed matrices, kept in a file from one start to the next.
//
// A matrix is found by the digest of all that is packed into it, so that what the file gives is right whatever else
// changed: the model, its settings, the order in which it is read. Bytes are checked against their own digest. A file
// of another version or model, cut short, unreadable or damaged is told of once, what it does not give is packed, and a
// whole one is written beside it and renamed over it.
//
// Matrices are read into memory of our own, not mapped: of mapped files' small pages decode steps are 7 to 17 %
// slower (SmolLM2 on Zen 4), and nobody who truncates the file takes anything from us.
//
// The file: Header, then its entries (pack_cache.cc), then the matrices, each at a multiple of 64 bytes. One for each
// model in the folder, some tenths larger than the model's matrices; it may be removed at any time.
//
// Of one thread.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_PACK_CACHE_H_
#define ROPEWAY_ENGINE_EXEC_CPU_PACK_CACHE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/content_digest.h"
#include "engine/base/regular_file.h"
#include "engine/kernels/ops.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

// For the log.
struct PackCacheOutcome {
  std::string path;         // of the file
  int read = 0;             // matrices that it gave
  int packed = 0;           // those that it did not have
  bool is_written = false;  // anew
  std::string trouble;      // why it could not be used, or not be written; empty: none
};

class PackCache {
 public:
  using ForPieces = kernels::PackRequest::ForPieces;

  // Looks into the folder, which is made where it is missing, for the file of the model.
  PackCache(const std::string& folder, const TensorSource& tensors);

  // The matrix of the request, as kernels::PackPanels gives it. REQUIRES: request.for_pieces is set.
  kernels::PackedMatrix Pack(const kernels::PackRequest& request);

  // Writes all that Pack gave, if the file did not have all of it. REQUIRES: that still lives.
  PackCacheOutcome Finish(ForPieces for_pieces);

 private:
  struct Entry {
    int64_t offset = 0, bytes = 0;
    ContentDigest content = {};
  };
  struct Kept {
    ContentDigest request = {};
    const uint8_t* data = nullptr;
    int64_t bytes = 0;
    ContentDigest content = {};  // unknown until it is written, where it was packed
    bool was_read = false;
  };

  absl::Status ReadIndex();
  bool ReadMatrix(const kernels::PackRequest& request, const ContentDigest& digest,
                  kernels::PackedMatrix& matrix);
  absl::Status Write(ForPieces for_pieces);
  void Note(const absl::Status& status);

  PackCacheOutcome outcome_;
  std::optional<RegularFile> file_;
  std::map<ContentDigest, Entry> entries_;
  std::vector<Kept> kept_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_PACK_CACHE_H_
