{{
    config(
        materialized='table',
        pre_hook="{{ more_memory() }}",
    )
}}

{{ repeated_rows(ref('base_app__profiles'), 'profile_id') }}
