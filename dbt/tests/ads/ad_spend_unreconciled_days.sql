-- depends_on: {{ ref('ad_spend') }}
-- Days that the load itself could not reconcile: they are in the mart, and somebody should know.
{{ config(severity='warn') }}

with

days as (
    select * from {{ ref('int_ad_days_to_check') }}
    where load_status = 'unreconciled'
)

select * from days
