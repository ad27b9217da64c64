{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '128MB'",
    )
}}

{{ repeated_rows(ref('base_app__touchpoints'), 'touchpoint_id') }}
