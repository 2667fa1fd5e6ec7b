"""Queries and sorts of calls by their feedback, `feedback.[<type>].payload.<path>`.

A comparison is true for a call if it is true for any of its feedback of the type. Missing values equal null: a call
without feedback counts as having a single feedback of nulls. `$not` is the exact negation. Different feedback may
satisfy two comparisons. A sort uses the newest feedback of the type, by `created_at`, then `id`.
"""
