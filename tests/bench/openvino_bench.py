#!/usr/bin/env python3
"""OpenVINO GenAI on the same GGUF file and under the same load as engine_bench: one JSON object of tokens per second.

Usage: pip install openvino-genai; openvino_bench.py MODEL.gguf [THREADS]    (seen with 2026.4.1)
"""

import json
import os
import statistics
import sys

import numpy
import openvino
import openvino_genai

PREFILL_TOKENS = (512, 2048, 4096, 8000)
DECODE_START, DECODE_STEPS = 128, 64
REPETITIONS = 3


def generate(pipeline, streams, prompt_tokens, new_tokens, random=numpy.random.default_rng(0)):
    """The times of one batch of prompts, as the library measures them; new token ids each time, since it keeps prefixes."""
    ids = random.integers(100, 40000, (streams, prompt_tokens), numpy.int64)
    inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
    config = openvino_genai.GenerationConfig(max_new_tokens=new_tokens, ignore_eos=True, do_sample=False)
    return pipeline.generate(inputs, config).perf_metrics


def main():
    model = sys.argv[1]
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count()
    pipeline = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    generate(pipeline, 1, PREFILL_TOKENS[0], 2)  # compiles for the shapes
    rates = {f"Prefill/{tokens}": statistics.median(
        tokens * 1000 / generate(pipeline, 1, tokens, 2).get_ttft().mean for _ in range(REPETITIONS))
             for tokens in PREFILL_TOKENS}
    for streams in (1, 8, 32):
        runs = [generate(pipeline, streams, DECODE_START, DECODE_STEPS + 1) for _ in range(REPETITIONS)]
        # Its own time per output token is divided by the streams in some versions; these two times are not.
        rates[f"Decode/streams:{streams}/context:{DECODE_START}"] = statistics.median(
            streams * DECODE_STEPS * 1000 / (run.get_generate_duration().mean - run.get_ttft().mean) for run in runs)
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
