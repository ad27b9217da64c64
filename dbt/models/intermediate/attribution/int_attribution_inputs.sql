{#-
    What the row of each purchase in `ad_attributions` is computed from: its credits, which are
    computed anew with whatever changes in the purchase, and the delivery states of its conversion.
-#}
with

kept as (
    select * from {{ mart_kept(ref('ad_attribution_credits')) }}
),

deliveries as (
    select * from {{ ref('int_deliveries_of_transactions') }}
),

inputs as (
    select
        kept.transaction_id,
        kept.brand_slug,
        hash_record_extended(
            row(
                kept.computed_at,
                deliveries.event_name,
                deliveries.deliveries::text,
                '{{ attribution_setting("attribution_default_model") }}'::text
            ),
            0
        ) as inputs_hash,
        true as is_settled
    from kept
    left join deliveries
        on
            kept.transaction_id = deliveries.transaction_id
            and kept.brand_slug = deliveries.brand_slug
)

select * from inputs
