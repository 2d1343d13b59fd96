#include "server/front/front_context.h"

namespace ropeway::server {

absl::StatusOr<const EngineHandle*> FrontContext::LoadedEngine() const {
  const EngineHandle* loaded = engine.load(std::memory_order_acquire);
  if (loaded == nullptr) return absl::UnavailableError("the model is loading; try again soon");
  return loaded;
}

absl::CivilSecond FrontContext::LocalTime() const {
  return absl::ToCivilSecond(clock.Now(), absl::LocalTimeZone());
}

absl::Status TooManyToPrepare() { return ExhaustedError("too many requests are being prepared"); }

}  // namespace ropeway::server
