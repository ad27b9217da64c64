{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '64MB'",
    )
}}

{{ repeated_rows(ref('base_app__transactions'), 'transaction_id') }}
