#!/usr/bin/env python3
"""What another --weights makes of a model: perplexity of a text, and how far the probabilities of the next token move.

    python3 tests/tools/compare_weights.py MODEL TEXT --weights fp8 --device cuda --tokens 256

One sequence of tokens goes through `ropeway_inspect logits` with the weights of the file and once for each other --weights.
KL is the mean of KL(file || other) over positions, in nats; "same first" is the part of positions whose likeliest token is
the same. Needs nothing but Python.
"""

import argparse
import array
import json
import math
import pathlib
import subprocess
import sys


def ask(options, command, request, *flags):
    """The answer to one line of JSON."""
    run = subprocess.run([options.inspect, command, options.model, *flags], input=json.dumps(request) + "\n", text=True,
                         check=True, stdout=subprocess.PIPE)
    answer = json.loads(run.stdout)
    if "error" in answer:
        sys.exit(f"compare_weights.py: {answer['error']}")
    return answer


def log_probabilities(logits):
    most = max(logits)
    log_sum = most + math.log(math.fsum(math.exp(logit - most) for logit in logits))
    return array.array("f", (logit - log_sum for logit in logits))


def predict(options, ids, weights):
    """Perplexity, and log-probabilities of all tokens at each position but the last."""
    answer = ask(options, "logits", {"ids": ids, "last": len(ids)}, "--weights", weights, "--device", options.device)
    perplexity = math.exp(-math.fsum(answer["logprobs"]) / len(answer["logprobs"]))
    rows = answer.pop("logits")[:-1]
    for i, row in enumerate(rows):
        rows[i] = log_probabilities(row)
    return perplexity, rows


def divergence(one, other):
    return math.fsum(math.exp(a) * (a - b) for a, b in zip(one, other))


def first(row):
    return max(range(len(row)), key=row.__getitem__)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--weights", nargs="+", default=["q8_0"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=256, help="of the text's beginning; at least 2")
    parser.add_argument("--inspect", default="build/release/bin/ropeway_inspect")
    options = parser.parse_args()
    ids = ask(options, "tokenize", {"text": options.text.read_text()})["ids"][:options.tokens]
    if len(ids) < 2:
        sys.exit(f"compare_weights.py: the text must have at least 2 tokens, has {len(ids)}")
    perplexity, rows = predict(options, ids, "file")
    print(f"{len(ids)} tokens; file: perplexity {perplexity:.3f}", flush=True)
    for weights in options.weights:
        other_perplexity, other_rows = predict(options, ids, weights)
        divergences = [divergence(*pair) for pair in zip(rows, other_rows)]
        same = sum(first(row) == first(other) for row, other in zip(rows, other_rows))
        print(f"{weights}: perplexity {other_perplexity:.3f}, KL {math.fsum(divergences) / len(rows):.5f} "
              f"(at most {max(divergences):.4f}), same first {100 * same / len(rows):.1f} %", flush=True)


if __name__ == "__main__":
    main()
