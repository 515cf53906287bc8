"""A chat window that follows an answer: a reader at the bottom stays there, one who scrolled up is left alone.

Owns scrolling. gradio's own goes to the bottom up to 300 ms after each update, also where the reader has left it in
the meantime: while an answer grows, nobody gets away from it.
"""

from __future__ import annotations

# Runs when the last component of a pane is put on the page; the window stands before it, but is drawn later.
FOLLOW_JS = """
const pane = element.closest(".chat-pane");
const follow = (log) => {
  let following = true, last = 0, asked = 0;
  const toBottom = () => { if (following) log.scrollTop = log.scrollHeight; };
  log.addEventListener("scroll", () => {
    const below = log.scrollHeight - log.clientHeight - log.scrollTop;
    following = below < 8 || (following && log.scrollTop >= last);
    last = log.scrollTop;
  });
  new MutationObserver((changes) => {
    const questions = log.querySelectorAll(".user-row").length;
    following ||= questions > asked;
    asked = questions;
    const unfolded = (change) => change.target.closest?.(".thought-group");  // a reader opened it, to read it
    if (!changes.every(unfolded)) toBottom();
  }).observe(log, {childList: true, characterData: true, subtree: true});
  toBottom();
};
const wait = new MutationObserver(() => begin());
const begin = () => {
  const log = pane.querySelector(".chat-window [role=log]");
  if (log) { wait.disconnect(); follow(log); }
};
if (pane) { wait.observe(pane, {childList: true, subtree: true}); begin(); }
"""
