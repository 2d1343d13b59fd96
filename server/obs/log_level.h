// How much the log tells.
#ifndef ROPEWAY_SERVER_OBS_LOG_LEVEL_H_
#define ROPEWAY_SERVER_OBS_LOG_LEVEL_H_

namespace ropeway::server {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_LOG_LEVEL_H_
