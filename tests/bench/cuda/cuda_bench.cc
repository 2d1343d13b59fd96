// Speed of the operations of a decoder on a CUDA device, each beside what bounds it: the bandwidth of a read or, of what
// writes as much as it reads, of a copy, and the peak of a square product, measured in the same run.
//
//   cuda_bench                                   the shape of Llama-3.1-8B
//   cuda_bench --shape=smollm2 --filter=matmul   products alone
//   cuda_bench --rows=6144 --columns=4096 --tokens=1,64 --type=Q4_K
//                                                a product of any shape, by all kernels that take it
//   cuda_bench --json=figures.json               the table for programs, too
//
// Exit code 0; 2 where there is no device or an argument is wrong; 1 where an operation failed, which is told; the
// others are timed nevertheless.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cuda/backend.h"
#include "nlohmann/json.hpp"
#include "tests/bench/cuda/op_cases.h"
#include "tests/bench/cuda/product_cases.h"

namespace ropeway {
namespace {

struct BenchOptions {
  std::string shape = "8b";
  std::string filter;   // of operations; all that have it in their name
  std::string library;  // libropeway_cuda.so, where it is not beside the program
  std::string json;     // a file; empty: none
  bool list = false;    // the operations alone
  ProductShape product = {.type = "BF16", .tokens = {1, 8, 64, 256, 2048}};  // timed alone, where it has rows
};

struct Ceilings {
  double read = 0, copy = 0;  // bytes per second
  double peak = 0;            // flops per second
};

// The part of its time that an operation cannot avoid, and by which ceiling.
struct Bound {
  double part = 0;
  const char* ceiling = "";
};

struct Figure {
  OpCase op;
  double seconds = 0;

  double bytes_per_second() const { return op.bytes / seconds; }
  double flops_per_second() const { return op.flops / seconds; }
  Bound BoundBy(const Ceilings& ceilings) const {
    const double memory = bytes_per_second() / (op.writes ? ceilings.copy : ceilings.read);
    const double cores = flops_per_second() / ceilings.peak;
    if (cores > memory) return {cores, "peak"};
    return {memory, op.writes ? "copy" : "read"};
  }
};

absl::StatusOr<Figure> Measure(BenchDevice& device, const OpCase& op) {
  const BenchDevice::Call call = op.prepare(device);
  const absl::StatusOr<double> seconds = device.Seconds(call);
  device.Clear();
  if (!seconds.ok())
    return absl::InternalError(absl::StrCat(op.operation, ", ", op.sizes, ": ", seconds.status().message()));
  return Figure{op, *seconds};
}

void Print(const Figure& figure, const Ceilings& ceilings) {
  std::cout << absl::StrFormat("%-24s %-24s %12.2f %9.0f %9.1f %8.0f%%\n", figure.op.operation,
                               figure.op.sizes, figure.seconds * 1e6, figure.bytes_per_second() * 1e-9,
                               figure.flops_per_second() * 1e-12, 100 * figure.BoundBy(ceilings).part)
            << std::flush;
}

nlohmann::ordered_json ToJson(const Figure& figure, const Ceilings& ceilings) {
  const Bound bound = figure.BoundBy(ceilings);
  return {{"operation", figure.op.operation},
          {"sizes", figure.op.sizes},
          {"seconds", figure.seconds},
          {"bytes", figure.op.bytes},
          {"flops", figure.op.flops},
          {"part_of_bound", bound.part},
          {"bound", bound.ceiling}};
}

absl::Status WriteJson(const std::string& path, const std::string& device, const BenchOptions& options,
                       const Ceilings& ceilings, const std::vector<Figure>& figures) {
  nlohmann::ordered_json json = {{"device", device},
                                 {"shape", options.shape},
                                 {"bandwidth_bytes_per_second", ceilings.read},
                                 {"copy_bytes_per_second", ceilings.copy},
                                 {"peak_flops_per_second", ceilings.peak},
                                 {"operations", nlohmann::ordered_json::array()}};
  for (const Figure& figure : figures) json["operations"].push_back(ToJson(figure, ceilings));
  std::ofstream file(path);
  file << json.dump(1) << "\n";
  file.flush();
  return file.good() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat("cannot write ", path));
}

absl::StatusOr<Ceilings> MeasureCeilings(BenchDevice& device, const BenchShape& shape) {
  ASSIGN_OR_RETURN(const Figure read, Measure(device, ReadCase(shape, device.info())));
  ASSIGN_OR_RETURN(const Figure copy, Measure(device, CopyCase(shape)));
  ASSIGN_OR_RETURN(const Figure square, Measure(device, PeakCase(shape)));
  const Ceilings ceilings = {read.bytes_per_second(), copy.bytes_per_second(), square.flops_per_second()};
  std::cout << absl::StrFormat(
                   "%s, shape %s: a read reaches %.0f GB/s, a copy %.0f GB/s, a product of %s %.1f TFLOP/s\n",
                   device.info().name, shape.name, ceilings.read * 1e-9, ceilings.copy * 1e-9,
                   square.op.sizes, ceilings.peak * 1e-12)
            << "of bound: of the product or, where that is more, of the copy for norm, gate and rotation, of "
               "the read for others\n\n"
            << absl::StrFormat("%-24s %-24s %12s %9s %9s %9s\n", "operation", "sizes", "us", "GB/s",
                               "TFLOP/s", "of bound");
  return ceilings;
}

absl::StatusOr<const cuda::Backend*> OpenBackend(const std::string& library) {
  if (library.empty()) return OpenCudaBackend();
  return OpenCudaBackend({library});
}

absl::StatusOr<std::vector<OpCase>> CasesOf(const BenchOptions& options, const BenchShape& shape,
                                            const cuda::DeviceInfo& device) {
  if (options.product.rows == 0) return OpCases(shape, device);
  return CasesOfProduct(options.product, shape.pool_bytes, device);
}

absl::Status Run(const BenchOptions& options) {
  const BenchShape* shape = FindBenchShape(options.shape);
  if (shape == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--shape must be one of ", BenchShapeNames(), ", is \"", options.shape, "\""));
  }
  if (options.list) {
    ASSIGN_OR_RETURN(const std::vector<OpCase> cases, CasesOf(options, *shape, {.major = 9}));
    for (const OpCase& op : cases) std::cout << op.operation << " " << op.sizes << "\n";
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const cuda::Backend* backend, OpenBackend(options.library));
  ASSIGN_OR_RETURN(const std::unique_ptr<BenchDevice> device, BenchDevice::Make(*backend, shape->pool_bytes));
  ASSIGN_OR_RETURN(const std::vector<OpCase> cases, CasesOf(options, *shape, device->info()));
  ASSIGN_OR_RETURN(const Ceilings ceilings, MeasureCeilings(*device, *shape));
  std::vector<Figure> figures;
  absl::Status failed;  // the first one's
  for (const OpCase& op : cases) {
    if (!absl::StrContains(op.operation, options.filter)) continue;
    const absl::StatusOr<Figure> figure = Measure(*device, op);
    failed.Update(figure.status());
    if (!figure.ok()) {
      std::cout << "failed: " << figure.status().message() << std::endl;
      continue;
    }
    Print(figures.emplace_back(*figure), ceilings);
  }
  if (!options.json.empty())
    RETURN_IF_ERROR(WriteJson(options.json, device->info().name, options, ceilings, figures));
  return failed;
}

int Main(int argc, char** argv) {
  BenchOptions options;
  CLI::App app("Speed of the operations of a decoder on a CUDA device, beside what bounds it");
  app.add_option("--shape", options.shape, absl::StrCat("of the decoder: ", BenchShapeNames()))
      ->capture_default_str();
  app.add_option("--filter", options.filter, "only operations with this in their name");
  auto* rows = app.add_option("--rows", options.product.rows, "of a matrix: its product is timed instead");
  auto* columns = app.add_option("--columns", options.product.columns, "of this matrix");
  rows->check(CLI::PositiveNumber)->needs(columns);
  columns->check(CLI::PositiveNumber)->needs(rows);
  app.add_option("--tokens", options.product.tokens, "of its products")
      ->needs(rows)
      ->check(CLI::PositiveNumber)
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--type", options.product.type, "of this matrix: BF16, a packed type such as Q4_K, or fp8")
      ->needs(rows)
      ->capture_default_str();
  app.add_option("--library", options.library,
                 "libropeway_cuda.so; default: beside the program, or where the loader looks");
  app.add_option("--json", options.json, "a file that gets the figures, too");
  app.add_flag("--list", options.list, "names the operations of an H100 and times none");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::Status status = Run(options);
  if (status.ok()) return 0;
  std::cerr << "cuda_bench: " << status.message() << "\n";
  return absl::IsInternal(status) ? 1 : 2;
}

}  // namespace
}  // namespace ropeway

int main(int argc, char** argv) { return ropeway::Main(argc, argv); }
