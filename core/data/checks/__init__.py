"""What is wrong with examples, or will disappoint, and what can safely be done about it.

    conversations   one example: its kind, its roles in order, whether it says anything; `shape_problems`
    texts           one example: damaged, invisible or control characters, special tokens, answers given away
    personal_data   e-mail addresses, phone, ID and card numbers in a text
    placeholders    names in double braces: `placeholder_names`, `filled`, `placeholder_problems`
    set_checker     all examples together, in a stream: `SetChecker`, `SetFacts`, `leak_problems`
    similarity      which of them are nearly equal
    scripts         which script each is written in
    fixes           what is offered against it: `ROW_FIXES`, `SET_FIXES`, `CURES`, `fixed`

A problem of severity "error" means that the example cannot be trained; a warning, that the person should know. What
only a tokenizer or a template can tell (lengths, refusals) is found by `rendering.py`. The report imports

    core.data.checks.conversations   can_be_trained
    core.data.checks.set_checker     SetChecker, SetFacts, leak_problems
    core.data.checks.fixes           ROW_FIXES, SET_FIXES, CURES, fixed
    core.data.checks.placeholders    filled, placeholder_names, placeholder_problems
"""
