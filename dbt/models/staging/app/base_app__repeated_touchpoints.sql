{{
    config(
        materialized='table',
        pre_hook="{{ more_memory('128MB') }}",
    )
}}

{{ repeated_rows(ref('base_app__touchpoints'), 'touchpoint_id') }}
