#!/usr/bin/env python3
"""Writes tests/golden/jinja/served.json.gz: what published templates make of conversations as OpenAI's clients send
them, once they are in the shape that the template's maker meant. Rendered by Jinja2 3.1.6, set up as the transformers
library does it.

    make_conversation_golden.py    (needs models/templates: tests/golden/fetch_vocabularies.sh; pip install Jinja2)

Which shape that is was read out of the templates by hand; what is not listed takes "" for a turn that only calls tools,
objects for the arguments of calls, and a text for content.
"""

import copy
import datetime
import gzip
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = pathlib.Path(__file__).resolve().parents[3]

# Templates that show a call only where content is None.
NULL_CONTENT = {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"}
# Templates that print arguments as they come.
TEXT_ARGUMENTS = {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "meetkai-functionary-medium-v3.2"}
# Templates that walk through the parts of a user's content.
PARTS = {
    "Apriel-1.6-15b-Thinker-fixed", "Cohere2MoE", "GLM-4.6", "GLM-4.7-Flash", "Kimi-K2-Instruct", "Kimi-K2-Thinking",
    "Kimi-K3", "LFM2.5-8B-A1B", "MiniMax-M1", "MiniMax-M2", "MiniMax-M3", "Mistral-Small-3.2-24B-Instruct-2506",
    "Qwen3.5-4B", "Reka-Edge", "Spark2.5", "StepFun3.5-Flash", "google-gemma-4-31B-it-interleaved",
    "google-gemma-4-31B-it", "ibm-granite-granite-4.0", "ibm-granite-granite-4.1",
    "mistralai-Ministral-3-14B-Reasoning-2512", "moonshotai-Kimi-K2", "muse-glimmer", "tencent-Hy3",
    "unsloth-Apriel-1.5", "unsloth-mistral-Devstral-Small-2507",
}

ARGUMENTS = {"city": "Paris", "days": 3}
TEXTS = ["Look at ", "this:\nÄ."]


class GenerationTag(jinja2.ext.Extension):
    """{% generation %} renders its body."""

    tags = {"generation"}

    def parse(self, parser):
        """A call block whose body is rendered."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        """The rendered body."""
        return caller()


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    """Plain JSON."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    """Lets a template refuse its input."""
    raise jinja2.exceptions.TemplateError(message)


def environment():
    """As transformers sets it up."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols])
    made.filters["tojson"] = to_json
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = datetime.datetime(2026, 1, 2, 3, 4, 5).strftime
    return made


def call_turns(arguments, content):
    """A user, a turn that only calls a tool, the tool's answer."""
    function = {"name": "get_weather", "arguments": arguments}
    call = {"id": "abcd12345", "type": "function", "function": function}
    return [{"role": "user", "content": "Weather in Paris?"},
            {"role": "assistant", "content": content, "tool_calls": [call]},
            {"role": "tool", "content": "Rain.", "tool_call_id": "abcd12345", "name": "get_weather"}]


def render(template, messages, tools):
    """The text, or None where the template refuses."""
    variables = {"messages": messages, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    if tools:
        variables["tools"] = tools
    try:
        return template.render(**variables)
    except Exception:  # pylint: disable=broad-except
        return None


def main():
    """Writes the file."""
    properties = {"city": {"type": "string", "description": "Where."}, "days": {"type": "integer"}}
    tools = [{"type": "function",
              "function": {"name": "get_weather", "description": "Tells the weather.",
                           "parameters": {"type": "object", "properties": properties, "required": ["city"]}}}]
    as_text = json.dumps(ARGUMENTS)
    parts = [{"type": "text", "text": text} for text in TEXTS]
    golden = {"tools": tools, "calls": call_turns(as_text, None), "parts": [{"role": "user", "content": parts}],
              "templates": {}}
    for path in sorted((ROOT / "models/templates").glob("*.jinja")):
        template = environment().from_string(path.read_text(encoding="utf-8"))
        arguments = as_text if path.stem in TEXT_ARGUMENTS else ARGUMENTS
        turns = call_turns(copy.deepcopy(arguments), None if path.stem in NULL_CONTENT else "")
        content = parts if path.stem in PARTS else "".join(TEXTS)
        golden["templates"][path.stem] = {
            "calls": render(template, turns, tools),
            "calls_without_tools": render(template, turns, None),
            "parts": render(template, [{"role": "user", "content": content}], None)}
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    (ROOT / "tests/golden/jinja/served.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
