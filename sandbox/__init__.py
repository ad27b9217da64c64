"""Local ad platforms with a deterministic world; only the demo and the tests import it.

`World` is what happened: accounts, campaigns, ad sets, ads, and what each ad delivered on each day,
always the same for the same seed. `Graph` answers for it as Meta's Graph API does, with its
refusals, limits and asynchronous reports; what its Conversions API accepts is in `Events`, the
ledgers of the pixels. `Sandbox` serves that over HTTP, with `Faults` for what is to go wrong, and
`fill_app` writes the advertiser's own tables (customers, touchpoints, purchases) to match. `python
-m sandbox --port 9000` runs it; `control` says how another process drives it.
"""
