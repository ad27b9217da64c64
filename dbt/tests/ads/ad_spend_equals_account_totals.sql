-- Days that the ledger calls reconciled and that do not add up to the account's own total.
{{ account_differences('reconciled') }}

select * from differing
