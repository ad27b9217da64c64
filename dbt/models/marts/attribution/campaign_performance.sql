{{ config(materialized='view') }}

{{ performance('campaign') }}

select * from compared
