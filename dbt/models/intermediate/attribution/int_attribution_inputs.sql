{#-
    What the row of each purchase in `ad_attributions` is computed from: its credits, and how far
    its conversion has come on its way to the platforms.
-#}
with

kept as (
    select * from {{ mart_kept(ref('ad_attribution_credits')) }}
),

transactions as (
    select * from {{ ref('int_transactions') }}
),

deliveries as (
    select * from {{ ref('int_deliveries_of_transactions') }}
),

inputs as (
    select
        transactions.transaction_id,
        hash_record_extended(
            row(
                kept.computed_at,
                transactions.profile_id,
                transactions.purchase_number,
                transactions.status,
                deliveries.event_name,
                deliveries.deliveries::text,
                '{{ attribution_setting("attribution_default_model") }}'::text
            ),
            0
        ) as inputs_hash,
        true as is_settled
    from transactions
    left join kept on transactions.transaction_id = kept.transaction_id
    left join deliveries on transactions.transaction_id = deliveries.transaction_id
)

select * from inputs
