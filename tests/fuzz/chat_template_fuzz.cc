// Chat templates: a source that is parsed, and rendered where it parses.
#include "engine/text/chat_template.h"
#include "engine/text/continue_message.h"
#include "engine/text/message_conventions.h"
#include "engine/text/template_variables.h"
#include "tests/fuzz/fuzz_target.h"

namespace ropeway::testing {

std::vector<std::string> FuzzSeeds() {
  return {
      "{% for m in messages %}{{ '<|' + m['role'] + '|>' ~ m.content | trim }}{% if not loop.last %}\n{% "
      "endif %}"
      "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
      "{%- macro show(x, depth=0) -%}{% if x is mapping %}{% for k, v in x.items() %}{{ k }}={{ show(v, "
      "depth + 1) }}"
      "{% endfor %}{% else %}{{ x | tojson(indent=2) }}{% endif %}{%- endmacro -%}{{ show(tools[0]) }}",
      "{% set ns = namespace(n=0, text='') %}{% for i in range(3) %}{% set ns.n = ns.n + i * 2 % 5 %}{% "
      "endfor %}"
      "{{ ns.n }}{{ messages[1:]|length }}{{ messages[::-1][0].content.split(' ')|join(', ') }}",
      "{% if tools is defined and tools is iterable %}{{ raise_exception('no ' ~ tools|length) }}{% endif %}",
      "{# a comment #}{{ strftime_now('%d %b %Y') }}{{ '%s-%5.2f' % ('a', 1.5) }}{{ '{:>5}'.format(3) }}"
      "{{ [3, 1, 2]|sort|list }}{{ messages|map(attribute='role')|unique|list }}{{ 'x' if none else "
      "\"y\\u00e9\" }}"};
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& variables = *new nlohmann::ordered_json(
      ropeway::ParseTemplateVariables(
          R"({"messages": [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": null}],
              "tools": [{"function": {"name": "f", "parameters": {"x": 1.5, "y": [true, null, 12345678901234567890]}}}],
              "add_generation_prompt": true, "bos_token": "<s>"})")
          .value());
  const auto chat_template =
      ropeway::ChatTemplate::Parse(ropeway::testing::AsText(data, size), {.max_source_bytes = 1 << 16,
                                                                          .max_steps = 20'000,
                                                                          .max_output_bytes = 1 << 16,
                                                                          .max_allocated_bytes = 1 << 22});
  if (!chat_template.ok()) return 0;
  const auto segments = chat_template->Render(variables, absl::CivilSecond(2026, 1, 2, 3, 4, 5));
  if (segments.ok() && ropeway::JoinSegments(*segments).size() > 1 << 16) __builtin_trap();
  // Asking a template for its conventions takes some thirty renderings.
  if (size % 8 != 0) return 0;
  nlohmann::ordered_json served = variables;
  if (!ropeway::ApplyConventions(ropeway::FindConventions(*chat_template), served["messages"]).ok()) return 0;
  const auto continued =
      ropeway::RenderToContinue(*chat_template, served, absl::CivilSecond(2026, 1, 2, 3, 4, 5));
  if (!continued.ok()) return 0;
  // What is continued ends where the message does.
  const std::string text = ropeway::JoinSegments(*continued);
  const auto whole = chat_template->Render(served, absl::CivilSecond(2026, 1, 2, 3, 4, 5));
  if (!whole.ok() || ropeway::JoinSegments(*whole).compare(0, text.size(), text) != 0) __builtin_trap();
  return 0;
}
