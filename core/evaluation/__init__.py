"""Is it better, at what, and what did it forget: base and adapters measured on the same rows, side by side.

    EvaluationSpec → desk (a thread) → procedure: rows → loss, answering, forgetting, judge → assembly → result

Measures of answers are in `measures` and `field_match`; `report_file` turns a result into one HTML file.
"""
