{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '128MB'",
        post_hook='analyze {{ this }}',
    )
}}

{{ app_repeated_rows('touchpoints') }}
