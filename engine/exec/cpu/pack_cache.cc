#include "engine/exec/cpu/pack_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "engine/base/ceil_div.h"
#include "engine/base/status_macros.h"
#include "engine/kernels/cpu/pack.h"

namespace ropeway {
namespace {

using kernels::PackedBytes;
using kernels::PackedMatrix;
using kernels::PackRequest;

constexpr uint32_t kFileVersion = 1;
constexpr char kMagic[8] = {'R', 'O', 'P', 'E', 'P', 'A', 'C', 'K'};
constexpr int64_t kAlignment = 64;
constexpr uint64_t kMaxMatrices = 1 << 20;

// Digests of long contents are those of the digests of pieces so long: all threads read at once.
constexpr int64_t kPieceBytes = 256 << 10;
// Of each tensor's beginning, for the file's name.
constexpr int64_t kSampleBytes = 4096;

struct Header {
  char magic[8];
  uint32_t file_version, panels_version;
  uint64_t num_matrices;
  uint64_t file_bytes;
  ContentDigest index;  // of the entries
};
static_assert(sizeof(Header) == 48);

struct IndexEntry {
  ContentDigest request, content;
  uint64_t offset, bytes;
};
static_assert(sizeof(IndexEntry) == 48);

int64_t RoundUp(int64_t bytes) { return CeilDiv(bytes, kAlignment) * kAlignment; }

template <typename T>
absl::Span<const uint8_t> BytesOf(const T* first, size_t count) {
  return {reinterpret_cast<const uint8_t*>(first), count * sizeof(T)};
}

struct Piece {
  const uint8_t* data;
  int64_t offset, bytes;
};

void AppendPieces(const uint8_t* data, int64_t bytes, std::vector<Piece>& pieces) {
  for (int64_t at = 0; at < bytes; at += kPieceBytes)
    pieces.push_back({data + at, at, std::min(kPieceBytes, bytes - at)});
}

ContentDigest DigestOfPieces(const std::vector<Piece>& pieces, PackCache::ForPieces for_pieces) {
  std::vector<ContentDigest> digests(pieces.size());
  for_pieces(static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    digests[i] = DigestOf(absl::MakeConstSpan(pieces[i].data, static_cast<size_t>(pieces[i].bytes)));
  });
  return DigestOf(BytesOf(digests.data(), digests.size()));
}

ContentDigest DigestOfBytes(const uint8_t* data, int64_t bytes, PackCache::ForPieces for_pieces) {
  std::vector<Piece> pieces;
  AppendPieces(data, bytes, pieces);
  return DigestOfPieces(pieces, for_pieces);
}

// Of everything that packing looks at.
ContentDigest DigestOfRequest(const PackRequest& request) {
  std::vector<Piece> pieces;
  std::vector<uint64_t> facts = {request.interleave, static_cast<uint64_t>(request.parts[0].type)};
  for (const TensorView& part : request.parts) {
    facts.push_back(static_cast<uint64_t>(part.rows()));
    facts.push_back(static_cast<uint64_t>(part.columns()));
    AppendPieces(part.data, part.bytes(), pieces);
  }
  const ContentDigest content = DigestOfPieces(pieces, *request.for_pieces);
  facts.insert(facts.end(), content.begin(), content.end());
  return DigestOf(absl::MakeConstSpan(facts));
}

// What a model's file is called by: names, types, shapes and beginnings of its tensors, and whether 16-bit weights
// are packed to 8 as they are read. Two models of one name would only take each other's place.
std::string NameFor(const TensorSource& tensors) {
  std::vector<uint64_t> facts;
  const auto add = [&](absl::Span<const uint8_t> bytes) {
    const ContentDigest digest = DigestOf(bytes);
    facts.insert(facts.end(), digest.begin(), digest.end());
  };
  for (const StoredTensor& tensor : tensors.Stored()) {
    const TensorView& view = tensor.view;
    add(BytesOf(tensor.name.data(), tensor.name.size()));
    add(BytesOf(view.shape.data(), view.shape.size()));
    facts.push_back(static_cast<uint64_t>(view.type));
    if (view.data != nullptr) add({view.data, static_cast<size_t>(std::min(view.bytes(), kSampleBytes))});
  }
  if (const auto type = tensors.TypeOf({WeightRole::kTokenEmbedding, 0}); type.ok())
    facts.push_back(static_cast<uint64_t>(*type));
  const ContentDigest name = DigestOf(absl::MakeConstSpan(facts));
  return absl::StrFormat("ropeway-%016x%016x.pack", name[0], name[1]);
}

absl::Status CutShort() { return absl::InvalidArgumentError("is cut short"); }

absl::Status ReadAll(int descriptor, int64_t offset, void* to, int64_t bytes) {
  for (auto* at = static_cast<uint8_t*>(to); bytes > 0;) {
    const ssize_t count = pread(descriptor, at, static_cast<size_t>(bytes), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, "cannot be read");
    if (count == 0) return CutShort();
    at += count, offset += count, bytes -= count;
  }
  return absl::OkStatus();
}

absl::Status WriteAll(int descriptor, int64_t offset, const void* from, int64_t bytes) {
  for (auto* at = static_cast<const uint8_t*>(from); bytes > 0;) {
    const ssize_t count = pwrite(descriptor, at, static_cast<size_t>(bytes), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, "cannot be written");
    at += count, offset += count, bytes -= count;
  }
  return absl::OkStatus();
}

absl::Status Check(const Header& header, int64_t file_bytes) {
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0)
    return absl::InvalidArgumentError("is no file of packed matrices");
  if (header.file_version != kFileVersion || header.panels_version != kernels::kPanelsVersion)
    return absl::InvalidArgumentError(absl::StrCat("has version ", header.file_version, ".",
                                                   header.panels_version, ", not ", kFileVersion, ".",
                                                   kernels::kPanelsVersion));
  if (header.num_matrices > kMaxMatrices)
    return absl::InvalidArgumentError(
        absl::StrCat("must have at most ", kMaxMatrices, " matrices, has ", header.num_matrices));
  if (header.file_bytes > static_cast<uint64_t>(file_bytes)) return CutShort();
  return absl::OkStatus();
}

// A file that is written under a name of its own and takes the other's place when it is whole. One process at a
// time writes it; what one left behind when it was killed, the next one writes over.
class NewFile {
 public:
  explicit NewFile(const std::string& path) : path_(path), temporary_(path + ".new") {}
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() {
    if (descriptor_ < 0) return;
    if (!is_whole_) unlink(temporary_.c_str());
    close(descriptor_);
  }

  absl::Status Open() {
    constexpr int kMode = 0600;
    const int descriptor =
        open(temporary_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, kMode);
    if (descriptor < 0) return absl::ErrnoToStatus(errno, "cannot be written");
    // Between open and flock another process may have finished it, and given it its name.
    struct stat ours, named;
    const bool is_ours = flock(descriptor, LOCK_EX | LOCK_NB) == 0 && fstat(descriptor, &ours) == 0 &&
                         lstat(temporary_.c_str(), &named) == 0 && ours.st_ino == named.st_ino &&
                         S_ISREG(ours.st_mode);
    if (!is_ours) {
      close(descriptor);
      return absl::UnavailableError("cannot be written: another process is at it");
    }
    // Somebody's file under a second name is not to be written over.
    if (ours.st_nlink != 1) {
      close(descriptor);
      return absl::FailedPreconditionError("cannot be written: its name is not that of one file alone");
    }
    descriptor_ = descriptor;
    if (ftruncate(descriptor, 0) != 0) return absl::ErrnoToStatus(errno, "cannot be written");
    return absl::OkStatus();
  }

  int descriptor() const { return descriptor_; }

  absl::Status Rename() {
    if (rename(temporary_.c_str(), path_.c_str()) != 0)
      return absl::ErrnoToStatus(errno, "cannot be written");
    is_whole_ = true;
    return absl::OkStatus();
  }

 private:
  const std::string path_, temporary_;
  int descriptor_ = -1;
  bool is_whole_ = false;
};

}  // namespace

PackCache::PackCache(const std::string& folder, const TensorSource& tensors) {
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  outcome_.path = absl::StrCat(folder, "/", NameFor(tensors));
  absl::StatusOr<RegularFile> file = RegularFile::Open(outcome_.path);
  if (absl::IsNotFound(file.status())) return;
  Note(file.status());
  if (!file.ok()) return;
  file_.emplace(*std::move(file));
  Note(ReadIndex());
}

void PackCache::Note(const absl::Status& status) {
  if (!status.ok() && outcome_.trouble.empty()) outcome_.trouble = std::string(status.message());
}

absl::Status PackCache::ReadIndex() {
  Header header;
  RETURN_IF_ERROR(ReadAll(file_->descriptor(), 0, &header, sizeof header));
  RETURN_IF_ERROR(Check(header, file_->size()));
  if (sizeof header + header.num_matrices * sizeof(IndexEntry) > header.file_bytes) return CutShort();
  std::vector<IndexEntry> index(header.num_matrices);
  const absl::Span<const uint8_t> bytes = BytesOf(index.data(), index.size());
  RETURN_IF_ERROR(
      ReadAll(file_->descriptor(), sizeof header, index.data(), static_cast<int64_t>(bytes.size())));
  if (DigestOf(bytes) != header.index) return absl::InvalidArgumentError("has a damaged index");
  for (const IndexEntry& entry : index) {
    if (entry.offset > header.file_bytes || entry.bytes > header.file_bytes - entry.offset)
      return absl::InvalidArgumentError("has a matrix beyond its end");
    entries_[entry.request] = {static_cast<int64_t>(entry.offset), static_cast<int64_t>(entry.bytes),
                               entry.content};
  }
  return absl::OkStatus();
}

// Whether the file gave the matrix.
bool PackCache::ReadMatrix(const PackRequest& request, const ContentDigest& digest, PackedMatrix& matrix) {
  const auto found = entries_.find(digest);
  if (found == entries_.end()) return false;
  const Entry& entry = found->second;
  if (entry.bytes != PackedBytes(matrix)) {
    Note(absl::InvalidArgumentError("has a matrix of a wrong size"));
    return false;
  }
  matrix.data = kernels::BufferFor(request, entry.bytes);
  std::vector<Piece> pieces;
  AppendPieces(matrix.data.data(), entry.bytes, pieces);
  std::vector<ContentDigest> digests(pieces.size());
  std::atomic<bool> is_whole = true;
  (*request.for_pieces)(static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    const Piece& piece = pieces[i];
    uint8_t* const to = matrix.data.data() + piece.offset;
    if (!ReadAll(file_->descriptor(), entry.offset + piece.offset, to, piece.bytes).ok()) is_whole = false;
    digests[i] = DigestOf(absl::MakeConstSpan(to, static_cast<size_t>(piece.bytes)));
  });
  if (is_whole && DigestOf(BytesOf(digests.data(), digests.size())) == entry.content) return true;
  Note(absl::InvalidArgumentError("has a damaged matrix"));
  return false;
}

PackedMatrix PackCache::Pack(const PackRequest& request) {
  Kept kept{.request = DigestOfRequest(request)};
  PackedMatrix matrix = kernels::PlanPanels(request);
  kept.was_read = ReadMatrix(request, kept.request, matrix);
  if (kept.was_read)
    kept.content = entries_[kept.request].content;
  else
    matrix = kernels::PackPanels(request);
  ++(kept.was_read ? outcome_.read : outcome_.packed);
  kept.data = matrix.data.data();
  kept.bytes = matrix.data.bytes();
  kept_.push_back(kept);
  return matrix;
}

PackCacheOutcome PackCache::Finish(ForPieces for_pieces) {
  if (file_ && outcome_.read == 0 && outcome_.packed > 0)
    Note(absl::InvalidArgumentError("has nothing of this model"));
  if (outcome_.packed > 0) {
    const absl::Status written = Write(for_pieces);
    outcome_.is_written = written.ok();
    Note(written);
  }
  file_.reset();
  return std::move(outcome_);
}

absl::Status PackCache::Write(ForPieces for_pieces) {
  if (kept_.size() > kMaxMatrices)
    return absl::InvalidArgumentError(
        absl::StrCat("cannot be written: more than ", kMaxMatrices, " matrices"));
  NewFile file(outcome_.path);
  RETURN_IF_ERROR(file.Open());
  std::vector<IndexEntry> index;
  int64_t end = RoundUp(static_cast<int64_t>(sizeof(Header) + kept_.size() * sizeof(IndexEntry)));
  for (Kept& kept : kept_) {
    if (!kept.was_read) kept.content = DigestOfBytes(kept.data, kept.bytes, for_pieces);
    index.push_back(
        {kept.request, kept.content, static_cast<uint64_t>(end), static_cast<uint64_t>(kept.bytes)});
    RETURN_IF_ERROR(WriteAll(file.descriptor(), end, kept.data, kept.bytes));
    end += RoundUp(kept.bytes);
  }
  const absl::Span<const uint8_t> index_bytes = BytesOf(index.data(), index.size());
  Header header{.magic = {},
                .file_version = kFileVersion,
                .panels_version = kernels::kPanelsVersion,
                .num_matrices = index.size(),
                .file_bytes = static_cast<uint64_t>(end),
                .index = DigestOf(index_bytes)};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  RETURN_IF_ERROR(
      WriteAll(file.descriptor(), sizeof header, index.data(), static_cast<int64_t>(index_bytes.size())));
  RETURN_IF_ERROR(WriteAll(file.descriptor(), 0, &header, sizeof header));
  if (ftruncate(file.descriptor(), end) != 0) return absl::ErrnoToStatus(errno, "cannot be written");
  return file.Rename();
}

}  // namespace ropeway
