// What the log says of a model that is being loaded.
#ifndef ROPEWAY_SERVER_LOAD_LOG_H_
#define ROPEWAY_SERVER_LOAD_LOG_H_

#include "engine/base/clock.h"
#include "engine/model/load_decoder.h"
#include "server/obs/log.h"

namespace ropeway::server {

// A line every two seconds at most, the first one two seconds from now: a short load is worth none. Called by one
// thread at a time; both must outlive it.
LoadProgress LogOfProgress(const Log& log, const Clock& clock);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_LOAD_LOG_H_
