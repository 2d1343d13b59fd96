#include "server/net/arrivals.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/string_view.h"
#include "server/net/first_words.h"

namespace ropeway::server {

Arrivals::Arrivals(int epoll, const Options& options, Handler handler)
    : epoll_(epoll), options_(options), handler_(std::move(handler)) {}

Arrivals::~Arrivals() {
  for (List* list : {&half_open_, &handshakes_})
    while (!list->empty()) Forget(*list, list->begin());
}

// Edges tell of each part that comes, whoever reads it.
bool Arrivals::Add(int connection, absl::Time now) {
  const int watch = fcntl(connection, F_DUPFD_CLOEXEC, 0);
  epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data = {.fd = watch}};
  if (watch < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, watch, &event) != 0) {
    if (watch >= 0) close(watch);
    close(connection);
    return false;
  }
  half_open_.push_back({.connection = connection, .watch = watch, .deadline = now + options_.timeout});
  by_watch_[watch] = std::prev(half_open_.end());
  // Whose words are there is only not looked at yet.
  if (half_open_.size() > options_.max_half_open && !LookAtWords(half_open_.begin(), /*is_last=*/false, now))
    Close(half_open_, Fault::kTooManyHalfOpen);
  return true;
}

bool Arrivals::OnEvent(const epoll_event& event, absl::Time now) {
  const auto found = by_watch_.find(event.data.fd);
  if (found == by_watch_.end()) return false;
  const List::iterator arrival = found->second;
  // Who goes on after the first words is not one of those who let a handshake wait.
  if (arrival->connection < 0) {
    Forget(handshakes_, arrival);
  } else {
    LookAtWords(arrival, /*is_last=*/(event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0, now);
  }
  return true;
}

// Whether the arrival is half open no more: was handed on, or is gone. `is_last`: no more comes of it.
bool Arrivals::LookAtWords(List::iterator arrival, bool is_last, absl::Time now) {
  std::array<char, kMaxFirstWordsBytes> words;
  const ssize_t size = recv(arrival->watch, words.data(), words.size(), MSG_PEEK | MSG_DONTWAIT);
  const bool is_broken = size < 0 && errno != EAGAIN && errno != EINTR;
  if (size <= 0 || !HasFirstWords(absl::string_view(words.data(), static_cast<size_t>(size)), options_.tls)) {
    if (size != 0 && !is_broken && !is_last) return false;
    Forget(half_open_, arrival);
    return true;
  }
  const int connection = std::exchange(arrival->connection, -1);
  if (options_.tls) {
    arrival->deadline = now + options_.timeout;
    handshakes_.splice(handshakes_.end(), half_open_, arrival);
  } else {
    Forget(half_open_, arrival);
  }
  handler_.on_first_words(connection);
  if (handshakes_.size() > options_.max_handshakes) Close(handshakes_, Fault::kTooManyHandshakes);
  return true;
}

void Arrivals::CloseExpired(absl::Time now) {
  for (List* list : {&half_open_, &handshakes_})
    while (!list->empty() && list->front().deadline <= now) Close(*list, Fault::kTimeout);
}

absl::Time Arrivals::next_deadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const List* list : {&half_open_, &handshakes_})
    if (!list->empty()) next = std::min(next, list->front().deadline);
  return next;
}

bool Arrivals::CloseOldestHalfOpen(Fault why) {
  if (half_open_.empty()) return false;
  Close(half_open_, why);
  return true;
}

void Arrivals::Forget(List& list, List::iterator arrival) {
  epoll_ctl(epoll_, EPOLL_CTL_DEL, arrival->watch, nullptr);
  by_watch_.erase(arrival->watch);
  close(arrival->watch);
  if (arrival->connection >= 0) close(arrival->connection);
  list.erase(arrival);
}

// Shut down, it is closed by whoever owns it.
void Arrivals::Close(List& list, Fault why) {
  shutdown(list.front().watch, SHUT_RDWR);
  Forget(list, list.begin());
  handler_.on_closed(why);
}

}  // namespace ropeway::server
