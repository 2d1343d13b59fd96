#include "tests/testing/tiny_models.h"

#include <openssl/sha.h>

#include "absl/strings/str_format.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

std::string Sha256(const std::string& bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) hex += absl::StrFormat("%02x", byte);
  return hex;
}

TEST(TinyModelsTest, FilesAreThoseOfTheGoldenAnswers) {
  for (const std::string& name : SupportedTinyCases()) {
    ASSERT_OK_AND_ASSIGN(const nlohmann::ordered_json golden, ReadTinyGolden(name));
    const std::vector<TinyTensor> tensors = MakeTinyTensors(golden);
    EXPECT_EQ(tensors.size(), golden["tensors"]) << name;
    EXPECT_EQ(Sha256(SafetensorsBytes(tensors)), golden["safetensors_sha256"]) << name;
  }
}

TEST(TinyModelsTest, ReadsLogits) {
  ASSERT_OK_AND_ASSIGN(const std::vector<float> logits, ReadTinyLogits("llama_base"));
  EXPECT_EQ(logits.size(), 2u * 8 * 320);
}

}  // namespace
}  // namespace ropeway::testing
