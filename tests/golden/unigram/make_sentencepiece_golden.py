#!/usr/bin/env python3
"""Writes tests/golden/unigram/sentencepiece.json.gz: small SentencePiece models that normalise texts in every way, and the
ids that the library itself gives.

    make_sentencepiece_golden.py    (pip install sentencepiece==0.2.3)
"""

import base64
import gzip
import io
import json
import pathlib
import random
import tempfile

import sentencepiece

ROOT = pathlib.Path(__file__).resolve().parents[3]

CORPUS = ["the cat sat on the mat, and the dog did not.", "a fine office: 1/2 of 100 %", "Straße und Fluß über Köln",
          "你好，世界。今天天气很好", "안녕하세요 세계", "naïve café déjà vu", "x = [1, 2, 3]; print(x)", "ＡＢＣ ｶﾞ ﬁ ㍿"]
ATOMS = ["a", "the", "cat", " ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u2581", "\u200b", "ﬁ", "Ａ", "ｶﾞ", "㍿", "é", "e\u0301", "½", "ß",
         "你好", "안", "\u1100\u1161", "👩\u200d👧", "🇩🇪", "\u0000", "…", "100 %", "z", "Ж", "\ufeff", "\u00ad"]
# Some keys begin as others do.
RULES = {"\u00a0": " ", "ﬁ": "fi", "a": "b", "aa": "  c", "aaa": "", "the": "\u2581", "é": "e ", "你": "you", "\u200b": ""}

MODELS = {
    "unigram_nmt_nfkc": dict(model_type="unigram", normalization_rule_name="nmt_nfkc", vocab_size=150),
    "bpe_rules_bytes": dict(model_type="bpe", vocab_size=420, byte_fallback=True),
    "unigram_rules_all_spaces": dict(model_type="unigram", vocab_size=120, remove_extra_whitespaces=False),
    "unigram_identity": dict(model_type="unigram", normalization_rule_name="identity", vocab_size=120),
    "bpe_no_prefix": dict(model_type="bpe", normalization_rule_name="identity", vocab_size=150, add_dummy_prefix=False),
}


def train(folder, options):
    if "normalization_rule_name" not in options:
        rules = pathlib.Path(folder) / "rules.tsv"
        rules.write_text("".join(
            " ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n"
            for source, target in RULES.items()), encoding="utf-8")
        options = options | {"normalization_rule_tsv": str(rules)}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS * 20), model_writer=model, minloglevel=2,
                                             hard_vocab_limit=False, num_threads=1, **options)
    return model.getvalue()


def main():
    rng = random.Random(20261126)
    texts = ["", " ", "   ", " a", "a ", "  a  b  ", "\u2581", "a\u2581", *CORPUS]
    texts += ["".join(rng.choices(ATOMS, k=rng.randint(1, 14))) for _ in range(300)]
    models = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in MODELS.items():
            data = train(folder, options)
            processor = sentencepiece.SentencePieceProcessor(model_proto=data)
            models[name] = {"model": base64.b64encode(data).decode(), "ids": [processor.encode(text) for text in texts]}
    text = json.dumps({"texts": texts, "models": models}, ensure_ascii=False, separators=(",", ":"))
    (ROOT / "tests/golden/unigram/sentencepiece.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
