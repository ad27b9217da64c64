-- Days that the load itself could not reconcile: they are in the mart, and somebody should know.
{{ config(severity='warn') }}

{{ account_differences('unreconciled') }}

select * from compared
