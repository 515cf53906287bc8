"""A small file that the browser is handed to keep. It never lies where a URL could reach it.

Owns both ends: what a handler returns into a hidden text box, and what the browser then does with it.
"""

from __future__ import annotations

import json

SAVE_FILE_JS = """(file) => {
  const { name, content } = JSON.parse(file);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}"""


def browser_file(name: str, content: str) -> str:
    """A file's name and content as JSON, which `SAVE_FILE_JS` takes."""
    return json.dumps({"name": name, "content": content})
