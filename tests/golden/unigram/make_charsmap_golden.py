#!/usr/bin/env python3
"""Writes tests/golden/unigram/charsmap.json.gz: a small table of replacements, compiled by sentencepiece 0.2.3, and what
Hugging Face's tokenizers 0.23.3 makes of texts with it.

    make_charsmap_golden.py    (pip install sentencepiece tokenizers)
"""

import base64
import gzip
import io
import json
import pathlib
import random
import tempfile

import sentencepiece
from tokenizers import normalizers

ROOT = pathlib.Path(__file__).resolve().parents[3]

RULES = {"\u00a0": " ", "\u3000": " ", "\ufb01": "fi", "\uff21": "A", "e\u0301": "\u00e9", "A\u030a": "\u00c5", "\u212b": "\u00c5",
         "\u2026": "...", "\t": " ", "\u200b": "", "\u1100\u1161": "\uac00", "\u0915\u093c": "\u0958", "ab": "x", "\u00bd": "1\u20442"}
ATOMS = list(RULES) + ["a", "b", "e", "\u0301", "\u030a", "\u0308", "\u1100", "\u1161", "\u11a8", "\u0915", "\u093c", "\u094d", "\u200d",
                       "\U0001f469", "\U0001f1e9", "\U0001f1ea", "\r", "\n", " ", "\u4f60", "\x00", "\u0600", "z"]


def field(data, wanted):
    """The length-delimited field `wanted` of a message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    found = b""
    while at < len(data):
        key = varint()
        if key & 7 == 0:
            varint()
        elif key & 7 == 5:
            at += 4
        elif key & 7 == 1:
            at += 8
        else:
            size = varint()
            if key >> 3 == wanted:
                found = data[at:at + size]
            at += size
    return found


def main():
    """Writes the file."""
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "rules.tsv"
        rules.write_text("".join(
            " ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n"
            for source, target in RULES.items()), encoding="utf-8")
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b e z"] * 20), model_writer=model, vocab_size=10, hard_vocab_limit=False,
            normalization_rule_tsv=str(rules), minloglevel=2)
    charsmap = field(field(model.getvalue(), 3), 2)
    normalizer = normalizers.Precompiled(charsmap)
    rng = random.Random(20261126)
    texts = ["".join(rng.choices(ATOMS, k=rng.randint(1, 12))) for _ in range(400)]
    golden = {"charsmap": base64.b64encode(charsmap).decode(),
              "cases": [[text, normalizer.normalize_str(text)] for text in texts]}
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    (ROOT / "tests/golden/unigram/charsmap.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
