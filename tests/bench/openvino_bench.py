#!/usr/bin/env python3
"""OpenVINO GenAI on the same GGUF file and under the same load as engine_bench: one JSON object of tokens per second.

Usage: pip install openvino-genai; openvino_bench.py MODEL.gguf THREADS ROW...    (seen with 2026.4.1)
Rows are named as compare.py names them: Prefill/512, Decode/streams:8/context:128, Served/8.
"""

import json
import statistics
import sys

import numpy
import openvino
import openvino_genai

SERVED_PROMPT, SERVED_TOKENS = 128, 64
DECODE_START, DECODE_STEPS = 128, 64
REPETITIONS = 3


def generate(pipeline, streams, prompt_tokens, new_tokens, random=numpy.random.default_rng(0)):
    """The times of one batch of prompts, as the library measures them; new token ids each time, since it keeps prefixes."""
    ids = random.integers(100, 40000, (streams, prompt_tokens), numpy.int64)
    inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
    config = openvino_genai.GenerationConfig(max_new_tokens=new_tokens, ignore_eos=True, do_sample=False)
    return pipeline.generate(inputs, config).perf_metrics


def measure(pipeline, name):
    """Tokens per second of a row of compare.py."""
    kind, _, rest = name.partition("/")
    if kind == "Prefill":
        tokens = int(rest)
        return statistics.median(tokens * 1000 / generate(pipeline, 1, tokens, 2).get_ttft().mean for _ in range(REPETITIONS))
    streams = int(rest.removeprefix("streams:").partition("/")[0])
    if kind == "Served":
        return statistics.median(streams * SERVED_TOKENS * 1000 /
                                 generate(pipeline, streams, SERVED_PROMPT, SERVED_TOKENS).get_generate_duration().mean
                                 for _ in range(REPETITIONS))
    runs = [generate(pipeline, streams, DECODE_START, DECODE_STEPS + 1) for _ in range(REPETITIONS)]
    # Its own time per output token is divided by the streams in some versions; these two times are not.
    return statistics.median(streams * DECODE_STEPS * 1000 / (run.get_generate_duration().mean - run.get_ttft().mean)
                             for run in runs)


def main():
    model, threads, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    pipeline = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    generate(pipeline, 1, 512, 2)  # compiles for the shapes
    print(json.dumps({name: measure(pipeline, name) for name in names}))


if __name__ == "__main__":
    main()
