{{
    config(
        materialized='table',
        pre_hook="{{ more_memory() }}",
    )
}}

{{ repeated_rows(ref('base_app__transactions'), 'transaction_id') }}
