{{ config(materialized='mart_view') }}

{{ performance('campaign') }}

select * from compared
