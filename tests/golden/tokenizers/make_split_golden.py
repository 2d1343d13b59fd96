#!/usr/bin/env python3
"""Writes tests/golden/tokenizers/splits.json.gz: how pre-tokenizers split texts, by Hugging Face's tokenizers 0.23.3.

    make_split_golden.py    (pip install tokenizers)

The patterns are those that the models' own tokenizer.json files have, Kimi's that of its code. Names of tokenizer.ggml.pre that
share them stand together. The texts are drawn with a fixed seed.
"""

import gzip
import json
import pathlib
import random

from tokenizers import Regex, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[3]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
KIMI = (r"[\p{Han}]+"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
DEEPSEEK_V3 = ["\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
               "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
               "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
SPARK = DEEPSEEK_V3[:2] + [DEEPSEEK_V3[2].replace("+[\r\n]*|\\s*[\r\n]+|", "+|[\r\n]|"), "\\p{N}"]

SCHEMES = [
    (["gpt-2", "phi-2", "jais", "gigachat", "a.x-4.0", "mellum", "exaone4", "trillion", "granite-docling", "mpt", "olmo"],
     [GPT2]),
    (["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "dbrx", "smaug-bpe", "glm4",
      "chatglm-bpe"], [LLAMA3]),
    (["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"], [QWEN2]),
    (["minicpm5"], [r"\p{N}{1,3}", LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}+")]),
    (["laguna"], [r"[^\n]+|[\n]+", QWEN2]),
    (["seed-coder"], [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+"
                      r"|\s*[\r\n]+|\s+(?!\S)|\s+"]),
    (["exaone-moe"], [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
                      r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"]),
    (["bailingmoe", "bailingmoe2", "llada-moe"],
     [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"]),
    (["jais-2"], [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                  + "".join(rf"|\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"]),
    (["tekken"], [TEKKEN]),
    (["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], [GPT4O]),
    (["kimi-k2"], [KIMI]),
    (["youtu"], ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
                 GPT4O.replace(r"\p{N}{1,3}", r"\p{N}")]),
    (["starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2", "command-r"], [r"\p{N}", GPT2]),
    (["bloom", "poro-chat", "gpt3-finnish"], [BLOOM]),
    (["viking"], [BLOOM, r"\p{N}"]),
    (["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], DEEPSEEK_V3),
    (["spark2_5"], SPARK),
]

ATOMS = [
    " ", "  ", "    ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2028", "\u200b", "\u0085", "a", "word", "Word",
    "WORD", "camelCase", "HTTPServer", "über", "ÄÖ", "naïve", "e\u0301", "don't", "I'LL", "it'\u017f", "'re", "'S", "7", "42",
    "1234567", "½", "²", "٣", "१२३", "。", "，", "！", "…", "你好", "世界", "ひらがな", "カタカナ", "한국어", "ㄱㄴ", "ㄅㄆ", "привет",
    "ПРИВЕТ", "مرحبا،", "हिन्दी।", "ไทย", "ǅ", "ʰ", "ª", "👩\u200d👩", "🙂", "$", "+", "^", "`", "~", "|", "(", ")", "[", "]",
    "{", "}", "//", "/\n", "...", "!?", "#include", "_x", "-", "–", "“q”", "€5", "a.b,c", "\x00", "\x1c", "\ufeff", "\u1680",
]


def texts():
    """Runs of atoms."""
    rng = random.Random(20261126)
    return ["".join(rng.choices(ATOMS, k=rng.randint(1, 24))) for _ in range(240)] + [" " * 600 + "x", "\n" * 40]


def main():
    """Writes the file."""
    samples = texts()
    golden = []
    for names, patterns in SCHEMES:
        stages = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in patterns])
        splits = [[piece for piece, _ in stages.pre_tokenize_str(text)] for text in samples]
        # Lengths in characters say the same in less space.
        golden.append({"names": names, "lengths": [[len(piece) for piece in pieces] for pieces in splits]})
    text = json.dumps({"texts": samples, "schemes": golden}, ensure_ascii=False, separators=(",", ":"))
    (ROOT / "tests/golden/tokenizers/splits.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
