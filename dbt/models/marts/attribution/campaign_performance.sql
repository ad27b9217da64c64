{{ config(materialized='view_in_place') }}

{{ performance('campaign') }}

select * from compared
