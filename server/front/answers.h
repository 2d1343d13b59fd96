// The calls that are answered at once, without their transport: a request message in, its answer out.
//
// Thread-safe. Errors are INVALID_ARGUMENT naming field, bound and value, NOT_FOUND for another model, and
// UNAVAILABLE where the answer needs the model and it still loads.
#ifndef ROPEWAY_SERVER_FRONT_ANSWERS_H_
#define ROPEWAY_SERVER_FRONT_ANSWERS_H_

#include "absl/status/statusor.h"
#include "proto/ropeway/v1/ropeway.pb.h"
#include "server/front/front_context.h"

namespace ropeway::server {

// These take time that grows with the message: not for a thread that must not wait.
absl::StatusOr<v1::TokenizeResponse> Answer(const v1::TokenizeRequest& request, const FrontContext& context);
absl::StatusOr<v1::DetokenizeResponse> Answer(const v1::DetokenizeRequest& request,
                                              const FrontContext& context);
absl::StatusOr<v1::RenderChatResponse> Answer(const v1::RenderChatRequest& request,
                                              const FrontContext& context);

// These answer quickly.
absl::StatusOr<v1::GetModelInfoResponse> Answer(const v1::GetModelInfoRequest& request,
                                                const FrontContext& context);
absl::StatusOr<v1::GetServerInfoResponse> Answer(const v1::GetServerInfoRequest& request,
                                                 const FrontContext& context);
absl::StatusOr<v1::AbortResponse> Answer(const v1::AbortRequest& request, const FrontContext& context);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_ANSWERS_H_
