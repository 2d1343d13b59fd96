// A ServedModel of bytes with a small chat template, for tests of the front end.
#ifndef ROPEWAY_TESTS_SERVER_FRONT_TEST_MODEL_H_
#define ROPEWAY_TESTS_SERVER_FRONT_TEST_MODEL_H_

#include <memory>

#include "engine/base/check.h"
#include "server/front/served_model.h"
#include "tests/testing/byte_tokenizer.h"

namespace ropeway::server::testing {

inline constexpr char kTestTemplate[] =
    "{%- if tools %}<tools>{{ tools | tojson }}{% endif -%}"
    "{%- for message in messages -%}"
    "{%- if message.content == 'raise' -%}{{ raise_exception('refused by the template') }}{%- endif -%}"
    "<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% elif message.content %}"
    "{%- for part in message.content %}[{{ part.text }}]{% endfor %}{% endif -%}"
    "<|im_end|>"
    "{%- endfor -%}"
    "{%- if style %}style={{ style }}{% endif -%}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif -%}";

inline ServedModel MakeTestModel(bool with_template = true) {
  ServedModel model;
  model.facts = {.name = "bytes", .architecture = "fake", .trained_context_len = 4096};
  model.tokenizer = std::make_unique<::ropeway::testing::ByteTokenizer>();
  model.end_token_ids = EndTokenIds(*model.tokenizer);
  model.kernels = "none";
  model.num_threads = 1;
  if (with_template) {
    model.chat_templates =
        ChatTemplates({{"default", kTestTemplate}, {"other", "other{{ messages[0].content }}"}});
    ROPEWAY_CHECK(model.chat_templates.Problems().empty());
  }
  return model;
}

}  // namespace ropeway::server::testing

#endif  // ROPEWAY_TESTS_SERVER_FRONT_TEST_MODEL_H_
