"""The API for programs: OpenAI's routes over the workbench, so that what was written for a hosted model runs here.

    server → one of {answers, models, files, jobs} → Workbench
             wire, refusals: bodies and errors in OpenAI's shapes; access: the key

It is served by the page's own server under `/v1` and adds nothing that the page cannot do: the same engine, data sets,
runs and refusals. What OpenAI offers and we do not is refused in words, never passed over in silence.
"""
