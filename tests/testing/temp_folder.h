// A folder that lives as long as the object.
#ifndef ROPEWAY_TESTS_TESTING_TEMP_FOLDER_H_
#define ROPEWAY_TESTS_TESTING_TEMP_FOLDER_H_

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include "engine/base/check.h"

namespace ropeway::testing {

class TempFolder {
 public:
  TempFolder() : path_((std::filesystem::temp_directory_path() / "ropeway.XXXXXX").string()) {
    ROPEWAY_CHECK(mkdtemp(path_.data()) != nullptr);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const { return path_ + "/" + std::string(name); }

  // Returns the path of the file.
  std::string Write(std::string_view name, std::string_view content) const {
    std::ofstream file(File(name), std::ios::binary);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    ROPEWAY_CHECK(file.good());
    return File(name);
  }

 private:
  std::string path_;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_TEMP_FOLDER_H_
