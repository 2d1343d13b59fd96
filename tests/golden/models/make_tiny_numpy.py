#!/usr/bin/env python3
"""make_tiny_numpy.py - tiny checkpoints whose golden answers numpy computes, in float64 (numpy_decoders.py).

    python3 make_tiny_numpy.py CASE|all OUTDIR [--seed N] [--shapes main|alt] [--golden DIR]
    python3 make_tiny_numpy.py --check TINY      # the formulas of gpt-oss against transformers' answers in TINY

Families that transformers does not know, whose public folders bring the code of their models along (it is never run, here
neither), and what its own code does not compute in float32: weights in MXFP4. Writes what make_tiny.py writes, from the
numbers of tiny_numbers.py.
"""

import argparse
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from numpy_decoders import Baichuan, ChatGlm, ErnieMoe, GptOss, InternLm2, Qwen
from tiny_numbers import (
    DEAD_FACTOR, LAST_POSITIONS, NEW_TOKENS, SHAPES, TOLERANCE, fill, input_ids, safetensors_bytes, units, write_json)


# ---------------------------------------------------------------- cases


@dataclass(frozen=True)
class Case:
    """One checkpoint: its formulas, its config.json and what it is good for."""

    decoder: type
    exercises: str
    config: object  # Shape -> dict
    norm_center: float = 1.0
    embed_scale: int = 1024


def code(*names):
    """What a folder says about the code that it brings along."""
    return {"auto_map": {"AutoConfig": f"configuration.{names[0]}", "AutoModelForCausalLM": f"modeling.{names[1]}"},
            "architectures": [names[1]]}


def common(s, **more):
    return {"hidden_size": s.hidden, "num_attention_heads": s.heads, "tie_word_embeddings": False, "torch_dtype": "float32",
            "use_cache": True, "pad_token_id": 0, "eos_token_id": 2, **more}


def baichuan(s, **more):
    return common(s, **code("BaichuanConfig", "BaichuanForCausalLM"), model_type="baichuan", bos_token_id=1,
                  hidden_act="silu", initializer_range=0.02, intermediate_size=s.inter, num_hidden_layers=s.layers,
                  rms_norm_eps=1e-6, vocab_size=s.vocab, model_max_length=4 * s.context, _from_model_config=True, **more)


def chatglm(s, **more):
    fields = dict(
        add_bias_linear=False, add_qkv_bias=True, apply_query_key_layer_scaling=True,
        apply_residual_connection_post_layernorm=False, attention_dropout=0.0, attention_softmax_in_fp32=True,
        bias_dropout_fusion=True, ffn_hidden_size=s.inter, fp32_residual_connection=False, hidden_dropout=0.0,
        kv_channels=s.wide, layernorm_epsilon=1e-5, model_type="chatglm", multi_query_attention=True,
        multi_query_group_num=s.kv, num_layers=s.layers, original_rope=True, padded_vocab_size=s.vocab,
        post_layer_norm=True, quantization_bit=0, rmsnorm=True, seq_length=4 * s.context)
    return common(s, **code("ChatGLMConfig", "ChatGLMForConditionalGeneration"), **(fields | more))


def qwen(s, **more):
    fields = dict(
        attn_dropout_prob=0.0, bf16=False, emb_dropout_prob=0.0, fp16=False, fp32=False, initializer_range=0.02,
        intermediate_size=2 * s.inter, kv_channels=s.hidden // s.heads, layer_norm_epsilon=1e-6,
        max_position_embeddings=4 * s.context, model_type="qwen", no_bias=True, num_hidden_layers=s.layers, onnx_safe=None,
        rotary_emb_base=10000, rotary_pct=1.0, scale_attn_weights=True, seq_length=s.context, tokenizer_class="QWenTokenizer",
        use_dynamic_ntk=True, use_flash_attn="auto", use_logn_attn=True, vocab_size=s.vocab)
    return common(s, **code("QWenConfig", "QWenLMHeadModel"), **(fields | more))


def gpt_oss_mxfp4(s):
    kinds = ["full_attention" if i % 2 else "sliding_attention" for i in range(s.layers)]
    return common(s, architectures=["GptOssForCausalLM"], model_type="gpt_oss", attention_bias=True, head_dim=s.wide,
                  hidden_act="silu", intermediate_size=64, layer_types=kinds, max_position_embeddings=4 * s.context,
                  num_experts_per_tok=2, num_hidden_layers=s.layers, num_key_value_heads=s.kv, num_local_experts=s.experts,
                  quantization_config={"modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                                  "model.embed_tokens", "lm_head"],
                                       "quant_method": "mxfp4"},
                  rms_norm_eps=1e-5, rope_parameters={
                      "rope_type": "yarn", "rope_theta": 150000.0, "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0,
                      "truncate": False, "original_max_position_embeddings": s.context},
                  sliding_window=s.window, swiglu_alpha=1.702, swiglu_limit=7.0, vocab_size=s.vocab)


CASES = {
    "baichuan2": Case(Baichuan, "queries, keys and values in one tensor, rope, output rows of length 1",
                      lambda s: baichuan(s, max_position_embeddings=4 * s.context, z_loss_weight=0)),
    "baichuan_alibi": Case(Baichuan, "ALiBi with a head count that is no power of two", baichuan),
    "chatglm": Case(ChatGlm, "rope of neighbours in half of a head, ratio of its base, grouped queries, fused gate and up",
                    lambda s: chatglm(s, _name_or_path="THUDM/glm-4-9b-chat", rope_ratio=500, layernorm_epsilon=1.5625e-07)),
    "chatglm2_32k": Case(ChatGlm, "positions divided by the ratio",
                         lambda s: chatglm(s, _name_or_path="THUDM/chatglm2-6b-32k", rope_ratio=4)),
    "chatglm_layernorm": Case(ChatGlm, "layer norms, residual taken after them, no last norm, biases everywhere",
                              lambda s: chatglm(s, _name_or_path="", rmsnorm=False, add_bias_linear=True,
                                                apply_residual_connection_post_layernorm=True, post_layer_norm=False)),
    "internlm2": Case(InternLm2, "queries, keys and values by group, biases of attention",
                      lambda s: common(s, **code("InternLM2Config", "InternLM2ForCausalLM"), model_type="internlm2",
                                       bias=True, bos_token_id=1, hidden_act="silu", initializer_range=0.02,
                                       intermediate_size=s.inter, max_position_embeddings=4 * s.context,
                                       num_hidden_layers=s.layers, num_key_value_heads=s.kv, rms_norm_eps=1e-5,
                                       rope_scaling=None, rope_theta=1000000, vocab_size=s.vocab,
                                       attn_implementation="eager")),
    "ernie4_5_moe": Case(ErnieMoe, "experts by corrected probabilities, two shared ones, a dense layer, rope of neighbours",
                         lambda s: common(s, architectures=["Ernie4_5_MoeForCausalLM"], model_type="ernie4_5_moe",
                                          bos_token_id=1, head_dim=s.wide, hidden_act="silu", intermediate_size=s.inter,
                                          max_position_embeddings=4 * s.context, moe_intermediate_size=s.moe_inter,
                                          moe_k=2, moe_layer_end_index=-1, moe_layer_interval=1, moe_layer_start_index=1,
                                          moe_norm_min=1e-12, moe_num_experts=s.experts, moe_num_shared_experts=2,
                                          num_hidden_layers=s.layers, num_key_value_heads=s.kv, rms_norm_eps=1e-5,
                                          rope_theta=500000.0, use_bias=False, vocab_size=s.vocab)),
    "gpt_oss_mxfp4": Case(GptOss, "gpt_oss with experts in MXFP4", gpt_oss_mxfp4),
    "qwen": Case(Qwen, "dynamic NTK and logn beyond the length of the training, rope of half a head, biases everywhere",
                 lambda s: qwen(s, rotary_pct=0.5, no_bias=False)),
    "qwen_plain": Case(Qwen, "queries, keys and values in one tensor with biases, the second tensor is the gate",
                       lambda s: qwen(s, use_dynamic_ntk=False, use_logn_attn=False)),
}


# ---------------------------------------------------------------- golden answers


def greedy(model, ids):
    """Each step as the answer to a prompt of its own."""
    ids, steps = list(ids), {"token_ids": [], "margins": [], "runner_up_ids": []}
    for _ in range(NEW_TOKENS):
        last = model.logits(ids, len(ids))[-1]
        best, second = np.argsort(last)[::-1][:2]
        steps["token_ids"].append(int(best))
        steps["runner_up_ids"].append(int(second))
        steps["margins"].append(round(float(last[best] - last[second]), 6))
        ids.append(int(best))
    return steps


def ends_of(model, sequences):
    return np.stack([model.logits(ids, len(ids))[-LAST_POSITIONS:] for ids in sequences])


def least_sensitive(case, config, tensors, sequences, seed, reference):
    """The tensor whose disturbance moves the logits least."""
    moved = {}
    for name, value in tensors.items():
        noise = units(seed, "disturb:" + name, value.size).reshape(value.shape)
        if value.dtype == np.uint8:  # a bit of some
            disturbed = tensors | {name: value ^ (noise > 0).astype(np.uint8)}
        else:
            disturbed = tensors | {name: value + (0.25 if value.ndim == 1 else 0.1) * noise}
        moved[name] = float(np.abs(ends_of(case.decoder(config, disturbed, np.float64), sequences) - reference).max())
    weakest = min(moved, key=moved.get)
    return weakest, moved[weakest]


def golden(case, config, tensors, shape, seed):
    """What a test needs to know but the weights, and the logits."""
    sequences = [input_ids(seed, i, n, shape.vocab) for i, n in enumerate(shape.lengths)]
    model = case.decoder(config, tensors, np.float64)
    reference = ends_of(model, sequences)
    most = float(np.abs(reference).max())
    narrow = float(np.abs(ends_of(case.decoder(config, tensors, np.float32), sequences) - reference).max())
    weakest, change = least_sensitive(case, config, tensors, sequences, seed, reference)
    if change < DEAD_FACTOR * TOLERANCE * most:
        raise ValueError(f"{weakest} hardly matters: logits move by {change:.3g}")
    return {
        "max_abs_logit": round(most, 4),
        "suggested_max_abs_error": float(f"{max(2e-5 * most, 10 * narrow):.3g}"),
        "float64_max_abs_difference": float(f"{narrow:.3g}"),
        "least_sensitive_tensor": {"name": weakest, "logit_change": float(f"{change:.3g}")},
        "sequences": [{"input_ids": ids, "first_logits_position": len(ids) - LAST_POSITIONS, "greedy": greedy(model, ids)}
                      for ids in sequences],
    }, reference.astype("<f4")


def check_gpt_oss(folder):
    """The formulas against transformers' answers, which are of unpacked weights."""
    with open(os.path.join(folder, "gpt_oss.json"), encoding="utf-8") as file:
        record = json.load(file)
    expected, config = np.load(os.path.join(folder, "gpt_oss.npy")), record["config"]
    case = SimpleNamespace(norm_center=1.0, embed_scale=1024)
    tensors = {name: fill(case, record["seed"], name, shape) for name, shape in GptOss.shapes(config).items()}
    ends = ends_of(GptOss(config, tensors, np.float64), [one["input_ids"] for one in record["sequences"]])
    print(f"gpt_oss: {np.abs(ends - expected).max():.3g} off, {record['suggested_max_abs_error']} are allowed")
    return int(not np.abs(ends - expected).max() < record["suggested_max_abs_error"])


def golden_of_8_bits(case, config, tensors, record):
    """The same logits where what packed weights multiply is rounded to 8 bits, and what float32 may turn of the rounding."""
    ends = []
    for dtype in (np.float64, np.float32):
        model = case.decoder(config, tensors, dtype)
        model.eight_bits = True
        ends.append(ends_of(model, [one["input_ids"] for one in record["sequences"]]))
    record["int8_max_abs_error"] = float(f"{4 * np.abs(ends[0] - ends[1]).max():.3g}")
    return ends[0].astype("<f4")


def make(name, args):
    case, shape = CASES[name], SimpleNamespace(**SHAPES[args.shapes])
    config = case.config(shape)
    tensors = {tensor: fill(case, args.seed, tensor, extents) for tensor, extents in case.decoder.shapes(config).items()}
    folder = os.path.join(args.outdir, name)
    os.makedirs(folder, exist_ok=True)
    data = safetensors_bytes(tensors)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(data)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2, sort_keys=True)
    if not args.golden:
        return
    answers, logits = golden(case, config, tensors, shape, args.seed)
    if any(value.dtype == np.uint8 for value in tensors.values()):
        np.save(os.path.join(args.golden, f"{name}_int8.npy"), golden_of_8_bits(case, config, tensors, answers))
    write_json(os.path.join(args.golden, f"{name}.json"), {
        "case": name, "model_type": config["model_type"], "exercises": case.exercises, "seed": args.seed,
        "shapes": args.shapes, "norm_center": case.norm_center, "embed_scale": case.embed_scale,
        "safetensors_sha256": hashlib.sha256(data).hexdigest(), "tensors": len(tensors),
        "parameters": sum(tensor.size for tensor in tensors.values()), "config": config, "config_v4": None,
        "softmax_invisible_tensors": None, "logits_file": f"{name}.npy", **answers})
    np.save(os.path.join(args.golden, f"{name}.npy"), logits)
    print(name, {key: answers[key] for key in ("max_abs_logit", "suggested_max_abs_error", "least_sensitive_tensor")},
          "smallest margin", min(min(one["greedy"]["margins"]) for one in answers["sequences"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="?", help="a case, or all")
    parser.add_argument("outdir", nargs="?")
    parser.add_argument("--check", help="folder of transformers' answers")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--shapes", choices=sorted(SHAPES), default="main")
    parser.add_argument("--golden", help="folder for the golden files")
    args = parser.parse_args()
    if args.check:
        return check_gpt_oss(args.check)
    if not args.outdir:
        parser.error("CASE and OUTDIR are needed")
    if args.case != "all" and args.case not in CASES:
        parser.error(f"no case is called {args.case}; there are {', '.join(CASES)}")
    for path in filter(None, (args.outdir, args.golden)):
        os.makedirs(path, exist_ok=True)
    for name in CASES if args.case == "all" else [args.case]:
        make(name, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
